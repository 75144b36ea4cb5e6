"""A worker in a process of its own: one that idles beside parked runs and tells its memory, one that moves what it finds."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

from benchmarks.bare import BATCH
from benchmarks.engine_workflows import CALLED, AsyncChain, Parked
from benchmarks.parked_runs import run_id, store_at
from flowstmt import Engine

CALLS = 100
IDLE = 1.5
"""Seconds: it looks for due runs in the meantime."""


async def memory(place: str, runs: int) -> float:
    """Megabytes that are resident."""
    async with Engine(store_at(place), [Parked]) as engine:
        for number in range(0, runs, max(1, runs // CALLS)):
            await engine.callback(run_id(number), CALLED, 1)
        await asyncio.sleep(IDLE)
        gc.collect()
        return resident()


def resident() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def work(place: str) -> None:
    """Move what is due, until stdin ends."""
    async with Engine(store_at(place), [AsyncChain], concurrency=BATCH):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["memory", place, runs]:
            print(asyncio.run(memory(place, int(runs))))
        case ["work", place]:
            asyncio.run(work(place))
