"""The time limits of actions, and the threads in which plain functions run that have one.

Rules:

1. The outcome of an action counts if it is there when the time is over, else it is dropped. Which of both is settled once,
   under a lock: it can't be taken and dropped.
2. A thread can't be ended from outside. One whose time is over is left alone: nobody waits for it any more, the end of the
   process neither (a ``ThreadPoolExecutor`` would). The objects of the run are lost to it: whoever left it alone says so in
   ``abandoned``, and the resume ends.
3. The time is real time, also where ``now`` is given: it is the action that takes it. It runs from the call of the action,
   inside of ``invoke``: the hook is told that the time is over by what ``call()`` raises, and rolls back as after any failure.

``awaited.py`` has the same for drivers that await.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from inspect import iscoroutine
from threading import TIMEOUT_MAX, Event, Lock
from threading import Thread as PythonThread
from types import TracebackType
from typing import Any

from flowstmt.core.calls import is_async
from flowstmt.core.state import Thread
from flowstmt.current import CURRENT, Caller, Current
from flowstmt.errors import StepTimeoutError, said

__all__ = ["Deadlines", "Limit", "Worker"]

logger = logging.getLogger("flowstmt.deadlines")


class Limit:
    """How long which action may take."""

    __slots__ = ("run_id", "step", "thread_id", "timeout")

    def __init__(self, run_id: str, thread: Thread, timeout: timedelta) -> None:
        self.run_id = run_id
        self.thread_id = thread.id
        self.step = thread.position
        self.timeout = timeout

    def __str__(self) -> str:
        return f"run {self.run_id!r}, thread {self.thread_id!r}, step {self.step!r}"

    @property
    def seconds(self) -> float:
        """As long as a lock can be waited for, at most: nearly three centuries."""
        return min(self.timeout.total_seconds(), TIMEOUT_MAX)

    def exceeded(self, what: str = "") -> StepTimeoutError:
        """The failure of the action, as policies and catches see it."""
        return StepTimeoutError(
            f"took longer than its timeout of {self.timeout}{what}",
            step=self.step,
            run_id=self.run_id,
            thread_id=self.thread_id,
        )


class Worker(PythonThread):
    """Makes one call in a thread of its own. ``ended`` is set, and ``tell`` is called there, when its outcome is there.

    It is ``abandoned`` once nobody waits for that any more.

    What it calls sees the variables of its context and ``current()`` as they were when this was made.
    """

    def __init__(self, limit: Limit, call: Callable[[], Any], tell: Callable[[], Any] | None = None) -> None:
        super().__init__(name=f"flowstmt: {limit}", daemon=True)
        self.ended = Event()
        self.limit = limit
        self._call = call
        self._tell = tell
        self._lock = Lock()
        self.abandoned = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._context = copy_context()
        found = CURRENT.get()
        # A driver goes on to the next call; what this one is told must stay as it is.
        self._current = Current(found) if isinstance(found, Caller) else found
        self._context.run(CURRENT.set, self._current)

    def run(self) -> None:
        """Make the call, and hand over its outcome if somebody waits for it."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._context.run(self._call)
        except BaseException as raised:  # noqa: BLE001 handed over to who waits, and raised there
            error = raised
        with self._lock:
            if not self.abandoned:
                self._result, self._error = result, error
                self.ended.set()
        if self.ended.is_set():
            if self._tell is not None:
                self._tell()
        elif error is not None:
            line = "%s: its action, left alone in its thread when its time was over, raised %s"
            logger.warning(line, self.limit, said(error), exc_info=error)
        elif iscoroutine(result):
            result.close()

    def abandon(self) -> bool:
        """Wait no longer; whether it is left alone by that, which is so unless its outcome is there."""
        with self._lock:
            self.abandoned = not self.ended.is_set()
        if self._current is not None:
            self._current.over = True
        return self.abandoned

    def whereabouts(self) -> TimeoutError:
        """Where its thread is now, as the traceback of an error: what else would tell what it hangs on?"""
        frame = sys._current_frames().get(self.ident or 0)
        trace: TracebackType | None = None
        while frame is not None and frame.f_code is not Worker.run.__code__:
            trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno)
            frame = frame.f_back
        return TimeoutError("its thread was here when its time was over").with_traceback(trace)

    def outcome(self) -> Any:
        """What the call returned, or raises what it raised. Only once: the error would keep itself alive."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._result
        finally:
            del error


class Deadlines:
    """Keeps the time of one run's actions, for a driver that does not await.

    ``abandoned`` is the failure of an action that was left alone in its thread, from which on the run's objects are lost.
    """

    __slots__ = ("_run_id", "abandoned")

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self.abandoned: StepTimeoutError | None = None

    def __call__(self, thread: Thread, call: Callable[..., Any], timeout: timedelta) -> Callable[..., Any]:
        """The call of an action, in its time."""
        if is_async(call):
            return call  # which the driver refuses to await
        return partial(self._in_a_thread, Limit(self._run_id, thread, timeout), call)

    def _in_a_thread(self, limit: Limit, call: Callable[..., Any], *arguments: Any) -> Any:
        worker = Worker(limit, partial(call, *arguments))
        worker.start()
        try:
            worker.ended.wait(limit.seconds)
        finally:
            abandoned = worker.abandon()
        if abandoned:
            raise self._left_alone(limit) from worker.whereabouts()
        return worker.outcome()

    def _left_alone(self, limit: Limit) -> StepTimeoutError:
        self.abandoned = limit.exceeded(", and goes on in its thread, which nobody can end")
        return self.abandoned
