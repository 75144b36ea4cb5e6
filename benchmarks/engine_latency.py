"""How long callers wait: for a callback beside few and many parked runs, and for a first step; and the memory of a worker."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.databases import Databases
from benchmarks.engine_workflows import CALLED, Clocked, Parked
from benchmarks.measure import Figure, in_turns, percentile
from benchmarks.parked_runs import fill, run_id, store_at
from flowstmt import Engine

__all__ = ["figures", "first_steps", "used_memory"]

RUNS = (1_000, 1_000_000)
CALLS = 500
STARTS = 100
IDLE = 0.01
"""Seconds between two starts."""

SLOWER, MORE_MEMORY, FIRST_STEP = 1.3, 1.1, 5.0
ROOT = Path(__file__).parents[1]


def figures(places: Databases, *, runs: tuple[int, int] = RUNS, calls: int = CALLS, starts: int = STARTS) -> list[Figure]:
    found = []
    for name, few, many, idle in (
        ("SQLite", str(places.file()), str(places.file()), str(places.file())),
        ("PostgreSQL", places.uri(), places.uri(), places.uri()),
    ):
        asyncio.run(_filled(few, many, runs))
        of_few, of_many = asyncio.run(_called(few, many, runs, calls))
        found += _callbacks(name, of_few, of_many, runs)
        found.append(_memory(name, used_memory(few, runs[0]), used_memory(many, runs[1]), runs))
        found.append(_first_step(name, asyncio.run(first_steps(idle, starts))))
    return found


async def _filled(few: str, many: str, runs: tuple[int, int]) -> None:
    await fill(few, runs[0])
    await fill(many, runs[1])


async def _called(few: str, many: str, runs: tuple[int, int], calls: int) -> list[list[float]]:
    """Milliseconds of callbacks to runs here and there, in turns."""
    chance = random.Random(1)

    async def call(engine: Engine, among: int) -> float:
        called = run_id(chance.randrange(among))
        start = perf_counter()
        await engine.callback(called, CALLED, 1)
        taken = perf_counter() - start
        await engine.await_status(called, "Waiting")
        return taken * 1e3

    async with Engine(store_at(few), [Parked]) as one, Engine(store_at(many), [Parked]) as other:
        await in_turns(partial(call, one, runs[0]), partial(call, other, runs[1]), rounds=calls // 5)  # warms up
        return await in_turns(partial(call, one, runs[0]), partial(call, other, runs[1]), rounds=calls)


def _callbacks(name: str, few: list[float], many: list[float], runs: tuple[int, int]) -> list[Figure]:
    slower = median(many) / median(few)
    one, other = (f"p50 {median(times):.2f}, p99 {percentile(times, 99):.2f} ms" for times in (few, many))
    return [
        Figure(f"{name}: a callback, {runs[0]:,} parked runs", one),
        Figure(f"the same, {runs[1]:,} parked runs", f"{other} = {slower:.2f} x", f"p50 {SLOWER:g} x", slower <= SLOWER),
    ]


def used_memory(place: str, runs: int) -> float:
    """Megabytes of a worker that has called some of them, and idles; in a process of its own."""
    child = [sys.executable, "-m", "benchmarks.engine_child", "memory", place, str(runs)]
    return float(subprocess.run(child, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _memory(name: str, few: float, many: float, runs: tuple[int, int]) -> Figure:
    return Figure(
        f"{name}: a worker's memory, {runs[0]:,} and {runs[1]:,} parked runs",
        f"{few:.1f} MB and {many:.1f} MB = {many / few:.2f} x",
        f"does not grow ({MORE_MEMORY:g} x)",
        many / few <= MORE_MEMORY,
    )


async def first_steps(place: str, starts: int) -> list[float]:
    """Milliseconds from the call of ``start`` to the beginning of the first step, nothing else going on."""
    begun: dict[str, float] = {}
    taken = []
    async with Engine(store_at(place), [Clocked], deps=begun) as engine:
        for number in range(starts):
            await asyncio.sleep(IDLE)
            run = run_id(number)
            start = perf_counter()
            await engine.start(Clocked(), run_id=run)
            await engine.result(run)
            taken.append((begun[run] - start) * 1e3)
    return taken


def _first_step(name: str, taken: list[float]) -> Figure:
    measured = f"p50 {median(taken):.2f}, p99 {percentile(taken, 99):.2f} ms"
    return Figure(f"{name}: start to first step, idle", measured, f"p50 {FIRST_STEP:g} ms", median(taken) < FIRST_STEP)
