"""How a thread stands at a Wait, what fires it, and how it comes back.

Theory: a case fires by a callback, an instant or a condition. One that does not stay ends the Wait: its siblings are closed,
and the thread goes on with its body. One that stays (``stay=True``, ``Every``) changes nothing about the Wait: the thread gets
a frame for it and runs the body, and is then parked at the Wait again, a stop like any other, with the events as they were:
set up, and known outside by the same requests.

A callback that comes while such a body runs is taken at once, and waits in the frame (``open_waits.py``) until the body is
done. If it ends the Wait, that is decided there and then: the siblings are closed, and nothing more is taken. Timers and
conditions are looked at when the thread is back.

What this module must not know: which callback is for whom (``callbacks.py``), when an Approval is decided
(``approving.py``), and what the end of a child means (``calling.py``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import Approval
from flowstmt.core.endings import Endings
from flowstmt.core.nodes import Node
from flowstmt.core.open_waits import frame_of
from flowstmt.core.state import RESUMING, SET_UP, WAITING_EVENT, Frame, Thread
from flowstmt.core.statements import Wait
from flowstmt.core.waits import Every

__all__ = ["Waiting"]


class Waiting(Endings):
    """Threads at Waits, and in the bodies of their cases."""

    __slots__ = ()

    if TYPE_CHECKING:  # what a class above this one does

        def _forget_inside(self, thread: Thread, loop: Node) -> None: ...
        def _decided(self, thread: Thread, node: Node, case: Node, data: dict[str, Any]) -> Node | None: ...

    def _at_wait(self, thread: Thread, node: Node) -> None:
        pc = thread.pc + 1
        events = [self._waiting(thread, child, pc) for child in node.children]
        self._park(thread, node, WAITING_EVENT)
        thread.events = [*thread.events, *events]

    # --- what fires ---

    def _due_case(self, thread: Thread) -> Node | None:
        """The case of a Wait that fires by itself: of the timers that are due the first, then what holds."""
        wait = self.program.by_name[thread.position]
        best: tuple[datetime, int, Node] | None = None
        for event in thread.events:
            due_at = event.due_at
            if due_at is not None and due_at <= self._now and event.status is SET_UP and event.wait == wait.name:
                case = wait.by_event[event.name]
                if best is None or (due_at, case.index) < best[:2]:
                    best = (due_at, case.index, case)
        if best is not None:
            return best[2]
        self._frames = thread.frames
        return next((case for case in wait.asks if self._truth(thread, case, self.values[case.index].cond)), None)

    def take(self, thread: Thread, case: Node, now: datetime) -> None:
        """A callback took the event of a Wait: its thread may go on, at once or when it is back there."""
        self._now = now
        self._agenda = None
        assert case.parent is not None  # a case stands in its Wait
        if thread.status is WAITING_EVENT and thread.position == case.parent.name:
            self._fire(thread, case)
        else:
            self._take_later(thread, case.parent, case)

    def _fire(self, thread: Thread, case: Node) -> None:
        wait = case.parent
        assert wait is not None  # a case stands in its Wait
        outer, data = _held(thread.frames, wait)
        if case.stays:
            self._frames = thread.frames
            if case.kind is Every:
                thread.events = self._armed_again(thread, case)
            data["event"] = case.name
        else:
            thread.events = self._closed(thread.events, wait, case.name)
            data["decided"] = case.name
        if case.stays or wait.kind is Approval:
            thread.frames = [*outer, Frame(wait.name, data=data)]
        thread.event = case.name
        thread.since = self._now
        thread.status = RESUMING

    def _take_later(self, thread: Thread, wait: Node, case: Node) -> None:
        at = frame_of(thread, wait)
        frame = thread.frames[at]
        data = {**frame.data, "then": [*frame.data["then"], case.name]}
        if not case.stays:
            data["decided"] = case.name
            thread.events = self._closed(thread.events, wait, case.name)
        thread.frames = [*thread.frames[:at], replace(frame, data=data), *thread.frames[at + 1 :]]

    # --- what follows ---

    def _after_wait(self, thread: Thread, node: Node) -> Node | None:
        """Past a Wait: into the body of the case that fired."""
        assert thread.event is not None  # only that lets a thread leave a Wait
        self._frames, data = _held(self._frames, node)
        # The check of positions has seen that the Wait has the event.
        return self._enter(thread, node, node.by_event[thread.event], data)

    def _at_back(self, thread: Thread, node: Node) -> Node | None:
        """The body of a case that stays is done: the next callback that was taken meanwhile, or back to the Wait."""
        wait = node.next
        self._frames, data = _held(self._frames, wait)
        then = data["then"]
        if then:
            data["then"] = then[1:]
            # The check of positions has seen that the Wait has this one, too.
            return self._enter(thread, wait, wait.by_event[then[0]], data)
        if wait.kind is Approval:
            kept = {key: value for key, value in data.items() if key not in ("event", "decided")}
            self._frames = [*self._frames, Frame(wait.name, data=kept)]
        self._park(thread, wait, WAITING_EVENT)
        self._rewait(thread, wait)
        return None

    def _enter(self, thread: Thread, wait: Node, case: Node, data: dict[str, Any]) -> Node | None:
        """Into the body of a case."""
        if case.stays:
            # Loops in there begin a new round: something has fired since the last one.
            self._forget_inside(thread, wait)
            self._frames = [*self._frames, Frame(wait.name, data={**data, "event": case.name})]
            return case.entry
        if thread.events:
            # Nothing is open any more, unless the case did stay when it fired.
            thread.events = self._closed(thread.events, wait, case.name)
        return case.entry if wait.kind is Wait else self._decided(thread, wait, case, data)


def _held(frames: list[Frame], wait: Node) -> tuple[list[Frame], dict[str, Any]]:
    """The frames outside of that of a Wait, the innermost one if there is one, and a copy of what it holds."""
    if frames and frames[-1].statement == wait.name:
        return frames[:-1], dict(frames[-1].data)
    return frames, {"then": []}
