"""Runs of 20 trivial steps through the engine, each step durable before the next one begins, against bare loops.

A step is a 20th of a whole run, from ``start`` to ``result``: what starting costs is in it, and the commit of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from itertools import count
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.bare import BATCH, Bare, BarePostgres, BareSqlite
from benchmarks.chain import STEPS
from benchmarks.databases import Databases
from benchmarks.engine_workflows import AsyncChain, BlockingChain, Busy
from benchmarks.measure import Figure, in_turns, ratio
from flowstmt import Engine, PostgresStore, SQLiteStore

__all__ = ["figures"]

BUSY = 4
"""So many runs block threads while others are measured."""

Found = list[list[float]]


class Steps:
    """Engines whose runs take turns with a bare loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ids = count()

    async def one_at_a_time(self, cls: type[Any], runs: int) -> float:
        """Microseconds a step of runs that follow each other."""
        start = perf_counter()
        for _ in range(runs):
            await self._run(cls)
        return (perf_counter() - start) / (runs * STEPS) * 1e6

    async def at_once(self, cls: type[Any], runs: int) -> float:
        """Microseconds a step where 64 runs are under way at any time, and each place has had so many."""

        async def place() -> None:
            for _ in range(runs):
                await self._run(cls)

        start = perf_counter()
        await asyncio.gather(*[place() for _ in range(BATCH)])
        return (perf_counter() - start) / (BATCH * runs * STEPS) * 1e6

    async def _run(self, cls: type[Any]) -> None:
        run_id = f"{cls.__name__}-{next(self.ids)}"
        await self.engine.start(cls(), run_id=run_id)
        await self.engine.result(run_id)

    async def make_busy(self) -> None:
        for i in range(BUSY):
            await self.engine.start(Busy(), run_id=f"busy-{i}")


def figures(places: Databases, *, rounds: int = 15, runs: int = 5) -> list[Figure]:
    found = []
    for name, bare, store, limits in (
        ("SQLite", BareSqlite, lambda: SQLiteStore(places.file()), (1.5, 3.5)),
        ("PostgreSQL", BarePostgres, lambda: PostgresStore(places.uri()), (1.5, 3.0)),
    ):
        place = places.file() if bare is BareSqlite else places.uri()
        with closing(bare(place)) as floor:  # type: ignore[arg-type] # each gets its own kind of place
            measure = partial(_measured, floor, store, rounds, runs)
            found += _figures(name, asyncio.run(measure(busy=False)), limits, "")
            found += _figures(name, asyncio.run(measure(busy=True)), limits, ", blocking steps beside")
    return found


async def _measured(floor: Bare, store: Callable[[], Any], rounds: int, runs: int, *, busy: bool) -> Found:
    def blocking(measure: Callable[[int], float], times: int) -> Callable[[], Awaitable[float]]:
        async def operation() -> float:
            return measure(times)

        return operation

    async with Engine(store(), [AsyncChain, BlockingChain, Busy]) as engine:
        steps = Steps(engine)
        operations = [
            partial(steps.one_at_a_time, AsyncChain, runs),
            partial(steps.at_once, AsyncChain, max(1, runs // 3)),
        ]
        if busy:
            await steps.make_busy()
        else:
            operations += [
                partial(steps.one_at_a_time, BlockingChain, runs),
                partial(steps.at_once, BlockingChain, max(1, runs // 3)),
            ]
        floors = [blocking(floor.one_a_commit, runs), blocking(floor.batched, max(1, runs // 3))]
        return await in_turns(*floors, *operations, rounds=rounds)


def _figures(name: str, found: Found, limits: tuple[float, float], beside: str) -> list[Figure]:
    one, batched, alone, at_once, *plain = found
    figures = []
    if not beside:
        figures += [
            Figure(f"{name}: an UPDATE and its commit, bare", f"{median(one):.0f} us"),
            Figure(f"{name}: one of {BATCH} UPDATEs a commit, bare", f"{median(batched):.1f} us"),
        ]
    for what, times, base, limit in (
        ("one run at a time", alone, one, limits[0]),
        (f"{BATCH} runs at once", at_once, batched, limits[1]),
    ):
        times_bare = ratio(times, base)
        measured = f"{median(times):.1f} us a step = {times_bare:.2f} x bare"
        figures.append(Figure(f"{name}: engine, {what}{beside}", measured, f"{limit:g} x", times_bare <= limit))
    for what, times in zip(("one run at a time", f"{BATCH} runs at once"), plain, strict=False):
        figures.append(Figure(f"{name}: engine, {what}, plain functions in threads", f"{median(times):.1f} us a step"))
    return figures
