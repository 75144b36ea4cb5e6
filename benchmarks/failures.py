"""What a retry policy costs a step that succeeds: the data are written down before the attempt, and that is all.

The same steps with a policy and without one, in memory, over data of two sizes. What the policy adds to a step is held against
what ``dump`` takes of the same workflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from benchmarks.measure import Figure, interleaved
from flowstmt import For, Retry, State, Statement, Step, WorkflowStatus, dump, resume

__all__ = ["figures", "run"]

STEPS = 20
SIZES = {"1 kB": 8, "100 kB": 800}
"""How many records of some 125 bytes the data hold."""


@dataclass
class Record:
    id: int
    name: str
    note: str
    open: bool = True


def _records(count: int) -> list[Record]:
    return [Record(i, f"record {i}", "x" * 70) for i in range(count)]


@dataclass
class Plain:
    records: list[Record] = field(default_factory=list)
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("loop", lambda w: w.done < STEPS, Step("step", cls.step))

    def step(self) -> None:
        self.done += 1


class Retried(Plain):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("loop", lambda w: w.done < STEPS, Step("step", cls.step, retry=Retry()))


def run(cls: type[Plain], records: list[Record]) -> Callable[[], Plain]:
    """A run of some steps over these records, from its start to its end."""

    def operation() -> Plain:
        workflow, state = cls(records), State.new("run-1", "Plain")
        status = resume(workflow, state)
        assert status is WorkflowStatus.Finished
        assert workflow.done == STEPS
        return workflow

    return operation


def figures() -> list[Figure]:
    figures = []
    for size, count in SIZES.items():
        records = _records(count)
        workflow, state = Plain(records), State.new("run-1", "Plain")
        blob = dump(workflow, state)
        operations = (run(Plain, records), run(Retried, records), partial(dump, workflow, state))
        plain, retried, dumped = interleaved(*operations, rounds=101)
        more = (retried - plain) / STEPS
        figures.append(Figure(f"dump of {len(blob) / 1e3:.1f} kB", f"{dumped:.1f} us"))
        figures.append(Figure(f"a retry policy, data of {size}", f"{more:.1f} us = {more / dumped:.2f} x dump", "1 x"))
    return figures
