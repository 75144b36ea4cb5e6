"""The drivers: run what the machine asks for, save where the design says so.

``_resume`` and ``_callback`` are generators that hold all the rules; they yield calls to be made and get the results
sent back. ``_run`` and ``_run_async`` are the two shells that make the calls: one calls, the other also awaits. So the
sync and the async driver can't drift apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextvars import Token
from copy import copy
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
    AFTER_RESUME,
    AFTER_SETUP,
    AFTER_TEARDOWN,
    OVER,
    PENDING_SETUP,
    SETUP_ERROR,
    CallbackRequest,
    CheckpointType,
    ErrorInfo,
    State,
    Thread,
    WaitEvent,
    WorkflowStatus,
    aware,
)
from flowstmt.core.statements import Event
from flowstmt.current import CURRENT, Caller, Current, Kind
from flowstmt.errors import (
    CallbackError,
    ConflictError,
    DefinitionError,
    FlowstmtError,
    SetupError,
    StateError,
    StepError,
    message_of,
    said,
)
from flowstmt.handlers import LEFT_OUT, kept_payload, taken_payload

__all__ = ["handle_callback", "handle_callback_async", "resume", "resume_async"]

logger = logging.getLogger("flowstmt.drive")

Save: TypeAlias = Callable[[CheckpointType], Any]
Invoke: TypeAlias = Callable[[Current, Callable[[], Any]], Any]
Request: TypeAlias = CallbackRequest | Event[Any, Any] | str

Ask: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""A call to be made."""
Asks: TypeAlias = Generator[Ask, Any, Any]

_codec = Codec()
_moving: dict[int, object] = {}
"""The states that a driver has in hand, by id: the same objects can't be moved twice at once."""


_now = partial(datetime.now, UTC)


class _Run(Caller):
    """What one call of a driver was given."""

    __slots__ = ("machine", "not_awaited", "save")

    def __init__(self, workflow: Any, state: State, save: Save | None, now: datetime | None, deps: Any) -> None:
        if not isinstance(state, State):
            raise StateError(f"expected a State, not {state!r}: make one with State.new, or get it from load")
        if save is not None and not callable(save):
            raise StateError(f"run {state.run_id!r}: save must be a callable that takes the checkpoint type, not {save!r}")
        program, values = program_for(workflow, state.run_id)
        super().__init__(workflow, state, program, _now if now is None else _fixed(now, state), deps)
        self.save = save
        # The error that says so if an action gave something that can't be awaited: it is no failure of the action's.
        self.not_awaited: StepError | None = None
        self.machine = Machine(program, values, workflow, state, _codec)

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
            self.kind = "save"
            self.thread = thread
            self.event = None
            self.instant = now
            yield self.save, (kind,)
        self.kind = ""


def _fixed(now: Any, state: State) -> Callable[[], datetime]:
    instant = aware(now, f"run {state.run_id!r}: now")
    return lambda: instant


def _resume(run: _Run, max_steps: int) -> Asks:
    machine, state = run.machine, run.state
    tried: set[tuple[Any, ...]] = set()
    failures: list[tuple[str, Exception]] = []
    machine.turn = None
    if state.status not in OVER:
        machine.begin()
        now = run.clock()
        if machine.settle(now):
            yield from run.checkpoint(AFTER_RESUME, now)
    if machine.outside_work(tried) is not None:
        yield from _outside(run, tried, failures)
    steps = 0
    while (thread := machine.turn) is not None and steps < max_steps:
        run.kind = "action"
        run.thread = thread
        run.event = run.instant = None
        try:
            result = yield machine.action(thread)
        except Exception as error:
            if error is run.not_awaited:
                raise
            raise _action_failed(state, thread, error) from error
        now = run.clock()
        kind = machine.complete(thread, result, now)
        run.kind = ""
        stuck = _move_on(run, partial(machine.settle, now))
        if run.save is None:
            machine.checkpoint(now)
        else:
            yield from run.checkpoint(kind, now, thread)
        if stuck is not None:
            raise stuck
        if machine.outside_work(tried) is not None:
            yield from _outside(run, tried, failures)
        steps += 1
    if failures:
        raise _setups_failed(state, failures) from failures[0][1]
    return state.status


def _move_on(run: _Run, settle: Callable[[], object]) -> FlowstmtError | None:
    """All moves that follow from an outcome; what keeps them from being made.

    The action has run: that is saved whatever its consequences are.
    """
    try:
        if not run.program.class_style:
            run.machine.values = rebuild(run.program, run.workflow, run.state.run_id)
        settle()
    except FlowstmtError as error:
        return error
    return None


def _action_failed(state: State, thread: Thread, error: Exception) -> StepError:
    return StepError(
        f"run {state.run_id!r}, thread {thread.id!r}, step {thread.position!r}: its action raised "
        f"{said(error)}. Nothing was saved since the last checkpoint: discard the objects, mend the "
        "cause and resume from the last snapshot",
        step=thread.position,
        run_id=state.run_id,
        thread_id=thread.id,
    )


def _setups_failed(state: State, failures: list[tuple[str, Exception]]) -> SetupError:
    return SetupError(
        f"run {state.run_id!r}: setups failed: {len(failures)}; everything else is done and saved, and the next resume tries "
        "again:",
        [line for line, _ in failures],
    )


def _outside(run: _Run, tried: set[tuple[Any, ...]], failures: list[tuple[str, Exception]]) -> Asks:
    """Set up and tear down what is due, a save each. Failures are kept in the state, and never stop the run."""
    while (due := run.machine.outside_work(tried)) is not None:
        thread, event = due
        tried.add(event_key(thread, event))
        yield from _set_up_or_tear_down(run, thread, event, failures)


def _set_up_or_tear_down(run: _Run, thread: Thread, event: WaitEvent, failures: list[tuple[str, Exception]]) -> Asks:
    machine = run.machine
    setting_up = event.status in (PENDING_SETUP, SETUP_ERROR)
    kind: Kind = "setup" if setting_up else "teardown"
    run.kind = kind
    run.thread = thread
    run.event = event
    run.instant = None
    backup: Backup | None = None
    try:
        backup = Backup(run.workflow, thread)
        call = machine.outside_call(event, kind)
        # A copy: what user code does to it must not change which event this is.
        request = copy(event.request)
        found = yield call, (request,) if setting_up else (request, event.handled)
        if setting_up:
            machine.set_up(event, found)
        else:
            machine.torn_down(thread, event)
    except Exception as error:  # noqa: BLE001 whatever the user's code raises is kept in the state and tried again
        if backup is not None:
            backup.put_back()
        machine.outside_failed(event, ErrorInfo(type(error).__name__, message_of(error), event.wait), run.clock())
        line = (
            f"run {run.state.run_id!r}, thread {thread.id!r}, wait {event.wait!r}: {kind} of event {event.name!r} raised "
            f"{said(error)}"
        )
        logger.warning("%s; it is tried again by the next resume, from %s on", line, event.due_at)
        if setting_up:
            failures.append((line, error))
    run.kind = ""
    # It may have changed data: conditions are asked again, as after an action.
    stuck = None if run.state.status in OVER else _move_on(run, machine.settle_again)
    yield from run.checkpoint(AFTER_SETUP if setting_up else AFTER_TEARDOWN, run.clock(), thread)
    if stuck is not None:
        raise stuck


def _callback(run: _Run, request: Request, payload: Any) -> Asks:
    machine, state, workflow = run.machine, run.state, run.workflow
    wanted = _request(request, state)
    if state.status not in OVER:
        machine.begin()
    thread, node = accept(run.program, state, wanted)
    on = machine.values[node.index]
    given, kept = taken_payload(payload, on, workflow, int(run.program.class_style), state.run_id)
    backup = Backup(workflow, thread)
    output = None
    run.kind = "handler"
    run.thread = thread
    try:
        if on.into is not None and kept is not LEFT_OUT:
            machine.store(thread, node, on.into, kept_payload(kept, on, workflow, state.run_id))
        if on.handler is not None:
            output = yield _handler_call(run, thread, node, given, payload)
    except BaseException:
        backup.put_back()
        raise
    now = run.clock()
    machine.turn = None
    machine.fire(thread, node.name, now)
    machine.checkpoint(now)
    return output


def _handler_call(run: _Run, thread: Thread, node: Node, given: tuple[Any, ...], payload: Any) -> Ask:
    machine = run.machine
    handler = machine.values[node.index].handler
    run.kind = "handler"
    run.thread = thread
    run.instant = None
    for event in thread.events:
        if event.name == node.name and event.request.pc == thread.pc:
            run.event = event
            break
    else:
        # The Wait has gained the event since it was reached: nothing was set up for it.
        request = CallbackRequest(node.name, thread.id, thread.pc, thread.birth, run.state.run_id)
        run.event = event = WaitEvent(node.name, thread.position, request=request)
    if callable(handler):
        return handler, machine.arguments(thread, node, handler, given)
    return handler.handle, (copy(event.request), payload)


def _request(request: Request, state: State) -> CallbackRequest:
    if isinstance(request, CallbackRequest):
        return request
    if isinstance(request, Event):
        return CallbackRequest(request.name)
    if isinstance(request, str):
        return CallbackRequest(request)
    raise CallbackError(f"run {state.run_id!r}: expected a CallbackRequest, an Event or the name of an event, not {request!r}")


# --- the two shells ---


class _StopIterationError(Exception):
    """A StopIteration of the user's on its way out: by itself it would look like the end of the generator."""

    def __init__(self, raised: StopIteration) -> None:
        super().__init__()
        self.raised = raised


def _throw(asks: Asks, error: BaseException) -> Ask:
    try:
        return asks.throw(error)
    except RuntimeError as raised:
        # What a generator makes of a StopIteration that passes through it.
        if isinstance(error, StopIteration) and raised.__cause__ is error:
            raise _StopIterationError(error) from None
        raise


def _run(asks: Asks, run: _Run, invoke: Invoke | None) -> Any:
    """Make the calls that a generator asks for."""
    _take(run.state)
    token = CURRENT.set(run)
    try:
        call, arguments = next(asks)
        while True:
            try:
                if invoke is None or run.kind == "save":
                    result = call(*arguments)
                else:
                    result = invoke(Current(run), partial(call, *arguments))
                if result is not None and hasattr(type(result), "__await__"):
                    raise _refused(run, result, "which a sync driver can't await: use resume_async and handle_callback_async")
            except BaseException as error:  # noqa: BLE001 handed on to the generator, which raises what it does not take
                call, arguments = _throw(asks, error)
            else:
                call, arguments = asks.send(result)
    except _StopIterationError as passing:
        raise passing.raised from None
    except StopIteration as stop:
        return stop.value
    finally:
        del _moving[id(run.state)]
        CURRENT.reset(token)


async def _run_async(asks: Asks, run: _Run, invoke: Invoke | None) -> Any:
    """Make the calls that a generator asks for, and await what is to be awaited."""
    _take(run.state)
    token = CURRENT.set(run)
    try:
        call, arguments = next(asks)
        while True:
            # Of its own for each call: a task that an action leaves behind must not see the key of the next one.
            current = Current(run)
            inner = CURRENT.set(current)
            try:
                if invoke is None or run.kind == "save":
                    result = call(*arguments)
                else:
                    result = invoke(current, partial(_call_async, call, arguments))
                if result is not None and hasattr(type(result), "__await__"):
                    result = await result
                    if invoke is not None and hasattr(type(result), "__await__"):
                        # An ``invoke`` that called in a worker thread, say, hands on what is still to be awaited.
                        result = await result
                    if hasattr(type(result), "__await__"):
                        raise _refused(run, result, "instead of awaiting it: was an await forgotten?")
            except BaseException as error:  # noqa: BLE001 handed on to the generator, which raises what it does not take
                _leave(inner)
                call, arguments = asks.throw(error)
            else:
                _leave(inner)
                call, arguments = asks.send(result)
    except StopIteration as stop:
        return stop.value
    finally:
        del _moving[id(run.state)]
        _leave(token)


class _Done:
    """What a plain function returned, for who awaits it."""

    __slots__ = ("_result",)

    def __init__(self, result: Any) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result
        yield


def _call_async(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call here, in whatever thread ``invoke`` chose; what comes back can be awaited, be the function async or not."""
    result = call(*arguments)
    return result if isawaitable(result) else _Done(result)


def _take(state: State) -> None:
    """Make sure that nobody else moves the same objects now: an action of the run itself, another task or thread."""
    mine = (state,)  # the state too, so that its id is not given to another one meanwhile
    if _moving.setdefault(id(state), mine) is mine:
        return
    inside = CURRENT.get()
    where = "while another call moves the same objects"
    if inside is not None and inside.state is state and inside.kind:
        at = inside if isinstance(inside, Current) else Current(inside)
        where = f"from inside its own {at.kind} at {at.position!r}"
    raise ConflictError(
        f"run {state.run_id!r}: called {where}. Nothing was changed: let the first call return, or load a copy of your own"
    )


def _leave(token: Token[Any]) -> None:
    try:
        CURRENT.reset(token)
    except ValueError:
        # A coroutine that was dropped is closed by whoever collects it, in another context: there is nothing to reset there.
        return


def _refused(run: _Run, awaitable: Any, why: str) -> FlowstmtError:
    """The error for something awaitable that nobody can await; it is closed, so that Python does not complain as well."""
    if iscoroutine(awaitable):
        awaitable.close()
    elif hasattr(awaitable, "cancel"):
        awaitable.cancel()
    what = f"a {type(awaitable).__name__}"
    if run.kind == "save":
        return DefinitionError(f"run {run.state.run_id!r}: save returned {what}, {why}")
    at = Current(run)
    run.not_awaited = StepError(
        f"run {at.run_id!r}, thread {at.thread_id!r}: {at.kind} at {at.position!r} returned {what}, {why}",
        step=at.position,
        run_id=at.run_id,
        thread_id=at.thread_id,
    )
    return run.not_awaited


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
    status: WorkflowStatus = _run(_resume(run, _steps(max_steps)), run, _hook(invoke, state))
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
    status: WorkflowStatus = await _run_async(_resume(run, _steps(max_steps)), run, _hook(invoke, state))
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
    return _run(_callback(run, request, payload), run, _hook(invoke, state))


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
    return await _run_async(_callback(run, request, payload), run, _hook(invoke, state))


def _hook(invoke: Any, state: State) -> Invoke | None:
    if invoke is not None and not callable(invoke):
        raise StateError(f"run {state.run_id!r}: invoke must be a callable that takes current and call, not {invoke!r}")
    hook: Invoke | None = invoke
    return hook


def _steps(max_steps: Any) -> int:
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 0:
        raise StateError(f"max_steps must be a whole number from 0, not {max_steps!r}")
    return max_steps
