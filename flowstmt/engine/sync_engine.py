"""The engine for code without an event loop: the same methods, without ``await``.

Nothing is decided here: each call is made in the loop of a thread of its own, and waited for. Only what a connection of the
caller's is written with happens in the caller's thread, to which it belongs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from os import getpid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self, TypeVar, overload

from flowstmt.core.policies import Retry
from flowstmt.core.state import CallbackRequest
from flowstmt.describe.possibilities import Legal
from flowstmt.drive import Workflow
from flowstmt.engine.acting import Request
from flowstmt.engine.elsewhere import Elsewhere
from flowstmt.engine.engine import Engine
from flowstmt.engine.health import Health
from flowstmt.engine.letters import DeadLetter
from flowstmt.engine.queues import Queue
from flowstmt.engine.runs import Page, RunInfo
from flowstmt.engine.settings import DEFAULT_RETRY
from flowstmt.engine.watching import Change
from flowstmt.errors import FlowstmtError
from flowstmt.stores.protocol import HistoryRow, Store

if TYPE_CHECKING:
    from flowstmt.core.statements import Event
    from flowstmt.drive import Payload

__all__ = ["SyncEngine"]

T = TypeVar("T")
EventPayloadT = TypeVar("EventPayloadT")
EventOutputT = TypeVar("EventOutputT")

_SECONDS_30 = timedelta(seconds=30)


class SyncEngine:
    """``Engine`` for code that does not await: takes the same arguments, and has the same methods.

    Used as ``with``. Its event loop, in which runs are moved, is in a thread of its own; it may be called from any other
    thread, from actions that run in worker threads too.

    >>> from dataclasses import dataclass
    >>> from flowstmt import MemoryStore, Step, SyncEngine
    >>> @dataclass
    ... class Hello:
    ...     said: str = ""
    ...
    ...     def definition(self):
    ...         return Step("say", lambda: "hello", into="said")
    >>> with SyncEngine(MemoryStore(), workflows=[Hello]) as engine:
    ...     run = engine.start(Hello(), run_id="hello-1")
    ...     engine.result("hello-1")
    ...     engine.get("hello-1").status
    <WorkflowStatus.Finished: 'Finished'>
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
        self._engine = Engine(
            store,
            workflows,
            deps=deps,
            worker=worker,
            concurrency=concurrency,
            step_concurrency=step_concurrency,
            lease=lease,
            poll=poll,
            retry=retry,
            history=history,
            queues=queues,
            shutdown_timeout=shutdown_timeout,
            worker_id=worker_id,
            clock=clock,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    @property
    def worker_id(self) -> str:
        """How this worker is called in the database."""
        return self._engine.worker_id

    @property
    def store(self) -> Store:
        """``Engine.store``."""
        return self._engine.store

    @property
    def workflows(self) -> Mapping[str, int]:
        """``Engine.workflows``."""
        return self._engine.workflows

    @property
    def is_worker(self) -> bool:
        """``Engine.is_worker``."""
        return self._engine.is_worker

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise FlowstmtError(
                "this engine is in use already: `with` it once in a process, and hand the object to whoever needs it"
            )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(loop,), name="flowstmt engine", daemon=True)
        thread.start()
        self._loop, self._thread, self._process = loop, thread, getpid()
        try:
            asyncio.run_coroutine_threadsafe(self._engine.__aenter__(), loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._call("leaving it", self._engine.__aexit__(kind, error, traceback))
        finally:
            self._end()

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _call(self, what: str, call: Coroutine[Any, Any, T]) -> T:
        """Make a call in the engine's loop, and wait for it."""
        try:
            loop = self._usable(what)
        except FlowstmtError:
            call.close()
            raise
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except BaseException:
            # A KeyboardInterrupt, say: nobody waits for the answer any more.
            future.cancel()
            raise

    def _usable(self, what: str) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise FlowstmtError(f"engine: {what} needs an engine that is in use: call it inside `with engine:`")
        if self._process != getpid():
            raise FlowstmtError(
                f"engine: {what} was called in a process that was forked from the one in which the engine is in use: its "
                "threads and connections stayed there. Make an engine with a store of its own behind the fork"
            )
        if threading.current_thread() is self._thread:
            raise FlowstmtError(
                f"engine: {what} was called in the engine's own event loop, which would wait for itself: an action that is "
                "async or inline can't use a SyncEngine; a plain function, which runs in a worker thread, can"
            )
        return self._loop

    def _call_joining(self, what: str, call: Callable[[Any], Coroutine[Any, Any, T]], connection: Any) -> T:
        """Make a call for which something is written with a connection of the caller's, here, in the caller's thread."""
        if connection is None:
            return self._call(what, call(None))
        loop = self._usable(what)
        elsewhere = Elsewhere(connection)
        future = asyncio.run_coroutine_threadsafe(call(elsewhere), loop)
        future.add_done_callback(elsewhere.end)
        try:
            elsewhere.serve()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    # --- starting ---

    def start(
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
        """``Engine.start``; a ``connection`` is used in the thread that calls."""
        start = partial(
            self._engine.start,
            workflow,
            run_id=run_id,
            labels=labels,
            single_flight=single_flight,
            queue=queue,
            queue_key=queue_key,
            priority=priority,
            start_at=start_at,
        )
        return self._call_joining("start", lambda joined: start(connection=joined), connection)

    def fork(self, run_id: str, from_position: str, new_run_id: str | None = None) -> RunInfo:
        """``Engine.fork``."""
        return self._call("fork", self._engine.fork(run_id, from_position, new_run_id))

    # --- what happens to runs ---

    @overload
    def callback(
        self,
        run_id: str,
        event: Event[EventPayloadT, EventOutputT],
        payload: EventPayloadT | Payload[EventPayloadT, Never] | bytes | bytearray | memoryview,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> EventOutputT: ...

    @overload
    def callback(
        self,
        run_id: str,
        event: Event[None, EventOutputT],
        payload: None = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> EventOutputT: ...

    @overload
    def callback(
        self,
        run_id: str,
        event: CallbackRequest | str,
        payload: Any = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> Any: ...

    def callback(
        self,
        run_id: str,
        event: Request,
        payload: Any = None,
        *,
        thread_id: str | None = None,
        timeout: timedelta | None = _SECONDS_30,
    ) -> Any:
        """``Engine.callback``."""
        call: Any = self._engine.callback  # what fits together is said by the overloads
        return self._call("callback", call(run_id, event, payload, thread_id=thread_id, timeout=timeout))

    @overload
    def signal(
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
    def signal(
        self,
        run_id: str,
        event: Event[None, Any] | CallbackRequest | str,
        payload: Any = None,
        *,
        key: str | None = None,
        thread_id: str | None = None,
        connection: Any = None,
    ) -> bool: ...

    def signal(
        self,
        run_id: str,
        event: Request,
        payload: Any = None,
        *,
        key: str | None = None,
        thread_id: str | None = None,
        connection: Any = None,
    ) -> bool:
        """``Engine.signal``; a ``connection`` is used in the thread that calls."""
        call: Any = self._engine.signal  # as above
        signal = partial(call, run_id, event, payload, key=key, thread_id=thread_id)
        is_new: bool = self._call_joining("signal", lambda joined: signal(connection=joined), connection)
        return is_new

    def pause(self, run_id: str, *, by: str = "", reason: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """``Engine.pause``."""
        self._call("pause", self._engine.pause(run_id, by=by, reason=reason, timeout=timeout))

    def unpause(self, run_id: str, *, by: str = "", reason: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """``Engine.unpause``."""
        self._call("unpause", self._engine.unpause(run_id, by=by, reason=reason, timeout=timeout))

    def cancel(self, run_id: str, reason: str, *, by: str = "", timeout: timedelta | None = _SECONDS_30) -> None:
        """``Engine.cancel``."""
        self._call("cancel", self._engine.cancel(run_id, reason, by=by, timeout=timeout))

    def retry(
        self,
        run_id: str,
        thread: str | None = None,
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """``Engine.retry``."""
        self._call("retry", self._engine.retry(run_id, thread, by=by, reason=reason, timeout=timeout))

    def goto(
        self,
        run_id: str,
        thread: str,
        position: str,
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """``Engine.goto``."""
        self._call("goto", self._engine.goto(run_id, thread, position, by=by, reason=reason, timeout=timeout))

    def set_data(
        self,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        by: str = "",
        reason: str = "",
        timeout: timedelta | None = _SECONDS_30,
    ) -> None:
        """``Engine.set_data``."""
        self._call("set_data", self._engine.set_data(run_id, changes, by=by, reason=reason, timeout=timeout))

    # --- what becomes of runs ---

    def get(self, run_id: str) -> RunInfo:
        """``Engine.get``."""
        return self._call("get", self._engine.get(run_id))

    def list(
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
        """``Engine.list``."""
        listing = self._engine.list(
            workflow=workflow,
            status=status,
            position=position,
            label=label,
            parent=parent,
            queue=queue,
            created_from=created_from,
            created_before=created_before,
            wake_before=wake_before,
            after=after,
            limit=limit,
        )
        return self._call("list", listing)

    def result(self, run_id: str, timeout: timedelta | None = None) -> Any:
        """``Engine.result``."""
        return self._call("result", self._engine.result(run_id, timeout))

    def await_status(self, run_id: str, status: str | Collection[str], timeout: timedelta | None = None) -> RunInfo:
        """``Engine.await_status``."""
        return self._call("await_status", self._engine.await_status(run_id, status, timeout))

    def watch(self, run_id: str, *, published_after: int = 0) -> Iterator[Change]:
        """``Engine.watch``."""
        return self._changes(self._call("watch", _begun(self._engine, run_id, published_after)))

    def _changes(self, changes: AsyncGenerator[Change]) -> Iterator[Change]:
        try:
            while (change := self._call("watch", _next(changes))) is not None:
                yield change
        finally:
            # Not where nobody can wait: in an engine that was left, or in its own thread, when the garbage collector is there.
            with suppress(FlowstmtError):
                self._call("watch", changes.aclose())

    def dead_letters(self, run_id: str, *, limit: int = 100) -> Sequence[DeadLetter]:
        """``Engine.dead_letters``."""
        return self._call("dead_letters", self._engine.dead_letters(run_id, limit=limit))

    def history(self, run_id: str, *, after: int = 0, limit: int = 100) -> Sequence[HistoryRow]:
        """``Engine.history``."""
        return self._call("history", self._engine.history(run_id, after=after, limit=limit))

    def legal(self, run_id: str) -> Legal:
        """``Engine.legal``."""
        return self._call("legal", self._engine.legal(run_id))

    # --- keeping the store ---

    def delete(self, run_id: str) -> bool:
        """``Engine.delete``."""
        return self._call("delete", self._engine.delete(run_id))

    def purge(self, finished_before: datetime) -> int:
        """``Engine.purge``."""
        return self._call("purge", self._engine.purge(finished_before))

    def health(self) -> Health:
        """``Engine.health``."""
        return self._call("health", self._engine.health())


async def _begun(engine: Engine, run_id: str, published_after: int) -> AsyncGenerator[Change]:
    return engine.watch(run_id, published_after=published_after)


async def _next(changes: AsyncGenerator[Change]) -> Change | None:
    return await anext(changes, None)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread of an engine: its event loop, until it is stopped."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
