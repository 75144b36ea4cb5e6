"""The drivers: the calls that ``rounds.py`` asks for are made here, by one shell that calls and one that also awaits.

All rules are in the generators that both shells run, so the sync and the async driver can't drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Token
from datetime import datetime
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, TypeAlias

from flowstmt.core.state import State, WorkflowStatus
from flowstmt.current import CURRENT, Current
from flowstmt.errors import ConflictError, DefinitionError, FlowstmtError, StateError, StepError
from flowstmt.rounds import Ask, Asks, Request, Run, Save, callback_round, resume_rounds

__all__ = ["handle_callback", "handle_callback_async", "resume", "resume_async"]

Invoke: TypeAlias = Callable[[Current, Callable[[], Any]], Any]

_moving: dict[int, object] = {}
"""The states that a driver has in hand, by id: the same objects can't be moved twice at once."""


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


def _run(asks: Asks, run: Run, invoke: Invoke | None) -> Any:
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


async def _run_async(asks: Asks, run: Run, invoke: Invoke | None) -> Any:
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


def _refused(run: Run, awaitable: Any, why: str) -> FlowstmtError:
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
    run = Run(workflow, state, save, now, deps)
    run.refuse_async()
    status: WorkflowStatus = _run(resume_rounds(run, _steps(max_steps)), run, _hook(invoke, state))
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
    run = Run(workflow, state, save, now, deps)
    status: WorkflowStatus = await _run_async(resume_rounds(run, _steps(max_steps)), run, _hook(invoke, state))
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
    run = Run(workflow, state, None, now, deps)
    run.refuse_async()
    return _run(callback_round(run, request, payload), run, _hook(invoke, state))


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
    run = Run(workflow, state, None, now, deps)
    return await _run_async(callback_round(run, request, payload), run, _hook(invoke, state))


def _hook(invoke: Any, state: State) -> Invoke | None:
    if invoke is not None and not callable(invoke):
        raise StateError(f"run {state.run_id!r}: invoke must be a callable that takes current and call, not {invoke!r}")
    hook: Invoke | None = invoke
    return hook


def _steps(max_steps: Any) -> int:
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 0:
        raise StateError(f"max_steps must be a whole number from 0, not {max_steps!r}")
    return max_steps
