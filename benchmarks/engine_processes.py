"""One worker process on PostgreSQL, and four: the same runs of 20 trivial steps, put there at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.chain import STEPS
from benchmarks.databases import Databases
from benchmarks.engine_workflows import AsyncChain
from benchmarks.measure import Figure, ratio
from flowstmt import PostgresStore, State, dump
from flowstmt.stores.protocol import NewRun, RunQuery

__all__ = ["figures"]

PROCESSES = (1, 4)
LOOK = 0.002
"""Seconds between two looks whether all is done."""

PATIENCE = 60.0
ROOT = Path(__file__).parents[1]


def figures(places: Databases, *, processes: tuple[int, int] = PROCESSES, runs: int = 512, rounds: int = 3) -> list[Figure]:
    few, many = processes
    one: list[float] = []
    more: list[float] = []
    for turn in range(rounds):
        for count, times in ((few, one), (many, more)):
            times.append(_measured(places.uri(), count, runs, f"turn-{turn}"))
    share = ratio(more, one)
    return [
        Figure(f"PostgreSQL: engine, {few} worker process, {runs} runs", f"{median(one):.1f} us a step"),
        Figure(
            f"the same, {many} worker processes",
            f"{median(more):.1f} us a step = {share:.2f} x one process",
            "scales on (1 x)",
            share < 1,
        ),
    ]


def _measured(uri: str, processes: int, runs: int, prefix: str) -> float:
    """Microseconds a step, from the commit that holds all runs to the end of the last one."""
    store = PostgresStore(uri)
    store.open()
    with closing(store), workers(uri, processes):
        _work_off(store, runs, f"{prefix}-warm")
        start = perf_counter()
        _work_off(store, runs, prefix)
        return (perf_counter() - start) / (runs * STEPS) * 1e6


def _work_off(store: PostgresStore, runs: int, prefix: str) -> None:
    store.commit([_new_run(f"{prefix}-{i}") for i in range(runs)])
    deadline = perf_counter() + PATIENCE
    while store.list(RunQuery(status="Resuming", limit=1)):
        if perf_counter() > deadline:
            raise TimeoutError(f"{runs} runs were not done within {PATIENCE:g} s")
        time.sleep(LOOK)


def _new_run(run_id: str) -> NewRun:
    snapshot = dump(AsyncChain(), State.new(run_id, "AsyncChain"))
    return NewRun(run_id, "AsyncChain", 1, snapshot, digest=run_id)


@contextmanager
def workers(uri: str, processes: int) -> Iterator[None]:
    """So many worker processes, ready for work."""
    command = [sys.executable, "-m", "benchmarks.engine_child", "work", uri]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        for process in started:
            process.communicate()
