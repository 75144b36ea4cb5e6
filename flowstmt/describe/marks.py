"""Where the threads of a run stand, for pictures and outlines."""

from __future__ import annotations

from flowstmt.core.positions import check_positions
from flowstmt.core.renames import Undo, take_back
from flowstmt.core.state import ENDED, MAIN, OVER, State, Thread
from flowstmt.describe.subjects import Subject
from flowstmt.errors import StateError, a_kind_of

__all__ = ["Standing", "standing", "who"]

Standing = dict[int, list[tuple[str, str]]]
"""The threads at each statement, by its index: ids and statuses. Those that have not begun are at their Go; main, at -1."""

FEW = 3
"""So many threads at one place are named; of more it is said how many they are."""


def standing(subject: Subject, state: State | None) -> Standing:
    """Where the threads of a run stand; nowhere if it is over. Raises ``PositionError``; changes nothing."""
    found: Standing = {}
    if state is None:
        return found
    if not isinstance(state, State):
        raise StateError(f"expected a State, not {a_kind_of(state)}: get one from load, or make one with State.new")
    if state.status in OVER:
        return found
    program = subject.program
    undo: Undo = [] if program.renames is None else program.renames.apply(state)
    try:
        check_positions(program, subject.values, state)
        for thread in state.threads:
            if thread.status is not ENDED:
                found.setdefault(_index(subject, thread), []).append((thread.id, str(thread.status)))
    finally:
        take_back(undo)
    return found


def _index(subject: Subject, thread: Thread) -> int:
    by_name = subject.program.by_name
    if not thread.position:
        return -1 if thread.name == MAIN else by_name[thread.name].index
    node = by_name[thread.position]
    return node.index if thread.event is None else node.by_event[thread.event].index


def who(threads: list[tuple[str, str]]) -> str:
    """The threads at one place: by id, or how many."""
    return ", ".join(thread_id for thread_id, _ in threads) if len(threads) <= FEW else f"{len(threads)} threads"
