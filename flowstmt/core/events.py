"""The events of a Wait: from setup to teardown.

Theory: an event that has something outside (``via``) is ``PendingSetup`` when its Wait is reached, and ``PendingTeardown``
when its Wait has ended, fired or not: the checkpoint comes first, the call after it. A crash in between repeats the call;
none is forgotten. A failure is kept with the event, and never disturbs its siblings.

Events are replaced while threads move (see ``machine.py``), and changed by the outcome of their setup or teardown.

A thread has the events of the Wait at which it stands, those of the Waits around whose cases stay (``waiting.py``), and those
of Waits that have ended, until they are torn down.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from flowstmt.core.answers import Answers
from flowstmt.core.children import CHILD_ENDED
from flowstmt.core.journal import Journal, keep
from flowstmt.core.nodes import Node
from flowstmt.core.state import (
    ENDED,
    PENDING_SETUP,
    PENDING_TEARDOWN,
    SET_UP,
    SETUP_ERROR,
    TEARDOWN_ERROR,
    WAITING_EVENT,
    CallbackRequest,
    ErrorInfo,
    Thread,
    WaitEvent,
)
from flowstmt.core.statements import On, Timeout
from flowstmt.core.waits import Every, When
from flowstmt.errors import a_kind_of, quoted

__all__ = ["NEEDS_TEARDOWN", "TO_DO_NOW", "Events", "event_key", "is_timer", "open_event"]

_NEEDS_SETUP = (PENDING_SETUP, SETUP_ERROR)
NEEDS_TEARDOWN = (PENDING_TEARDOWN, TEARDOWN_ERROR)
TO_DO_NOW = (PENDING_SETUP, PENDING_TEARDOWN)

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=5)


Names: TypeAlias = set[tuple[str, str]]
"""Names of events, each with what fires it: "" for a callback, else the kind of its statement."""


class Events(Answers):
    """What happens to the events of a thread."""

    # Set at the start of each round: the instant, and what threads were before they moved.
    __slots__ = ("_journal", "_now")
    _journal: Journal
    _now: datetime

    def _waiting(self, thread: Thread, node: Node, pc: int) -> WaitEvent:
        statement = self.values[node.index]
        wait = node.parent.name if node.parent is not None else ""
        request = CallbackRequest(node.name, thread.id, pc, thread.birth, self.state.run_id)
        if node.kind is Timeout:
            due_at = self._instant(thread, node, "after", statement.after, self._now)
            return WaitEvent(node.name, wait, "Timeout", request, due_at=due_at)
        if node.kind is Every:
            due_at = self._later(thread, node, thread.since or self._now, self._period(thread, node))
            return WaitEvent(node.name, wait, "Every", request, due_at=due_at)
        via = via_of(statement)
        if via is None:
            return WaitEvent(node.name, wait, "When" if node.kind is When else "", request)
        kind = str(getattr(via, "type", None) or type(via).__name__)
        status = SET_UP if getattr(via, "setup", None) is None else PENDING_SETUP
        return WaitEvent(node.name, wait, kind, request, status)

    def _period(self, thread: Thread, node: Node) -> timedelta:
        found = self._value(thread, node, "period", self.values[node.index].period)
        if not isinstance(found, timedelta):
            raise self._failed(thread, node, f"its period must be a timedelta, not {quoted(found)}")
        if found <= timedelta(0):
            raise self._failed(thread, node, f"its period must be longer than nothing, not {quoted(found)}")
        return found

    def _later(self, thread: Thread, node: Node, instant: datetime, by: timedelta) -> datetime:
        try:
            return instant + by
        except OverflowError as error:
            raise self._failed(thread, node, f"its period {by!r} ends past the end of the calendar") from error

    def _armed_again(self, thread: Thread, node: Node) -> list[WaitEvent]:
        """The events of a thread when a reminder fires: it is due again at the first multiple of its period to come."""
        period = self._period(thread, node)
        events = thread.events.copy()
        for i, event in enumerate(events):
            if event.due_at is not None and is_open(event, node.parent) and event.name == node.name:
                again = events[i] = copy(event)
                missed = (self._now - event.due_at) // period
                again.due_at = self._later(thread, node, event.due_at, (missed + 1) * period)
        return events

    def _closed(self, events: list[WaitEvent], wait: Node | None = None, fired: str | None = None) -> list[WaitEvent]:
        """The events of a thread when a Wait, or (None) each of them, has ended: what needs no teardown is gone."""
        left: list[WaitEvent] = []
        for event in events:
            if event.status in NEEDS_TEARDOWN or (wait is not None and event.wait != wait.name):
                left.append(event)
                continue
            if not event.type or _fired_by(event) or (event.name == fired == CHILD_ENDED.name):
                continue  # a plain function, a timer, a condition: nothing outside; or a child that is over
            node = self.program.event(self.program.by_name[event.wait], event.name)
            via = None if node is None else via_of(self.values[node.index])
            # What the definition has lost can't be asked whether it needs a teardown: that is found out by trying.
            has_teardown = via is None or getattr(via, "teardown", None) is not None
            if has_teardown:
                closing = copy(event)
                closing.status = PENDING_TEARDOWN
                closing.handled = event.name == fired
                closing.error = None
                closing.due_at = None
                left.append(closing)
        return left

    def _has_other_events(self) -> bool:
        """Whether a Wait has gained or lost events since a thread that stands there was saved."""
        by_name = self.program.by_name
        for thread in self.state.threads:
            if thread.status is WAITING_EVENT:
                wait = by_name[thread.position]
                events, nodes = thread.events, wait.children
                # The usual case, said quickly: thousands of parked threads are looked at by every resume.
                # (Those of the Waits around come first.)
                if len(events) == len(nodes) and (not thread.frames or events[0].wait == wait.name):
                    for i, node in enumerate(nodes):
                        event = events[i]
                        if event.status is not SET_UP or event.name != node.name:
                            break
                        if event.due_at is None:
                            if node.kind is not On:
                                break
                        elif event.type != node.kind.__name__:
                            break
                    else:
                        continue
                if _awaited(thread, wait) != _declared(wait):
                    return True
        return False

    def _reconcile(self) -> bool:
        """Bring the events of waiting threads in line with Waits that have gained or lost some since they were saved."""
        changed = False
        for thread in self.state.threads:
            if thread.status is WAITING_EVENT:
                changed = self._rewait(thread, self.program.by_name[thread.position]) or changed
        return changed

    def _rewait(self, thread: Thread, wait: Node) -> bool:
        """Bring the events of a thread in line with the Wait at which it stands; whether they were not."""
        awaited, declared = _awaited(thread, wait), _declared(wait)
        if awaited == declared:
            return False
        keep(self._journal, thread)
        self._frames = thread.frames
        new = [node for node in wait.children if (node.name, _fires(node)) not in awaited]
        added = [self._waiting(thread, node, thread.pc) for node in new]
        kept: list[WaitEvent] = []
        lost: list[WaitEvent] = []
        for event in thread.events:
            stays = not is_open(event, wait) or (event.name, _fired_by(event)) in declared
            (kept if stays else lost).append(event)
        thread.events = [*kept, *self._closed(lost), *added]
        return True

    def outside_work(self, tried: set[tuple[Any, ...]]) -> tuple[Thread, WaitEvent] | None:
        """An event to be set up or torn down now: a new one, or one in error that was not tried yet."""
        agenda = self._agenda
        if agenda is not None and not agenda.awake and agenda.revision == self.state.revision:
            return None
        for thread in self._not_quiet():
            for event in thread.events:
                if event.status in TO_DO_NOW or (event.status is not SET_UP and event_key(thread, event) not in tried):
                    return thread, event
        return None

    def _not_quiet(self) -> list[Thread]:
        """The threads on the agenda; all of them where it can't be trusted."""
        agenda = self._agenda
        return self.state.threads if agenda is None or agenda.revision != self.state.revision else agenda.awake

    def outside_call(self, event: WaitEvent, kind: str) -> Callable[..., Any]:
        """The function that sets an event up or tears it down. Raises ``LookupError`` if the definition lost it."""
        wait = self.program.by_name.get(event.wait)
        node = None if wait is None else self.program.event(wait, event.name)
        call: Callable[..., Any] | None = None
        if node is not None:
            call = getattr(via_of(self.values[node.index]), kind, None)
            if call is None and kind == "setup":
                return _nothing  # the definition has learnt to do without
        if call is None:
            raise LookupError(
                f"the definition has no {kind} for event {event.name!r} of Wait {event.wait!r} any more: bring it back, "
                "or clean up outside by hand"
            )
        return call

    def set_up(self, event: WaitEvent, setup_data: str | None) -> None:
        """The setup of an event worked. Raises ``TypeError`` if what it returned can't be kept."""
        if setup_data is not None and not isinstance(setup_data, str):
            raise TypeError(f"setup must return a text or None, not {a_kind_of(setup_data)}")
        if setup_data is not None:
            setup_data.encode()  # what can't be written as UTF-8 raises a ValueError
        event.status = SET_UP
        event.request = copy(event.request)
        event.request.setup_data = setup_data
        event.error = None
        event.due_at = None

    def torn_down(self, thread: Thread, event: WaitEvent) -> None:
        """The teardown of an event worked: the event is gone, and with its last one a thread that has ended."""
        thread.events = [other for other in thread.events if other is not event]
        if thread.status is ENDED and not thread.events:
            agenda = self._agenda
            if agenda is None or agenda.revision != self.state.revision:
                self.state.threads = [other for other in self.state.threads if other is not thread]
            else:
                agenda.forget(thread)

    def outside_failed(self, event: WaitEvent, error: ErrorInfo, now: datetime) -> None:
        """The setup or teardown of an event failed: kept, to be tried again."""
        error.attempts = event.error.attempts + 1 if event.error is not None else 1
        setting_up = event.status in _NEEDS_SETUP
        event.status = SETUP_ERROR if setting_up else TEARDOWN_ERROR
        event.error = error
        event.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(error.attempts - 1, 16))


def _nothing(_: CallbackRequest) -> None:
    """A setup that is not needed any more."""


def is_timer(event: WaitEvent) -> bool:
    """Whether time fires an event."""
    # Before it is set up or torn down, an event with a via has a due_at as well: that of its next try.
    return event.status is SET_UP and event.due_at is not None


def is_open(event: WaitEvent, wait: Node | None) -> bool:
    """Whether a Wait still waits for an event."""
    return wait is not None and event.wait == wait.name and event.status not in NEEDS_TEARDOWN


def open_event(thread: Thread, node: Node) -> WaitEvent | None:
    """The event of a thread that a case of a Wait stands for; None if the Wait has gained the case since."""
    for event in thread.events:
        if event.name == node.name and is_open(event, node.parent):
            return event
    return None


def _fired_by(event: WaitEvent) -> str:
    """The kind of what fires an event; "" if a callback does."""
    return event.type if event.type == "When" or is_timer(event) else ""


def _fires(node: Node) -> str:
    return "" if node.kind is On else node.kind.__name__


def _awaited(thread: Thread, wait: Node) -> Names:
    return {(event.name, _fired_by(event)) for event in thread.events if is_open(event, wait)}


def _declared(wait: Node) -> Names:
    return {(name, _fires(node)) for name, node in wait.by_event.items()}


def via_of(statement: Any) -> Any:
    """What sets an event up and tears it down: its ``via``, or a handler object that is one itself."""
    if not isinstance(statement, On):
        return None
    if statement.via is not None:
        return statement.via
    handler = statement.handler
    return None if handler is None or callable(handler) else handler


def event_key(thread: Thread, event: WaitEvent) -> tuple[Any, ...]:
    """What tells an event from every other of the run."""
    return (thread.birth, event.wait, event.name, event.request.pc)
