"""Runs at each of their checkpoints, something done to them there, and what comes of it with a crash at every save after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flowstmt import State, Statement, dump, handle_callback, load, resume
from flowstmt.core.positions import check_positions
from flowstmt.core.program import program_for
from flowstmt.testing import START

NOW = START
Action = Callable[[Any, State], Any]


@dataclass
class Data:
    """What the trees of these tests work on."""

    log: list[str] = field(default_factory=list)
    n: int = 0
    items: list[Any] = field(default_factory=list)
    kept: Any = None


def workflow_class(tree: Callable[[Any], Statement]) -> type[Any]:
    """A workflow class in instance style with this tree as its definition."""

    @dataclass
    class Work(Data):
        def definition(self) -> Statement:
            return tree(self)

        def say(self, word: str) -> Callable[[], str]:
            def say() -> str:
                self.log.append(word)
                return word

            return say

        def unsay(self, word: str) -> Callable[[], None]:
            return lambda: self.log.append(f"un{word}")

        def fail(self) -> None:
            raise ValueError("no")

    return Work


@dataclass
class Ended:
    """How a run ended."""

    status: str
    log: list[str]
    state: State
    blobs: list[bytes]


def checkpoints(cls: type[Any], *callbacks: str, **data: Any) -> list[bytes]:
    """A run at birth, at each of its checkpoints, and after each callback."""
    work, state = cls(**data), State.new("run", "Work", NOW)
    blobs = [dump(work, state)]

    def save(kind: str) -> None:
        blobs.append(dump(work, state))

    resume(work, state, save, now=NOW)
    for name in callbacks:
        handle_callback(name, work, state, now=NOW)
        save("afterCallback")
        resume(work, state, save, now=NOW)
    return blobs


def go_on(cls: type[Any], blob: bytes, later: Any = None) -> Ended:
    """Resume from a snapshot until nothing is left to do by itself, timers included."""
    work, state = load(cls, blob)
    blobs: list[bytes] = []
    now = NOW
    for _ in range(50):
        check(work, state)
        resume(work, state, lambda kind: blobs.append(dump(work, state)), now=now)
        if state.wake_at is None or state.wake_at <= now:
            break
        now = state.wake_at
    return Ended(str(state.status), work.log, state, blobs)


def after(cls: type[Any], blob: bytes, action: Action) -> Ended:
    """What becomes of a run to which something was done at a checkpoint; with a crash at each save after that the same."""
    work, state = load(cls, blob)
    action(work, state)
    acted = dump(work, state)
    ended = go_on(cls, acted)
    for k, saved in enumerate(ended.blobs):
        again = go_on(cls, saved)
        assert (again.status, again.log) == (ended.status, ended.log), f"killed after save {k}"
        assert (again.state.error, again.state.undo) == (ended.state.error, ended.state.undo)
        assert [note["note"] for note in again.state.notes] == [note["note"] for note in ended.state.notes]
    return ended


def check(work: Any, state: State) -> None:
    """What holds for every state that somebody has changed from outside."""
    program, values = program_for(work, state.run_id)
    if state.status not in ("Finished", "Failed", "Cancelled"):
        check_positions(program, values, state)
    again = load(type(work), dump(work, state))
    assert dump(*again) == dump(work, state)
