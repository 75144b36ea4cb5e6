"""What threads were before they moved, so that a move that fails leaves no trace.

Lists, frames and events of a thread are replaced, never changed, while threads move: to keep a thread is to keep
references. Whatever else is changed leaves an entry ``(None, undo, *arguments)``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from flowstmt.core.state import Thread

__all__ = ["Journal", "keep", "roll_back"]

Journal: TypeAlias = list[tuple[Any, ...]]


def keep(journal: Journal, thread: Thread) -> None:
    """Note what a thread is, before it changes."""
    journal.append(
        (
            thread,
            thread.status,
            thread.position,
            thread.event,
            thread.events,
            thread.pc,
            thread.ready,
            thread.since,
            thread.due_at,
            thread.frames,
            thread.attempt,
            thread.error,
        )
    )


def roll_back(journal: Journal) -> None:
    """Make all threads what they were before the first of their changes."""
    for entry in reversed(journal):
        thread = entry[0]
        if thread is None:
            entry[1](*entry[2:])
            continue
        (
            _,
            thread.status,
            thread.position,
            thread.event,
            thread.events,
            thread.pc,
            thread.ready,
            thread.since,
            thread.due_at,
            thread.frames,
            thread.attempt,
            thread.error,
        ) = entry
