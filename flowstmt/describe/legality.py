"""What may happen to a run now.

Theory: a driver checks that a state fits its definition, and renames what was saved under old names, before it does anything;
so does this, and takes it back. Which events are open is then read off the threads by the very rule by which callbacks are
accepted.

What this module must not do: ask any of the user's conditions. They may have side effects, and whether one holds is the
machine's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowstmt.control import legal_controls
from flowstmt.core.callbacks import stop_of
from flowstmt.core.events import NEEDS_TEARDOWN, open_event
from flowstmt.core.exits import pending_exit
from flowstmt.core.nodes import STARTERS, Compensation, Node, RunEnd
from flowstmt.core.open_waits import open_waits
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
    State,
    Thread,
)
from flowstmt.core.statements import Join, On, Sleep, Step, Timeout, WaitFor
from flowstmt.core.waits import Every
from flowstmt.describe.manners import shown_children
from flowstmt.describe.payloads import schemas_of
from flowstmt.describe.possibilities import (
    Legal,
    LegalAction,
    LegalCallback,
    LegalCondition,
    LegalMove,
    LegalOutside,
    LegalTimer,
)
from flowstmt.describe.subjects import Subject
from flowstmt.describe.wording import called
from flowstmt.run import Run

__all__ = ["legal"]


def legal(workflow: Any, state: State, now: datetime | None = None) -> Legal:
    """What may happen to a run now: callbacks, timers, conditions, and what ``resume`` would do by itself.

    The callbacks listed are exactly those which ``handle_callback`` does not refuse as unknown, stale, or not waited for; a
    handler may still refuse, and a payload must fit its schema. Which timers are due is seen from ``now`` (aware; None: the
    clock's).

    Neither object is changed, and none of the workflow's conditions, actions or handlers is called. Raises ``DefinitionError``,
    ``StateError`` and ``PositionError`` as ``resume`` does.

    >>> from dataclasses import dataclass
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
        waits = any(thread.status is WAITING_CONDITION for thread in threads)
        living = _Living(threads if waits else [])
        return Legal(
            state.run_id,
            str(state.status),
            state.revision,
            self.now,
            state.wake_at,
            tuple([callback for thread in (() if paused else threads) for callback in self._callbacks(thread)]),
            tuple([timer for thread in threads for timer in self._timers(thread)]),
            tuple([condition for thread in threads for condition in self._conditions(thread, living)]),
            () if over or paused else tuple([self._action(thread) for thread in self.machine.executing()]),
            tuple([_move(thread) for thread in (() if paused else threads) if thread.status is RESUMING]),
            tuple([outside for thread in (() if paused else state.threads) for outside in _outside(thread)]),
            tuple(legal_controls(self.machine)),
        )

    def _events(self, thread: Thread) -> list[Node]:
        return self.by_name[thread.position].children

    def _callbacks(self, thread: Thread) -> Iterator[LegalCallback]:
        for wait in open_waits(self.by_name, thread):
            for node in shown_children(wait):
                if node.kind is On:
                    yield self._callback(thread, wait, node)

    def _callback(self, thread: Thread, wait: Node, node: Node) -> LegalCallback:
        schemas = self.schemas.get(node.index)
        if schemas is None:
            schemas = self.schemas[node.index] = schemas_of(self.subject, node).to_json()
        event = open_event(thread, node)
        pc = stop_of(thread, node)
        data = event.request.setup_data if event is not None and event.status is SET_UP else None
        request = CallbackRequest(node.name, thread.id, pc, thread.birth, self.state.run_id, data)
        return LegalCallback(node.name, wait.name, thread.id, pc, thread.birth, **schemas, request=request)

    def _timers(self, thread: Thread) -> list[LegalTimer]:
        if thread.status is WAITING_TIME:
            if self.by_name[thread.position].kind is Sleep:
                return [self._timer("Sleep", thread.position, None, thread, thread.due_at)]
            again = self._timer("Retry", thread.position, None, thread, thread.due_at)
            return [replace(again, attempt=thread.attempt, error=thread.error)]
        if thread.status is not WAITING_EVENT:
            return []
        timers = [
            (node, open_event(thread, node)) for node in self._events(thread) if node.kind is Timeout or node.kind is Every
        ]
        return [
            self._timer(node.kind.__name__, node.name, thread.position, thread, None if event is None else event.due_at)
            for node, event in timers
        ]

    def _timer(self, kind: str, name: str, wait: str | None, thread: Thread, due_at: datetime | None) -> LegalTimer:
        return LegalTimer(kind, name, wait, thread.id, due_at, due_at is not None and due_at <= self.now)

    def _conditions(self, thread: Thread, living: _Living) -> list[LegalCondition]:
        if thread.status is WAITING_CONDITION:
            return [self._parked(thread, living)]
        asks = self.by_name[thread.position].asks if thread.status is WAITING_EVENT else []
        return [LegalCondition("When", node.name, thread.id, self._asked(node), (), thread.position) for node in asks]

    def _asked(self, node: Node) -> str | None:
        cond = self.machine.values[node.index].cond
        return called(cond) if callable(cond) else None

    def _parked(self, thread: Thread, living: _Living) -> LegalCondition:
        node = self.by_name[thread.position]
        if node.kind is WaitFor:
            return LegalCondition("WaitFor", node.name, thread.id, self._asked(node), ())
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
