"""The threads in which an engine's database is written and read.

Rules:

1. One thread writes. Whatever is to be written waits in one queue, in order; the thread takes all that is there, commits it
   at once (group commit), and tells the event loop in one go.
2. What the database can't do just now (``StoreError`` with ``retry``) is tried again until it can, with a growing pause.
   Whoever waits for it goes on waiting: a checkpoint is not lost because a database restarts. ``health`` says so meanwhile.
3. A write that the database refuses fails for whoever made it, and for nobody else.

Theory: no time is lost by not waiting for more writes to come. While one batch is committed, the next one gathers; and the
thread that writes gets hold of the interpreter when the event loop has nothing left to do, which is when all runs that
could have written have.
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
from flowstmt.errors import LeaseLostError, StoreError, said
from flowstmt.stores.protocol import Outcome, Save, Store, Write

__all__ = ["Health", "ReadLane", "UnknownOutcomeError", "WriteLane"]

logger = logging.getLogger("flowstmt.engine")

Answer: TypeAlias = Callable[[Any], None]
"""Is told, in the event loop, what came of something: the outcome, or the exception."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0

_REMINDER = 12
"""So many failures of a database lie between two warnings."""

_MOST = 512
"""So many writes are committed at once, at most: one transaction must not get too long for others."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a lane is. ``error`` says what the database can't do, ``since`` from when on; None if all is well.

    ``failures`` are the tries in a row that have failed.
    """

    error: str | None = None
    since: datetime | None = None
    failures: int = 0


_WELL = Health()


class UnknownOutcomeError(LeaseLostError):
    """A checkpoint whose commit was cut off, and whose lease was lost before it could be handed in again.

    It may be what the run's next owner goes on from, or not.
    """


class _Call:
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
        if last is not None:
            self._queue.put(_Call(last, (), _complain))
        self._queue.put(None)
        await asyncio.wait([self._ended], timeout=seconds)
        self._closing.set()
        await asyncio.wait([self._ended], timeout=_LONGEST_PAUSE)
        if not self._ended.done():
            logger.warning("%s: the database does not answer; its thread is left alone", self._name)
        if self._answers is not None:
            self._answers.leave()

    def backlog(self) -> int:
        """How much waits for its turn."""
        return len(self._queue)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns, or raises, called in the thread."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._put(_Call(function, arguments, partial(_settle, future)))
        return await future

    def _put(self, entry: Any) -> None:
        if self._closed:
            raise StoreError(f"{self._name}: the engine is closed")
        self._queue.put(entry)

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

    def _make(self, call: _Call) -> None:
        try:
            outcome = self._insist(call.function, *call.arguments)
        except BaseException as error:  # noqa: BLE001 it is for who waits; the thread is for all
            outcome = _raised(error)
        self._tell(_answer_all, [call.answer], [outcome])

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


class ReadLane(Lane):
    """The thread that reads."""


class WriteLane(Lane):
    """The thread that writes, many writes at once."""

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name)
        self._store = store

    def submit(self, write: Write, answer: Answer) -> None:
        """Have something written; ``answer`` is told the outcome: an exception if the database refuses it."""
        self._put((write, answer))

    def submit_soon(self, write: Write, answer: Answer, loop: asyncio.AbstractEventLoop) -> None:
        """``submit`` from the event loop, for what comes in numbers."""
        if self._closed:
            raise StoreError(f"{self._name}: the engine is closed")
        self._queue.put_soon((write, answer), loop)

    async def write(self, write: Write) -> Any:
        """Have something written, and wait for it. Raises what the database refuses it with."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit(write, partial(_settle, future))
        return await future

    # -- in the thread

    def _do(self, entries: list[Any]) -> None:
        batch: list[tuple[Write, Answer]] = []
        for entry in entries:
            if type(entry) is tuple:
                batch.append(entry)
                continue
            if batch:
                self._commit(batch)
                batch = []
            self._make(entry)
        if batch:
            self._commit(batch)

    def _commit(self, batch: list[tuple[Write, Answer]]) -> None:
        writes, answers = zip(*batch, strict=True)
        outcomes: list[Any]
        try:
            outcomes = self._known(writes, self._insist(self._store.commit, writes))
        except BaseException as error:  # noqa: BLE001 as above
            # What is wrong with one of them must not become the trouble of all.
            outcomes = [_raised(error)] if len(writes) == 1 else [self._commit_alone(write) for write in writes]
        self._tell(_answer_all, answers, outcomes)

    def _commit_alone(self, write: Write) -> Any:
        try:
            [outcome] = self._known((write,), self._insist(self._store.commit, (write,)))
        except BaseException as error:  # noqa: BLE001 as above
            return _raised(error)
        return outcome

    def _known(self, writes: Sequence[Write], outcomes: list[Any]) -> list[Any]:
        """The outcomes. Of a commit that was cut off and made again a lost lease does not tell what became of the first try."""
        if not self._again:
            return outcomes
        return [
            _unknown(write) if outcome is False and isinstance(write, Save) else outcome
            for write, outcome in zip(writes, outcomes, strict=True)
        ]


# --- in the event loop ---


def _raised(error: BaseException) -> Exception:
    """An exception as an outcome. What would end the event loop is for the thread's own calls only."""
    return error if isinstance(error, Exception) else StoreError(f"the store raised {said(error)}")


def _unknown(save: Save) -> UnknownOutcomeError:
    return UnknownOutcomeError(
        f"run {save.run_id!r}: the database was lost while the checkpoint of revision {save.revision} was committed, and "
        "another worker has the run by now: whether that checkpoint was saved is not known. The run goes on from what was"
    )


def _answer_all(answers: Any, outcomes: Any) -> None:
    for answer, outcome in zip(answers, outcomes, strict=True):
        try:
            answer(outcome)
        except Exception:
            logger.exception("an answer of the database could not be handed on")


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
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
