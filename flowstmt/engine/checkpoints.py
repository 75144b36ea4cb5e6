"""What is written of one run while this process has the lease of it.

Rules:

1. One write is one truth: the run is what was last committed with this lease. What goes along (answers to messages, messages
   to others, children, attempts at steps) is in the write of the checkpoint that it belongs to.
2. A run is given up in the write of its last checkpoint (``rest``). From the instant at which that is handed in nothing else
   is written. The write may fail, which ends all as well; so there is no way back.
3. Writes of one run are committed in the order in which they are handed in. The one that does not go through the lane, of a
   transaction, begins when no other is under way, and no other is handed in until it has been committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import orjson

from flowstmt.core.state import AFTER_FAILURE, CheckpointType
from flowstmt.engine.invoking import StepTransaction
from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import LeaseLostError
from flowstmt.stores.protocol import Claimed, HistoryRow, Message, NewRun, Release, Rest, Save, Setback, Taken

__all__ = ["Attempt", "Checkpoints"]

Attempt: TypeAlias = tuple[str, str, int, datetime, timedelta, str | None]
"""A row of the history before it is known with which revision it is saved."""


class Checkpoints:
    """The writing side of a run's lease.

    ``blob`` is the snapshot that was committed last, ``fence`` the token of the lease, ``attempts`` the failures in a row.
    ``resting`` says that the lease is being given up, ``rested`` that it is; ``wake_at`` when the run is due then.
    """

    __slots__ = (
        "_around",
        "_draft",
        "_extra",
        "_rest",
        "_saving",
        "_turn",
        "attempts",
        "blob",
        "children",
        "fence",
        "history",
        "messages",
        "rested",
        "resting",
        "run_id",
        "taken",
        "transaction",
        "wake_at",
    )

    def __init__(self, around: Surroundings, claimed: Claimed) -> None:
        self._around = around
        self.run_id = claimed.run_id
        self.fence = claimed.fence
        self.attempts = claimed.attempts
        self.blob = self._draft = claimed.snapshot
        self.resting = self.rested = False
        self.wake_at: datetime | None = None
        self.taken: list[Taken] = []
        self.messages: list[Message] = []
        self.children: list[NewRun] = []
        self.history: list[Attempt] = []
        self.transaction: StepTransaction | None = None
        # The checkpoint that is under way, what the run is at rest then, and what may end the resume behind it.
        self._saving: asyncio.Future[None] | None = None
        self._rest: Rest | None = None
        self._turn: Callable[[], BaseException | None] | None = None
        # A write beside the checkpoints that is under way.
        self._extra: asyncio.Future[Any] | None = None

    # --- checkpoints ---

    def save(
        self,
        kind: CheckpointType,
        revision: int,
        blob: bytes,
        rest: Rest | None,
        turn: Callable[[], BaseException | None] | None,
        *,
        calm: bool = False,
    ) -> asyncio.Future[None] | None:
        """Write a checkpoint. What this returns is done when it is committed; what ``turn`` answers then is raised there.

        ``calm``: nothing else is to be done with it, so that it may be committed here and now; then this returns None.
        """
        save = Save(self.run_id, self.fence, revision, blob, rest)
        self._add_all(save)
        transaction = self.transaction
        if calm and transaction is None:
            outcome = self._around.writes.commit_here(save)
            if outcome is not None:
                error = self._told(outcome, blob, rest, turn)
                if error is not None:
                    raise error
                return None
        # Until it is committed nothing else may be written with it: it may be that of a transaction that is rolled back.
        self._draft = blob
        self._rest, self._turn = rest, turn
        self.resting = rest is not None
        future = self._saving = asyncio.get_running_loop().create_future()
        if transaction is not None:
            self.transaction = None
            if kind is not AFTER_FAILURE:
                transaction.commit(save, self._saved)
                return future
            transaction.roll_back()
        self._around.writes.submit(save, self._saved)
        return future

    def _add_all(self, save: Save) -> None:
        if self.taken:
            save.taken, self.taken = self.taken, []
        if self.messages:
            save.messages, self.messages = self.messages, []
        if self.children:
            save.children, self.children = self.children, []
        if self.history:
            save.history = self._rows(save.revision)

    def _rows(self, revision: int) -> list[HistoryRow]:
        rows, self.history = self.history, []
        return [HistoryRow(revision, *row) for row in rows]

    def _saved(self, outcome: Any) -> None:
        """The database has answered."""
        future, rest, turn = self._saving, self._rest, self._turn
        assert future is not None  # it was asked
        self._saving = self._rest = self._turn = None
        error = self._told(outcome, self._draft, rest, turn)
        if future.done():
            return  # whoever waited was cancelled
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _told(
        self, outcome: Any, blob: bytes, rest: Rest | None, turn: Callable[[], BaseException | None] | None
    ) -> BaseException | None:
        """What became of a checkpoint; what is to be raised where it was awaited."""
        if outcome is not True:
            error: BaseException = self.lease_lost() if outcome is False else outcome
            return error
        self.blob = blob
        self.attempts = 0
        if rest is not None:
            self.rested = True
            self.wake_at = rest.wake_at
        self._around.watchers.tell(self.run_id, blob, rests=None if rest is None else rest.status)
        return None if turn is None else turn()

    # --- other writes ---

    async def rest(self, revision: int, rest: Rest) -> None:
        """Give the run up as it was saved last."""
        self.resting = True
        rest.version = orjson.loads(self.blob)["version"]  # maybe not that of our class: nothing need have been saved here
        save = Save(self.run_id, self.fence, revision, self.blob, rest)
        self._add_all(save)
        await self._write(save)
        self.rested = True
        self.wake_at = rest.wake_at
        self._around.watchers.tell(self.run_id)

    async def answer(self) -> None:
        """Save answers that belong to no checkpoint; the run stays as it is."""
        while self._saving is not None and not self.resting:
            await asyncio.wait([self._saving])
        # While an action has a transaction they wait for its checkpoint: what this writes could be committed behind that.
        if self.taken and self.transaction is None and not self.resting:
            await self._write_taken()

    async def set_back(self, attempts: int, error: bytes, retry_at: datetime | None) -> None:
        """Give the run up as it was saved last, because it can't be moved."""
        self.resting = True
        if self.taken:
            await self._write_taken()
        setback = Setback(self.run_id, self.fence, attempts, error, retry_at)
        if self.history:
            setback.history = self._rows(self._revision() + 1)
        await self._write(setback)
        self.rested = True
        self.wake_at = retry_at

    def release(self) -> None:
        """Give the lease up; the run is due at once."""
        self.resting = True
        self._around.writes.submit(Release(self.run_id, self.fence), _ignore)

    async def take_again(self) -> bool:
        """Get the lease back that was given up; whether nobody else has got it meanwhile."""
        settings, store = self._around.settings, self._around.store
        claims = await self._around.writes.call(store.claim_run, settings.worker_id, self.run_id, settings.lease)
        if not claims.runs:
            return False
        self.fence = claims.runs[0].fence
        self.resting = self.rested = False
        return True

    async def begin_transaction(self) -> None:
        """Wait until a transaction may begin (rule 3)."""
        while self._extra is not None:
            await asyncio.wait([self._extra])

    def roll_back(self) -> None:
        """Give up what an action has written and no checkpoint has committed."""
        if self.transaction is not None:
            self.transaction.roll_back()
            self.transaction = None

    def lease_lost(self) -> LeaseLostError:
        """The error of whoever writes without a lease."""
        return LeaseLostError(
            f"run {self.run_id!r}: its lease (fence {self.fence}) was lost, so another worker moves it. What this one did "
            "since the last checkpoint was not saved, and is done again"
        )

    async def _write_taken(self) -> None:
        # Not with what else is to be saved: that belongs to the next checkpoint.
        save = Save(self.run_id, self.fence, self._revision(), self.blob, taken=self.taken)
        self.taken = []
        await self._write(save)

    async def _write(self, write: Save | Setback) -> None:
        extra = self._extra = asyncio.ensure_future(self._around.writes.write(write))
        try:
            saved = await asyncio.shield(extra)
        finally:
            self._extra = None
        if not saved:
            raise self.lease_lost()

    def _revision(self) -> int:
        revision: int = orjson.loads(self.blob)["state"]["revision"]
        return revision


def _ignore(_: Any) -> None:
    """For a write whose outcome changes nothing."""
