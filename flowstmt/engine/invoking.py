"""How an engine calls what users wrote: in worker threads what may block, in the event loop what does not.

Rules:

1. A plain function runs in a worker thread, with the variables of its context, so that it stalls neither other runs nor the
   renewal of leases. What is async, or declared ``inline``, runs in the event loop.
2. A thread can't be ended. Whoever cancels a call waits until its thread has come to its end: nothing of the run may go on
   behind its back. Only an engine that is closing leaves threads alone, and its process ends without them.
3. An action in a transaction runs in the thread that holds it, which waits there for the checkpoint and commits both.
   Whatever happens in between, the transaction is left without a commit, and that rolls back.
4. What would end the event loop (``SystemExit``, ``KeyboardInterrupt``) ends the attempt of the run that raised it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any

from flowstmt.current import Current
from flowstmt.errors import LeaseLostError, StoreError, said
from flowstmt.stores.protocol import Save, Store

__all__ = ["EscapedError", "StepTransaction", "Threads", "UnsavedError", "guarded"]

logger = logging.getLogger("flowstmt.engine")


class EscapedError(BaseException):
    """User code raised what would have ended the event loop; ``__cause__`` is that.

    No ``Exception``, as that was none: no policy takes it.
    """


class UnsavedError(BaseException):
    """A transaction could not be begun, or it is not known how its commit ended; ``__cause__`` is why.

    No ``Exception``: it is no failure of the step. The run goes on from what the database holds.
    """


class Threads:
    """Worker threads: begun when needed, at most so many, and left alone when the process ends."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def begin(self, job: Callable[[], None]) -> None:
        """Have a job done; it must not raise. For the event loop's thread only."""
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            self._count += 1
            threading.Thread(target=self._work, name=f"{self._name} {self._count}", daemon=True).start()

    def close(self) -> None:
        """Let all threads end that have nothing to do."""
        for _ in range(self._count):
            self._jobs.put(None)
        self._count = 0

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
            del job
            self._idle.release()

    def call(self, call: Callable[[], Any]) -> BlockingCall:
        """Make a call in a thread; what it returns is to be awaited."""
        job = BlockingCall(call)
        self.begin(job.work)
        return job


class BlockingCall:
    """A call in a worker thread; awaited, it gives what the call returned or raised."""

    __slots__ = ("_call", "_context", "_error", "_loop", "_news", "_result")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call: Callable[[], Any] | None = call
        self._context: Context | None = copy_context()
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._result: Any = None
        self._error: BaseException | None = None

    def work(self) -> None:
        """For the thread."""
        call, context = self._call, self._context
        assert call is not None
        assert context is not None
        self._call = self._context = None
        try:
            self._result = context.run(call)
        except BaseException as error:  # noqa: BLE001 raised where it is awaited
            self._error = error
        tell(self._loop, self._news)

    async def outcome(self, leave: Callable[[], bool]) -> Any:
        """What the call returned. Cancelled, it waits for the end of the call, unless threads are to be left alone."""
        await until(self._news, leave)
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise passable(error)
        finally:
            del error


class StepTransaction:
    """A transaction of the store around one action, and the checkpoint that follows it."""

    __slots__ = ("_call", "_context", "_current", "_error", "_loop", "_news", "_result", "_saves", "_store", "over")

    def __init__(self, store: Store, current: Current, call: Callable[[], Any]) -> None:
        self._store = store
        self._current = current
        self._call = call
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._saves: SimpleQueue[tuple[Save, Callable[[Any], None]] | None] = SimpleQueue()
        self._result: Any = None
        self._error: BaseException | None = None
        self.over = False

    def work(self) -> None:
        """For the thread, from the beginning of the transaction to its end."""
        answer: Callable[[Any], None] | None = None
        called = False
        outcome: Any = None
        try:
            with self._store.transaction() as transaction:
                self._current.connection = transaction.connection
                called = True
                self._result = self._context.run(self._call)
                called = False
                tell(self._loop, self._news)
                found = self._saves.get()
                if found is not None:
                    save, answer = found
                    outcome = transaction.commit(save)
        except BaseException as error:  # noqa: BLE001 raised where it is awaited
            # Of an action a StoreError comes by leaving the transaction: the database has failed, whatever the action raised.
            if called or answer is not None or not self._news.done():
                error = _unsaved(error)
            outcome = error
            if answer is None:
                self._error = error
        self._current.connection = None
        if answer is None:
            tell(self._loop, self._news)
            return
        try:
            self._loop.call_soon_threadsafe(answer, outcome)
        except RuntimeError:
            return  # the event loop was closed: nobody waits any more

    async def outcome(self, leave: Callable[[], bool]) -> Any:
        """What the action returned; its transaction is open then."""
        try:
            await until(self._news, leave)
            error, self._error = self._error, None
            if error is not None:
                raise passable(error)
            return self._result
        except BaseException:
            self.roll_back()
            raise

    def commit(self, save: Save, answer: Callable[[Any], None]) -> None:
        """Commit with a checkpoint; ``answer`` is told the outcome, in the event loop."""
        self.over = True
        self._saves.put((save, answer))

    def roll_back(self) -> None:
        """Give up what the action wrote. Harmless if the transaction is over."""
        if not self.over:
            self.over = True
            self._saves.put(None)


def _unsaved(error: BaseException) -> BaseException:
    """How the thread tells that the database failed, and not the action."""
    if isinstance(error, LeaseLostError) or not isinstance(error, StoreError) or not error.retry:
        return error
    unsaved = UnsavedError(str(error))
    unsaved.__cause__ = error
    return unsaved


async def until(future: asyncio.Future[None], leave: Callable[[], bool]) -> None:
    """Wait for what a thread does; cancelled, wait for its end nevertheless, unless it is to be left alone."""
    interrupted: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            interrupted = error
            if leave():
                logger.warning("an action is left alone in its thread, which nobody can end")
                break
    if interrupted is not None:
        raise interrupted


async def guarded(awaitable: Awaitable[Any]) -> Any:
    """Await what user code gives in a task of its own, where ``SystemExit`` would end the event loop."""
    try:
        return await awaitable
    except (SystemExit, KeyboardInterrupt) as error:
        raise passable(error) from error


def passable(error: BaseException) -> BaseException:
    """What a task can raise without harm to others."""
    if isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit):
        escaped = EscapedError(
            f"{said(error)} was raised, which would end the process; others have runs in it, so it is a failure of this run"
        )
        escaped.__cause__ = error
        return escaped
    return error


def tell(loop: asyncio.AbstractEventLoop, news: asyncio.Future[None]) -> None:
    """For a thread: what it was asked for is done."""
    try:
        loop.call_soon_threadsafe(_set, news)
    except RuntimeError:
        return  # the event loop was closed: nobody waits any more


def _set(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
