"""What people may do to a run from outside: pause it, end it, move a thread, try again at once, change its data.

Rules:

1. Nothing is run here. State and data change in memory; whoever calls saves them, as after ``handle_callback``, and calls
   ``resume``. Each action raises ``revision`` by one, brings status and ``wake_at`` up to date, and leaves a note.
2. What is refused changes nothing, byte for byte: a ``ControlError`` says why. What may be done when is in ``LEGALITY``;
   what else has to hold is in ``CONDITIONS``.
3. What is left is a state that a run could have got into by itself. Nothing in the machine knows of these functions.

What this module must not know: who is allowed to call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from pydantic_core import from_json

from flowstmt.backup import MISSING
from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.exits import CANCEL, Exit, is_undoing
from flowstmt.core.machine import Machine
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    OVER,
    RUN_CANCELLED,
    RUN_FAILED,
    RUN_FINISHED,
    RUN_PAUSED,
    RUN_RESUMING,
    RUN_WAITING,
    SETUP_ERROR,
    TEARDOWN_ERROR,
    WAITING_TIME,
    ErrorInfo,
    Frame,
    State,
    Thread,
    WaitEvent,
    WorkflowStatus,
    aware,
)
from flowstmt.core.statements import Sleep
from flowstmt.drive import Workflow, alone
from flowstmt.errors import ControlError, StateError, a_kind_of, listed, quoted
from flowstmt.fields import Fields, fields_of
from flowstmt.moving import kept_frames, present_id, refused, standing, stop_to_move_to, thread_to_move
from flowstmt.run import CODEC, Run

__all__ = ["CONDITIONS", "LEGALITY", "cancel", "goto", "legal_controls", "pause", "retry_now", "set_data", "unpause"]

_ENDING = "is Resuming or Waiting, until it is Cancelled"
_SAME = "stays Paused"
_DUE = "is Resuming or Waiting, as its threads are"
_OUTSIDE = "stays as it is: only teardowns are left to be tried again"

LEGALITY: Mapping[str, Mapping[WorkflowStatus, str]] = {
    "pause": {RUN_RESUMING: "is Paused", RUN_WAITING: "is Paused"},
    "unpause": {RUN_PAUSED: _DUE},
    "cancel": {RUN_RESUMING: _ENDING, RUN_WAITING: _ENDING, RUN_PAUSED: _ENDING},
    "goto": {RUN_RESUMING: _DUE, RUN_WAITING: _DUE, RUN_PAUSED: _SAME},
    "retry_now": {
        RUN_RESUMING: _DUE,
        RUN_WAITING: _DUE,
        RUN_PAUSED: _SAME,
        RUN_FINISHED: _OUTSIDE,
        RUN_FAILED: _OUTSIDE,
        RUN_CANCELLED: _OUTSIDE,
    },
    "set_data": {RUN_RESUMING: _DUE, RUN_WAITING: _DUE, RUN_PAUSED: _SAME},
}
"""What may be done to a run of which status, and what becomes of it. What is not in here is refused."""

CONDITIONS: Mapping[str, str] = {
    "cancel": "it has not been cancelled before, and has not failed",
    "goto": (
        "the thread lives, is not told to end, undoes nothing and has no branches that live; the position is a stop of its "
        "own, inside of nothing that the thread is not inside of"
    ),
    "retry_now": "a thread waits for its next attempt, or an event could not be set up or torn down",
    "set_data": "the fields are saved ones, and the values fit their types",
}
"""What else has to hold."""


def pause(workflow: Workflow, state: State, *, by: str = "", reason: str = "", now: datetime | None = None) -> None:
    """Stop a run until ``unpause``: ``resume`` returns ``Paused`` and does nothing, and callbacks are a ``PausedError``.

    Save it as after a callback. Time goes on meanwhile: what has become due is done after ``unpause``. The definition is not
    looked at, so a run whose definition is broken can be paused as well. Raises ``ControlError``.

    >>> from dataclasses import dataclass
    >>> from flowstmt import State, Step, pause, resume, unpause
    >>> @dataclass
    ... class Hello:
    ...     said: str = ""
    ...
    ...     def definition(self):
    ...         return Step("say", lambda: "hello", into="said")
    >>> hello, state = Hello(), State.new("r1", "Hello")
    >>> pause(hello, state, by="ann", reason="wait for the fix")
    >>> resume(hello, state)
    <WorkflowStatus.Paused: 'Paused'>
    >>> unpause(hello, state, by="ann")
    >>> resume(hello, state)
    <WorkflowStatus.Finished: 'Finished'>
    """
    _check(state, by=by, reason=reason)
    with alone(state):
        _refuse_status("pause", state)
        at = datetime.now(UTC) if now is None else aware(now, f"run {state.run_id!r}: now")
        _note(state, at, "paused", by, reason, f"it was {state.status}")
        state.status = RUN_PAUSED
        state.wake_at = None
        state.revision += 1


def unpause(workflow: Workflow, state: State, *, by: str = "", reason: str = "", now: datetime | None = None) -> None:
    """Let a run that was paused go on. Raises ``ControlError``, and ``PositionError`` if it no longer fits its definition."""
    with _control("unpause", workflow, state, by, reason, now) as (machine, at):
        _note(state, at, "unpaused", by, reason, "it was Paused")
        state.status = RUN_RESUMING
        machine.checkpoint_from_outside(at)


def cancel(workflow: Workflow, state: State, reason: str, *, by: str = "", now: datetime | None = None) -> None:
    """Tell a run to end: ``resume`` then tears down, runs what stands in ``finally_``, undoes, and returns ``Cancelled``.

    What has ``compensate`` is undone, the newest first; ``compensation_plan`` says what that is. A thread that is in a
    ``finally_``, or undoing something, finishes that first. ``state.error`` has the reason. A paused run is unpaused by it.
    Raises ``ControlError``.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, State, Wait, cancel, resume
    >>> @dataclass
    ... class Order:
    ...     def definition(self):
    ...         return Wait("payment", On("paid"))
    >>> order, state = Order(), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> cancel(order, state, "out of stock", by="ann")
    >>> resume(order, state), state.error.message
    (<WorkflowStatus.Cancelled: 'Cancelled'>, 'out of stock')
    """
    with _control("cancel", workflow, state, by, reason, now) as (machine, at):
        threads = [thread for thread in state.threads if thread.status is not ENDED]
        main = next(thread for thread in threads if thread.name == MAIN)
        _refuse_second_end(state, main)
        error = ErrorInfo("Cancelled", reason, main.position)
        _note(state, at, "cancelled", by, reason, listed([f"{thread.id} {standing(thread)}" for thread in threads]))
        if state.status is RUN_PAUSED:
            state.status = RUN_RESUMING
        machine.end_all({**CANCEL, "error": asdict(error)}, at)
        machine.checkpoint(at)


def goto(
    workflow: Workflow,
    state: State,
    thread: str,
    position: str,
    *,
    by: str = "",
    reason: str = "",
    now: datetime | None = None,
) -> None:
    """Move a thread to another stop of its own: it stands there as if it had just got there.

    ``thread`` is its id, ``position`` the name of a Step, Wait or another statement at which threads stand. What it waited
    for is given up: events of its old Wait are torn down, attempts begin anew. It keeps the items of the loops that both
    stops are inside of; it can't get into a loop, ``Try`` or ``Saga`` that it is not inside of. Nothing is undone.
    Raises ``ControlError``, and ``StepError`` if a callable of the statement raises.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, S, State, Step, Wait, goto, resume
    >>> @dataclass
    ... class Order:
    ...     def definition(self):
    ...         return S(Wait("payment", On("paid")), Step("ship", lambda: None))
    >>> order, state = Order(), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> goto(order, state, "main", "ship", by="ann", reason="paid in cash")
    >>> resume(order, state)
    <WorkflowStatus.Finished: 'Finished'>
    """
    with _control("goto", workflow, state, by, reason, now) as (machine, at):
        moved = thread_to_move(machine, thread)
        node = stop_to_move_to(machine, moved, position)
        before = replace(moved)
        frames = kept_frames(machine, moved, node)
        machine.put(moved, node, frames, at)
        _note(state, at, "moved", by, reason, f"{standing(before)}, now at {node.name!r}{_given_up(before, frames)}", before)
        machine.checkpoint_from_outside(at)


def retry_now(
    workflow: Workflow,
    state: State,
    thread: str | None = None,
    *,
    by: str = "",
    reason: str = "",
    now: datetime | None = None,
) -> None:
    """End the backoff of a thread, or of all: the next attempt is made by the next ``resume``.

    Setups and teardowns that failed are due at once, too. Raises ``ControlError`` if nothing waits for another attempt.
    """
    _check(state, **({} if thread is None else {"thread": thread}))
    with _control("retry_now", workflow, state, by, reason, now) as (machine, at):
        wanted = None if thread is None else present_id(machine, thread)
        threads = [each for each in state.threads if wanted in (None, each.id)]
        retried, events = _failed(machine, threads)
        if not retried and not events:
            whose = "nothing waits" if thread is None else f"nothing of a thread {quoted(thread)} waits"
            raise refused(state, "retry_now", f"{whose} for another attempt")
        what = [f"{each.id} {standing(each)}, attempt {each.attempt}" for each in retried]
        what += [f"{_outside(event)} of event {event.name!r} of Wait {event.wait!r}" for event in events]
        for each in retried:
            each.status = EXECUTING
            each.ready = state.revision + 1
            each.due_at = None
        for event in events:
            event.due_at = at
        _note(state, at, "retried", by, reason, "; ".join(what))
        machine.checkpoint(at)


def set_data(
    workflow: Workflow,
    state: State,
    changes: Mapping[str, Any],
    *,
    by: str = "",
    reason: str = "",
    now: datetime | None = None,
) -> None:
    """Change fields of the workflow: all of ``changes`` or none.

    Values are those of the fields' types, or the JSON that stands for them. The note says which fields, not what they held.
    Conditions are asked again by the next ``resume``. Raises ``ControlError``.

    >>> from dataclasses import dataclass
    >>> from flowstmt import State, WaitFor, resume, set_data
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return WaitFor("payment", self.paid > 0)
    >>> order, state = Order(), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> set_data(order, state, {"paid": 100}, by="ann", reason="by cheque")
    >>> resume(order, state)
    <WorkflowStatus.Finished: 'Finished'>
    """
    with _control("set_data", workflow, state, by, reason, now) as (machine, at):
        _set_fields(workflow, state, changes)
        _note(state, at, "changed", by, reason, ", ".join(changes))
        machine.checkpoint_from_outside(at)


# --- what all have in common ---


@contextmanager
def _control(
    action: str, workflow: Workflow, state: State, by: str, reason: str, now: datetime | None
) -> Iterator[tuple[Machine, datetime]]:
    """The machine of a run that may be acted upon, and the instant. What the body raises leaves the state as it was."""
    _check(state, by=by, reason=reason)
    with alone(state):
        _refuse_status(action, state)
        run = Run(workflow, state, None, now, None)
        machine = run.machine
        machine.turn = None
        if state.status not in OVER:
            machine.begin()
        try:
            yield machine, run.clock()
        except BaseException:
            machine.take_back_begin()
            raise


def _check(state: State, **texts: Any) -> None:
    if not isinstance(state, State):
        raise StateError(f"expected a State, not {a_kind_of(state)}: these functions take the workflow first, then its state")
    for name, text in texts.items():
        if not isinstance(text, str) or text.encode("utf-8", "ignore").decode() != text:
            raise StateError(f"run {state.run_id!r}: {name} must be a text, not {quoted(text)}")


def _refuse_status(action: str, state: State) -> None:
    legal = LEGALITY[action]
    if state.status not in legal:
        wanted = " or ".join(legal)
        raise refused(state, action, f"the run is {state.status}, and has to be {wanted}")


def _note(state: State, at: datetime, note: str, by: str, reason: str, what: str, thread: Thread | None = None) -> None:
    """Tell people who did what, when and why."""
    entry: dict[str, Any] = {"note": note}
    if thread is not None:
        entry |= {"thread": thread.id, "step": thread.position, "birth": thread.birth, "pc": thread.pc}
    state.notes = [*state.notes, {**entry, "at": at.isoformat(), "by": by, "what": what, "reason": reason}]


# --- what may be done now ---


def legal_controls(machine: Machine) -> list[str]:
    """Which of these functions would not be refused, given the right arguments; for a machine that has begun, or is over."""
    return [action for action, legal in LEGALITY.items() if machine.state.status in legal and _ASKED.get(action, _yes)(machine)]


def _yes(machine: Machine) -> bool:
    return True


def _can_be_cancelled(machine: Machine) -> bool:
    return _second_end(next(thread for thread in machine.state.threads if thread.id == MAIN)) is None


def _can_be_moved(machine: Machine) -> bool:
    for thread in machine.state.threads:
        try:
            thread_to_move(machine, thread.id)
        except ControlError:
            continue
        return True
    return False


def _can_be_retried(machine: Machine) -> bool:
    threads, events = _failed(machine, machine.state.threads)
    return bool(threads or events)


_ASKED = {"cancel": _can_be_cancelled, "goto": _can_be_moved, "retry_now": _can_be_retried}


# --- retry_now ---


def _failed(machine: Machine, threads: list[Thread]) -> tuple[list[Thread], list[WaitEvent]]:
    """What waits for another attempt: threads, and what their events have outside."""
    by_name = machine.program.by_name
    again = [each for each in threads if each.status is WAITING_TIME and by_name[each.position].kind is not Sleep]
    return again, [event for each in threads for event in each.events if event.status in (SETUP_ERROR, TEARDOWN_ERROR)]


def _outside(event: WaitEvent) -> str:
    return "teardown" if event.status in NEEDS_TEARDOWN else "setup"


# --- cancel ---


def _refuse_second_end(state: State, main: Thread) -> None:
    exit_ = _second_end(main)
    if exit_ is not None:
        how = "has been cancelled already" if exit_["exit"] == "cancel" else "has failed already"
        raise refused(state, "cancel", f"the run {how}, and is on its way to its end: resume it")


def _second_end(main: Thread) -> Exit | None:
    """What the run is ending for already, if nothing can change that any more."""
    for frame in main.frames:
        exit_: Exit | None = frame.exit
        if exit_ is not None and (exit_.get("sticky") or (frame.statement == MAIN and is_undoing(exit_))):
            return exit_
    return None


# --- goto ---


def _given_up(thread: Thread, kept: list[Frame]) -> str:
    """For the note: callbacks that were taken at a Wait to which the thread will not come back, and not acted upon."""
    lost = [(frame.statement, (frame.data or {}).get("then")) for frame in thread.frames[len(kept) :]]
    told = [f"{', '.join(map(repr, names))} of {wait!r}" for wait, names in lost if names]
    return f"; given up: {'; '.join(told)}, which were taken" if told else ""


# --- set_data ---


def _why_not(name: Any, fields: Fields) -> str:
    """Why a key of the changes can't be set."""
    if name in fields.transient:
        return "is transient, and not saved"
    close = get_close_matches(name, fields.names, 1) if isinstance(name, str) else None
    return f"is no field (did you mean {close[0]!r}?)" if close else "is no field"


def _set_fields(workflow: Any, state: State, changes: Mapping[str, Any]) -> None:
    if not isinstance(changes, Mapping) or not changes:
        found = "an empty dict" if changes == {} else a_kind_of(changes)
        raise refused(state, "set_data", f"changes must be fields and their values, not {found}")
    fields = fields_of(type(workflow))
    faults: list[str] = []
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in fields.names:
            faults.append(f"{quoted(name)} {_why_not(name, fields)}")
            continue
        try:
            values[name] = CODEC.for_field(value, workflow, name)
        except ValueError as error:
            faults.append(f"{name!r}: {error}")
    if faults:
        raise refused(state, "set_data", f"{type(workflow).__name__}: {'; '.join(faults)}")
    before = {name: getattr(workflow, name, MISSING) for name in values}
    for name, value in values.items():
        object.__setattr__(workflow, name, value)
    try:
        # A class may refuse in its __init__ what its types allow: then nobody could load the run any more.
        blob = fields.to_json(workflow)
        fields.from_json(blob, from_json(blob))
    except StateError as error:
        for name, value in before.items():
            if value is MISSING:
                object.__delattr__(workflow, name)
            else:
                object.__setattr__(workflow, name, value)
        raise refused(state, "set_data", f"{error}") from error.__cause__
