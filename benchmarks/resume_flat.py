"""What it takes to load a run, run one more step of it and dump it, after it has executed 10, 1,000 and 100,000 steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Self

from benchmarks.measure import Figure, interleaved
from flowstmt import CheckpointType, For, State, Statement, Step, dump, load, resume

__all__ = ["figures"]

EXECUTED = (10, 1_000, 100_000)


@dataclass
class Endless:
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("again", Step("step", cls.step))

    def step(self) -> None:
        self.done += 1


def _after(steps: int) -> bytes:
    workflow, state = Endless(), State.new("run-1", "Endless")
    resume(workflow, state, max_steps=steps)
    assert workflow.done == steps
    return dump(workflow, state)


def _one_more(snapshot: bytes) -> list[bytes]:
    workflow, state = load(Endless, snapshot)
    saved: list[bytes] = []

    def save(kind: CheckpointType) -> None:
        saved.append(dump(workflow, state))

    resume(workflow, state, save, max_steps=1)
    return saved


def figures() -> list[Figure]:
    snapshots = [_after(steps) for steps in EXECUTED]
    for snapshot in snapshots:
        assert len(_one_more(snapshot)) == 1
    taken = interleaved(*[partial(_one_more, snapshot) for snapshot in snapshots], rounds=300)
    figures = []
    for i, steps in enumerate(EXECUTED):
        measured = f"{taken[i]:.1f} us, {len(snapshots[i])} bytes"
        if i == 0:
            figures.append(Figure(f"load, a step and dump after {steps:,} steps", measured))
        else:
            change = f" ({100 * (taken[i] / taken[0] - 1):+.1f} %, {len(snapshots[i]) - len(snapshots[0]):+} bytes)"
            figures.append(Figure(f"the same after {steps:,}", measured + change, "+10 %, digits of counters"))
    return figures
