"""The drivers: run what the machine asks for, save where the design says so.

``_resume`` and ``_callback`` are generators that hold all the rules; they yield calls to be made and get the results
sent back. ``_run`` and ``_run_async`` are the two shells that make the calls: one calls, the other also awaits. So the
sync and the async driver can't drift apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, TypeAlias

from flowstmt.backup import Backup
from flowstmt.codec import Codec
from flowstmt.core.callbacks import accept
from flowstmt.core.events import event_key
from flowstmt.core.machine import Machine
from flowstmt.core.nodes import Node
from flowstmt.core.program import program_for, rebuild
from flowstmt.core.state import (
    OVER,
    CallbackRequest,
    CheckpointType,
    ErrorInfo,
    EventStatus,
    State,
    Thread,
    WaitEvent,
    WorkflowStatus,
    aware,
)
from flowstmt.core.statements import Event
from flowstmt.current import CURRENT, Current, Kind
from flowstmt.errors import (
    CallbackError,
    ConflictError,
    DefinitionError,
    FlowstmtError,
    SetupError,
    StateError,
    StepError,
)
from flowstmt.handlers import kept_payload, payload_type, takes_payload, validate_payload

__all__ = ["handle_callback", "handle_callback_async", "resume", "resume_async"]

logger = logging.getLogger("flowstmt.drive")

Save: TypeAlias = Callable[[CheckpointType], Any]
Invoke: TypeAlias = Callable[[Current, Callable[[], Any]], Any]
Request: TypeAlias = CallbackRequest | Event[Any, Any] | str

Ask: TypeAlias = tuple[Current, Callable[..., Any], tuple[Any, ...]]
"""A call to be made: what ``current()`` shows meanwhile, the function and its arguments."""
Asks: TypeAlias = Generator[Ask, Any, Any]

_codec = Codec()
_moving: dict[int, object] = {}
"""The states that a driver has in hand, by id: the same objects can't be moved twice at once."""


class _Run:
    """What one call of a driver was given."""

    __slots__ = ("deps", "machine", "now", "program", "save", "state", "workflow")

    def __init__(self, workflow: Any, state: State, save: Save | None, now: datetime | None, deps: Any) -> None:
        if not isinstance(state, State):
            raise StateError(f"expected a State, not {state!r}: make one with State.new, or get it from load")
        if save is not None and not callable(save):
            raise StateError(f"run {state.run_id!r}: save must be a callable that takes the checkpoint type, not {save!r}")
        self.now = aware(now, f"run {state.run_id!r}: now") if now is not None else None
        self.workflow = workflow
        self.state = state
        self.save = save
        self.deps = deps
        self.program, values = program_for(workflow, state.run_id)
        self.machine = Machine(self.program, values, workflow, state, _codec)

    def clock(self) -> datetime:
        """The instant of an outcome."""
        return self.now or datetime.now(UTC)

    def refuse_async(self) -> None:
        """For sync drivers: nothing may have to be awaited."""
        if self.program.async_places:
            raise DefinitionError(
                f"run {self.state.run_id!r}: {self.program.workflow_name} needs resume_async and handle_callback_async:",
                self.program.async_places,
            )

    def checkpoint(self, kind: CheckpointType, now: datetime, thread: Thread | None = None) -> Asks:
        """Bring the state up to date and save it."""
        self.machine.checkpoint(now)
        if self.save is not None:
            stop = ("", "", "", 0) if thread is None else (thread.id, thread.position, thread.birth, thread.pc)
            yield Current(self.workflow, self.state, "save", now, self.deps, stop), self.save, (kind,)


def _resume(run: _Run, max_steps: int) -> Asks:
    machine, state = run.machine, run.state
    tried: set[tuple[Any, ...]] = set()
    failures: list[tuple[str, Exception]] = []
    if state.status not in OVER:
        machine.begin()
        now = run.clock()
        if machine.settle(now):
            yield from run.checkpoint(CheckpointType.afterResume, now)
    yield from _outside(run, tried, failures)
    steps = 0
    while steps < max_steps and state.status not in OVER and (thread := machine.executing()) is not None:
        yield from _round(run, thread)
        yield from _outside(run, tried, failures)
        steps += 1
    if failures:
        lines = [line for line, _ in failures]
        raise SetupError(
            f"run {state.run_id!r}: {len(lines)} setups failed; everything else is done and saved, and the next resume tries "
            "again:",
            lines,
        ) from failures[0][1]
    return state.status


def _round(run: _Run, thread: Thread) -> Asks:
    """One action, its outcome, and all moves that follow from it: one save."""
    machine, state = run.machine, run.state
    current = _current(run, thread, "action", run.clock())
    try:
        call, arguments = machine.action(thread)
        result = yield current, call, arguments
        now = run.clock()
        kind = machine.complete(thread, result, now)
    except _AwaitableError:
        raise
    except Exception as error:
        raise StepError(
            f"run {state.run_id!r}, thread {thread.id!r}, step {thread.position!r}: its action raised "
            f"{type(error).__name__}: {error}. Nothing was saved since the last checkpoint: discard the objects, mend the "
            "cause and resume from the last snapshot",
            step=thread.position,
            run_id=state.run_id,
            thread_id=thread.id,
        ) from error
    stuck: FlowstmtError | None = None
    try:
        machine.values = rebuild(run.program, run.workflow, state.run_id)
        machine.settle(now)
    except FlowstmtError as error:
        # The action has run: that is saved whatever its consequences are.
        stuck = error
    yield from run.checkpoint(kind, now, thread)
    if stuck is not None:
        raise stuck


def _outside(run: _Run, tried: set[tuple[Any, ...]], failures: list[tuple[str, Exception]]) -> Asks:
    """Set up and tear down what is due, a save each. Failures are kept in the state, and never stop the run."""
    while (due := run.machine.outside_work(tried)) is not None:
        thread, event = due
        tried.add(event_key(thread, event))
        yield from _set_up_or_tear_down(run, thread, event, failures)


def _set_up_or_tear_down(run: _Run, thread: Thread, event: WaitEvent, failures: list[tuple[str, Exception]]) -> Asks:
    machine = run.machine
    setting_up = event.status in (EventStatus.PendingSetup, EventStatus.SetupError)
    kind: Kind = "setup" if setting_up else "teardown"
    # Its names are those of the stop that set it up, which may have passed.
    stop = (thread.id, event.wait, thread.birth, event.request.pc or 0)
    current = Current(run.workflow, run.state, kind, run.clock(), run.deps, stop, event=event.name)
    try:
        call = machine.outside_call(event, kind)
        found = yield current, call, (event.request,) if setting_up else (event.request, event.handled)
        if setting_up:
            machine.set_up(event, found)
        else:
            machine.torn_down(thread, event)
    except Exception as error:  # noqa: BLE001 whatever the user's code raises is kept in the state and tried again
        machine.outside_failed(event, ErrorInfo(type(error).__name__, str(error), event.wait), run.clock())
        line = (
            f"run {run.state.run_id!r}, thread {thread.id!r}, wait {event.wait!r}: {kind} of event {event.name!r} raised "
            f"{type(error).__name__}: {error}"
        )
        logger.warning("%s; it is tried again by the next resume, from %s on", line, event.due_at)
        if setting_up:
            failures.append((line, error))
    checkpoint = CheckpointType.afterSetup if setting_up else CheckpointType.afterTeardown
    yield from run.checkpoint(checkpoint, run.clock(), thread)


def _callback(run: _Run, request: Request, payload: Any) -> Asks:
    machine, state, workflow = run.machine, run.state, run.workflow
    wanted = _request(request, state)
    if state.status not in OVER:
        machine.begin()
    thread, node = accept(run.program, state, wanted)
    on = machine.values[node.index]
    base = int(run.program.class_style)
    given = validate_payload(payload, payload_type(on, workflow, base), node.name, state.run_id)
    backup = Backup(workflow, thread)
    try:
        if on.into is not None:
            machine.store(thread, node, on.into, kept_payload(given, on, workflow, state.run_id))
        output = None
        if on.handler is not None:
            output = yield _handler_call(run, thread, node, given, payload)
    except BaseException:
        backup.put_back()
        raise
    now = run.clock()
    machine.fire(thread, node.name, now)
    machine.checkpoint(now)
    return output


def _handler_call(run: _Run, thread: Thread, node: Node, given: Any, payload: Any) -> Ask:
    machine = run.machine
    handler = machine.values[node.index].handler
    event = next((e for e in thread.events if e.name == node.name and e.request.pc == thread.pc), None)
    current = _current(run, thread, "handler", run.clock(), node.name)
    if callable(handler):
        arguments = (given,) if takes_payload(handler, int(run.program.class_style)) else ()
        return current, handler, machine.arguments(thread, node, handler, arguments)
    # Without an event the Wait has gained it since it was reached: nothing was set up for it.
    request = CallbackRequest(node.name, thread.id, thread.pc, thread.birth, run.state.run_id)
    return current, handler.handle, (request if event is None else event.request, payload)


def _request(request: Request, state: State) -> CallbackRequest:
    if isinstance(request, CallbackRequest):
        return request
    if isinstance(request, Event):
        return CallbackRequest(request.name)
    if isinstance(request, str):
        return CallbackRequest(request)
    raise CallbackError(f"run {state.run_id!r}: expected a CallbackRequest, an Event or the name of an event, not {request!r}")


def _current(run: _Run, thread: Thread, kind: Kind, now: datetime, event: str = "") -> Current:
    node = run.program.by_name.get(thread.position)
    go = thread.name if node is not None and node.go is not None and node.go.own_item is not None else ""
    stop = (thread.id, thread.position, thread.birth, thread.pc)
    items = (thread.frames, go, thread.arg)
    return Current(run.workflow, run.state, kind, now, run.deps, stop, thread.attempt, event, items)


# --- the two shells ---


class _AwaitableError(StepError):
    """A sync driver got something to await."""


def _run(asks: Asks, state: State, invoke: Invoke | None) -> Any:
    """Make the calls that a generator asks for."""
    _take(state)
    try:
        ask = next(asks)
        while True:
            current, call, arguments = ask
            token = CURRENT.set(current)
            try:
                if invoke is None or current.kind == "save":
                    result = call(*arguments)
                else:
                    result = invoke(current, partial(call, *arguments))
                if result is not None and hasattr(type(result), "__await__"):
                    _refuse(current, result)
            except BaseException as error:  # noqa: BLE001 handed on to the generator, which raises what it does not take
                CURRENT.reset(token)
                ask = asks.throw(error)
            else:
                CURRENT.reset(token)
                ask = asks.send(result)
    except StopIteration as stop:
        return stop.value
    finally:
        del _moving[id(state)]


async def _run_async(asks: Asks, state: State, invoke: Invoke | None) -> Any:
    """Make the calls that a generator asks for, and await what is to be awaited."""
    _take(state)
    try:
        ask = next(asks)
        while True:
            current, call, arguments = ask
            token = CURRENT.set(current)
            try:
                if invoke is None or current.kind == "save":
                    result = call(*arguments)
                else:
                    result = invoke(current, partial(_call_async, call, arguments))
                if result is not None and hasattr(type(result), "__await__"):
                    result = await result
            except BaseException as error:  # noqa: BLE001 handed on to the generator, which raises what it does not take
                CURRENT.reset(token)
                ask = asks.throw(error)
            else:
                CURRENT.reset(token)
                ask = asks.send(result)
    except StopIteration as stop:
        return stop.value
    finally:
        del _moving[id(state)]


async def _call_async(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    result = call(*arguments)
    return await result if isawaitable(result) else result


def _take(state: State) -> None:
    """Make sure that nobody else moves the same objects now: an action of the run itself, another task or thread."""
    mine = object()
    if _moving.setdefault(id(state), mine) is mine:
        return
    inside = CURRENT.get()
    where = (
        f"from inside its own {inside.kind} at {inside.position!r}"
        if inside is not None and inside.run_id == state.run_id
        else "while another call moves the same objects"
    )
    raise ConflictError(
        f"run {state.run_id!r}: called {where}. Nothing was changed: let the first call return, or load a copy of your own"
    )


def _refuse(current: Current, awaitable: Any) -> None:
    if iscoroutine(awaitable):
        awaitable.close()
    elif hasattr(awaitable, "cancel"):
        awaitable.cancel()
    raise _AwaitableError(
        f"run {current.run_id!r}, thread {current.thread_id!r}: {current.kind} at {current.position!r} returned a "
        f"{type(awaitable).__name__}, which a sync driver can't await: use resume_async and handle_callback_async",
        step=current.position,
        run_id=current.run_id,
        thread_id=current.thread_id,
    )


# --- what users call ---


def resume(
    workflow: Any,
    state: State,
    save: Save | None = None,
    *,
    now: datetime | None = None,
    deps: Any = None,
    max_steps: int = 10_000,
    invoke: Invoke | None = None,
) -> WorkflowStatus:
    """Move a run forward until nothing is left that it can do by itself; return its status.

    ``save(kind)`` is called at each checkpoint, with a ``CheckpointType``: write ``dump(workflow, state)`` wherever you keep
    your data, if its revision there is still the one that you loaded. All is saved when ``resume`` returns.

    ``now`` (aware) stays fixed if given, else the clock is read at each outcome. ``deps`` is what ``current().deps`` gives
    to actions. After ``max_steps`` actions it returns ``Resuming``. ``invoke(current, call)`` wraps every action, handler,
    setup and teardown: it must call ``call()`` and return what that returns.

    Raises ``StepError`` if an action or condition raises, ``SetupError`` when all else is done and a setup had failed,
    ``DefinitionError``, ``StateError`` and ``PositionError`` before anything runs, and whatever ``save`` raises. After an
    error other than ``SetupError`` discard both objects and load the last snapshot.

    >>> from dataclasses import dataclass
    >>> from flowstmt import State, Step, resume
    >>> @dataclass
    ... class Hello:
    ...     said: int = 0
    ...
    ...     def definition(self):
    ...         return Step("say", self.say)
    ...
    ...     def say(self):
    ...         self.said += 1
    >>> resume(Hello(), State.new("r1", "Hello"), save=lambda kind: print(kind))
    afterResume
    afterStep
    <WorkflowStatus.Finished: 'Finished'>
    """
    run = _Run(workflow, state, save, now, deps)
    run.refuse_async()
    status: WorkflowStatus = _run(_resume(run, _steps(max_steps)), state, invoke)
    return status


async def resume_async(
    workflow: Any,
    state: State,
    save: Save | None = None,
    *,
    now: datetime | None = None,
    deps: Any = None,
    max_steps: int = 10_000,
    invoke: Invoke | None = None,
) -> WorkflowStatus:
    """``resume`` for workflows whose actions, setups or ``save`` may be async; what is not is called as it is.

    Cancelling it leaves a run that goes on from its last checkpoint. ``invoke`` may be async: it gets an async ``call``.
    """
    run = _Run(workflow, state, save, now, deps)
    status: WorkflowStatus = await _run_async(_resume(run, _steps(max_steps)), state, invoke)
    return status


def handle_callback(
    request: Request,
    workflow: Any,
    state: State,
    payload: Any = None,
    *,
    now: datetime | None = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any:
    """Fire an event that a thread waits for; return what its handler returns.

    ``request`` is the event's name, its ``Event`` token, or a ``CallbackRequest``. ``payload`` in bytes is JSON, anything else
    a value; it is validated against what the handler annotates. Save data and state before you acknowledge the callback,
    then call ``resume``.

    Raises a ``CallbackError`` when it is refused, or whatever the handler raises: data and state are as they were.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, State, Wait, handle_callback, resume
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return Wait("payment", On("paid", into="paid"))
    >>> order, state = Order(), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> handle_callback("paid", order, state, b"12")
    >>> order.paid, resume(order, state)
    (12, <WorkflowStatus.Finished: 'Finished'>)
    """
    run = _Run(workflow, state, None, now, deps)
    run.refuse_async()
    return _run(_callback(run, request, payload), state, invoke)


async def handle_callback_async(
    request: Request,
    workflow: Any,
    state: State,
    payload: Any = None,
    *,
    now: datetime | None = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any:
    """``handle_callback`` for handlers that may be async."""
    run = _Run(workflow, state, None, now, deps)
    return await _run_async(_callback(run, request, payload), state, invoke)


def _steps(max_steps: Any) -> int:
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 0:
        raise StateError(f"max_steps must be a whole number from 0, not {max_steps!r}")
    return max_steps
