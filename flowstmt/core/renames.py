"""What was saved under an old name is found under the new one.

Rules:

1. Renamed is what the definition is looked up by: positions, frames and the catches that they name, names and ids of
   threads, events and their waits, and steps that are to be undone.
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

from flowstmt.core.state import ENDED, Frame, State, Thread
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
        """The present id of a thread, whose own Go, Branch or Map, or one of those around, has another name now."""
        # Of branches inside of each other the id is that of each, from the outside in: "orders:7/lines:2".
        found = ""
        rest = thread_id
        while rest:
            name, colon, after = rest.partition(":")
            found += (self.statements.get(name, name) if colon or not found else name) + colon
            key, slash, rest = after.partition("/")
            found += key + slash
        return None if found == thread_id else found

    def apply(self, state: State) -> Undo:
        """Rename all that a state holds. Raises ``StateError``, and changes nothing then, if two threads become one."""
        undo: Undo = []
        before = [thread.id for thread in state.threads]
        ids: dict[str, str] = {}
        for thread in state.threads:
            self._thread(thread, undo, ids)
        if any(self._step(record) for record in state.undo):
            _put(undo, state, "undo", [{**record, "step": self._step(record) or record["step"]} for record in state.undo])
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

    def _own_id(self, thread: Thread, ids: Mapping[str, str]) -> str:
        """The present id of a thread, by those of the threads before it: its parent may be among them."""
        parent = thread.parent or ""
        outer = f"{parent}/" if ":" in parent and thread.id.startswith(f"{parent}/") else ""
        name, colon, key = thread.id[len(outer) :].partition(":")
        branch = self.statements.get(thread.name)
        if branch is not None and thread.name != name and thread.name.endswith(key):
            key = branch.rpartition("/")[2]  # a branch of a Parallel: its own name is the key
        before = f"{ids.get(parent, parent)}/" if outer else ""
        return f"{before}{self.statements.get(name, name)}{colon}{key}"

    def _step(self, record: Any) -> str | None:
        """The present name of a step that is to be undone."""
        return self.statements.get(record["step"])

    def _position(self, position: str) -> str | None:
        """The present name of what a thread stands at: a statement, or what undoes one."""
        name, colon, rest = position.partition(":")
        present = self.statements.get(name)
        return None if present is None else f"{present}{colon}{rest}"

    def _exit(self, exit_: Any) -> Any:
        """An exit that names the catch by which it is to be taken, if the Try of that has another name now."""
        if exit_ is None or "catch" not in exit_:
            return None
        catch = exit_["catch"]
        present = self.statements.get(catch["try"])
        return None if present is None else {**exit_, "catch": {**catch, "try": present}}

    def _thread(self, thread: Thread, undo: Undo, ids: dict[str, str]) -> None:
        names = self.statements
        _put(undo, thread, "position", self._position(thread.position))
        old, present = thread.id, self._own_id(thread, ids)
        _put(undo, thread, "name", names.get(thread.name))
        ids[old] = present
        if present != old:
            _put(undo, thread, "id", present)
        if thread.parent is not None:
            _put(undo, thread, "parent", ids.get(thread.parent) or self.thread_id(thread.parent))
        for frame in thread.frames:
            old_scope = frame.statement.rpartition("/")[0]
            _put(undo, frame, "statement", self._position(frame.statement))
            _put(undo, frame, "exit", self._exit(frame.exit))
            if isinstance(frame.data, dict) and isinstance(frame.data.get("then"), list):
                self._taken(frame, undo)
            if isinstance(frame.data, dict) and isinstance(frame.data.get("places"), dict):
                self._places(frame, old_scope, undo)
        if thread.event is not None:
            _put(undo, thread, "event", self.event(thread.position, thread.event))
        for event in thread.events:
            _put(undo, event, "wait", names.get(event.wait))
        taken = {(event.wait, event.name, event.request.pc) for event in thread.events}
        for event in thread.events:
            name = self.event(event.wait, event.name)
            # Of two events that became one, the second is an event that the Wait has lost.
            if name is not None and (event.wait, name, event.request.pc) not in taken:
                taken.add((event.wait, name, event.request.pc))
                _put(undo, event, "name", name)

    def _places(self, frame: Frame, scope: str, undo: Undo) -> None:
        """What a Parallel has in its frame: the names of its branches, which are in the scope that it was in itself."""

        def present(name: str) -> str:
            return self.statements.get(f"{scope}/{name}" if scope else name, name).rpartition("/")[2]

        data = {**frame.data, "places": {present(name): place for name, place in frame.data["places"].items()}}
        if data != frame.data:
            undo.append((frame, "data", frame.data))
            frame.data = data

    def _taken(self, frame: Frame, undo: Undo) -> None:
        """What a Wait has in its frame: the names of its events."""

        def present(name: Any) -> Any:
            return (self.event(frame.statement, name) or name) if isinstance(name, str) else name

        data = {**frame.data, "then": list(map(present, frame.data["then"]))}
        data |= {key: present(data[key]) for key in ("event", "decided") if key in data}
        if data != frame.data:
            undo.append((frame, "data", frame.data))
            frame.data = data


def _put(undo: Undo, owner: Any, key: str, present: Any) -> None:
    if present is not None:
        undo.append((owner, key, getattr(owner, key)))
        setattr(owner, key, present)


def take_back(undo: Undo) -> None:
    """Make everything what it was."""
    for owner, key, old in reversed(undo):
        setattr(owner, key, old)
    undo.clear()
