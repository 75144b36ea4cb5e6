"""A thread in which an engine's database is asked, one call after the other.

What the database can't do just now (``StoreError`` with ``retry``) is tried again until it can, with a growing pause. Whoever
waits for it goes on waiting: a checkpoint is not lost because a database restarts. ``health`` says so meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from flowstmt.engine.handover import Answers, Entries
from flowstmt.errors import StoreError, said

__all__ = ["Answer", "Call", "Health", "Lane", "ReadLane", "raised", "settle"]

logger = logging.getLogger("flowstmt.engine")

Answer: TypeAlias = Callable[[Any], None]
"""Is told, in the event loop, what came of something: the outcome, or the exception."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0

_REMINDER = 12
"""So many failures of a database lie between two warnings."""

_MOST = 512
"""So much is taken at once from the queue, at most: one transaction must not get too long for others."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a lane is. ``error`` says what the database can't do, ``since`` from when on; None if all is well.

    ``failures`` are the tries in a row that have failed.
    """

    error: str | None = None
    since: datetime | None = None
    failures: int = 0


_WELL = Health()


class Call:
    """Something to be called in a lane's thread."""

    __slots__ = ("answer", "arguments", "function")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], answer: Answer) -> None:
        self.function = function
        self.arguments = arguments
        self.answer = answer


class Lane:
    """A thread that makes calls, one after the other."""

    def __init__(self, name: str) -> None:
        self.health = _WELL
        self._name = name
        self._queue = Entries()
        self._answers: Answers | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._closed = False
        # Whether what was called last had to be called again.
        self._again = False

    def start(self) -> None:
        """Begin, for the running event loop."""
        loop = asyncio.get_running_loop()
        self._answers = Answers(loop)
        self._ended = loop.create_future()
        self._thread = threading.Thread(target=self._serve, name=f"flowstmt {self._name}", daemon=True)
        self._thread.start()

    async def stop(self, seconds: float, last: Callable[[], None] | None = None) -> None:
        """Do what is in the queue, then ``last``, and end. After so many seconds nothing is tried again; what is left fails."""
        if self._ended is None or self._closed:
            return
        self._closed = True
        await self._gather_up(seconds)
        if last is not None:
            self._queue.put(Call(last, (), _complain))
        self._queue.put(None)
        await asyncio.wait([self._ended], timeout=seconds)
        self._closing.set()
        await asyncio.wait([self._ended], timeout=_LONGEST_PAUSE)
        assert self._answers is not None  # it was started
        if self._ended.done():
            self._answers.close()
            self._queue.close()
        else:
            logger.warning("%s: the database does not answer; its thread is left alone", self._name)
            self._answers.leave()

    async def _gather_up(self, seconds: float) -> None:
        """Put into the queue what is not in it yet: nothing comes after that."""

    def backlog(self) -> int:
        """How much waits for its turn."""
        return len(self._queue)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns, or raises, called in the thread."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(Call(function, arguments, partial(settle, future)))
        return await future

    def _put(self, entry: Any) -> None:
        if self._closed:
            raise self._is_closed()
        self._queue.put(entry)

    def _is_closed(self) -> StoreError:
        return StoreError(f"{self._name}: the engine is closed")

    # -- in the thread

    def _serve(self) -> None:
        try:
            while True:
                entries = self._queue.take(_MOST)
                last = entries[-1] is None
                self._do(entries[:-1] if last else entries)
                if last:
                    return
        finally:
            self._tell(_finish, self._ended)

    def _do(self, entries: list[Any]) -> None:
        for entry in entries:
            self._make(entry)

    def _make(self, call: Call) -> None:
        try:
            outcome = self._insist(call.function, *call.arguments)
        except BaseException as error:  # noqa: BLE001 it is for who waits; the thread is for all
            outcome = raised(error)
        self._tell(self._answer, [call.answer], [outcome])

    def _insist(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call until the database can do it."""
        pause = _FIRST_PAUSE
        self._again = False
        while True:
            try:
                outcome = function(*arguments)
            except StoreError as error:
                if not error.retry or self._closing.is_set():
                    raise
                self._worry(error, pause)
                self._again = True
            else:
                if self.health is not _WELL:
                    seconds = (datetime.now(UTC) - self._since()).total_seconds()
                    logger.warning("%s: the database is back after %.0f s", self._name, seconds)
                    self.health = _WELL
                return outcome
            self._closing.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _worry(self, error: StoreError, pause: float) -> None:
        before = self.health
        self.health = Health(said(error), self._since(), before.failures + 1)
        # Of what lasts, those who read warnings hear again about once a minute.
        level = logging.WARNING if before.failures % _REMINDER == 0 else logging.INFO
        logger.log(level, "%s: %s; tried again in %.2f s. Nothing is lost meanwhile", self._name, said(error), pause)

    def _since(self) -> datetime:
        return self.health.since or datetime.now(UTC)

    def _tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        assert self._answers is not None  # the thread was started by an event loop
        self._answers.tell(function, *arguments)

    # -- in the event loop

    def _answer(self, answers: Sequence[Answer], outcomes: Sequence[Any]) -> None:
        for answer, outcome in zip(answers, outcomes, strict=True):
            try:
                answer(outcome)
            except Exception:
                logger.exception("an answer of the database could not be handed on")


class ReadLane(Lane):
    """The thread that reads."""


def raised(error: BaseException) -> Exception:
    """An exception as an outcome. What would end the event loop is for the thread's own calls only."""
    return error if isinstance(error, Exception) else StoreError(f"the store raised {said(error)}")


def settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """An answer that goes to whoever awaits a future."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _complain(outcome: Any) -> None:
    if isinstance(outcome, Exception):
        logger.warning("the store could not be closed: %s", said(outcome))


def _finish(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
