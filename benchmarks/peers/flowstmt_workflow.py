"""flowstmt's workflow, and the floor below both of its contenders: the same rows written by nobody in particular."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from benchmarks.peers.contract import DiedError, Steps
from flowstmt import For, State, Statement, Step, StepError, current, dump, resume
from flowstmt.run import Save

__all__ = ["Count", "move", "row_of"]

Row = tuple[int, datetime | None, bytes]


@dataclass
class Count:
    until: int
    number: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("count", lambda w: w.number < w.until, Step("step", cls.step, into="number"))

    def step(self) -> int:
        steps: Steps = current().deps
        return steps(self.number)


def row_of(count: Count, state: State) -> Row:
    """What is stored of a run: a document, and what one wants to find it by."""
    return state.revision, state.wake_at, dump(count, state)


def move(count: Count, state: State, save: Save, steps: Steps) -> None:
    """Until the run ends, or the process dies."""
    try:
        resume(count, state, save, deps=steps, max_steps=10**9)
    except StepError as error:
        if not isinstance(error.__cause__, DiedError):
            raise
