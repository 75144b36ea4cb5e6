"""Where an engine's database is written: by the event loop itself where the store can do that, else by one thread.

Rules:

1. Writes are committed in the order in which they are handed in, and calls of the thread come between them. So the event
   loop commits only what has nothing in front of it: nothing is in the thread's hands, and no other commit is under way.
2. What can be committed at once is committed at once (group commit). While one batch is committed, the next one gathers.
3. A write that the database refuses fails for whoever made it, and for nobody else.
4. Of a commit that was cut off, and made again, a lost lease does not tell what became of the first try.

Theory: those who were answered together come back together. So after an answer to many the next writes are gathered until the
event loop's next turn, and after an answer to one, the next one goes at once. No time is lost by waiting for more to come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias

from flowstmt.beside import running_loop
from flowstmt.engine.at_once import AtOnce
from flowstmt.engine.lanes import Answer, Lane, raised, settle
from flowstmt.errors import LeaseLostError, StoreError, said
from flowstmt.stores.at_once import Underway
from flowstmt.stores.protocol import Outcome, Save, Store, Write

__all__ = ["UnknownOutcomeError", "WriteLane"]

logger = logging.getLogger("flowstmt.engine")

_FEW = 2
"""So many are not worth waiting for."""
_ALONE = 4
"""After so many turns of the event loop in which one write came, whoever makes it is taken to be alone."""
_STREAK = 8
_STREAK_SECONDS = 0.001
"""So many writes of one that is alone are committed before the event loop has a turn, and in so much time."""

_Batch: TypeAlias = list[tuple[Write, Answer]]


class UnknownOutcomeError(LeaseLostError):
    """A checkpoint whose commit was cut off, and whose lease was lost before it could be handed in again.

    It may be what the run's next owner goes on from, or not.
    """


class _CutOff:
    """A batch that the thread has to commit again."""

    __slots__ = ("batch",)

    def __init__(self, batch: _Batch) -> None:
        self.batch = batch


class WriteLane(Lane):
    """Writes, many at once. For the event loop's thread, but for ``submit_threadsafe``."""

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name)
        self._store = store
        self._at_once = AtOnce(store)
        self._loop: asyncio.AbstractEventLoop
        self._context: Context
        # What goes on at the loop's next turn, or when the commit that is under way has come to its end.
        self._gathered: _Batch = []
        self._has_turn = False
        # In how many turns one write was all, and how many have been committed since the loop had its last turn.
        self._alone = self._streak = 0
        # How much is in the hands of the thread, or in its queue.
        self._in_thread = 0
        # How many were answered together the last time.
        self._together = 1
        # What was sent, and how it comes back.
        self._sent: _Batch = []
        self._underway: Underway | None = None
        self._door = -1
        self._landed: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin, for the running event loop."""
        self._loop = asyncio.get_running_loop()
        # Who hands something in does so inside of a run; the answer is told outside of it.
        self._context = copy_context()
        super().start()

    def backlog(self) -> int:
        """How much waits for its turn."""
        return len(self._queue) + len(self._gathered)

    def submit(self, write: Write, answer: Answer) -> None:
        """Have something written; ``answer`` is told the outcome: an exception if the database refuses it."""
        if self._closed:
            raise self._is_closed()
        self._gathered.append((write, answer))
        if self._has_turn or self._in_thread or self._underway is not None:
            return
        if self._together > _FEW:
            self._await_turn()
        else:
            self._pass_on()

    def commit_here(self, write: Write) -> Any:
        """The outcome of a write that was committed here and now. None: nothing was done, and it is to be handed in.

        Done only for one who writes alone: those who write at the same time are committed together.
        """
        if (
            self._alone < _ALONE
            or self._streak >= _STREAK
            or self._at_once.spent >= _STREAK_SECONDS
            or self._has_turn
            or self._in_thread
            or self._closed
            or self._at_once.sends
            or not self._at_once.suits(1)
        ):
            return None
        try:
            found = self._at_once.commit((write,))
        except Exception as error:  # noqa: BLE001 as in _hear
            self._complain(error)
            return None
        if not isinstance(found, list):
            return None
        self._streak += 1
        return found[0]

    def submit_threadsafe(self, write: Write, answer: Answer) -> None:
        """``submit`` from any thread."""
        if running_loop() is self._loop:
            self.submit(write, answer)
            return
        if self._closed:
            raise self._is_closed()
        try:
            self._loop.call_soon_threadsafe(self._submit_late, write, answer, context=self._context)
        except RuntimeError:
            raise self._is_closed() from None

    def _submit_late(self, write: Write, answer: Answer) -> None:
        if self._closed:
            answer(self._is_closed())
        else:
            self.submit(write, answer)

    async def write(self, write: Write) -> Any:
        """Have something written, and wait for it. Raises what the database refuses it with."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit(write, partial(settle, future))
        return await future

    def _put(self, entry: Any) -> None:
        if not self._closed:
            self._hand_over_gathered()
            self._in_thread += 1
        super()._put(entry)

    async def _gather_up(self, seconds: float) -> None:
        if self._underway is not None:
            self._landed = self._loop.create_future()
            await asyncio.wait([self._landed], timeout=seconds)
        if self._underway is not None:
            self._underway.abandon()
            self._underway = None
            batch, self._sent = self._sent, []
            self._look_away()
            left = StoreError(
                f"{self._name}: the engine was closed before the database answered; what it was told last may be saved or not"
            )
            self._answered(batch, [left] * len(batch))
        self._hand_over_gathered()

    # -- to the database

    def _await_turn(self) -> None:
        self._has_turn = True
        self._loop.call_soon(self._take_turn, context=self._context)

    def _take_turn(self) -> None:
        self._has_turn = False
        if not self._gathered or self._in_thread or self._underway is not None:
            return
        self._pass_on()

    def _go_on(self) -> None:
        """Something has come back from the database: what gathered meanwhile goes there, with the next of those it was for."""
        if not self._gathered or self._has_turn or self._in_thread or self._underway is not None:
            return
        if self._together + len(self._gathered) > _FEW:
            self._await_turn()
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        """Have what has gathered committed, by whoever can do it now."""
        batch, self._gathered = self._gathered, []
        if not self._closed and self._at_once.suits(len(batch)):
            try:
                found = self._at_once.commit([write for write, _ in batch])
            except Exception as error:  # noqa: BLE001 as in _hear
                self._complain(error)
                self._cut_off(batch)
                return
            if isinstance(found, list):
                # Not told here: whoever has handed it in is still about to wait for it.
                self._has_turn = True
                self._loop.call_soon(self._land, batch, found, context=self._context)
                return
            if found is not None:
                self._sent, self._underway = batch, found
                try:
                    self._watch(found.fileno())
                except NotImplementedError:  # the event loop of Windows hears of pipes and sockets in other ways only
                    self._at_once.renounce()
                    found.abandon()
                    self._underway = None
                    self._cut_off(batch)
                return
        self._hand_over(batch)

    def _hand_over_gathered(self) -> None:
        batch, self._gathered = self._gathered, []
        self._hand_over(batch)

    def _hand_over(self, batch: _Batch) -> None:
        """Let the thread do it."""
        if self._underway is None:
            self._look_away()
        if batch:
            self._in_thread += len(batch)
            self._queue.put_all(batch)

    def _watch(self, door: int) -> None:
        if door == self._door:
            return
        self._look_away()
        self._context.copy().run(self._loop.add_reader, door, self._hear)
        self._door = door

    def _look_away(self) -> None:
        """Where the thread reads, or nothing is expected, the event loop would find something to read again and again."""
        if self._door >= 0:
            self._loop.remove_reader(self._door)
            self._door = -1

    # -- from the database

    def _hear(self) -> None:
        """There is something to be read."""
        if self._underway is None:
            self._look_away()
            return
        outcomes: Sequence[Any] | None = None
        try:
            outcomes = self._underway.outcomes()
            if outcomes is None:
                return
        except Exception as error:  # noqa: BLE001 the thread makes it again, and meets the same if that lasts
            self._complain(error)
        batch, self._sent = self._sent, []
        self._underway = None
        if outcomes is None:
            self._cut_off(batch)
        else:
            self._answered(batch, outcomes)
        if self._in_thread:
            self._look_away()
        self._go_on()
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(None)

    def _complain(self, error: Exception) -> None:
        logger.info("%s: a commit was cut off, and is made again: %s", self._name, said(error))

    def _cut_off(self, batch: _Batch) -> None:
        """What was sent has to be sent again, by the thread."""
        self._look_away()
        self._in_thread += len(batch)
        self._queue.put(_CutOff(batch))

    def _land(self, batch: _Batch, outcomes: Sequence[Any]) -> None:
        self._has_turn = False
        self._alone = 0 if self._gathered else self._alone + 1
        self._streak = 0
        self._at_once.spent = 0.0
        self._answered(batch, outcomes)
        self._go_on()

    def _answered(self, batch: _Batch, outcomes: Sequence[Any]) -> None:
        self._together = len(batch)
        super()._answer([answer for _, answer in batch], outcomes)

    def _committed(self, answers: Sequence[Answer], outcomes: Sequence[Any]) -> None:
        """The thread has."""
        self._together = len(answers)
        self._answer(answers, outcomes)

    def _answer(self, answers: Sequence[Answer], outcomes: Sequence[Any]) -> None:
        self._in_thread -= len(answers)
        super()._answer(answers, outcomes)
        self._go_on()

    # -- in the thread

    def _do(self, entries: list[Any]) -> None:
        batch: _Batch = []
        for entry in entries:
            if type(entry) is tuple:
                batch.append(entry)
                continue
            if batch:
                self._commit(batch)
                batch = []
            if type(entry) is _CutOff:
                self._commit(entry.batch, cut_off=True)
            else:
                self._make(entry)
        if batch:
            self._commit(batch)

    def _commit(self, batch: _Batch, *, cut_off: bool = False) -> None:
        writes, answers = zip(*batch, strict=True)
        outcomes: list[Any]
        try:
            outcomes = self._insist(self._store.commit, writes)
            if cut_off or self._again:
                outcomes = list(map(_known, writes, outcomes))
        except BaseException as error:  # noqa: BLE001 it is for who waits; the thread is for all
            # What is wrong with one of them must not become the trouble of all.
            outcomes = [raised(error)] if len(writes) == 1 else [self._commit_alone(write, cut_off) for write in writes]
        self._tell(self._committed, answers, outcomes)

    def _commit_alone(self, write: Write, cut_off: bool) -> Any:
        try:
            [outcome] = self._insist(self._store.commit, (write,))
        except BaseException as error:  # noqa: BLE001 as above
            return raised(error)
        return _known(write, outcome) if cut_off or self._again else outcome


def _known(write: Write, outcome: Any) -> Any:
    """The outcome of a commit that was cut off and made again: a lost lease does not tell what became of the first try."""
    if outcome is not False or not isinstance(write, Save):
        return outcome
    return UnknownOutcomeError(
        f"run {write.run_id!r}: the database was lost while the checkpoint of revision {write.revision} was committed, and "
        "another worker has the run by now: whether that checkpoint was saved is not known. The run goes on from what was"
    )
