"""How long the engine takes from a callback to the beginning of the next step, after runs have executed many steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from statistics import median
from time import perf_counter

from benchmarks.databases import Databases
from benchmarks.engine_workflows import Counting
from benchmarks.measure import Figure, in_turns, ratio
from flowstmt import Engine, SQLiteStore

__all__ = ["figures"]

EXECUTED = (10, 10_000)
FLAT = 1.1


def figures(places: Databases, *, executed: Sequence[int] = EXECUTED, rounds: int = 40) -> list[Figure]:
    few, many = asyncio.run(_measured(SQLiteStore(places.file()), executed, rounds))
    growth = ratio(many, few)
    measured = f"{median(many) / 1e3:.2f} ms = {growth:.2f} x"
    return [
        Figure(f"SQLite: callback to next step, after {executed[0]:,} steps", f"{median(few) / 1e3:.2f} ms"),
        Figure(f"the same after {executed[1]:,}", measured, f"flat ({FLAT:g} x)", growth <= FLAT),
    ]


async def _measured(store: SQLiteStore, executed: Sequence[int], rounds: int) -> list[list[float]]:
    begun: dict[str, float] = {}
    async with Engine(store, [Counting], deps=begun) as engine:
        for steps in executed:
            await engine.start(Counting(steps), run_id=f"after-{steps}")

        async def next_step(run_id: str) -> float:
            await engine.await_status(run_id, "Waiting")
            start = perf_counter()
            await engine.callback(run_id, "more")
            await engine.await_status(run_id, "Waiting")
            return (begun[run_id] - start) * 1e6

        return await in_turns(*[partial(next_step, f"after-{steps}") for steps in executed], rounds=rounds)
