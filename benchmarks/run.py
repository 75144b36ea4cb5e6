"""Measure flowstmt's speed and print two tables, one of the core and one of the engine: ``make bench``.

What has a limit is a ratio between operations that took turns in this run, or comes scaled to the machine on which the
limit was set. Nothing is asserted: read the figures.
"""

from __future__ import annotations

import os
import platform
from statistics import median
from time import perf_counter, thread_time
from timeit import Timer

import orjson

from benchmarks import (
    chain,
    core_loop,
    engine_latency,
    engine_processes,
    engine_resume,
    engine_steps,
    failures,
    fanout,
    imports,
    parked,
    resume_flat,
    sqlite_chain,
)
from benchmarks.databases import databases
from benchmarks.measure import Figure

WHERE_SET = 0.17
"""Microseconds that ``orjson.dumps`` takes of RECORD where the limits were set."""

MET = {True: "met", False: "MISSED", None: ""}

RECORD = {
    "run_id": "019aa3f0-5e0f-7cc2-9f36-0d6c1b5a7e11",
    "workflow": "Order",
    "status": "Waiting",
    "revision": 12,
    "wake_at": "2026-11-21T02:30:00.000000Z",
    "note": "x" * 222,
}
"""373 bytes of JSON."""


def dumps_time() -> float:
    """The microseconds that ``orjson.dumps`` takes of RECORD."""
    timer = Timer("dumps(record)", timer=thread_time, globals={"dumps": orjson.dumps, "record": RECORD})
    return median(timer.repeat(51, 5_000)) / 5_000 * 1e6


def machine() -> str:
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"


def print_table(figures: list[Figure]) -> None:
    rows = [("what", "measured", "limit", "")]
    rows += [(figure.what, figure.measured, figure.limit, MET[figure.met]) for figure in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    rows.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    start = perf_counter()
    print(f"{machine()}; medians")
    print()
    print("The core: CPU time, except for SQLite")
    print()
    dumps = dumps_time()
    figures = [Figure(f"orjson.dumps of {len(orjson.dumps(RECORD))} bytes", f"{dumps:.2f} us", f"where set: {WHERE_SET} us")]
    figures += core_loop.figures()
    figures += failures.figures()
    figures += fanout.figures()
    figures += chain.figures(dumps, WHERE_SET)
    figures += sqlite_chain.figures()
    figures += resume_flat.figures()
    figures += parked.figures()
    figures += imports.figures()
    print_table(figures)
    print()
    print("The engine: time as it passes, in SQLite (WAL, synchronous=FULL) and PostgreSQL (fsync and synchronous_commit on)")
    print()
    with databases() as places:
        print_table(
            [
                *engine_steps.figures(places),
                *engine_processes.figures(places),
                *engine_resume.figures(places),
                *engine_latency.figures(places),
            ]
        )
    print()
    print(f"measured in {perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
