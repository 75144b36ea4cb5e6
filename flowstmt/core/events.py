"""The events of a Wait: from setup to teardown.

Theory: an event that has something outside (``via``) is ``PendingSetup`` when its Wait is reached, and ``PendingTeardown``
when its Wait has ended, fired or not: the checkpoint comes first, the call after it. A crash in between repeats the call;
none is forgotten. A failure is kept with the event, and never disturbs its siblings.

Events are replaced while threads move (see ``machine.py``), and changed by the outcome of their setup or teardown.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from typing import Any

from flowstmt.core.answers import Answers, Values
from flowstmt.core.journal import Journal, keep
from flowstmt.core.nodes import Node
from flowstmt.core.program import Program
from flowstmt.core.state import CallbackRequest, ErrorInfo, EventStatus, State, Thread, ThreadStatus, WaitEvent
from flowstmt.core.statements import On, Timeout, Wait

__all__ = ["NEEDS_TEARDOWN", "TO_DO_NOW", "Events", "event_key"]

_NEEDS_SETUP = (EventStatus.PendingSetup, EventStatus.SetupError)
NEEDS_TEARDOWN = (EventStatus.PendingTeardown, EventStatus.TeardownError)
TO_DO_NOW = (EventStatus.PendingSetup, EventStatus.PendingTeardown)

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=5)


class Events(Answers):
    """What happens to the events of a thread."""

    __slots__ = ("_journal",)

    def __init__(self, program: Program, values: list[Any], workflow: Any, state: State, adapt: Values) -> None:
        super().__init__(program, values, workflow, state, adapt)
        self._journal: Journal = []

    def _fire(self, thread: Thread, name: str) -> None:
        thread.events = self._closed(thread, name)
        thread.event = name
        thread.since = self._now
        thread.status = ThreadStatus.Resuming

    def fire(self, thread: Thread, name: str, now: datetime) -> None:
        """A callback took the event of this name: its thread may go on."""
        self._now = now
        self._fire(thread, name)

    def _waiting(self, thread: Thread, node: Node, pc: int) -> WaitEvent:
        statement = self.values[node.index]
        wait = node.parent.name if node.parent is not None else ""
        request = CallbackRequest(node.name, thread.id, pc, thread.birth, self.state.run_id)
        event = WaitEvent(node.name, wait, request=request)
        if node.kind is Timeout:
            event.type = "Timeout"
            event.due_at = self._instant(thread, node, "after", statement.after)
            return event
        via = via_of(statement)
        if via is not None:
            event.type = str(getattr(via, "type", None) or type(via).__name__)
            if getattr(via, "setup", None) is not None:
                event.status = EventStatus.PendingSetup
        return event

    def _closed(self, thread: Thread, fired: str | None) -> list[WaitEvent]:
        """The events of a thread whose Wait has ended: what needs no teardown is gone."""
        wait = self.program.by_name.get(thread.position)
        left: list[WaitEvent] = []
        for event in thread.events:
            if event.status in NEEDS_TEARDOWN:
                left.append(event)
                continue
            node = None if wait is None else self.program.event_node(wait, event.name)
            if node is None:
                has_teardown = event.type not in ("", "Timeout")
            else:
                has_teardown = getattr(via_of(self.values[node.index]), "teardown", None) is not None
            if has_teardown:
                closing = copy(event)
                closing.status = EventStatus.PendingTeardown
                closing.handled = event.name == fired
                closing.error = None
                closing.due_at = None
                left.append(closing)
        return left

    def _reconcile(self) -> bool:
        """Bring the events of waiting threads in line with Waits that have gained or lost some since they were saved."""
        changed = False
        for thread in self.state.threads:
            if thread.status is ThreadStatus.WaitingEvent:
                wait = self.program.by_name[thread.position]
                present = [event.name for event in thread.events if event.status not in NEEDS_TEARDOWN]
                if present != [child.name for child in wait.children]:
                    changed = self._rewait(thread, wait, present) or changed
        return changed

    def _rewait(self, thread: Thread, wait: Node, present: list[str]) -> bool:
        wanted = {child.name: child for child in wait.children}
        if wanted.keys() == set(present):
            return False  # only the order is another one
        keep(self._journal, thread)
        self._frames = thread.frames
        added = [self._waiting(thread, node, thread.pc) for name, node in wanted.items() if name not in present]
        kept = [event for event in thread.events if event.status in NEEDS_TEARDOWN or event.name in wanted]
        thread.events = [event for event in thread.events if event not in kept]
        thread.events = [*kept, *self._closed(thread, None), *added]
        return True

    def outside_work(self, tried: set[tuple[Any, ...]]) -> tuple[Thread, WaitEvent] | None:
        """An event to be set up or torn down now: a new one, or one in error that was not tried yet."""
        for thread in self.state.threads:
            for event in thread.events:
                if event.status in TO_DO_NOW or (
                    event.status is not EventStatus.Setup and event_key(thread, event) not in tried
                ):
                    return thread, event
        return None

    def outside_call(self, event: WaitEvent, kind: str) -> Callable[..., Any]:
        """The function that sets an event up or tears it down. Raises ``LookupError`` if the definition lost it."""
        wait = self.program.by_name.get(event.wait)
        node = None if wait is None or wait.kind is not Wait else self.program.event_node(wait, event.name)
        via = None if node is None else via_of(self.values[node.index])
        call: Callable[..., Any] | None = getattr(via, kind, None)
        if call is None:
            raise LookupError(
                f"the definition has no {kind} for event {event.name!r} of Wait {event.wait!r} any more: bring it back, "
                "or clean up outside by hand"
            )
        return call

    def set_up(self, event: WaitEvent, setup_data: str | None) -> None:
        """The setup of an event worked. Raises ``TypeError`` if what it returned can't be kept."""
        if setup_data is not None and not isinstance(setup_data, str):
            raise TypeError(f"setup must return a text or None, not {setup_data!r}")
        event.status = EventStatus.Setup
        event.request = copy(event.request)
        event.request.setup_data = setup_data
        event.error = None
        event.due_at = None

    def torn_down(self, thread: Thread, event: WaitEvent) -> None:
        """The teardown of an event worked: the event is gone, and with its last one a thread that has ended."""
        thread.events = [other for other in thread.events if other is not event]
        if thread.status is ThreadStatus.Ended and not thread.events:
            self.state.threads = [other for other in self.state.threads if other is not thread]

    def outside_failed(self, event: WaitEvent, error: ErrorInfo, now: datetime) -> None:
        """The setup or teardown of an event failed: kept, to be tried again."""
        error.attempts = event.error.attempts + 1 if event.error is not None else 1
        setting_up = event.status in _NEEDS_SETUP
        event.status = EventStatus.SetupError if setting_up else EventStatus.TeardownError
        event.error = error
        event.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(error.attempts - 1, 16))


def via_of(statement: Any) -> Any:
    """What sets an event up and tears it down: its ``via``, or a handler object that is one itself."""
    if statement.__class__ is Timeout or not isinstance(statement, On):
        return None
    if statement.via is not None:
        return statement.via
    handler = statement.handler
    return handler if handler is not None and not callable(handler) else None


def event_key(thread: Thread, event: WaitEvent) -> tuple[Any, ...]:
    """What tells an event from every other of the run."""
    return (thread.birth, event.wait, event.name, event.request.pc)
