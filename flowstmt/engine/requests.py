"""How a call reaches the run that it is for, wherever that is moved: nothing is lost, and nothing is applied twice.

Rules:

1. A run that this process moves is asked directly. One that nobody owns is taken, asked, and let go on. For one that another
   process owns, or whose workflow this process does not know, a message is posted, and its answer awaited.
2. A message is applied by whoever owns the run, from the inbox, and by nobody else: also if this process takes the run over
   from an owner that has died, the message goes the way of all others. So it can't be applied twice.
3. Who gives up waiting takes the message back. Whether it may have been applied all the same is told by the error.

What this module must not know: what a callback or a control does to a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from flowstmt.core.state import OVER, WorkflowStatus
from flowstmt.engine.deliveries import MovedOnError
from flowstmt.engine.messages import read_answer, read_error_info
from flowstmt.engine.movers import Mover
from flowstmt.engine.surroundings import Surroundings
from flowstmt.engine.worker import Worker
from flowstmt.engine.write_lane import UnknownOutcomeError
from flowstmt.errors import (
    ConflictError,
    FlowstmtError,
    LeaseLostError,
    NotFoundError,
    PausedError,
    StoreError,
    WorkflowFinishedError,
    message_of,
)
from flowstmt.stores.protocol import Message, MessageKind, Posted, StoredRun, Taken, Withdrawal

__all__ = ["Ask", "Requests", "looked_at", "not_found", "why_paused"]

_FIRST_LOOK = 0.01
"""So soon an answer is looked for; then in growing distances, unless the store rings."""
_GRACE = 2.0
"""So many seconds longer is waited to learn how things stand when time is over."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a run: by words for errors, of a mover directly, and as a message. The answer is JSON.

    What ``ends`` it lets it go on for that, also if it is not to begin yet.
    """

    run_id: str
    what: str
    kind: MessageKind
    body: bytes
    of_mover: Callable[[Mover], Awaitable[bytes]]
    ends: bool = False


@dataclass(slots=True)
class _Attempt:
    """How far a request has got."""

    row: StoredRun | None = None
    mover: Mover | None = None
    message: Message | None = None
    waits: bool = False


class Requests:
    """Sends what is asked to where a run is moved, and waits for the answers."""

    def __init__(self, shared: Surroundings, worker: Worker) -> None:
        self._store = shared.store
        self._lane = shared.writes
        self._reader = shared.reads
        self._catalogue = shared.catalogue
        self._poll = shared.settings.poll.total_seconds()
        self._worker = worker
        self._awaited: dict[str, asyncio.Future[Taken]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._rung = asyncio.Event()
        self._withdrawing: set[asyncio.Future[Any]] = set()
        self._stopped = False

    async def row(self, run_id: str) -> StoredRun:
        """The run as it is stored. Raises ``NotFoundError``."""
        found: StoredRun | None = await self._reader.call(self._store.get, run_id)
        if found is None:
            raise not_found(run_id)
        return found

    def knows(self, row: StoredRun) -> bool:
        """Whether this process can move a run."""
        return self._catalogue.known().get(row.workflow, 0) >= row.version

    def ring(self) -> None:
        """The store has news: there may be answers among them."""
        self._rung.set()

    async def stop(self) -> None:
        """The engine is left: nobody is kept waiting, and what has been withdrawn is written."""
        self._stopped = True
        for answer in self._awaited.values():
            if not answer.done():
                answer.set_exception(_LeftError())
                looked_at(answer)  # who waits for it may be cancelled in the same moment
        self._awaited.clear()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        if self._withdrawing:
            await asyncio.gather(*self._withdrawing, return_exceptions=True)

    async def ask(self, ask: Ask, seconds: float | None) -> bytes:
        """The answer, as JSON. Raises the refusal, ``NotFoundError``, or ``TimeoutError``, which says how things stand."""
        attempt = _Attempt()
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._asked(ask, attempt)
        except _LeftError:
            raise _left(ask.what, may_be=True) from None
        except TimeoutError:
            if not limit.expired():
                raise  # a handler's own
            answer = await self._give_up(ask, attempt)
        except asyncio.CancelledError:
            if attempt.message is not None:
                # Nobody is there for the answer any more. In the background: whoever cancels does not want to wait.
                writing = asyncio.ensure_future(self._lane.write(Withdrawal(attempt.message.id)))
                self._withdrawing.add(writing)
                writing.add_done_callback(self._withdrawing.discard)
            raise
        return read_answer(answer)

    async def _asked(self, ask: Ask, attempt: _Attempt) -> bytes:
        pause = 0.0
        while not self._stopped:
            attempt.mover = self._worker.held(ask.run_id)
            if attempt.mover is None:
                attempt.row = await self.row(ask.run_id)
                _refuse_closed(ask, attempt.row)
                attempt.waits = await self._is_to_begin(attempt.row)
                if attempt.waits and ask.kind is MessageKind.callback:
                    # To take it would begin it, past its queue or before its time.
                    pause = min(max(2 * pause, _FIRST_LOOK), self._poll)
                    await asyncio.sleep(pause)
                    continue
                if self.knows(attempt.row):
                    attempt.mover = await self._worker.take(ask.run_id, goes_on=ask.ends or not attempt.waits)
                if attempt.mover is None:
                    return read_answer(await self._by_message(ask, attempt, attempt.row))
            try:
                return await ask.of_mover(attempt.mover)
            except UnknownOutcomeError as error:
                raise ConflictError(
                    f"run {ask.run_id!r}: it is not known whether {ask.what} was applied. The database was lost while it was "
                    "saved, and another worker has the run by now. Look at the run before you do it again"
                ) from error
            except (MovedOnError, LeaseLostError):
                # Not applied: the run came to rest first, or belongs to another worker by now.
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, _FIRST_LOOK), self._poll)
        raise _left(ask.what, may_be=False)

    # --- by way of the inbox ---

    async def _by_message(self, ask: Ask, attempt: _Attempt, row: StoredRun) -> bytes:
        message = attempt.message = Message(uuid4().hex, ask.run_id, ask.kind, ask.body)
        posted = await self._lane.write(message)
        if posted is Posted.unknown:
            raise not_found(ask.run_id)
        if posted is Posted.over:
            raise WorkflowFinishedError(f"run {ask.run_id!r}: {ask.what} is refused: the run was over just now")
        return await self._answer(message, row)

    async def _answer(self, message: Message, row: StoredRun) -> bytes:
        """Wait for an answer; take the run if nobody owns it any more, be it that its owner has died."""
        answer = asyncio.get_running_loop().create_future()
        self._awaited[message.id] = answer
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        pause = 4 * _FIRST_LOOK
        try:
            while True:
                await asyncio.wait([answer], timeout=pause)
                if answer.done():
                    return _answered(answer.result())
                pause = min(2 * pause, self._poll)
                if self._worker.held(message.run_id) is None and self.knows(row) and await self._is_free(message.run_id):
                    await self._worker.take(message.run_id)
        finally:
            self._awaited.pop(message.id, None)

    async def _is_to_begin(self, row: StoredRun) -> bool:
        """Whether a run has not begun, and is not to begin yet."""
        if row.status != WorkflowStatus.Resuming or row.owner is not None:
            return False
        if row.wake_at is None:
            return True  # it stands in its queue
        if row.revision > 0 or row.attempts > 0:
            return False
        now: datetime = await self._reader.call(self._store.now)
        return row.wake_at > now

    async def _is_free(self, run_id: str) -> bool:
        row = await self.row(run_id)
        if row.owner is None:
            return True
        now: datetime = await self._reader.call(self._store.now)
        return row.lease_until is not None and row.lease_until <= now

    async def _look(self) -> None:
        """Look for the answers of all who wait, in one query."""
        pause = _FIRST_LOOK
        known = 0
        while self._awaited:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._rung.wait()
            self._rung.clear()
            pause = _FIRST_LOOK if len(self._awaited) > known else min(2 * pause, self._poll)
            known = len(self._awaited)
            try:
                found = await self._reader.call(self._store.answers, list(self._awaited))
            except Exception as error:  # noqa: BLE001 raised where the answers are awaited
                for waiting in self._awaited.values():
                    if not waiting.done():
                        waiting.set_exception(_unheard(error))
                return
            for message_id, taken in found.items():
                answer = self._awaited.pop(message_id, None)
                if answer is not None and not answer.done():
                    answer.set_result(taken)

    async def _give_up(self, ask: Ask, attempt: _Attempt) -> bytes:
        """Time is over: the answer, if it has come meanwhile, else ``TimeoutError``."""
        row, message = attempt.row, attempt.message
        if attempt.mover is not None:
            raise _too_late(ask, "The run is moved by this process, and has been busy", may_be=True)
        if row is not None and attempt.waits and message is None:
            begins = f"stands in queue {row.queue!r}" if row.wake_at is None else f"is to begin at {row.wake_at.isoformat()}"
            raise TimeoutError(
                f"run {ask.run_id!r}: {ask.what} was not taken in time: the run {begins}. A signal would be kept until then"
            )
        if row is None or message is None:
            raise _too_late(ask, "The database has not answered", may_be=False)
        try:
            async with asyncio.timeout(_GRACE):
                before = await self.row(ask.run_id)
                withdrawn = await self._lane.write(Withdrawal(message.id))
                found = await self._reader.call(self._store.answers, [message.id])
                if message.id in found:
                    return _answered(found[message.id])
                now = await self.row(ask.run_id)
        except TimeoutError:
            raise _too_late(ask, "The database does not answer", may_be=True) from None
        # Who owns a run reads its messages before it marks them: only of one that nobody owned meanwhile is it sure.
        untouched = bool(withdrawn) and before.owner is None and now.owner is None and now.fence == before.fence
        if not self.knows(row):
            why = (
                f"This process does not know {row.workflow} of version {row.version}, and no worker that does has answered: "
                "see whether one is running"
            )
        elif now.owner is None:
            why = "No worker has taken the run up"
        else:
            why = f"The run is moved by worker {now.owner!r}, which has not answered: it may be busy with a long step, or dead"
        raise _too_late(ask, why, may_be=not untouched)


class _LeftError(Exception):
    """The engine is left: for those who wait."""


def looked_at(task: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more: asyncio would complain about an exception that nobody has looked at."""
    if not task.cancelled():
        task.exception()


def _left(what: str, *, may_be: bool) -> FlowstmtError:
    stands = "it may be applied all the same" if may_be else "it was not applied"
    return FlowstmtError(f"the engine was left while {what} waited for its answer: {stands}")


def _unheard(error: Exception) -> StoreError:
    failed = StoreError(
        f"the answer could not be read: {message_of(error)}. It may be applied all the same: look at the run before you hand "
        "it in again"
    )
    failed.__cause__ = error
    return failed


def not_found(run_id: str) -> NotFoundError:
    """The error for a run that there is not."""
    return NotFoundError(f"run {run_id!r}: the store has no such run. Is it another store, or has the run been deleted?")


def why_paused(row: StoredRun) -> str:
    """Why a run is paused though nobody paused it, and what helps."""
    error = read_error_info(row.error)
    at = f" at {error.step!r}" if error is not None and error.step else ""
    said = "" if error is None else f": {error.type}: {error.message}"
    return f"it could not be moved{at}{said}. Mend the cause; then retry lets it go on"


def _refuse_closed(ask: Ask, row: StoredRun) -> None:
    """Callbacks that would be refused in any case need no lease."""
    if ask.kind is not MessageKind.callback:
        return
    if row.status in OVER:
        raise WorkflowFinishedError(
            f"run {ask.run_id!r}: {ask.what} refused: the run is {row.status} and takes no more callbacks"
        )
    if row.status == WorkflowStatus.Paused and row.error is not None:
        raise PausedError(f"run {ask.run_id!r}: {ask.what} refused: the run is Paused, because {why_paused(row)}")


def _answered(taken: Taken) -> bytes:
    assert taken.answer is not None  # whoever is done with a message that is not a signal answers it
    return taken.answer


def _too_late(ask: Ask, why: str, *, may_be: bool) -> TimeoutError:
    stands = (
        "It may be applied all the same: look at the run before you hand it in again"
        if may_be
        else "It was taken back, and will not be applied"
    )
    return TimeoutError(f"run {ask.run_id!r}: {ask.what} was not answered in time. {why}. {stands}")
