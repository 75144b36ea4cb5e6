"""The machine: what may run next in each thread, and what an outcome does to the state.

Rules:

1. The machine does no I/O, reads no clock, awaits nothing. A driver asks it what to run, runs that, and hands back the
   outcome and the instant.
2. Every status transition of threads and events is made here, along the tables of ``state.py``.
3. ``settle`` either succeeds or leaves the state as it was: whatever the user's conditions raise.

Theory: a round is one outcome followed by ``settle``, which moves threads until nothing moves by itself. A thread that
moves follows the links of its program from node to node. Statements that decide (If, For ...) answer with the next node;
statements that stop (Step, Wait ...) park the thread and answer None. A condition is asked only here, so whoever loads a
snapshot finds the decision already taken, and saved, before the action that it led to.

Copy on write: while threads move, frames, lists of events and the events in them are replaced, never changed, and what
they replace is kept in a journal; that is what makes rule 3 cheap.

What this module must not know: how values become JSON (``adapt`` and ``restore`` are handed in), who saves, what a
payload looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from inspect import isawaitable, iscoroutine
from typing import Any, Protocol
from uuid import UUID

from flowstmt.core.calls import parameters
from flowstmt.core.nodes import STOPS, End, Leave, Node
from flowstmt.core.program import Program
from flowstmt.core.state import (
    MAIN,
    OVER,
    CallbackRequest,
    CheckpointType,
    ErrorInfo,
    EventStatus,
    Frame,
    State,
    Thread,
    ThreadStatus,
    WaitEvent,
    WorkflowStatus,
    birth_of,
)
from flowstmt.core.statements import (
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)
from flowstmt.errors import DefinitionError, PositionError, StateError, StepError

__all__ = ["Machine", "Values"]

_Executing = ThreadStatus.Executing
_Resuming = ThreadStatus.Resuming
_WaitingEvent = ThreadStatus.WaitingEvent
_WaitingCondition = ThreadStatus.WaitingCondition
_WaitingTime = ThreadStatus.WaitingTime
_Ended = ThreadStatus.Ended
_MAY_STAND_AT: Mapping[ThreadStatus, frozenset[type[Statement]]] = {
    _Executing: frozenset((Step, WaitFor)),
    _Resuming: STOPS,
    _WaitingEvent: frozenset((Wait,)),
    _WaitingCondition: frozenset((WaitFor, Join)),
    _WaitingTime: frozenset((Sleep,)),
}
_NEEDS_SETUP = (EventStatus.PendingSetup, EventStatus.SetupError)
_NEEDS_TEARDOWN = (EventStatus.PendingTeardown, EventStatus.TeardownError)
_TO_DO_NOW = (EventStatus.PendingSetup, EventStatus.PendingTeardown)

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=5)


class Values(Protocol):
    """Turns values of the user's into what a reload would give."""

    def adapt(self, value: Any, wanted: Any) -> Any:
        """``value`` as it would be after a trip through JSON to the type ``wanted``. Raises ``ValueError``."""

    def restore(self, plain: Any, wanted: Any) -> Any:
        """The value of type ``wanted`` that the JSON value ``plain`` stands for. Raises ``ValueError``."""


class Machine:
    """One run and its program, between two calls of a driver.

    ``values`` are the statements of the latest build: a driver replaces them after data may have changed.
    """

    __slots__ = (
        "_adapt",
        "_base",
        "_frames",
        "_journal",
        "_now",
        "_reconciled",
        "_visited",
        "program",
        "state",
        "values",
        "workflow",
    )

    def __init__(self, program: Program, values: list[Any], workflow: Any, state: State, adapt: Values) -> None:
        self.program = program
        self.values = values
        self.workflow = workflow
        self.state = state
        self._adapt = adapt
        self._base: tuple[Any, ...] = (workflow,) if program.class_style else ()
        self._frames: list[Frame] = []
        self._journal: list[tuple[Any, ...]] = []
        self._reconciled = False
        self._visited: set[tuple[Any, ...]] | None = None
        self._now = datetime.min.replace(tzinfo=UTC)

    def begin(self) -> None:
        """Check that the state fits the definition, before anything runs. Raises ``StateError``, and changes nothing then."""
        check_positions(self.program, self.state)
        if not self.state.raw:
            return
        restored: list[tuple[Any, str, Any]] = []
        by_name = self.program.by_name
        for i, thread in enumerate(self.state.threads):
            if thread.status is _Ended:
                continue
            path = f"$.state.threads[{i}]"
            if thread.name != MAIN:
                restored.append((thread, "arg", self._restored(by_name[thread.name], thread.arg, f"{path}.arg")))
            for k, frame in enumerate(thread.frames):
                item = self._restored(by_name[frame.statement], frame.item, f"{path}.frames[{k}].item")
                restored.append((frame, "item", item))
        for owner, key, value in restored:
            setattr(owner, key, value)
        self.state.raw = False

    def _restored(self, node: Node, plain: Any, path: str) -> Any:
        scope = node.own_item
        if scope is None or scope.type is Any:
            return plain
        try:
            return self._adapt.restore(plain, scope.type)
        except ValueError as error:
            raise StateError(f"run {self.state.run_id!r}: {path}: the item of {node.label}: {error}") from error

    # --- one round ---

    def executing(self) -> Thread | None:
        """Whose turn it is: of the threads at a step, the one that arrived first."""
        first: Thread | None = None
        for thread in self.state.threads:
            if thread.status is _Executing and (first is None or thread.ready < first.ready):
                first = thread
        return first

    def action(self, thread: Thread) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What an executing thread is to run."""
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        call = statement.action if node.kind is Step else statement.handler
        self._frames = thread.frames
        return call, self._arguments(thread, node, call, self._base)

    def complete(self, thread: Thread, result: Any, now: datetime) -> CheckpointType:
        """The action returned: its result goes where the step says, and the thread is past its position."""
        node = self.program.by_name[thread.position]
        if node.kind is Step:
            self.store(thread, node, self.values[node.index].into, result)
        thread.status = _Resuming
        thread.since = now
        return CheckpointType.afterStep if node.kind is Step else CheckpointType.afterCondition

    def store(self, thread: Thread, node: Node, into: Any, value: Any) -> None:
        """Put a value into the field, or hand it to the setter, that a statement names."""
        self._frames = thread.frames
        if into is None:
            return
        if isinstance(into, str):
            setattr(self.workflow, into, value)
        else:
            into(*self._arguments(thread, node, into, (*self._base, value)))

    def settle(self, now: datetime) -> bool:
        """Move threads until nothing moves by itself; whether anything moved. Raises with the state as it was."""
        state = self.state
        threads = state.threads
        before = threads.copy()
        self._now = now
        self._journal = []
        self._visited = None
        moved = again = False
        try:
            if not self._reconciled:
                moved = self._reconcile()
            while True:
                # The list grows while threads start threads: those move in the same pass.
                for thread in threads:
                    status = thread.status
                    if status is _Executing or status is _Ended:
                        continue
                    if status is _Resuming or self._wakes(thread):
                        again = True
                        if thread.status is _Resuming:
                            self._move(thread)
                        if state.status in OVER:
                            break
                if not again or state.status in OVER:
                    break
                moved, again = True, False
            self._reconciled = True
        except BaseException:
            self._roll_back(before)
            raise
        if state.status in OVER:
            moved = True
        if moved:
            state.threads = [thread for thread in threads if thread.status is not _Ended or thread.events]
        return moved

    def checkpoint(self, now: datetime) -> None:
        """Bring what the outside reads (status, ``wake_at``, revision) up to date, before a save."""
        state = self.state
        runnable = outside = False
        earliest: datetime | None = None
        for thread in state.threads:
            status = thread.status
            if status is _Executing or status is _Resuming:
                runnable = True
                break
            due = [thread.due_at] if status is _WaitingTime else []
            for event in thread.events:
                if event.status in _TO_DO_NOW:
                    outside = True
                due.append(event.due_at)
            for instant in due:
                if instant is not None and (earliest is None or instant < earliest):
                    earliest = instant
        if state.status not in OVER:
            state.status = WorkflowStatus.Resuming if runnable else WorkflowStatus.Waiting
        state.wake_at = now if runnable or outside else earliest
        state.revision += 1

    def _wakes(self, thread: Thread) -> bool:
        """Whether what a parked thread waits for has come by itself: an instant, or a condition."""
        status = thread.status
        if status is _WaitingEvent:
            timeout = self._due_timeout(thread)
            if timeout is None:
                return False
            self._keep(thread)
            self._fire(thread, timeout)
            return True
        if status is _WaitingTime:
            if thread.due_at is None or thread.due_at > self._now:
                return False
        elif not self._holds(thread):
            return False
        self._keep(thread)
        thread.due_at = None
        thread.since = self._now
        node = self.program.by_name[thread.position]
        if node.kind is WaitFor and self.values[node.index].handler is not None:
            thread.status = _Executing
            thread.ready = self.state.revision + 1
        else:
            thread.status = _Resuming
        return True

    def _due_timeout(self, thread: Thread) -> str | None:
        best: WaitEvent | None = None
        for event in thread.events:
            due = event.due_at
            if (
                due is not None
                and due <= self._now
                and event.request.pc == thread.pc
                and event.status is EventStatus.Setup
                and (best is None or best.due_at is None or due < best.due_at)
            ):
                best = event
        return None if best is None else best.name

    def _holds(self, thread: Thread) -> bool:
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        if node.kind is Join:
            return not any(other.name in statement.go_names and other.status is not _Ended for other in self.state.threads)
        self._frames = thread.frames
        return self._truth(thread, node, statement.cond)

    # --- moving ---

    def _move(self, thread: Thread) -> None:
        """Follow the links from a thread's position to its next stop."""
        node: Node | None = self._onwards(thread)
        # Replaced, not changed, by whoever enters or leaves a loop: the thread keeps its own until it parks.
        self._frames = thread.frames
        while node is not None:
            node = _ARRIVE[node.kind](self, thread, node)

    def _onwards(self, thread: Thread) -> Node:
        by_name = self.program.by_name
        if not thread.position:
            return self.program.start if thread.name == MAIN else by_name[thread.name].entry
        node = by_name[thread.position]
        if node.kind is Wait:
            event = self.program.event_node(node, thread.event)
            if event is not None:
                return event.entry
        return node.next

    def _park(self, thread: Thread, node: Node, status: ThreadStatus, due_at: datetime | None = None) -> None:
        self._keep(thread)
        thread.status = status
        thread.position = node.name
        thread.event = None
        thread.pc += 1
        thread.ready = self.state.revision + 1
        thread.due_at = due_at
        thread.frames = self._frames

    def _keep(self, thread: Thread) -> None:
        """Note in the journal what a thread was before it changes."""
        self._journal.append(
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
            )
        )

    def _roll_back(self, threads: list[Thread]) -> None:
        self.state.threads = threads
        for entry in reversed(self._journal):
            thread = entry[0]
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
            ) = entry

    def _at_step(self, thread: Thread, node: Node) -> None:
        self._park(thread, node, _Executing)

    def _at_switch(self, thread: Thread, node: Node) -> Node:
        for case in node.children:
            statement = self.values[case.index]
            # A Default has no condition.
            if not hasattr(statement, "cond") or self._truth(thread, case, statement.cond):
                return case.entry
        return node.next

    def _at_for(self, thread: Thread, node: Node) -> Node:
        visit = (thread.birth, node.index, *[frame.index for frame in self._frames])
        if self._visited is None:
            self._visited = {visit}
        elif visit in self._visited:
            raise DefinitionError(
                f"{self._where(thread)}: {node.place} makes no progress: it came round without a stop that takes an "
                "outcome or time. Put a Step, or a Wait whose time is still to come, on every way through its body"
            )
        else:
            self._visited.add(visit)
        statement = self.values[node.index]
        return node.entry if statement.forever or self._truth(thread, node, statement.cond) else node.next

    def _at_for_each(self, thread: Thread, node: Node) -> Node:
        frames = self._frames
        inside = bool(frames) and frames[-1].statement == node.name and len(frames) == len(node.frames) + 1
        outer, index = (frames[:-1], frames[-1].index + 1) if inside else (frames, 0)
        self._frames = outer
        items = self._value(thread, node, self.values[node.index].items)
        if not isinstance(items, Sequence):
            raise self._failed(thread, node, f"its items must be a Sequence (list, tuple, range ...), not {_a(items)}")
        if index >= len(items):
            return node.next
        item = self._adapted(thread, node, "its item", items[index])
        self._frames = [*outer, Frame(node.name, index, item)]
        return node.entry

    def _at_leave(self, thread: Thread, node: Node) -> Node:
        self._frames = self._frames[:-1]
        return node.next

    def _at_go(self, thread: Thread, node: Node) -> Node:
        statement = self.values[node.index]
        thread_id = node.name
        if statement.id is not None:
            part = self._value(thread, node, statement.id)
            if not isinstance(part, str | int | UUID) or isinstance(part, bool) or part == "":
                raise self._failed(thread, node, f"its id must be a text, a whole number or a UUID, not {part!r}")
            thread_id = f"{node.name}:{part}"
        if any(other.id == thread_id and other.status is not _Ended for other in self.state.threads):
            raise DefinitionError(
                f"{self._where(thread)}: {node.label} would start a second thread with the id {thread_id!r} while the "
                "first one lives: tell them apart with id=, or Join the first one before"
            )
        arg = None
        if statement.arg is not None:
            arg = self._adapted(thread, node, "its arg", self._value(thread, node, statement.arg))
        elif node.item is not None:
            arg = self._adapted(thread, node, "the item that it hands on", self._item(thread, node))
        birth = birth_of(thread.birth, thread.pc, thread_id)
        self.state.threads.append(Thread(id=thread_id, name=node.name, birth=birth, parent=thread.id, since=self._now, arg=arg))
        return node.next

    def _at_wait(self, thread: Thread, node: Node) -> None:
        events = [self._waiting(thread, child, thread.pc + 1) for child in node.children]
        self._park(thread, node, _WaitingEvent)
        thread.events = thread.events + events

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

    def _at_condition(self, thread: Thread, node: Node) -> None:
        self._park(thread, node, _WaitingCondition)

    def _at_sleep(self, thread: Thread, node: Node) -> None:
        due_at = self._instant(thread, node, "duration", self.values[node.index].duration)
        self._park(thread, node, _WaitingTime, due_at)

    def _at_return(self, thread: Thread, node: Node) -> None:
        value = None
        if thread.name == MAIN:
            given = self._value(thread, node, self.values[node.index].value)
            value = self._adapted(thread, node, "its value", given)
        self._end(thread, value)

    def _at_end(self, thread: Thread, node: Node) -> None:
        self._end(thread, None)

    def _end(self, thread: Thread, result: Any) -> None:
        if thread.name != MAIN:
            self._end_thread(thread)
            return
        for each in self.state.threads:
            if each.status is not _Ended:
                self._end_thread(each)
        self.state.status = WorkflowStatus.Finished
        self.state.result = result

    def _end_thread(self, thread: Thread) -> None:
        self._keep(thread)
        if thread.status is _WaitingEvent:
            thread.events = self._closed(thread, None)
        thread.status = _Ended
        thread.event = None
        thread.due_at = None
        thread.frames = []

    # --- events ---

    def _fire(self, thread: Thread, name: str) -> None:
        thread.events = self._closed(thread, name)
        thread.event = name
        thread.since = self._now
        thread.status = _Resuming

    def fire(self, thread: Thread, name: str, now: datetime) -> None:
        """A callback took the event of this name: its thread may go on."""
        self._now = now
        self._fire(thread, name)

    def _closed(self, thread: Thread, fired: str | None) -> list[WaitEvent]:
        """The events of a thread whose Wait has ended: what needs no teardown is gone."""
        wait = self.program.by_name.get(thread.position)
        left: list[WaitEvent] = []
        for event in thread.events:
            if event.status in _NEEDS_TEARDOWN:
                left.append(event)
                continue
            node = None if wait is None else self.program.event_node(wait, event.name)
            if node is None:
                has_teardown = event.type not in ("", "Timeout")
            else:
                has_teardown = getattr(via_of(self.values[node.index]), "teardown", None) is not None
            if has_teardown:
                event = copy(event)
                event.status = EventStatus.PendingTeardown
                event.handled = event.name == fired
                event.error = None
                event.due_at = None
                left.append(event)
        return left

    def _reconcile(self) -> bool:
        """Bring the events of waiting threads in line with Waits that have gained or lost some since they were saved."""
        changed = False
        for thread in self.state.threads:
            if thread.status is _WaitingEvent:
                wait = self.program.by_name[thread.position]
                present = [event.name for event in thread.events if event.status not in _NEEDS_TEARDOWN]
                if present != [child.name for child in wait.children]:
                    changed = self._rewait(thread, wait, present) or changed
        return changed

    def _rewait(self, thread: Thread, wait: Node, present: list[str]) -> bool:
        wanted = {child.name: child for child in wait.children}
        if wanted.keys() == set(present):
            return False  # only the order is another one
        self._keep(thread)
        self._frames = thread.frames
        added = [self._waiting(thread, node, thread.pc) for name, node in wanted.items() if name not in present]
        kept = [event for event in thread.events if event.status in _NEEDS_TEARDOWN or event.name in wanted]
        thread.events = [event for event in thread.events if event not in kept]
        thread.events = [*kept, *self._closed(thread, None), *added]
        return True

    def outside_work(self, tried: set[tuple[Any, ...]]) -> tuple[Thread, WaitEvent] | None:
        """An event to be set up or torn down now: a new one, or one in error that was not tried yet."""
        for thread in self.state.threads:
            for event in thread.events:
                if event.status in _TO_DO_NOW or (
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
        if thread.status is _Ended and not thread.events:
            self.state.threads = [other for other in self.state.threads if other is not thread]

    def outside_failed(self, event: WaitEvent, error: ErrorInfo, now: datetime) -> None:
        """The setup or teardown of an event failed: kept, to be tried again."""
        error.attempts = event.error.attempts + 1 if event.error is not None else 1
        setting_up = event.status in _NEEDS_SETUP
        event.status = EventStatus.SetupError if setting_up else EventStatus.TeardownError
        event.error = error
        event.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(error.attempts - 1, 16))

    # --- what the user's callables say ---

    def _arguments(self, thread: Thread, node: Node, call: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a callable: those given, and the item if it takes one more."""
        if node.item is not None and parameters(call).required == len(given) + 1:
            return (*given, self._item(thread, node))
        return given

    def arguments(self, thread: Thread, node: Node, call: Callable[..., Any], payload: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a handler."""
        self._frames = thread.frames
        return self._arguments(thread, node, call, (*self._base, *payload))

    def _item(self, thread: Thread, node: Node) -> Any:
        return self._frames[-1].item if node.item_in_frame else thread.arg

    def _value(self, thread: Thread, node: Node, value: Any) -> Any:
        """What a value or callable of a statement is now."""
        if not callable(value):
            return value
        try:
            found = value(*self._arguments(thread, node, value, self._base))
        except Exception as error:
            raise self._failed(thread, node, f"raised {type(error).__name__}: {error}") from error
        if callable(found) or isawaitable(found):
            if iscoroutine(found):
                found.close()
            raise self._failed(thread, node, f"its callable returned {_a(found)}: was a call or an await forgotten?")
        return found

    def _truth(self, thread: Thread, node: Node, cond: Any) -> bool:
        if not callable(cond):
            return bool(cond)
        found = self._value(thread, node, cond)
        if found is True or found is False:
            return found
        try:
            return bool(found)
        except Exception as error:
            raise self._failed(thread, node, f"raised {type(error).__name__}: {error}") from error

    def _instant(self, thread: Thread, node: Node, role: str, value: Any) -> datetime:
        found = self._value(thread, node, value)
        try:
            if isinstance(found, timedelta):
                return (thread.since or self._now) + found
            if isinstance(found, datetime) and found.utcoffset() is not None:
                return found.astimezone(UTC)
        except OverflowError as error:
            raise self._failed(thread, node, f"{role} {found!r} is past the end of the calendar") from error
        raise self._failed(thread, node, f"{role} must be a timedelta or an aware datetime, not {found!r}")

    def _adapted(self, thread: Thread, node: Node, what: str, value: Any) -> Any:
        scope = node.own_item
        try:
            return self._adapt.adapt(value, Any if scope is None else scope.type)
        except ValueError as error:
            raise self._failed(thread, node, f"{what} can't be kept: {error}") from error

    def _failed(self, thread: Thread, node: Node, what: str) -> StepError:
        run_id = self.state.run_id
        return StepError(f"{self._where(thread)}: {node.label}: {what}", step=node.name, run_id=run_id, thread_id=thread.id)

    def _where(self, thread: Thread) -> str:
        return f"run {self.state.run_id!r}, thread {thread.id!r}"


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


def check_positions(program: Program, state: State) -> None:
    """Refuse a state whose threads stand where the definition has nothing for them, before anything runs."""
    by_name = program.by_name
    for thread in state.threads:
        status = thread.status
        if status is _Ended:
            continue
        position = thread.position
        node = by_name.get(position or thread.name)
        if not position and status is _Resuming and not thread.frames:
            if thread.name == MAIN or (node is not None and node.kind is Go):
                continue
            raise _misplaced(program, state, thread, f"the definition has no Go {thread.name!r}")
        if node is None:
            raise _misplaced(program, state, thread, "the definition has no such statement")
        if node.kind not in _MAY_STAND_AT[status]:
            raise _misplaced(program, state, thread, f"a thread can't be {status} at {node.label}")
        if node.thread_name != thread.name:
            raise _misplaced(program, state, thread, f"{node.label} is in the thread of {node.thread_name!r} now")
        frames = tuple([frame.statement for frame in thread.frames])
        if frames != node.frames:
            raise _misplaced(
                program,
                state,
                thread,
                f"it is inside {_loops(frames)}, but {node.label} is inside {_loops(node.frames)}",
            )
        if status is _Resuming and node.kind is Wait and program.event_node(node, thread.event) is None:
            raise _misplaced(program, state, thread, f"{node.label} has no event {thread.event!r}, which fired")
        if status is _Executing and node.kind is WaitFor and program.values[node.index].handler is None:
            raise _misplaced(program, state, thread, f"{node.label} has no handler to execute")


def _misplaced(program: Program, state: State, thread: Thread, why: str) -> PositionError:
    return PositionError(
        f"run {state.run_id!r}, thread {thread.id!r}, position {thread.position!r}: {why}. Nothing was run. The definition "
        f"of {program.workflow_name} has changed since this run was saved: bring the statement back, or move the run"
    )


def _loops(frames: tuple[str, ...]) -> str:
    return " in ".join(f"ForEach {name!r}" for name in reversed(frames)) or "no ForEach"


def _a(value: Any) -> str:
    return f"a {type(value).__name__}"


_Arrival = Callable[[Machine, Thread, Node], "Node | None"]
_ARRIVE: dict[type[Statement], _Arrival] = {
    Step: Machine._at_step,
    Switch: Machine._at_switch,
    If: Machine._at_switch,
    For: Machine._at_for,
    ForEach: Machine._at_for_each,
    Leave: Machine._at_leave,
    Return: Machine._at_return,
    Go: Machine._at_go,
    Join: Machine._at_condition,
    Wait: Machine._at_wait,
    WaitFor: Machine._at_condition,
    Sleep: Machine._at_sleep,
    End: Machine._at_end,
}
"""What a thread that reaches a statement does: park (None), or go on to the next node."""
