"""What goes on beside the round that ``resume_async`` is at: callbacks that wait for their turn, and actions in flight.

Rules:

1. One owner. Data and state belong to the running resume. It lets a callback in when it is between two checkpoints, and
   takes the outcome of an action in flight when its turn comes; in between nobody else touches them.
2. A callback's caller is answered once: with the output when the callback has been saved, or with an error when it was
   refused, or could not be taken or saved because the resume ended. A caller that is cancelled before its handler has
   returned takes its callback back; after that the callback stands, as if only the answer had been lost.
3. Nothing outlives its owner: when a resume ends, whatever the reason, what was in flight has been cancelled and has
   come to its end, and nobody waits any more. Callbacks are told of a failed resume only then: told earlier, whoever hands
   one in again would find the objects taken, or, having loaded others, begin beside actions that are still under way.

Theory: all of this happens in one event loop, so what lies between two awaits can't be interrupted. The places where
something can get lost or doubled are the awaits; each of them says what a cancellation there leaves behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias

from flowstmt.core.state import EXECUTING, State, Thread
from flowstmt.current import Ask, Caller
from flowstmt.errors import ConflictError, StateError, said
from flowstmt.twin import Twin

__all__ = ["Beside", "Flight", "WaitingCallback", "cancelled", "running_loop"]

Perform: TypeAlias = Callable[[Caller, Ask], Coroutine[Any, Any, Any]]
"""Makes a call that a generator asked for."""


class WaitingCallback:
    """A callback beside a running resume, from its call to its answer."""

    __slots__ = ("_answer", "_context", "_handled", "_output", "_round", "_run_id", "_task")

    def __init__(self, run_id: str, callback_round: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._run_id = run_id
        self._round = callback_round
        # Its handler is called by the resume's task, but must see the variables of its caller.
        self._context = copy_context()
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = None
        self._handled = False
        self._output: Any = None

    async def answer(self) -> Any:
        """For the caller: the output, or whatever refused the callback."""
        try:
            return await self._answer
        except asyncio.CancelledError:
            # Its handler must have ended before the caller goes on: it works with what belongs to the caller.
            if self._task is not None:
                await cancelled([self._task])
            raise

    async def take(self) -> bool:
        """For the resume: let the callback in; whether it has changed the run, which then is to be saved."""
        if self._answer.done():
            return False  # the caller was cancelled before its turn came
        self._task = asyncio.get_running_loop().create_task(self._round(), context=self._context)
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            await cancelled([self._task])
            raise
        except GeneratorExit:
            # Nobody awaits the resume any more: its handler is cancelled, and ends by itself.
            self._task.cancel()
            raise
        if self._task.cancelled():
            self._answer.cancel()
            return False
        error = self._task.exception()
        if error is not None:
            self._refuse(error)
            return False
        self._handled = True
        self._output = self._task.result()
        return True

    def taken(self) -> None:
        """It is saved: the caller gets its output."""
        if not self._answer.done():
            self._answer.set_result(self._output)

    def leave(self, reason: BaseException) -> None:
        """The resume has ended without having saved it."""
        self._refuse(self._unsaved(reason) if self._handled else self._not_taken(reason), reason)

    def _not_taken(self, reason: BaseException) -> ConflictError:
        return ConflictError(
            f"run {self._run_id!r}: this callback was not taken: load the run again, and hand it in once more. The resume "
            f"beside which it waited ended with {said(reason)}"
        )

    def _unsaved(self, reason: BaseException) -> ConflictError:
        return ConflictError(
            f"run {self._run_id!r}: this callback was taken, but not saved: don't acknowledge it; load the run again, and "
            f"hand it in once more (if it was saved nevertheless, it is refused). Its save raised {said(reason)}"
        )

    def _refuse(self, error: BaseException, cause: BaseException | None = None) -> None:
        if not self._answer.done():
            if cause is not None:
                error.__cause__ = cause
            self._answer.set_exception(error)


class Flight:
    """An action in flight: the thread that stands at its step, and the copy of the data that it works with."""

    __slots__ = ("caller", "task", "thread", "twin")

    def __init__(self, thread: Thread, twin: Twin, caller: Caller, task: asyncio.Task[Any]) -> None:
        self.thread = thread
        self.twin = twin
        self.caller = caller
        self.task = task

    def is_gone(self) -> bool:
        """Whether its thread has been told to end meanwhile: nobody wants its outcome any more."""
        return self.thread.status is not EXECUTING or self.thread.pc != self.twin.thread.pc


class Beside:
    """What one running resume has beside it.

    ``waiting`` are callbacks without an answer, in the order of their calls. ``flights`` are actions in flight (``births``
    those of their threads); ``landed`` are those among them that have come to their end, in that order, and whose outcome
    is to be taken.
    """

    __slots__ = (
        "_loop",
        "_news",
        "_perform",
        "births",
        "concurrency",
        "flights",
        "landed",
        "state",
        "waiting",
        "workflow",
    )

    def __init__(self, workflow: Any, state: State, concurrency: int, perform: Perform) -> None:
        self.workflow = workflow
        self.state = state
        self.concurrency = concurrency
        self.waiting: deque[WaitingCallback] = deque()
        self.flights: list[Flight] = []
        self.births: set[str] = set()
        self.landed: deque[Flight] = deque()
        self._perform = perform
        self._loop = running_loop()
        self._news: asyncio.Future[None] | None = None
        if concurrency > 1 and self._loop is None:
            raise StateError(
                f"run {state.run_id!r}: concurrency={concurrency} needs the event loop of asyncio; without one leave it at 1"
            )

    def wait_for_turn(self, workflow: Any, callback_round: Callable[[], Coroutine[Any, Any, Any]]) -> WaitingCallback:
        """For ``handle_callback_async``: get in line. Raises ``ConflictError`` if that can't be."""
        run_id = self.state.run_id
        if workflow is not self.workflow:
            raise ConflictError(
                f"run {run_id!r}: called with another workflow object than the resume that runs on the same state. Nothing "
                "was changed: hand in the same objects, or load a copy of your own"
            )
        waiting = WaitingCallback(run_id, callback_round)
        self.waiting.append(waiting)
        self._tell()
        return waiting

    def is_of_this_loop(self) -> bool:
        """Whether whoever asks shares the event loop of the running resume, without which they can't take turns."""
        return self._loop is not None and self._loop is running_loop()

    def start(self, thread: Thread, twin: Twin, caller: Caller, ask: Ask) -> None:
        """Let an action fly."""
        assert self._loop is not None  # the constructor has seen to it
        flight = Flight(thread, twin, caller, self._loop.create_task(self._perform(caller, ask)))
        self.flights.append(flight)
        self.births.add(thread.birth)
        flight.task.add_done_callback(partial(self._land, flight))

    def _land(self, flight: Flight, _: asyncio.Task[Any]) -> None:
        if flight in self.flights:  # one that has been dropped may be told to have ended only now
            self.landed.append(flight)
            self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def news(self, seconds: float | None) -> None:
        """Return once an action has landed, a callback waits, or so many seconds are over. Cancelling it changes nothing."""
        if self.landed or self.waiting:
            return
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        alarm = None if seconds is None else loop.call_later(seconds, self._tell)
        try:
            await self._news
        finally:
            self._news = None
            if alarm is not None:
                alarm.cancel()

    async def breathe(self) -> None:
        """Let what is in flight go on: actions of other threads that never wait would keep it from its turn for ever."""
        await asyncio.sleep(0)

    def forget(self, flight: Flight) -> None:
        """Its outcome has been taken."""
        self.flights.remove(flight)
        self.births.discard(flight.thread.birth)

    async def drop(self, flights: list[Flight]) -> None:
        """Cancel what is in flight and wait for its end, even if cancelled meanwhile. Outcomes are dropped."""
        try:
            await cancelled([flight.task for flight in flights])
        finally:
            for flight in flights:
                self.forget(flight)
                if flight in self.landed:
                    self.landed.remove(flight)

    async def end(self, reason: BaseException) -> None:
        """The resume ends with an error: nobody goes on beside it."""
        try:
            await self.drop(self.flights.copy())
        finally:
            self._refuse_all(reason)

    def abandon(self, reason: BaseException) -> None:
        """The resume's coroutine was closed and can't await: what is in flight is cancelled, and ends by itself."""
        self._refuse_all(reason)
        for flight in self.flights:
            flight.task.cancel()

    def _refuse_all(self, reason: BaseException) -> None:
        while self.waiting:
            self.waiting.popleft().leave(reason)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of whoever asks; None under another library than asyncio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and return when all have ended; a cancellation of the caller's own is raised only then."""
    interrupted: asyncio.CancelledError | None = None
    pending = [task for task in tasks if not task.done()]
    while pending:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            interrupted = error
        pending = [task for task in pending if not task.done()]
    for task in tasks:
        # What it raised on its way out was asked for, and asyncio would complain about an exception that nobody looked at.
        if not task.cancelled():
            task.exception()
    if interrupted is not None:
        raise interrupted
