"""Where the threads of a run stand, and what they are about: for pictures, outlines and JSON.

Theory: all of it is in the state already, in statuses, attempts and frames. It is read here, once, so that the ways of showing
it can't differ in what they read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from flowstmt.core.approving import unanswered
from flowstmt.core.children import Call
from flowstmt.core.exits import Exit, pending_exit
from flowstmt.core.nodes import FANOUT, Compensation, Node, RunEnd
from flowstmt.core.positions import check_positions
from flowstmt.core.recovery import Finally
from flowstmt.core.renames import Undo, take_back
from flowstmt.core.state import ENDED, OVER, WAITING_TIME, ErrorInfo, State, Thread
from flowstmt.core.state_json import check_kept
from flowstmt.core.statements import Sleep, Step, WaitFor
from flowstmt.core.undoing import Record
from flowstmt.describe.subjects import Subject
from flowstmt.errors import StateError, a_kind_of

__all__ = ["FEW", "Branches", "Mark", "Standing", "said_error", "said_exit", "said_place", "standing", "who"]

Place: TypeAlias = tuple[int, bool]
"""The index of a statement (main's own, -1), and whether the threads there have begun."""

FEW = 3
"""So many threads at one place are named; of more it is said how many they are."""


@dataclass(frozen=True, slots=True)
class Branches:
    """How far a Parallel or Map has come: how many branches there are, have started, live, have succeeded, and have failed."""

    count: int
    started: int
    live: int
    succeeded: int
    failed: int

    def __str__(self) -> str:
        parts = [f"{self.succeeded} of {self.count} done"]
        parts += [f"{count} {word}" for count, word in ((self.failed, "failed"), (self.live, "live")) if count]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one thread stands, and what it is about there.

    Attributes:
        thread_id: Its id.
        status: Its status.
        position: The name of the statement at which it stands; empty if it has not begun.
        event: The event that lets it go on.
        due_at: The instant for which it waits.
        attempt: Which attempt at its step is next, or under way.
        max_attempts: How often its step may be tried; None without a policy.
        error: How the last attempt failed.
        next_at: When it is tried again; None if no attempt has failed, or the next one can begin.
        undoing: The step that it undoes.
        finally_of: The Try in whose finally it is, on its way out.
        is_ending: Whether it is ``main``, past its end.
        exit: What it is leaving for.
        branches: How far the Parallel or Map has come at which it stands.
        missing: The approvers who have not answered the Approval at which it stands, or to which it will come back.
        taken: The events of callbacks that it has taken and will act upon when it is back at its Wait.
    """

    thread_id: str
    status: str
    position: str
    event: str | None
    due_at: datetime | None
    attempt: int
    max_attempts: int | None
    error: ErrorInfo | None
    next_at: datetime | None
    undoing: str | None
    finally_of: str | None
    is_ending: bool
    exit: Exit | None
    branches: Branches | None
    missing: tuple[str, ...]
    taken: tuple[str, ...]

    def phrases(self) -> list[str]:
        """What a person wants to know beyond where it stands."""
        found = []
        if self.error is not None:
            at = "" if self.next_at is None else f" at {self.next_at.isoformat(sep=' ')}"
            found.append(f"{self.said_attempt()}{at} after {said_error(self.error)}")
        if self.branches is not None:
            found.append(str(self.branches))
        if self.missing:
            found.append(f"missing {', '.join(self.missing[:FEW])}{' and others' if len(self.missing) > FEW else ''}")
        if self.taken:
            found.append(f"then {', '.join(self.taken)}")
        doing = self.doing()
        if doing is not None:
            found.append(doing if self.exit is None else f"{doing} because of {said_exit(self.exit)}")
        return found

    def said_attempt(self) -> str:
        """Which attempt is next, or under way."""
        return f"attempt {self.attempt}" + ("" if self.max_attempts is None else f" of {self.max_attempts}")

    def doing(self) -> str | None:
        """What it does instead of going on."""
        if self.undoing is not None:
            return "undoing"
        if self.is_ending:
            return "ending"
        if self.finally_of is not None:
            return f"in finally of {self.finally_of}"
        return None if self.exit is None else "leaving"


class Standing:
    """The threads at each place of a definition, and the steps that could not be undone."""

    def __init__(self, marks: Iterable[tuple[Place, Mark]] = (), not_undone: Iterable[tuple[int, Record]] = ()) -> None:
        self.marks: list[Mark] = []
        self._at: dict[Place, list[Mark]] = {}
        self.not_undone: dict[int, list[Record]] = {}
        for place, mark in marks:
            self.marks.append(mark)
            self._at.setdefault(place, []).append(mark)
        for index, record in not_undone:
            self.not_undone.setdefault(index, []).append(record)

    def at(self, index: int) -> list[Mark]:
        """Those that stand at a statement."""
        return self._at.get((index, True), [])

    def beginning(self, index: int) -> list[Mark]:
        """Those that a statement has started and that have not begun; ``main`` is started by -1."""
        return self._at.get((index, False), [])


def standing(subject: Subject, state: State | None) -> Standing:
    """Where the threads of a run stand; nowhere if it is over. Raises ``StateError``; changes nothing."""
    if state is None:
        return Standing()
    if not isinstance(state, State):
        raise StateError(f"expected a State, not {a_kind_of(state)}: get one from load, or make one with State.new")
    program = subject.program
    if state.raw:
        check_kept(state)
    undo: Undo = [] if program.renames is None else program.renames.apply(state)
    try:
        not_undone = [(program.by_name.get(record["step"]), record) for record in state.undo if "error" in record]
        lost = [(node.index, record) for node, record in not_undone if node is not None]
        if state.status in OVER:
            return Standing((), lost)
        check_positions(program, subject.values, state)
        return Standing([_marked(subject, thread) for thread in state.threads if thread.status is not ENDED], lost)
    finally:
        take_back(undo)


def _marked(subject: Subject, thread: Thread) -> tuple[Place, Mark]:
    node = subject.program.by_name[thread.position or thread.name]
    begun = bool(thread.position)
    is_stop = begun and node.kind is not Sleep and thread.status is WAITING_TIME
    undoing = subject.program.nodes[node.index].name if node.kind is Compensation else None
    finally_of, exit_ = _way_out(node, thread)
    book = thread.frames[-1].data if begun and node.kind in FANOUT else None
    mark = Mark(
        thread.id,
        str(thread.status),
        thread.position,
        thread.event,
        thread.due_at,
        thread.attempt,
        _max_attempts(subject, node),
        thread.error,
        thread.due_at if is_stop else None,
        undoing,
        finally_of,
        begun and node.kind is RunEnd,
        exit_,
        None if book is None else Branches(*[book[key] for key in ("count", "next", "live", "succeeded", "failed")]),
        _missing(thread),
        tuple([name for frame in thread.frames for name in (frame.data or {}).get("then", ())]),
    )
    index = node.index if thread.event is None or node.kind is Call else node.by_event[thread.event].index
    return (index, begun), mark


def _missing(thread: Thread) -> tuple[str, ...]:
    for frame in reversed(thread.frames):
        if frame.data is not None and "approvers" in frame.data:
            return tuple(unanswered(frame.data))
    return ()


def _max_attempts(subject: Subject, node: Node) -> int | None:
    """How often what stands there may be tried: None without a policy."""
    if node.kind not in (Step, WaitFor, Compensation):
        return None
    policy = subject.program.policy(node, subject.values[node.index])
    return None if policy is None else policy.max_attempts


def _way_out(node: Node, thread: Thread) -> tuple[str | None, Exit | None]:
    """The Try in whose finally a thread is, and what for; or only what for."""
    if thread.frames and (node.kind is Compensation or node.kind is RunEnd):
        return None, thread.frames[-1].exit
    exit_ = pending_exit(thread)
    if exit_ is not None or not thread.position:
        return None, exit_
    exits = {frame.statement: frame.exit for frame in thread.frames}
    for part, around in node.outward():
        if part.kind is Finally and exits.get(around.name) is not None:
            return around.name, exits[around.name]
    return None, None


# --- as words ---


def who(marks: list[Mark]) -> str:
    """The threads at one place: by id, or how many."""
    return ", ".join(mark.thread_id for mark in marks) if len(marks) <= FEW else f"{len(marks)} threads"


def said_error(error: ErrorInfo | dict[str, Any]) -> str:
    """An error as words."""
    kind, message = (error["type"], error["message"]) if isinstance(error, dict) else (error.type, error.message)
    return f"{kind}: {message}" if message else str(kind)


def said_place(error: ErrorInfo) -> str | None:
    """Where an error happened; of a Fail its name has said it."""
    return None if error.step.rpartition("/")[2] == error.type else f"at {error.step}"


def said_exit(exit_: Exit) -> str:
    """What a thread is leaving for, as words."""
    kind = exit_["exit"]
    if kind == "failure":
        return said_error(exit_["error"])
    return "its end" if kind == "end" else "a cancellation" if kind == "cancel" else str(kind).capitalize()
