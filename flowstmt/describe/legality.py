"""What may happen to a run now.

Theory: a driver checks that a state fits its definition, and renames what was saved under old names, before it does anything;
so does this, and takes it back. Which events are open is then read off the threads by the very rule by which callbacks are
accepted.

What this module must not do: ask any of the user's conditions. They may have side effects, and whether one holds is the
machine's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.exits import pending_exit
from flowstmt.core.nodes import STARTERS, Compensation, Node, RunEnd
from flowstmt.core.recovery import Saga
from flowstmt.core.state import (
    ENDED,
    OVER,
    RESUMING,
    RUN_PAUSED,
    SET_UP,
    WAITING_CONDITION,
    WAITING_EVENT,
    WAITING_TIME,
    CallbackRequest,
    ErrorInfo,
    State,
    Thread,
)
from flowstmt.core.statements import Join, On, Sleep, Step, Timeout, WaitFor
from flowstmt.describe.payloads import Schema, schemas_of
from flowstmt.describe.subjects import Subject
from flowstmt.describe.wording import called
from flowstmt.run import Run

__all__ = [
    "Legal",
    "LegalAction",
    "LegalCallback",
    "LegalCondition",
    "LegalMove",
    "LegalOutside",
    "LegalTimer",
    "legal",
]


@dataclass(frozen=True, slots=True)
class LegalCallback:
    """A callback that would be taken; ``request`` names this very stop, ready for ``handle_callback``.

    Its ``setup_data`` is what the event's ``setup`` returned.
    """

    event: str
    wait: str
    thread_id: str
    pc: int
    birth: str
    payload: Schema
    payload_required: bool
    output: Schema
    request: CallbackRequest


@dataclass(frozen=True, slots=True)
class LegalTimer:
    """An instant that a thread waits for: ``type`` is Timeout, Sleep, or Retry for the next attempt at what has failed.

    ``due_at`` is None for a Timeout that the Wait has gained since the thread got there: its time begins at the next resume.
    A Retry says which ``attempt`` will be made, and the ``error`` of the last one.
    """

    type: str
    name: str
    wait: str | None
    thread_id: str
    due_at: datetime | None
    is_due: bool
    attempt: int | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class LegalCondition:
    """What a thread waits for at a WaitFor (``condition`` is its name), or until ``threads`` have ended: those that still live.

    For threads it waits at a ``Join``, a ``Parallel`` or a ``Map``, at a ``Saga`` whose threads end before it is undone, or, as
    ``main``, at the end of the run (``type`` is End).
    """

    type: str
    name: str
    thread_id: str
    condition: str | None
    threads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LegalAction:
    """An action, the handler of a WaitFor, or what undoes a step (``type`` is Compensation), that ``resume`` would run."""

    type: str
    name: str
    thread_id: str
    action: str
    concurrent: bool
    pc: int
    birth: str
    attempt: int


@dataclass(frozen=True, slots=True)
class LegalMove:
    """A thread that ``resume`` would let go on: from the beginning, past ``position``, or by way of ``event``.

    ``leaving`` says that it does not go on, but out: for a failure, a cancellation ...
    """

    thread_id: str
    position: str
    event: str | None
    leaving: str | None = None


@dataclass(frozen=True, slots=True)
class LegalOutside:
    """A setup or teardown that ``resume`` would call."""

    type: str
    event: str
    wait: str
    thread_id: str
    due_at: datetime | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class Legal:
    """What may happen to a run at the instant ``now``.

    ``callbacks`` are those that would be taken, whatever their handlers and payloads say. ``timers`` and ``conditions`` are
    what parked threads wait for. ``actions`` (whose turn is next first), ``moves`` and ``outside`` are what ``resume`` would
    do by itself. Of a run that is over, nothing but teardowns can be left; of one that is paused, nothing but what its threads
    wait for is told.
    """

    run_id: str
    status: str
    revision: int
    now: datetime
    wake_at: datetime | None
    callbacks: tuple[LegalCallback, ...] = ()
    timers: tuple[LegalTimer, ...] = ()
    conditions: tuple[LegalCondition, ...] = ()
    actions: tuple[LegalAction, ...] = ()
    moves: tuple[LegalMove, ...] = ()
    outside: tuple[LegalOutside, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON: instants are texts, requests what ``CallbackRequest(**...)`` takes."""
        found: dict[str, Any] = to_jsonable_python(self)
        return found


def legal(workflow: Any, state: State, now: datetime | None = None) -> Legal:
    """What may happen to a run now: callbacks, timers, conditions, and what ``resume`` would do by itself.

    The callbacks listed are exactly those which ``handle_callback`` does not refuse as unknown, stale, or not waited for; a
    handler may still refuse, and a payload must fit its schema. Which timers are due is seen from ``now`` (aware; None: the
    clock's).

    Neither object is changed, and none of the workflow's conditions, actions or handlers is called. Raises ``DefinitionError``,
    ``StateError`` and ``PositionError`` as ``resume`` does.

    >>> from collections.abc import Iterable
    from dataclasses import dataclass, replace
    >>> from flowstmt import On, State, Wait, legal, resume
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return Wait("payment", On("paid", into="paid"))
    >>> order, state = Order(), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> [callback] = legal(order, state).callbacks
    >>> callback.event, callback.thread_id, callback.payload
    ('paid', 'main', {'type': 'integer'})
    """
    run = Run(workflow, state, None, now, None)
    if state.status in OVER:
        return _Reader(run).legal()
    run.machine.begin()
    try:
        return _Reader(run).legal()
    finally:
        run.machine.take_back_begin()


class _Reader:
    """Reads off a state what may happen."""

    def __init__(self, run: Run) -> None:
        self.state = run.state
        self.machine = run.machine
        self.by_name = run.program.by_name
        self.subject = Subject(run.program, run.machine.values, type(run.workflow))
        self.now = run.clock()
        self.schemas: dict[int, dict[str, Any]] = {}

    def legal(self) -> Legal:
        state = self.state
        over, paused = state.status in OVER, state.status is RUN_PAUSED
        threads = [] if over else [thread for thread in state.threads if thread.status is not ENDED]
        waiting = [thread for thread in threads if thread.status is WAITING_EVENT]
        parked = [thread for thread in threads if thread.status is WAITING_CONDITION]
        living = _Living(threads if parked else [])
        return Legal(
            state.run_id,
            str(state.status),
            state.revision,
            self.now,
            state.wake_at,
            tuple(
                [
                    self._callback(thread, node)
                    for thread in (() if paused else waiting)
                    for node in self._events(thread)
                    if node.kind is On
                ]
            ),
            tuple([timer for thread in threads for timer in self._timers(thread)]),
            tuple([self._condition(thread, living) for thread in parked]),
            () if over or paused else tuple([self._action(thread) for thread in self.machine.executing()]),
            tuple([_move(thread) for thread in (() if paused else threads) if thread.status is RESUMING]),
            tuple([outside for thread in (() if paused else state.threads) for outside in _outside(thread)]),
        )

    def _events(self, thread: Thread) -> list[Node]:
        return self.by_name[thread.position].children

    def _callback(self, thread: Thread, node: Node) -> LegalCallback:
        schemas = self.schemas.get(node.index)
        if schemas is None:
            schemas = self.schemas[node.index] = schemas_of(self.subject, node).to_json()
        datas = (event.request.setup_data for event in thread.events if event.name == node.name and event.status is SET_UP)
        request = CallbackRequest(node.name, thread.id, thread.pc, thread.birth, self.state.run_id, next(datas, None))
        return LegalCallback(node.name, thread.position, thread.id, thread.pc, thread.birth, **schemas, request=request)

    def _timers(self, thread: Thread) -> list[LegalTimer]:
        if thread.status is WAITING_TIME:
            if self.by_name[thread.position].kind is Sleep:
                return [self._timer("Sleep", thread.position, None, thread, thread.due_at)]
            again = self._timer("Retry", thread.position, None, thread, thread.due_at)
            return [replace(again, attempt=thread.attempt, error=thread.error)]
        if thread.status is not WAITING_EVENT:
            return []
        due = {event.name: event.due_at for event in thread.events if event.status is SET_UP}
        timeouts = [node for node in self._events(thread) if node.kind is Timeout]
        return [self._timer("Timeout", node.name, thread.position, thread, due.get(node.name)) for node in timeouts]

    def _timer(self, kind: str, name: str, wait: str | None, thread: Thread, due_at: datetime | None) -> LegalTimer:
        return LegalTimer(kind, name, wait, thread.id, due_at, due_at is not None and due_at <= self.now)

    def _condition(self, thread: Thread, living: _Living) -> LegalCondition:
        node = self.by_name[thread.position]
        if node.kind is WaitFor:
            statement = self.machine.values[node.index]
            cond = called(statement.cond) if callable(statement.cond) else None
            return LegalCondition("WaitFor", node.name, thread.id, cond, ())
        if node.kind is Join:
            threads = living.named(node.go_names.values())
        elif node.kind is RunEnd:
            threads = living.but(thread)
        elif node.kind is Saga:
            threads = living.started_by(thread, self._starters_inside(node))
        else:
            threads = living.started_by(thread, {node.name, *(branch.name for branch in node.children)})
        kind = "End" if node.kind is RunEnd else node.kind.__name__
        return LegalCondition(kind, node.name, thread.id, None, threads)

    def _starters_inside(self, saga: Node) -> set[str]:
        nodes = self.subject.program.nodes[saga.index : saga.last + 1]
        return {node.name for node in nodes if node.kind in STARTERS}

    def _action(self, thread: Thread) -> LegalAction:
        node = self.by_name[thread.position]
        statement = self.machine.values[node.index]
        action = called(getattr(statement, _ACTIONS[node.kind]))
        kind = node.kind.__name__
        return LegalAction(kind, node.name, thread.id, action, node.concurrent, thread.pc, thread.birth, thread.attempt)


_ACTIONS = {Step: "action", WaitFor: "handler", Compensation: "compensate"}


class _Living:
    """The threads that live, in start order."""

    def __init__(self, threads: list[Thread]) -> None:
        self.threads = threads
        self.by_name: dict[str, list[str]] = {}
        self.by_parent: dict[str | None, list[Thread]] = {}
        for thread in threads:
            self.by_name.setdefault(thread.name, []).append(thread.id)
            self.by_parent.setdefault(thread.parent, []).append(thread)

    def named(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple([thread_id for name in dict.fromkeys(names) for thread_id in self.by_name.get(name, ())])

    def but(self, thread: Thread) -> tuple[str, ...]:
        return tuple([each.id for each in self.threads if each is not thread])

    def started_by(self, parent: Thread, names: set[str]) -> tuple[str, ...]:
        """By a thread at one of the named statements, and whom those threads have started at one of them."""
        found = [each for each in self.by_parent.get(parent.id, ()) if each.name in names]
        return tuple([thread_id for each in found for thread_id in (each.id, *self.started_by(each, names))])


def _move(thread: Thread) -> LegalMove:
    exit_ = pending_exit(thread)
    return LegalMove(thread.id, thread.position, thread.event, None if exit_ is None else str(exit_["exit"]))


def _outside(thread: Thread) -> list[LegalOutside]:
    return [
        LegalOutside(
            "teardown" if event.status in NEEDS_TEARDOWN else "setup",
            event.name,
            event.wait,
            thread.id,
            event.due_at,
            event.error,
        )
        for event in thread.events
        if event.status is not SET_UP
    ]
