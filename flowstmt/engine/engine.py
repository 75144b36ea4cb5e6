"""The engine: what users call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from os import getpid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self, TypeVar, overload

from flowstmt.core.policies import Retry
from flowstmt.core.state import CallbackRequest, is_text
from flowstmt.describe.possibilities import Legal
from flowstmt.drive import Workflow
from flowstmt.engine.acting import Request
from flowstmt.engine.catalogue import Catalogue
from flowstmt.engine.health import Health
from flowstmt.engine.letters import DeadLetter
from flowstmt.engine.looking import label_of, statuses_of
from flowstmt.engine.parts import Parts
from flowstmt.engine.queues import Queue, queues_by_name
from flowstmt.engine.runs import Page, RunInfo, run_info
from flowstmt.engine.settings import DEFAULT_RETRY, Settings, new_worker_id
from flowstmt.engine.watching import Change
from flowstmt.errors import FlowstmtError, StateError, quoted
from flowstmt.stores.protocol import HistoryRow, RunQuery, Store

if TYPE_CHECKING:
    from flowstmt.core.statements import Event
    from flowstmt.drive import Payload

__all__ = ["Engine"]

EventPayloadT = TypeVar("EventPayloadT")
EventOutputT = TypeVar("EventOutputT")

_SECONDS_30 = timedelta(seconds=30)


class Engine:
    """Starts, stores, wakes, retries and hands over runs; one object for each process and database.

    ``workflows`` are the classes whose runs it knows, or a dict of names and classes; a run keeps the name of its class.
    With ``worker=False`` this process moves nothing by itself: it starts runs and hands in callbacks for others that do.

    Used as ``async with``, in one event loop; ``SyncEngine`` is for code without one. Leaving it finishes or hands back what
    is in flight, within ``shutdown_timeout``. Raises ``StateError`` for settings and ``DefinitionError`` for workflows that
    can't be used.

    Args:
        store: Where runs are kept: a ``SQLiteStore``, ``PostgresStore``, ``MemoryStore``, or one of your own.
        workflows: The classes of workflows.
        deps: What ``current().deps`` gives to actions.
        worker: Whether this process moves runs.
        concurrency: So many runs are moved at once.
        step_concurrency: So many actions of concurrent steps run at once in one run.
        lease: A run is taken over when its worker was not heard of for so long.
        poll: How often the database is looked at when nothing says that there is something to do.
        retry: The policy for failures that nothing in the workflow takes; then the run is ``Paused``, until ``retry``.
        history: Whether each attempt at a step is kept, for ``history``.
        queues: The queues that runs may stand in.
        shutdown_timeout: So long is waited, when it is left, for actions in flight.
        worker_id: How this worker is called in the database.
        clock: What stands in for the clock of this machine, in tests.

    >>> import asyncio
    >>> from dataclasses import dataclass
    >>> from flowstmt import Engine, Event, MemoryStore, On, S, Step, Wait
    >>> PAID = Event("paid", int, str)
    >>> @dataclass
    ... class Order:
    ...     sku: str
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return S(Wait("payment", On(PAID, self.pay)), Step("ship", self.ship))
    ...
    ...     def pay(self, amount: int) -> str:
    ...         self.paid = amount
    ...         return f"{amount} taken"
    ...
    ...     def ship(self):
    ...         self.sku += ", shipped"
    >>> async def main():
    ...     async with Engine(MemoryStore(), workflows=[Order]) as engine:
    ...         run = await engine.start(Order("tea"), run_id="order-1", labels={"customer": "c-42"})
    ...         await engine.await_status(run.run_id, "Waiting")
    ...         print(await engine.callback(run.run_id, PAID, 5))
    ...         await engine.result(run.run_id)
    ...         print((await engine.get(run.run_id)).status)
    >>> asyncio.run(main())
    5 taken
    Finished
    """

    def __init__(
        self,
        store: Store,
        workflows: Iterable[type[Any]] | Mapping[str, type[Any]],
        *,
        deps: Any = None,
        worker: bool = True,
        concurrency: int = 100,
        step_concurrency: int = 10,
        lease: timedelta = timedelta(seconds=30),
        poll: timedelta = timedelta(seconds=1),
        retry: Retry = DEFAULT_RETRY,
        history: bool = False,
        queues: Iterable[Queue] = (),
        shutdown_timeout: timedelta = timedelta(seconds=10),
        worker_id: str | None = None,
        clock: Any = None,
    ) -> None:
        self._store = store
        if not callable(getattr(store, "commit", None)):
            raise StateError(f"Engine: store must be a store, as SQLiteStore(...) is one, not {quoted(store)}")
        self._catalogue = Catalogue(workflows)
        self._queues = queues_by_name(queues)
        self._settings = Settings(
            deps=deps,
            worker=worker,
            concurrency=concurrency,
            step_concurrency=step_concurrency,
            lease=lease,
            poll=poll,
            retry=retry,
            history=history,
            queues=[queue.limits() for queue in self._queues.values()],
            shutdown_timeout=shutdown_timeout,
            worker_id=new_worker_id() if worker_id is None else worker_id,
            clock=clock,
        )
        self._parts: Parts | None = None
        self._entered = False

    @property
    def worker_id(self) -> str:
        """How this worker is called in the database."""
        return self._settings.worker_id

    @property
    def store(self) -> Store:
        """Where runs are kept."""
        return self._store

    @property
    def workflows(self) -> Mapping[str, int]:
        """The names of the workflows that it knows, each with the highest version that it can move."""
        return self._catalogue.known()

    @property
    def is_worker(self) -> bool:
        """Whether this process moves runs by itself."""
        return self._settings.worker

    async def __aenter__(self) -> Self:
        if self._entered:
            raise FlowstmtError(
                "this engine is in use already: `async with` it once in a process, and hand the object to whoever needs it"
            )
        self._entered = True
        try:
            self._parts = await Parts.begin(self._store, self._catalogue, self._settings, self._queues)
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        parts = self._inside("leaving it")
        self._parts = None
        try:
            await parts.end()
        finally:
            self._entered = False

    def _inside(self, what: str) -> Parts:
        """The parts of an engine that is in use here. Raises ``FlowstmtError`` otherwise."""
        parts = self._parts
        if parts is None:
            raise FlowstmtError(f"engine: {what} needs an engine that is in use: call it inside `async with engine:`")
        if parts.process != getpid():
            raise FlowstmtError(
                f"engine: {what} was called in a process that was forked from the one in which the engine is in use: its "
                "threads and connections stayed there. Make an engine with a store of its own behind the fork"
            )
        if parts.loop is not asyncio.get_running_loop():
            raise FlowstmtError(
                f"engine: {what} was called in another event loop than the one in which the engine is in use; from other "
                "threads use asyncio.run_coroutine_threadsafe, or a SyncEngine"
            )
        return parts

    # --- starting ---

    async def start(
        self,
        workflow: Workflow,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        single_flight: str | None = None,
        queue: str | None = None,
        queue_key: str | None = None,
        priority: int | None = None,
        start_at: datetime | None = None,
        connection: Any = None,
    ) -> RunInfo:
        """Start a run with the data of a workflow object; it is stored when this returns.

        Idempotent by ``run_id`` (without one a UUID is made): the same data give the run that there is, whatever has become
        of it since; other data, or another workflow, are a ``ConflictError``. So is a second unfinished run of one
        ``single_flight`` key of this workflow.

        In a ``queue`` it waits until it is let in. ``start_at`` (aware) is when it is to begin. ``connection`` is one of
        yours, to the store's database (psycopg, sqlite3, SQLAlchemy): the run begins when you commit, and never was if you
        roll back. Raises also ``StateError`` and ``DefinitionError``.
        """
        parts = self._inside("start")
        run = parts.starting.new_run(
            workflow,
            run_id=run_id,
            labels=labels,
            single_flight=single_flight,
            queue=queue,
            queue_key=queue_key,
            priority=priority,
            start_at=start_at,
        )
        return await parts.acting.start(run, connection)

    async def fork(self, run_id: str, from_position: str, new_run_id: str | None = None) -> RunInfo:
        """Start another run with the data of this one as they are now, from a stop of ``main``.

        The run itself is not touched; the new one has its labels. It can't begin inside of a loop, ``Try`` or ``Saga``: a
        ``ControlError`` says so. Idempotent by ``new_run_id``, as ``start`` is.
        """
        parts = self._inside("fork")
        row = await parts.looking.row(_run_id(run_id, "fork"))
        return await parts.acting.start(parts.starting.forked_run(row, from_position, new_run_id), None)

    # --- what happens to runs ---

    @overload
    async def callback(
        self,
        run_id: str,
        event: Event[EventPayloadT, EventOutputT],
        payload: EventPayloadT | Payload[EventPayloadT, Never] | bytes | bytearray | memoryview,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> EventOutputT: ...

    @overload
    async def callback(
        self,
        run_id: str,
        event: Event[None, EventOutputT],
        payload: None = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> EventOutputT: ...

    @overload
    async def callback(
        self,
        run_id: str,
        event: CallbackRequest | str,
        payload: Any = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> Any: ...

    async def callback(
        self,
        run_id: str,
        event: Request,
        payload: Any = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> Any:
        """Fire an event that a thread of the run waits for now; return what its handler returns, once that is saved.

        Whoever moves the run applies it between two checkpoints, in this process or another. Payload and output travel as
        JSON: the handler gets its annotated type, the caller what the ``Event`` says, and plain JSON values for a name.
        Raises ``CallbackError`` when it is refused, whatever the handler raises (a ``RemoteError`` from another process),
        ``NotFoundError``, and ``TimeoutError``, whose message says whether it may still be applied.
        """
        parts = self._inside("callback")
        seconds = _seconds(timeout, "callback")
        return await parts.acting.callback(_run_id(run_id, "callback"), event, payload, thread_id, seconds)

    @overload
    async def signal(
        self,
        run_id: str,
        event: Event[EventPayloadT, Any],
        payload: EventPayloadT | Payload[EventPayloadT, Never] | bytes | bytearray | memoryview,
        *,
        key: str | None = None,
        thread_id: str | None = None,
        connection: Any = None,
    ) -> bool: ...

    @overload
    async def signal(
        self,
        run_id: str,
        event: Event[None, Any] | CallbackRequest | str,
        payload: Any = None,
        *,
        key: str | None = None,
        thread_id: str | None = None,
        connection: Any = None,
    ) -> bool: ...

    async def signal(
        self,
        run_id: str,
        event: Request,
        payload: Any = None,
        *,
        key: str | None = None,
        thread_id: str | None = None,
        connection: Any = None,
    ) -> bool:
        """Leave an event for a run: it is stored when this returns, and kept until a Wait takes it.

        ``key`` makes it idempotent: a run takes one signal of each key; whether this one is new is returned. With
        ``connection`` it is sent when you commit, as in ``start``. A signal that its handler refuses, or whose payload does
        not fit, becomes a dead letter, which the log tells.
        Raises ``NotFoundError``, ``WorkflowFinishedError``, ``UnknownEventError``, ``InvalidPayloadError``.
        """
        parts = self._inside("signal")
        return await parts.acting.signal(_run_id(run_id, "signal"), event, payload, key, thread_id, connection)

    async def pause(self, run_id: str, *, by: str = "", reason: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """Stop a run until ``unpause``, after its next checkpoint. Callbacks are refused meanwhile, signals kept.

        This, and each of the following, returns once it is done and saved. Who did it and why is in the run's notes. Raises
        ``ControlError`` if it can't be done to this run now, ``NotFoundError``, and ``TimeoutError``, as ``callback`` does.
        """
        await self._control("pause", run_id, timeout, by=by, reason=reason)

    async def unpause(self, run_id: str, *, by: str = "", reason: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """Let a run go on that ``pause`` has stopped. One that is Paused because it failed needs ``retry``."""
        await self._control("unpause", run_id, timeout, by=by, reason=reason)

    async def cancel(self, run_id: str, reason: str, *, by: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """Tell a run to end: it tears down, undoes what has ``compensate``, and is ``Cancelled``."""
        await self._control("cancel", run_id, timeout, reason=reason, by=by)

    async def retry(
        self,
        run_id: str,
        thread: str | None = None,
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """Try again at once: a run that is Paused because it failed, or threads that wait for their next attempt.

        One that ``pause`` has stopped needs ``unpause``.
        """
        parts = self._inside("retry")
        await parts.acting.retry(_run_id(run_id, "retry"), thread, by, reason, _seconds(timeout, "retry"))

    async def goto(
        self,
        run_id: str,
        thread: str,
        position: str,
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """Move a thread to another stop of its own, as ``flowstmt.goto`` does."""
        await self._control("goto", run_id, timeout, thread=thread, position=position, by=by, reason=reason)

    async def set_data(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """Change fields of the data, all of them or none, as ``flowstmt.set_data`` does."""
        await self._control("set_data", run_id, timeout, changes=changes, by=by, reason=reason)

    async def _control(self, action: str, run_id: str, timeout: timedelta | None, **arguments: Any) -> None:
        parts = self._inside(action)
        await parts.acting.control(_run_id(run_id, action), action, arguments, _seconds(timeout, action))

    # --- what becomes of runs ---

    async def get(self, run_id: str) -> RunInfo:
        """A run as it is stored, with its snapshot. Raises ``NotFoundError``."""
        parts = self._inside("get")
        return run_info(await parts.looking.row(_run_id(run_id, "get")))

    async def list(
        self,
        *,
        workflow: str | type[Any] | None = None,
        status: str | None = None,
        position: str | None = None,
        label: tuple[str, str] | None = None,
        parent: str | None = None,
        queue: str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        wake_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Runs, the newest first, without their snapshots; ``after`` is the ``next`` of the page before.

        ``position`` is where main stood when the run last came to rest. Runs that are started meanwhile shift nothing.
        """
        parts = self._inside("list")
        name = self._catalogue.name_of(workflow) if isinstance(workflow, type) else workflow
        query = RunQuery(
            workflow=name,
            status=None if status is None else statuses_of(status, "list")[0],
            position=position,
            label=label_of(label),
            parent=parent,
            queue=queue,
            created_from=created_from,
            created_before=created_before,
            wake_before=wake_before,
            limit=limit,
        )
        return await parts.looking.page(query, after)

    async def result(self, run_id: str, timeout: timedelta | None = None) -> Any:
        """What ``main`` returned, as JSON values, once the run is over.

        Raises ``RunFailedError`` or ``RunCancelledError``, which say why, ``NotFoundError``, and ``TimeoutError``, which says
        what the run waits for.
        """
        parts = self._inside("result")
        return await parts.acting.result(_run_id(run_id, "result"), _seconds(timeout, "result"))

    async def await_status(self, run_id: str, status: str | Collection[str], timeout: timedelta | None = None) -> RunInfo:
        """Wait until a run has come to rest with this status, or one of these.

        Raises ``TimeoutError``, ``NotFoundError``, and ``WorkflowFinishedError`` once the run is over with another one.
        """
        parts = self._inside("await_status")
        statuses = statuses_of(status, "await_status")
        what = f"await_status {' or '.join(statuses)}"
        return run_info(await parts.acting.until(_run_id(run_id, "await_status"), statuses, what, _seconds(timeout, what)))

    def watch(self, run_id: str, *, published_after: int = 0) -> AsyncGenerator[Change]:
        """What a run is, and then each change until it is over: checkpoints, and what actions publish.

        Of a run that another process moves, checkpoints that follow each other closely may be told as one; what is published
        is told in full, from the beginning or behind the number ``published_after``. Raises ``NotFoundError``.
        """
        parts = self._inside("watch")
        return parts.acting.watch(_run_id(run_id, "watch"), published_after)

    async def history(self, run_id: str, *, after: int = 0, limit: int = 100) -> Sequence[HistoryRow]:
        """Attempts at steps, the oldest first, without the first ``after``. They are kept by engines with ``history=True``."""
        parts = self._inside("history")
        return await parts.looking.history(_run_id(run_id, "history"), after, limit)

    async def dead_letters(self, run_id: str, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Signals that could not be delivered to a run, the oldest first, each with its payload and the reason.

        They are not handed in again. When the reason is mended, send each once more, with another ``key``:
        ``signal(letter.run_id, letter.request, letter.payload, key=...)``. Raises ``NotFoundError``.
        """
        parts = self._inside("dead_letters")
        return await parts.looking.dead_letters(_run_id(run_id, "dead_letters"), limit)

    async def legal(self, run_id: str) -> Legal:
        """What may happen to a run now, as ``flowstmt.legal`` says. The workflow must be known here."""
        parts = self._inside("legal")
        return await parts.looking.legal(_run_id(run_id, "legal"))

    # --- keeping the store ---

    async def delete(self, run_id: str) -> bool:
        """Delete a run with all that belongs to it; whether there was one.

        One that is not over is not cancelled by it: nothing of what it has done is undone, what it has set up outside stays,
        and its children go on. So ``cancel`` it first, which sees to all of that. Raises ``ConflictError`` while somebody
        moves it, and for a child that is not over while its parent waits for its end.
        """
        parts = self._inside("delete")
        return await parts.acting.delete(_run_id(run_id, "delete"))

    async def purge(self, finished_before: datetime) -> int:
        """Delete the runs that were over before an instant (aware); how many there were."""
        return await self._inside("purge").acting.purge(finished_before)

    async def health(self) -> Health:
        """How the engine is: for a readiness check, and for people."""
        return await self._inside("health").health()


def _run_id(run_id: Any, what: str) -> str:
    if not is_text(run_id) or not run_id:
        raise StateError(f"{what}: run_id must be a text that is not empty, not {quoted(run_id)}")
    found: str = run_id
    return found


def _seconds(timeout: Any, what: str) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, timedelta) or timeout < timedelta(0):
        raise StateError(f"{what}: timeout must be a timedelta, or None, not {quoted(timeout)}")
    return timeout.total_seconds()
