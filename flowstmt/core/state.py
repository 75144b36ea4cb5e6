"""The state of a run: what is saved beside its data.

Rules:

1. A run costs what its live threads cost, never what its history did: nothing in here grows with the steps done.
2. Everything is JSON with the keys below (``state_json.py``).
3. Only ``machine.py`` changes a status, and only along the transition tables.

Theory: a thread is always in one of six statuses. ``Resuming`` is the only one in which it moves by itself: from its
position to the next stop. Each stop has a status of its own, because what ends it differs: an action that ran
(``Executing``), an event (``WaitingEvent``), a condition (``WaitingCondition``), an instant (``WaitingTime``).
``Ended`` is a thread that only waits for its events to be torn down; it is dead to everybody else, and its id is free.

An event that has something outside (``via``) is set up after the checkpoint that says so, and torn down after the
checkpoint that says so: a crash in between repeats the call, and never forgets it.

The tables are not looked up on the hot path: the test suite holds every assignment that it sees against them. They also say
why; ``docs/draw_states.py`` draws them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from flowstmt.errors import StateError, quoted

__all__ = [
    "EVENT_TRANSITIONS",
    "MAIN",
    "RUN_TRANSITIONS",
    "THREAD_TRANSITIONS",
    "CallbackRequest",
    "CheckpointType",
    "ErrorInfo",
    "EventStatus",
    "Frame",
    "State",
    "Thread",
    "ThreadStatus",
    "WaitEvent",
    "WorkflowStatus",
    "birth_of",
]

MAIN = "main"
"""Id and name of the thread that every run starts with."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The ``wake_at`` of a run born without a clock: past, whatever the time is."""


class WorkflowStatus(StrEnum):
    """What a run can do next."""

    Resuming = "Resuming"
    """Something can run: call ``resume``."""
    Waiting = "Waiting"
    """All threads are parked."""
    Paused = "Paused"
    """``pause`` stopped it: nothing moves it, and callbacks are refused, until ``unpause``."""
    Finished = "Finished"
    """``main`` returned; ``state.result`` is what it returned."""
    Failed = "Failed"
    """A failure was final and nobody caught it: ``state.error`` says which."""
    Cancelled = "Cancelled"
    """``cancel`` ended it."""


class ThreadStatus(StrEnum):
    """Where a thread is relative to its position."""

    Executing = "Executing"
    """At a step that has not run yet, or at what undoes one."""
    Resuming = "Resuming"
    """Past its position: moves on at the next ``resume``."""
    WaitingEvent = "WaitingEvent"
    """At a Wait or an Approval."""
    WaitingCondition = "WaitingCondition"
    """At a WaitFor, a Join, a Parallel or a Map, or at the end of a Saga or of the run, until other threads have ended."""
    WaitingTime = "WaitingTime"
    """At a Sleep, or at a step until its next attempt: until ``due_at``."""
    Ended = "Ended"
    """Kept only until its events are torn down."""


class EventStatus(StrEnum):
    """Where an event is between its setup and its teardown."""

    PendingSetup = "PendingSetup"
    """Its setup is to be called; it can be fired all the same."""
    Setup = "Setup"
    """Waited for, and nothing is to be done outside."""
    SetupError = "SetupError"
    """Its setup failed, and is tried again by every ``resume``; it can be fired all the same."""
    PendingTeardown = "PendingTeardown"
    """Its Wait has ended, and its teardown is to be called."""
    TeardownError = "TeardownError"
    """Its teardown failed, and is tried again by every ``resume``."""


class CheckpointType(StrEnum):
    """Why ``save`` is called. Save every kind."""

    afterResume = "afterResume"
    """Threads moved without an outcome: the first time, after a callback, after a timer."""
    afterStep = "afterStep"
    """The action of a step returned."""
    afterCondition = "afterCondition"
    """The handler of a WaitFor returned."""
    afterCallback = "afterCallback"
    """A callback was taken: for the save that follows ``handle_callback``, which you make yourself."""
    afterSetup = "afterSetup"
    """The setup of an event was tried."""
    afterTeardown = "afterTeardown"
    """The teardown of an event was tried."""
    afterFailure = "afterFailure"
    """An attempt at a step failed, and that is kept. Roll back what the attempt has written in your own transaction first."""


# The members by short names: Python 3.11 looks a member of an Enum up through a descriptor, which takes longer than all else
# that a transition does.
RUN_RESUMING, RUN_WAITING, RUN_PAUSED, RUN_FINISHED, RUN_FAILED, RUN_CANCELLED = WorkflowStatus
EXECUTING, RESUMING, WAITING_EVENT, WAITING_CONDITION, WAITING_TIME, ENDED = ThreadStatus
PENDING_SETUP, SET_UP, SETUP_ERROR, PENDING_TEARDOWN, TEARDOWN_ERROR = EventStatus
AFTER_RESUME, AFTER_STEP, AFTER_CONDITION, AFTER_CALLBACK, AFTER_SETUP, AFTER_TEARDOWN, AFTER_FAILURE = CheckpointType

OVER = frozenset((WorkflowStatus.Finished, WorkflowStatus.Failed, WorkflowStatus.Cancelled))
"""The statuses of a run in which nothing is left to do but teardowns."""

RUN_TRANSITIONS: Mapping[WorkflowStatus, Mapping[WorkflowStatus, str]] = {
    RUN_RESUMING: {
        RUN_RESUMING: "a checkpoint, more can run",
        RUN_WAITING: "all threads are parked",
        RUN_FINISHED: "main returns",
        RUN_FAILED: "a failure is final, and nobody catches it",
        RUN_CANCELLED: "it was told to end, and has",
        RUN_PAUSED: "is paused",
    },
    RUN_WAITING: {
        RUN_WAITING: "a checkpoint, all are parked again",
        RUN_RESUMING: "a callback, a timer or a condition lets a thread go on",
        RUN_FINISHED: "main returns",
        RUN_FAILED: "a failure is final, and nobody catches it",
        RUN_CANCELLED: "it was told to end, and has",
        RUN_PAUSED: "is paused",
    },
    RUN_PAUSED: {RUN_RESUMING: "is unpaused, or cancelled"},
    RUN_FINISHED: {},
    RUN_FAILED: {},
    RUN_CANCELLED: {},
}
"""What a status may become, and why."""

_ENDS = "its run or its Parallel ends, or it is cancelled"
THREAD_TRANSITIONS: Mapping[ThreadStatus, Mapping[ThreadStatus, str]] = {
    RESUMING: {
        EXECUTING: "reaches a Step, or what undoes one",
        WAITING_EVENT: "reaches a Wait or an Approval, or is back there",
        WAITING_CONDITION: "reaches a WaitFor, a Join, a Parallel or a Map",
        WAITING_TIME: "reaches a Sleep",
        ENDED: "returns, fails, or main does",
    },
    EXECUTING: {
        RESUMING: "its action or handler returned, or failed for good",
        WAITING_TIME: "an attempt failed, and another one follows",
        ENDED: _ENDS,
    },
    WAITING_EVENT: {RESUMING: "an event fires, or it is cancelled", ENDED: _ENDS},
    WAITING_CONDITION: {
        RESUMING: "the condition holds, or it is cancelled",
        EXECUTING: "the condition of a WaitFor with a handler holds",
        ENDED: _ENDS,
    },
    WAITING_TIME: {
        RESUMING: "the instant has come, or it is cancelled",
        EXECUTING: "it is time for the next attempt",
        ENDED: _ENDS,
    },
    ENDED: {},
}

EVENT_TRANSITIONS: Mapping[EventStatus, Mapping[EventStatus, str]] = {
    PENDING_SETUP: {SET_UP: "its setup worked", SETUP_ERROR: "its setup failed", PENDING_TEARDOWN: "its Wait has ended"},
    SETUP_ERROR: {SET_UP: "its setup worked", SETUP_ERROR: "its setup failed again", PENDING_TEARDOWN: "its Wait has ended"},
    SET_UP: {PENDING_TEARDOWN: "its Wait has ended"},
    PENDING_TEARDOWN: {TEARDOWN_ERROR: "its teardown failed"},
    TEARDOWN_ERROR: {TEARDOWN_ERROR: "its teardown failed again"},
}


@dataclass(slots=True)
class ErrorInfo:
    """An error as data.

    Attributes:
        type: The name of the exception's class.
        message: What it said.
        step: The statement at which it happened.
        attempts: The tries so far.
    """

    type: str
    message: str
    step: str = ""
    attempts: int = 1


@dataclass(slots=True)
class CallbackRequest:
    """Names the event to fire and, where that is not enough, the stop that is meant.

    ``thread_id`` picks one of several waiting threads. ``birth`` and ``pc`` pin the very stop: a request that carries
    them is refused as stale when the thread has moved on. ``setup`` gets a request with all of them filled in, to be
    handed to whoever will call back. It is plain data: ``dataclasses.asdict`` makes JSON of it, ``CallbackRequest(**...)``
    a request again.

    Attributes:
        name: The name of the event.
        thread_id: The id of the thread that waits; None for whichever does.
        pc: The stop of that thread; None for the present one.
        birth: The birth of that thread; None for the one that lives.
        run_id: The id of the run; a request for another one is refused. None is not looked at.
        setup_data: What ``setup`` returned. Not looked at in a callback.

    >>> from dataclasses import dataclass
    >>> from flowstmt import Go, Join, On, S, Wait, handle_callback, resume
    >>> @dataclass
    ... class Both:
    ...     def definition(self):
    ...         return S(Go("ann", Wait("answer", On("yes"))), Go("bob", Wait("reply", On("yes"))), Join("all", "ann", "bob"))
    >>> both, state = Both(), State.new("r1", "Both")
    >>> resume(both, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> handle_callback(CallbackRequest("yes", thread_id="bob"), both, state)
    >>> resume(both, state), [thread.id for thread in state.threads]
    (<WorkflowStatus.Waiting: 'Waiting'>, ['main', 'ann'])
    """

    name: str
    thread_id: str | None = None
    pc: int | None = None
    birth: str | None = None
    run_id: str | None = None
    setup_data: str | None = None


@dataclass(slots=True)
class WaitEvent:
    """An event that a thread waits for, or that is still to be torn down. Wait, name and ``request.pc`` identify it.

    Attributes:
        name: The name of the event.
        wait: The name of the Wait.
        type: ``Timeout``, ``Every``, ``When``, or the type of its ``via``; empty for a plain function.
        request: The request that names this very stop.
        status: Where the event is between its setup and its teardown.
        handled: Whether the event that is to be torn down is the one that fired.
        error: How the last setup or teardown failed.
        due_at: The instant at which a Timeout or Every fires, or from which a failed setup or teardown is worth another try.
    """

    name: str
    wait: str
    type: str = ""
    request: CallbackRequest = field(default_factory=lambda: CallbackRequest(""))
    status: EventStatus = EventStatus.Setup
    handled: bool = False
    error: ErrorInfo | None = None
    due_at: datetime | None = None


@dataclass(slots=True)
class Frame:
    """A ForEach, Try, Saga ... that a thread is inside of, a Parallel at which it stands, a Wait to which it will come back.

    Attributes:
        statement: The name of the statement.
        index: The index of the item, from 0; of a For the rounds that have begun.
        item: The item, the thread's own copy.
        exit: What the frame is unwinding for: what goes on when its statement is done.
        data: What else the statement keeps: the book of a Parallel or Map, what tells this round of a Saga from every other,
            the callbacks that a Wait has taken, the answers of an Approval.
    """

    statement: str
    index: int = 0
    item: Any = None
    exit: Any = None
    data: Any = None


@dataclass(slots=True)
class Thread:
    """One line of execution: where it stands, since when, and what it waits for.

    Attributes:
        id: ``main``, or the name of the Go that started it, with ``:id`` where the Go gives one; of a branch the name of its
            Parallel or Map, with ``:key``.
        name: ``main``, or the name of the Go, Branch or Map that started it.
        status: Where it is relative to its position.
        position: The name of the statement at which it stands; empty until its first stop.
        event: The event that fired, until the thread has moved on from its Wait.
        events: The events that it waits for, and those that are still to be torn down.
        pc: Counts its stops.
        birth: Tells it from every other thread that had its id: a hash of the parent's birth and pc, and of the id.
        parent: The id of the thread that started it; None for ``main``.
        ready: The revision at which it arrived at its position: whose turn it is.
        since: The instant of its last outcome, from which durations count.
        due_at: The instant at which a thread that is ``WaitingTime`` goes on.
        attempt: Counts the attempts at a step, from 1.
        error: How the last attempt failed.
        arg: Its own object: the ``arg`` of its Go, the item that the Go or Branch handed on, or that of its Map.
        frames: What it is inside of that keeps something (a ForEach, Try, Saga ...), the outermost first; on top of these, what
            it is leaving its position for.
        sagas: The Sagas that it was started inside of, each by what tells this round of it from every other.
    """

    id: str
    name: str
    status: ThreadStatus = ThreadStatus.Resuming
    position: str = ""
    event: str | None = None
    events: list[WaitEvent] = field(default_factory=list)
    pc: int = 0
    birth: str = ""
    parent: str | None = None
    ready: int = 0
    since: datetime | None = None
    due_at: datetime | None = None
    attempt: int = 1
    error: ErrorInfo | None = None
    arg: Any = None
    frames: list[Frame] = field(default_factory=list)
    sagas: list[str] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """What is saved of a run beside its data. Make one with ``State.new``.

    Attributes:
        run_id: The id of the run.
        workflow: The name of the workflow, a free string of yours.
        status: What the run can do next.
        revision: Rises by one with every checkpoint and every callback. Save only where the stored one is that which was
            loaded: else somebody else has moved the run meanwhile.
        threads: The live threads in start order, and those that have ended but still have events to be torn down.
        wake_at: The instant from which ``resume`` could do something by itself: past or now when it could at once, that of
            a timer, None when only a callback helps.
        result: What ``main`` returned, as plain JSON values.
        error: Why the run failed.
        undo: What is to be undone if the run fails or is cancelled; when it has, what could not be.
        notes: What was noted on the way: what people did from outside, actions that were cut off, failures of threads that were
            ending, what could not be undone.
        raw: Not saved; whether items and args still wait to be given their types.
    """

    run_id: str
    workflow: str
    status: WorkflowStatus = WorkflowStatus.Resuming
    revision: int = 0
    threads: list[Thread] = field(default_factory=list)
    wake_at: datetime | None = None
    result: Any = None
    error: ErrorInfo | None = None
    undo: list[Any] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    # Set by ``state_json.read_state``: args and items are JSON still, and become what their consumers annotate when the
    # state first meets its definition.
    raw: bool = field(default=False, repr=False, compare=False)

    @classmethod
    def new(cls, run_id: str, workflow: str, now: datetime | None = None) -> State:
        """The state of a run that has not started: one thread, ``main``, about to move.

        ``run_id`` is yours and should be unique; ``workflow`` is a free string that the snapshot carries. Durations of
        the first statements count from ``now`` (aware), or else from the first ``resume``. Raises ``StateError``.

        >>> state = State.new("order-1", "Order")
        >>> state.status, state.threads[0].id
        (<WorkflowStatus.Resuming: 'Resuming'>, 'main')
        """
        if not is_text(run_id) or not run_id:
            raise StateError(f"run_id must be a text that is not empty, not {quoted(run_id)}")
        if not is_text(workflow):
            raise StateError(f"run {run_id!r}: workflow must be a text, not {quoted(workflow)}")
        if now is not None:
            now = aware(now, f"run {run_id!r}: now")
        # By position: by name takes half as long again.
        main = Thread(MAIN, MAIN, RESUMING, "", None, [], 0, MAIN_BIRTH, None, 0, now)
        return cls(run_id, workflow, RUN_RESUMING, 0, [main], now or EPOCH)


def aware(instant: Any, what: str) -> datetime:
    """``instant`` in UTC; a ``StateError`` if it is no aware datetime."""
    if type(instant) is datetime and instant.tzinfo is UTC:  # as nearly all are
        return instant
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise StateError(f"{what} must be an aware datetime (datetime.now(UTC), say), not {quoted(instant)}")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise StateError(f"{what} {instant!r} is past the end of the calendar") from error


def is_text(value: Any) -> bool:
    """Whether it is a text that can be written as UTF-8."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value


def birth_of(parent_birth: str, parent_pc: int, thread_id: str) -> str:
    """What tells this incarnation of a thread from every other of the same run.

    A thread started anew in each round of a loop has the same id each time; its parent has made at least one stop in
    between, or the two would live at once.
    """
    birth = _births(parent_birth, parent_pc).copy()
    birth.update(thread_id.encode())
    return birth.hexdigest()


@lru_cache(maxsize=64)
def _births(parent_birth: str, parent_pc: int) -> hashlib.blake2b:
    """What the births of all threads have in common that are started at one stop: thousands, by a Map."""
    return hashlib.blake2b(f"{parent_birth}/{parent_pc}/".encode(), digest_size=8)


MAIN_BIRTH = birth_of("", 0, MAIN)
