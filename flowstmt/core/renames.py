"""What was saved under an old name is found under the new one.

Rules:

1. Renamed is what the definition is looked up by: positions, frames, names and ids of threads, events and their waits.
2. Kept is what the world outside was given: the request of an event, and ``birth`` and ``pc``, so that an idempotency key
   is the same before and after.
3. A renaming can be taken back, to the last name: whoever refuses a state or a callback leaves no trace.

Theory: a state meets its definition at the beginning of each call of a driver. There the whole state is renamed, once, so
that nothing else has to know of old names. Only requests come in later: ``callbacks.py`` asks for theirs.

What this module must not know: how old names are written (``names.py``), what a position may be (``positions.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from flowstmt.core.state import ENDED, State, Thread
from flowstmt.errors import StateError

__all__ = ["Renames", "Undo", "take_back"]

Undo: TypeAlias = list[tuple[Any, str, Any]]
"""What was what in which of its attributes."""


class Renames:
    """The old names of a definition, each with the present one.

    ``statements`` holds those of statements; ``events``, by the present name of each Wait, those of its events.
    """

    __slots__ = ("events", "statements")

    def __init__(self, statements: Mapping[str, str], events: Mapping[str, Mapping[str, str]]) -> None:
        self.statements = statements
        self.events = events

    def event(self, wait: str, name: str) -> str | None:
        """The present name of the event that a Wait once called ``name``."""
        return self.events.get(wait, {}).get(name)

    def thread_id(self, thread_id: str) -> str | None:
        """The present id of a thread whose Go has another name now."""
        name, colon, rest = thread_id.partition(":")
        present = self.statements.get(name)
        return None if present is None else f"{present}{colon}{rest}"

    def apply(self, state: State) -> Undo:
        """Rename all that a state holds. Raises ``StateError``, and changes nothing then, if two threads become one."""
        undo: Undo = []
        before = [thread.id for thread in state.threads]
        for thread in state.threads:
            self._thread(thread, undo)
        seen: dict[str, str] = {}
        for thread, old in zip(state.threads, before, strict=True) if undo else ():
            if thread.status is ENDED:
                continue
            present = thread.id
            other = seen.setdefault(present, old)
            if other != old:
                take_back(undo)
                raise StateError(
                    f"run {state.run_id!r}: by their old names (was=...) the threads {other!r} and {old!r} would both be "
                    f"{present!r} now. Nothing was run: give their Go statements two names until no run has both of them"
                )
        return undo

    def _thread(self, thread: Thread, undo: Undo) -> None:
        names = self.statements
        _put(undo, thread, "position", names.get(thread.position))
        _put(undo, thread, "name", names.get(thread.name))
        _put(undo, thread, "id", self.thread_id(thread.id))
        if thread.parent is not None:
            _put(undo, thread, "parent", self.thread_id(thread.parent))
        for frame in thread.frames:
            _put(undo, frame, "statement", names.get(frame.statement))
        if thread.event is not None:
            _put(undo, thread, "event", self.event(thread.position, thread.event))
        for event in thread.events:
            _put(undo, event, "wait", names.get(event.wait))
        taken = {(event.wait, event.name, event.request.pc) for event in thread.events}
        for event in thread.events:
            present = self.event(event.wait, event.name)
            # Of two events that became one, the second is an event that the Wait has lost.
            if present is not None and (event.wait, present, event.request.pc) not in taken:
                taken.add((event.wait, present, event.request.pc))
                _put(undo, event, "name", present)


def _put(undo: Undo, owner: Any, key: str, present: str | None) -> None:
    if present is not None:
        undo.append((owner, key, getattr(owner, key)))
        setattr(owner, key, present)


def take_back(undo: Undo) -> None:
    """Make everything what it was."""
    for owner, key, old in reversed(undo):
        setattr(owner, key, old)
    undo.clear()
