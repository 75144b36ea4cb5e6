"""The time limits of actions that are awaited.

Rules, beside those of ``deadlines.py``:

1. An action whose time is over is cancelled, and awaited until it has come to its end, however long that takes. It has failed
   then, whatever it still returns: what swallows a cancellation mostly has nothing to hand back.
2. A cancellation of the driver stays one, also when it comes at the same moment: it is raised when the action has come to its
   end. A thread can't be cancelled: then its end is awaited, but no longer than its time.
3. A ``TimeoutError`` or ``CancelledError`` of the action's own is a failure, or a cancellation, like any other.

Theory: the action runs in a task of its own. So a cancellation because of its time reaches the action only, one from outside
the driver only, and neither has to be told from the other.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, CancelledError, Future
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import Any

from flowstmt.beside import cancelled, running_loop
from flowstmt.core.calls import is_async
from flowstmt.core.state import Thread
from flowstmt.deadlines import Deadlines, Limit, Worker, logger
from flowstmt.errors import StateError

__all__ = ["AwaitedDeadlines"]


class AwaitedDeadlines(Deadlines):
    """Keeps the time of one run's actions, for a driver that awaits. Raises ``StateError`` outside of asyncio."""

    __slots__ = ()

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        if running_loop() is None:
            raise StateError(
                f"run {run_id!r}: its definition has steps with a timeout, which need the event loop of asyncio. Nothing was "
                "run: resume it there, or let the actions themselves keep their time"
            )

    def __call__(self, thread: Thread, call: Callable[..., Any], timeout: timedelta) -> Callable[..., Any]:
        """The call of an action, in its time: what it returns is to be awaited."""
        limited = self._cancelled_in_time if is_async(call) else self._in_a_thread_in_time
        return partial(limited, Limit(self._run_id, thread, timeout), call)

    async def _cancelled_in_time(self, limit: Limit, call: Callable[..., Any], *arguments: Any) -> Any:
        deadline = asyncio.get_running_loop().time() + limit.seconds
        return await self._awaited(limit, deadline, call(*arguments))

    async def _awaited(self, limit: Limit, deadline: float, awaitable: Awaitable[Any]) -> Any:
        task: Future[Any] = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait([task], timeout=deadline - asyncio.get_running_loop().time())
        except CancelledError:
            await cancelled([task])
            raise
        except GeneratorExit:
            # Nobody awaits the driver any more: the action is cancelled, and ends by itself.
            task.cancel()
            raise
        if task.done():
            return task.result()
        await cancelled([task])
        try:
            task.result()
        except (Exception, CancelledError) as error:
            raise limit.exceeded() from error
        raise limit.exceeded()

    async def _in_a_thread_in_time(self, limit: Limit, call: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit.seconds
        over = loop.create_future()
        worker = Worker(limit, partial(call, *arguments), partial(_tell, loop, over))
        worker.start()
        alarm = loop.call_later(limit.seconds, _set, over)
        interrupted: CancelledError | None = None
        try:
            while not over.done():
                try:
                    await asyncio.wait([over])
                except CancelledError as error:
                    interrupted = error
        finally:
            alarm.cancel()
            abandoned = worker.abandon()
        if interrupted is not None:
            if abandoned:
                self._left_alone(limit)
                logger.warning("%s: cancelled while its action was in a thread, which nobody can end: that goes on", limit)
            raise interrupted
        if abandoned:
            raise self._left_alone(limit) from worker.whereabouts()
        result = worker.outcome()
        return await self._awaited(limit, deadline, result) if isawaitable(result) else result


def _tell(loop: AbstractEventLoop, over: Future[None]) -> None:
    """For the thread of an action: its outcome is there."""
    try:
        loop.call_soon_threadsafe(_set, over)
    except RuntimeError:
        return  # the loop was closed around the driver, which nobody awaits any more


def _set(over: Future[None]) -> None:
    # Its outcome may be there, and its time over, in one turn of the loop.
    with suppress(asyncio.InvalidStateError):
        over.set_result(None)
