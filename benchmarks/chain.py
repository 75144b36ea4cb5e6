"""A chain of 20 steps whose snapshot is dumped at every save, in both styles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Self

from benchmarks.measure import Figure, interleaved
from flowstmt import CheckpointType, S, State, Statement, Step, dump, resume

__all__ = ["STEPS", "Chain", "ClassChain", "InstanceChain", "figures"]

STEPS = 20
NAMES = [f"step {i}" for i in range(STEPS)]


@dataclass
class Chain:
    customer: str = "Ada"
    items: str = "tea, milk, sugar"
    paid: bool = False
    done: int = 0

    def step(self) -> None:
        self.done += 1


class ClassChain(Chain):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(*[Step(name, cls.step) for name in NAMES])


class InstanceChain(Chain):
    def definition(self) -> Statement:
        return S(*[Step(name, self.step) for name in NAMES])


def run(cls: type[ClassChain | InstanceChain], run_id: str = "run-1") -> list[bytes]:
    """The snapshots that a run leaves."""
    workflow, state = cls(), State.new(run_id, "Chain")
    snapshots: list[bytes] = []

    def save(kind: CheckpointType) -> None:
        snapshots.append(dump(workflow, state))

    resume(workflow, state, save)
    return snapshots


def figures(dumps: float, where_set: float) -> list[Figure]:
    """``dumps``: how long ``orjson.dumps`` takes here, ``where_set``: and where the limit was set."""
    snapshots = run(ClassChain)
    assert len(snapshots) == STEPS + 1  # the first move is saved too
    of_class, of_instance = interleaved(partial(run, ClassChain), partial(run, InstanceChain), rounds=250)
    scale = where_set / dumps
    rows = []
    for style, taken, limit in (("class", of_class, f"8 us where dumps takes {where_set} us"), ("instance", of_instance, "")):
        step = taken / STEPS
        rows.append(Figure(f"a step and its dump, {style} style", f"{step:.2f} us, scaled {step * scale:.2f} us", limit))
    rows.append(Figure("its snapshot", f"{len(snapshots[STEPS // 2])} bytes"))
    return rows
