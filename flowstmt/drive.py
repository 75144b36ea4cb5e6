"""The drivers: the calls that ``rounds.py`` asks for are made here, by one shell that calls and one that also awaits.

All rules are in the generators that both shells run, so the sync and the async driver can't drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Token
from functools import partial
from inspect import isawaitable, iscoroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Never, Protocol, Self, TypeAlias, TypeVar, overload

from flowstmt.callback_round import Request, callback_round
from flowstmt.core.state import CallbackRequest, CheckpointType, State, WorkflowStatus
from flowstmt.current import CURRENT, Ask, Caller, Current, Saving
from flowstmt.errors import ConflictError, DefinitionError, FlowstmtError, StateError, StepError, a_kind_of, quoted
from flowstmt.rounds import resume_rounds
from flowstmt.run import Asks, Now, Run, Save

if TYPE_CHECKING:
    from flowstmt.beside import Beside
    from flowstmt.core.statements import Answer, Event, Statement

    _TypeT_co = TypeVar("_TypeT_co", covariant=True)
    _QuietT_co = TypeVar("_QuietT_co", covariant=True)

    class Payload(Protocol[_TypeT_co, _QuietT_co]):
        # Nothing is one (no reduction is a payload), but to mypy anything may be one until it knows the types. So it takes the
        # payload's type from the event alone, and says which argument is wrong, instead of "Cannot infer value of type
        # parameter". The Never keeps it from saying why nothing is one.
        def __reduce__(self) -> _TypeT_co: ...  # type: ignore[override]

# ``flowstmt.beside`` is loaded by the async drivers themselves: asyncio takes longer to load than all of flowstmt, and who
# doesn't await has no use for it.

__all__ = ["alone", "handle_callback", "handle_callback_async", "resume", "resume_async"]

Invoke: TypeAlias = Callable[[Current, Callable[[], Any]], Any]
EventPayloadT = TypeVar("EventPayloadT")
EventOutputT = TypeVar("EventOutputT")

_VALUES = frozenset((str, int, bool, float, dict, list, tuple))
"""Types of results that can't be awaited: to find that out of a type takes longer than all else that is done with a result."""

_moving: dict[int, object] = {}
"""Who has the objects of a run in hand, by the id of its state: the same objects can't be moved twice at once."""


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
    _take(run.state, run)
    run.outer = CURRENT.get()
    token = CURRENT.set(run)
    try:
        call, arguments = next(asks)
        while True:
            try:
                if invoke is None or run.kind == "save":
                    result = call(*arguments)
                else:
                    result = _invoked(run, invoke, call, arguments)
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


def _invoked(run: Run, invoke: Invoke, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Let the hook make a call. What it has set on its ``current`` is what the called function sees."""
    current = Current(run, call)
    token = CURRENT.set(current)
    try:
        return invoke(current, partial(call, *arguments))
    finally:
        current.over = True
        CURRENT.reset(token)


async def _run_async(asks: Asks, run: Run, invoke: Invoke | None) -> Any:
    """Make the calls that a generator asks for, and await what is to be awaited."""
    run.outer = CURRENT.get()
    # Not the run, as in the sync shell: what a task that a condition leaves behind calls is not inside of anything.
    token = CURRENT.set(None)
    plain = run.machine.call_setter
    run.machine.call_setter = run.call_setter
    try:
        call, arguments = next(asks)
        while True:
            try:
                if not run.kind:
                    result = await call(*arguments)
                else:
                    # As in ``_perform``, spelt out where every step passes twice.
                    inside: Current | Saving
                    if run.kind == "save":
                        inside = Saving(run)
                    elif invoke is None:
                        inside = Current(run, call)
                    else:
                        inside = _Hooked(run, call)
                        inside.ask = call, arguments
                        call, arguments = invoke, (inside, inside.make)
                    inner = CURRENT.set(inside)
                    try:
                        result = call(*arguments)
                        if result is not None and (type(result) is CoroutineType or hasattr(type(result), "__await__")):
                            result = await result
                            if result is not None and type(result) not in _VALUES and hasattr(type(result), "__await__"):
                                result = await _awaited(run, result, invoke)
                    finally:
                        inside.over = True
                        try:
                            CURRENT.reset(inner)
                        except ValueError:
                            pass  # as in ``_leave``
            except BaseException as error:  # noqa: BLE001 handed on to the generator, which raises what it does not take
                call, arguments = asks.throw(error)
            else:
                call, arguments = asks.send(result)
    except StopIteration as stop:
        return stop.value
    finally:
        run.machine.call_setter = plain
        _leave(token)


async def _perform(caller: Caller, ask: Ask, invoke: Invoke | None) -> Any:
    """Make the call of an action in flight, and await what it gives."""
    call, arguments = ask
    # Of its own for each call: a task that an action leaves behind must not see the key of the next one.
    current = _Hooked(caller, call)
    current.ask = ask
    token = CURRENT.set(current)
    try:
        result = call(*arguments) if invoke is None else invoke(current, current.make)
        if result is not None and hasattr(type(result), "__await__"):
            result = await result
            if result is not None and hasattr(type(result), "__await__"):
                result = await _awaited(caller, result, invoke)
        return result
    finally:
        current.over = True
        _leave(token)


async def _awaited(caller: Caller, result: Any, invoke: Invoke | None) -> Any:
    """What comes of a call whose result, awaited, gave one more thing to await."""
    if invoke is not None:
        # An ``invoke`` that called in a worker thread, say, hands on what is still to be awaited.
        result = await result
    if hasattr(type(result), "__await__"):
        raise _refused(caller, result, "instead of awaiting it: was an await forgotten?")
    return result


async def _resume_beside(run: Run, max_steps: int, beside: Beside, invoke: Invoke | None) -> WorkflowStatus:
    """A resume that takes callbacks and lets actions fly; however it ends, nothing goes on beside it afterwards."""
    _take(run.state, beside)
    run.beside = beside
    try:
        status: WorkflowStatus = await _run_async(resume_rounds(run, max_steps), run, invoke)
    except GeneratorExit as dropped:
        # Nobody awaits this coroutine any more, so it can't await either.
        beside.abandon(dropped)
        raise
    except BaseException as error:
        await beside.end(error)
        raise
    finally:
        del _moving[id(run.state)]
    return status


class _Hooked(Current):
    """A call that an ``invoke`` hook is to make.

    The hook gets a method of what is there anyhow: a ``partial`` of a function that does the same takes three times as long.
    """

    __slots__ = ("ask",)
    ask: Ask

    def make(self) -> Any:
        """Call here, in whatever thread ``invoke`` chose; what comes back can be awaited, be the function async or not."""
        call, arguments = self.ask
        result = call(*arguments)
        return result if type(result) is CoroutineType or isawaitable(result) else _Done(result)


class _Done:
    """What a plain function returned, for who awaits it."""

    __slots__ = ("_result",)

    def __init__(self, result: Any) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result
        yield


def _take(state: State, owner: object) -> None:
    """Make sure that nobody else moves the same objects now: an action of the run itself, another task or thread.

    The owner holds the state, so that its id is not given to another one meanwhile.
    """
    if CURRENT.get() is not None:
        _refuse_inside(state)
    if _moving.setdefault(id(state), owner) is not owner:
        raise _conflict(state, "while another call moves the same objects", "or load a copy of your own")


@contextmanager
def alone(state: State) -> Iterator[None]:
    """For whoever changes a run from outside of the drivers: nobody else moves the same objects meanwhile."""
    _take(state, object())
    try:
        yield
    finally:
        del _moving[id(state)]


def _refuse_inside(state: State) -> None:
    """Whoever waits for a run from inside of its own call waits for ever."""
    inside = CURRENT.get()
    while inside is not None:
        if inside.state is state and inside.kind and not (isinstance(inside, Current) and inside.over):
            at = inside if isinstance(inside, Current) else Current(inside.run if isinstance(inside, Saving) else inside)
            raise _conflict(
                state, f"from inside its own {at.kind} at {at.position!r}", "the driver that called it goes on with the run"
            )
        inside = inside.outer


def _conflict(state: State, called: str, advice: str) -> ConflictError:
    return ConflictError(f"run {state.run_id!r}: called {called}. Nothing was changed: let the first call return, {advice}")


def _leave(token: Token[Any]) -> None:
    try:
        CURRENT.reset(token)
    except ValueError:
        # A coroutine that was dropped is closed by whoever collects it, in another context: there is nothing to reset there.
        return


def _refused(caller: Caller, awaitable: Any, why: str) -> FlowstmtError:
    """The error for something awaitable that nobody can await; it is closed, so that Python does not complain as well."""
    if iscoroutine(awaitable):
        awaitable.close()
    elif hasattr(awaitable, "cancel"):
        awaitable.cancel()
    what = a_kind_of(awaitable)
    if caller.kind == "save":
        return DefinitionError(f"run {caller.state.run_id!r}: save returned {what}, {why}")
    at = Current(caller)
    caller.not_awaited = StepError(
        f"run {at.run_id!r}, thread {at.thread_id!r}: {at.kind} at {at.position!r} returned {what}, {why}",
        step=at.position,
        run_id=at.run_id,
        thread_id=at.thread_id,
    )
    return caller.not_awaited


# --- what users call ---


class Workflow(Protocol):
    """What a driver moves: an object whose class defines it, in instance style or in class style."""

    def definition(self) -> Statement[Self, object, object]:
        """The tree of its statements."""


def resume(
    workflow: Workflow,
    state: State,
    save: Callable[[CheckpointType], Answer] | None = None,
    *,
    now: Now = None,
    deps: Any = None,
    max_steps: int = 10_000,
    invoke: Invoke | None = None,
) -> WorkflowStatus:
    """Move a run forward until nothing is left that it can do by itself; return its status.

    ``save(kind)`` is called at each checkpoint, with a ``CheckpointType``: write ``dump(workflow, state)`` wherever you keep
    your data, if its revision there is still the one that you loaded. All is saved when ``resume`` returns.

    The clock is read at each outcome: yours, if ``now`` is a callable that returns aware datetimes; a datetime given as ``now``
    stays fixed. ``deps`` is what ``current().deps`` gives to actions. After ``max_steps`` actions it returns ``Resuming``.
    ``invoke(current, call)`` wraps every action, handler, setup and teardown: it must call ``call()`` and return what that
    returns. Before that it may set ``current.connection`` and ``current.publisher``.

    Raises ``StepError`` if an action or condition raises, ``SetupError`` when all else is done and a setup had failed,
    ``DefinitionError``, ``StateError`` and ``PositionError`` before anything runs, and whatever ``save`` raises. A
    ``DefinitionError`` comes later where only the data show it: two threads of one id, a loop without progress, a shape that
    changed. After an error other than ``SetupError`` discard both objects and load the last snapshot.

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
    hook = None if invoke is None else _hook(invoke, state)
    status: WorkflowStatus = _run(resume_rounds(run, _steps(max_steps, state)), run, hook)
    return status


async def resume_async(
    workflow: Workflow,
    state: State,
    save: Save | None = None,
    *,
    now: Now = None,
    deps: Any = None,
    max_steps: int = 10_000,
    invoke: Invoke | None = None,
    concurrency: int = 1,
) -> WorkflowStatus:
    """``resume`` for workflows whose actions, setups or ``save`` may be async; what is not is called as it is.

    Up to ``concurrency`` actions run at once: those of steps with ``concurrent=True``, and beside them at most one other.
    ``handle_callback_async`` may be called on the same objects meanwhile: its callback is taken between two checkpoints.

    Cancelling it leaves a run that goes on from its last checkpoint. Before any error leaves it, what is in flight has been
    cancelled and has come to its end. ``invoke`` may be async: it gets an async ``call``. Raises what ``resume`` raises.

    >>> import asyncio
    >>> from dataclasses import dataclass
    >>> from flowstmt import State, Step, resume_async
    >>> @dataclass
    ... class Fetch:
    ...     page: str = ""
    ...
    ...     def definition(self):
    ...         return Step("fetch", self.fetch, into="page")
    ...
    ...     async def fetch(self):
    ...         return "<html>"
    >>> fetch = Fetch()
    >>> asyncio.run(resume_async(fetch, State.new("r1", "Fetch")))
    <WorkflowStatus.Finished: 'Finished'>
    >>> fetch.page
    '<html>'
    """
    from flowstmt.beside import Beside  # noqa: PLC0415 see the top

    run = Run(workflow, state, save, now, deps)
    hook = _hook(invoke, state)
    beside = Beside(workflow, state, _slots(concurrency, state), partial(_perform, invoke=hook))
    if run.program.has_timeouts:
        from flowstmt.awaited import AwaitedDeadlines  # noqa: PLC0415 as above

        run.keep_time_with(AwaitedDeadlines(state.run_id))
    return await _resume_beside(run, _steps(max_steps, state), beside, hook)


@overload
def handle_callback(
    request: Event[EventPayloadT, EventOutputT],
    workflow: Workflow,
    state: State,
    payload: EventPayloadT | Payload[EventPayloadT, Never] | bytes | bytearray | memoryview,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> EventOutputT: ...


@overload
def handle_callback(
    request: Event[None, EventOutputT],
    workflow: Workflow,
    state: State,
    payload: None = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> EventOutputT: ...


@overload
def handle_callback(
    request: CallbackRequest | str,
    workflow: Workflow,
    state: State,
    payload: Any = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any: ...


def handle_callback(
    request: Request,
    workflow: Workflow,
    state: State,
    payload: Any = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any:
    """Fire an event that a thread waits for; return what its handler returns.

    ``request`` is the event's name, its ``Event`` token, or a ``CallbackRequest``. ``payload`` in bytes is JSON, anything else
    a value; it is validated against what the handler annotates, or the event's ``schema``. Save data and state before you
    acknowledge the callback, then call ``resume``.

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


@overload
async def handle_callback_async(
    request: Event[EventPayloadT, EventOutputT],
    workflow: Workflow,
    state: State,
    payload: EventPayloadT | Payload[EventPayloadT, Never] | bytes | bytearray | memoryview,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> EventOutputT: ...


@overload
async def handle_callback_async(
    request: Event[None, EventOutputT],
    workflow: Workflow,
    state: State,
    payload: None = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> EventOutputT: ...


@overload
async def handle_callback_async(
    request: CallbackRequest | str,
    workflow: Workflow,
    state: State,
    payload: Any = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any: ...


async def handle_callback_async(
    request: Request,
    workflow: Workflow,
    state: State,
    payload: Any = None,
    *,
    now: Now = None,
    deps: Any = None,
    invoke: Invoke | None = None,
) -> Any:
    """``handle_callback`` for handlers that may be async.

    It may be called while ``resume_async`` runs on the same objects, in the same event loop. Then it waits for its turn, and
    that resume saves it (``afterCallback``) before this returns: there is nothing to save, and nothing to resume.
    If the resume ends with an error before that, or its save raises, a ``ConflictError`` says that the callback was not taken,
    once what was in flight has come to its end: load the run, and hand it in again.
    Cancelled before its handler has returned, it changes nothing. Raises what ``handle_callback`` raises.

    >>> import asyncio
    >>> from dataclasses import dataclass
    >>> from flowstmt import On, State, Wait, handle_callback_async, resume_async
    >>> @dataclass
    ... class Order:
    ...     def definition(self):
    ...         return Wait("payment", On("paid", self.take))
    ...
    ...     async def take(self, amount: int) -> str:
    ...         return f"{amount} taken"
    >>> async def main():
    ...     order, state = Order(), State.new("r1", "Order")
    ...     await resume_async(order, state)
    ...     return await handle_callback_async("paid", order, state, b"12")
    >>> asyncio.run(main())
    '12 taken'
    """
    from flowstmt.beside import Beside  # noqa: PLC0415 see the top

    hook = _hook(invoke, state)
    callback = partial(_callback, request, workflow, state, payload, now, deps, hook)
    owner = _moving.get(id(state))
    if isinstance(owner, Beside) and owner.is_of_this_loop():
        _refuse_inside(state)
        return await owner.wait_for_turn(workflow, callback).answer()
    _take(state, callback)
    try:
        return await callback()
    finally:
        del _moving[id(state)]


async def _callback(
    request: Request, workflow: Any, state: State, payload: Any, now: Now, deps: Any, invoke: Invoke | None
) -> Any:
    run = Run(workflow, state, None, now, deps)
    return await _run_async(callback_round(run, request, payload), run, invoke)


def _hook(invoke: Any, state: State) -> Invoke | None:
    if invoke is not None and not callable(invoke):
        raise StateError(
            f"run {state.run_id!r}: invoke must be a callable that takes current and call, not {a_kind_of(invoke)}"
        )
    hook: Invoke | None = invoke
    return hook


def _slots(concurrency: Any, state: State) -> int:
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise StateError(f"run {state.run_id!r}: concurrency must be a whole number from 1, not {quoted(concurrency)}")
    return concurrency


def _steps(max_steps: Any, state: State) -> int:
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or max_steps < 0:
        raise StateError(f"run {state.run_id!r}: max_steps must be a whole number from 0, not {quoted(max_steps)}")
    return max_steps
