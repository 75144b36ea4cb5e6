"""What a thread is leaving statements for, and how that is kept in its frames.

Theory: an exit is plain JSON. A statement that takes a thread only for a while, a Finally or a Saga, keeps in its frame what
goes on afterwards. A thread that is to leave, and has not moved yet, is ``Resuming`` and has a frame on top that bears its own
position and the exit: that is how a failure is saved whose consequences could not be, and how a thread is told to end.

A ``sticky`` exit ends the thread, whatever a Finally on the way says: cancellation, and what ends the run from elsewhere.

What this module must not know: how threads move (``unwinding.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from flowstmt.core.nodes import Compensation, Node, RunEnd
from flowstmt.core.recovery import Finally, Try
from flowstmt.core.state import ENDED, RESUMING, ErrorInfo, Frame, Thread
from flowstmt.core.statements import Go

__all__ = ["CANCEL", "Exit", "failure_exit", "interruptible", "is_undoing", "mark_ending", "pending_exit"]

Exit: TypeAlias = dict[str, Any]
"""What a thread is leaving for: ``exit`` is end, break, continue, return (``value``), failure (``error``, ``catch``) or
cancel."""

CANCEL: Exit = {"exit": "cancel", "sticky": True}


def failure_exit(error: ErrorInfo, catch: dict[str, Any] | None) -> Exit:
    """The exit of a failure, and which catch is to take it."""
    found: Exit = {"exit": "failure", "error": asdict(error)}
    if catch is not None:
        found["catch"] = catch
    return found


def is_undoing(exit_: Exit) -> bool:
    """Whether what has been done is to be undone on this way out."""
    return exit_["exit"] in ("failure", "cancel")


def pending_exit(thread: Thread) -> Exit | None:
    """What a thread is to unwind for, from its position on."""
    frames = thread.frames
    found: Exit | None = frames[-1].exit if frames and frames[-1].statement == thread.position else None
    return found


def mark_ending(thread: Thread, by_name: Mapping[str, Node], exit_: Exit) -> None:
    """Tell a thread to end. Bodies of Finally and compensations are finished first: there the pending exit is replaced."""
    frames = thread.frames
    shield = _shield(thread, by_name)
    if shield is not None:
        if not (frames[shield].exit or {}).get("sticky"):
            thread.frames = [*frames[:shield], replace(frames[shield], exit=exit_), *frames[shield + 1 :]]
        return
    if frames and frames[-1].statement == thread.position:
        thread.frames = [*frames[:-1], replace(frames[-1], exit=exit_)]
    else:
        thread.frames = [*frames, Frame(thread.position, exit=exit_)]
    if thread.status is not RESUMING:
        thread.status = RESUMING
    thread.event = None
    thread.due_at = None
    thread.attempt = 1
    thread.error = None


def interruptible(threads: Sequence[Thread], by_name: Mapping[str, Node]) -> Iterator[Thread]:
    """The threads that live and may be told to end: all but the branches that the body of a Finally has started.

    These are a part of what nothing may interrupt.
    """
    shielded: set[str] = set()
    kept: set[str] = set()
    for thread in threads:  # those that start others come before them
        if thread.status is ENDED:
            continue
        is_branch = thread.parent in shielded and by_name[thread.name].kind is not Go
        if is_branch:
            kept.add(thread.id)
        if is_branch or _shield(thread, by_name) is not None:
            shielded.add(thread.id)
    # Asked before the first of them is told: that changes who is shielded.
    return (thread for thread in threads if thread.status is not ENDED and thread.id not in kept)


def _shield(thread: Thread, by_name: Mapping[str, Node]) -> int | None:
    """The frame, the outermost one, of what nothing may interrupt."""
    node = by_name.get(thread.position)
    if node is None or not thread.frames:
        return None
    if node.kind is RunEnd:
        return 0
    names = [frame.statement for frame in thread.frames]
    found: int | None = None
    if node.kind is Compensation:
        # It is called from the end of a Saga, wherever inside of it the step stands.
        found = len(names) - 1
        node = by_name[names[-1]]
    for part, around in node.outward():
        if around.kind is Try and part.kind is Finally:
            found = names.index(around.name)
    return found
