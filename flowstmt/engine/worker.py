"""The loop that finds runs which are due, has them moved, and keeps their leases.

Rules:

1. Nothing is claimed for which there is no place. What this process was handed to hold for a moment (``take``) comes on top,
   but does not go on moving without a place.
2. Nothing is asked of the database without a reason: somebody said that there is something new, a timer is due, a lease
   is to be renewed, or it is time for a look (``poll``), in case nobody could say so.
3. One mover a run. If this process gets the lease of a run that it has lost before, the new mover begins when the old one
   has come to its end.

What this module must not know: what a run does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any

import orjson

from flowstmt.core.state import WorkflowStatus
from flowstmt.engine.beginning import Begun
from flowstmt.engine.movers import Mover
from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import StoreError, said
from flowstmt.stores.protocol import Claimed, Claims, Release, Renewal

__all__ = ["Worker"]

logger = logging.getLogger("flowstmt.engine")

_ADMITTED_AT_ONCE = 100
_SHORTEST = 0.005
_MUCH_MAIL = 100
"""Reading so many messages once more takes time: then not more than a tenth of it goes there."""
_LAST_GRACE = 5.0
"""So many seconds are given to what was told to end, to say so."""


@dataclass(slots=True)
class _Found:
    """What one look at the database has found."""

    claims: Claims | None = None
    renewal: Renewal | None = None
    renewed_in: float = 0.0


class Worker:
    """Moves runs in this process. With ``worker=False`` it holds only those which it was asked to take."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._movers: dict[str, Mover] = {}
        self._reserved = 0
        self._news = asyncio.Event()
        self._next_due: datetime | None = None
        self._more = False
        self._renew_at = self._mail_at = 0.0
        self._stopping = self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._deaf: asyncio.Future[None]
        self._taking: set[asyncio.Future[Claims]] = set()
        self._unheld: set[str] = set()
        self._bells: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the store, and begin. Raises what the store can't do."""
        around = self._around
        self._loop = asyncio.get_running_loop()
        around.writes.start()
        around.reads.start()
        try:
            await around.writes.call(self._open)
        except BaseException:
            await self._close()
            raise
        self._task = self._loop.create_task(self._look_after(), name="flowstmt worker")
        self._deaf = self._loop.create_future()
        threading.Thread(target=self._listen, name="flowstmt worker, listening", daemon=True).start()

    async def stop(self) -> None:
        """Let runs get to their next checkpoint, give them all back, and close the store.

        After ``shutdown_timeout`` actions are cancelled, and threads left alone.
        """
        if self._stopping:
            return
        self._stopping = True
        interrupted: asyncio.CancelledError | None = None
        try:
            for mover in self._movers.values():
                mover.leave()
            await self._wait_for_movers(self._around.settings.shutdown_timeout.total_seconds())
        except asyncio.CancelledError as error:
            interrupted = error  # whoever leaves is in a hurry
        # To its end in any case: a worker that is left half stopped would keep the leases of its runs, and move none of them.
        ending = asyncio.ensure_future(self._hand_back())
        while not ending.done():
            try:
                await asyncio.wait([ending])
            except asyncio.CancelledError as error:
                interrupted = error
        ending.result()
        if interrupted is not None:
            raise interrupted

    async def _hand_back(self) -> None:
        """Give all runs back, whatever they are at, and close the store."""
        for mover in list(self._movers.values()):
            logger.warning("run %r: its action did not end in time; the run is given back, to do it again", mover.run_id)
            mover.abandon()
        await self._wait_for_movers(_LAST_GRACE)
        for mover in list(self._movers.values()):
            mover.desert()
        self._stopped = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_LAST_GRACE)
        if self._taking:
            await asyncio.wait(self._taking, timeout=_LAST_GRACE)
        # Leases that were on their way while the others were given back.
        await self._wait_for_movers(_LAST_GRACE)
        self._around.store.wake()
        await asyncio.wait([self._deaf], timeout=_LAST_GRACE)
        await self._close()

    async def _close(self) -> None:
        around = self._around
        around.threads.close()
        await around.reads.stop(_LAST_GRACE)
        # In its own thread, as the last thing that happens there: a store that does not let go must not hold the process.
        await around.writes.stop(_LAST_GRACE, around.store.close)

    async def _wait_for_movers(self, seconds: float) -> None:
        ends = [mover.ended for mover in self._movers.values() if not mover.is_deserted]
        if ends:
            await asyncio.wait(ends, timeout=seconds)

    # --- for who has something for a run ---

    @property
    def held_runs(self) -> int:
        """How many runs are in this process."""
        return len(self._movers)

    def held(self, run_id: str) -> Mover | None:
        """The mover of a run that this process moves."""
        mover = self._movers.get(run_id)
        return None if mover is None or mover.ended.done() else mover

    def has_room(self) -> bool:
        """Whether one more run could be moved here."""
        return self._around.settings.worker and not self._stopping and self._room() > 0

    def reserve(self) -> bool:
        """Whether there is a place for one more run; it is kept until ``adopt`` or ``unreserve``."""
        if not self.has_room():
            return False
        self._reserved += 1
        return True

    def unreserve(self) -> None:
        """Nothing has come of it."""
        self._reserved -= 1

    def adopt(self, claimed: Claimed, begun: Begun | None) -> Mover:
        """Move a run that was born with this worker's lease, in a place that was reserved."""
        self._reserved -= 1
        return self._begin(claimed, goes_on=True, begun=begun)

    async def take(self, run_id: str, *, goes_on: bool = True) -> Mover | None:
        """Get the lease of a run, and its mover; None if another worker has it. Raises ``NotFoundError``.

        Without ``goes_on`` the run only takes what it is taken for: it is not to begin yet.
        """
        mover = self.held(run_id)
        if mover is not None:
            return mover
        if self._stopping:
            raise StoreError(f"run {run_id!r} was not taken: the engine is being closed. Nothing was done")
        claiming = asyncio.ensure_future(self._around.writes.call(self._claim_run, run_id))
        self._taking.add(claiming)
        claiming.add_done_callback(self._taking.discard)
        try:
            # Not cut off in the middle: nobody would know of the lease, and nobody could have it until it has run out.
            claims = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(partial(self._taken_in_vain, goes_on=goes_on))
            raise
        # At once: the mover must not begin before it is known what it was taken for.
        return self._begin_taken(claims.runs[0], goes_on=goes_on) if claims.runs else self.held(run_id)

    def _begin_taken(self, claimed: Claimed, *, goes_on: bool) -> Mover | None:
        around = self._around
        no_room = goes_on and not self.has_room()
        goes_on = goes_on and not no_room
        if around.catalogue.known().get(claimed.workflow, 0) < _version_of(claimed) or (no_room and self._is_due(claimed)):
            # Those who know it, or have a place for it, are to move it.
            around.writes.submit(Release(claimed.run_id, claimed.fence), _ignore)
            return None
        return self._begin(claimed, goes_on=goes_on)

    def _taken_in_vain(self, claiming: asyncio.Future[Claims], *, goes_on: bool) -> None:
        """Whoever wanted the run is gone: it is given back."""
        if not claiming.cancelled() and claiming.exception() is None and claiming.result().runs:
            self._begin_taken(claiming.result().runs[0], goes_on=goes_on)

    def wake(self) -> None:
        """There may be something to do: have a look."""
        self._news.set()

    def when_rung(self, bell: Callable[[], None]) -> None:
        """Have something called, in the event loop, when the database says that there is something new."""
        self._bells.append(bell)

    def _is_due(self, claimed: Claimed) -> bool:
        """Whether a run that was taken would go on by itself."""
        if claimed.status == WorkflowStatus.Paused:
            return False
        state = _document(claimed).get("state", {})
        wake_at = state.get("wake_at")
        due = wake_at is not None and datetime.fromisoformat(wake_at) <= self._around.clock()
        return due or state.get("status", WorkflowStatus.Resuming) == WorkflowStatus.Resuming

    # --- movers ---

    def _room(self) -> int:
        return self._around.settings.concurrency - len(self._movers) - self._reserved

    def _begin(self, claimed: Claimed, *, goes_on: bool, begun: Begun | None = None) -> Mover:
        mover = Mover(self._around, claimed, goes_on=goes_on, begun=begun)
        before = self._movers.get(claimed.run_id)
        self._movers[claimed.run_id] = mover
        mover.ended.add_done_callback(lambda _: self._ended(mover))
        if self._stopping:
            mover.leave()
        if before is None or before.ended.done():
            mover.begin()
        else:
            before.lose()
            before.ended.add_done_callback(lambda _: mover.begin())
        return mover

    def _ended(self, mover: Mover) -> None:
        if self._movers.get(mover.run_id) is mover:
            del self._movers[mover.run_id]
        wake_at = mover.checkpoints.wake_at
        if wake_at is not None and (self._next_due is None or wake_at < self._next_due):
            self._next_due = wake_at
            self._news.set()
        if self._more or not mover.goes_on or self._around.settings.queues:
            self._news.set()

    # --- the loop ---

    async def _look_after(self) -> None:
        while not self._stopped:
            self._news.clear()
            try:
                await self._look()
            except StoreError as error:
                logger.error("the worker could not look for runs, and goes on trying: %s", said(error))
            except Exception:
                logger.exception("the worker could not look for runs, and goes on trying")
            await self._sleep()

    async def _sleep(self) -> None:
        seconds = min(self._around.settings.poll.total_seconds(), max(0.0, self._renew_at - monotonic()))
        if self._mail_at:
            seconds = min(seconds, max(_SHORTEST, self._mail_at - monotonic()))
        if self._next_due is not None and self.has_room():
            # Not at once: what is due and was not claimed is in somebody else's hands at this moment.
            seconds = min(seconds, max(_SHORTEST, (self._next_due - self._around.clock()).total_seconds()))
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        settings = self._around.settings
        room = self._room() if settings.worker and not self._stopping else 0
        leases: Mapping[str, int] | None = None
        now = monotonic()
        if not self._movers:
            self._mail_at = 0.0
        elif now >= self._renew_at:
            # Not those that are being given up: by the time that this is done they are, and nothing is lost with them.
            leases = {
                run_id: mover.checkpoints.fence for run_id, mover in self._movers.items() if not mover.checkpoints.resting
            }
        elif now >= self._mail_at:
            leases = {}
        if now >= self._renew_at:
            self._renew_at = now + settings.lease.total_seconds() / 3
        if room <= 0 and leases is None:
            return
        # What comes to rest while this is under way says itself when it is due.
        self._next_due = None
        found = await self._around.writes.call(self._look_at_store, room, leases)
        if found.renewal is not None:
            self._hear(found.renewal, leases or {})
            self._mail_at = monotonic() + 9 * found.renewed_in if len(found.renewal.messages) > _MUCH_MAIL else 0.0
        if found.claims is not None:
            self._more = len(found.claims.runs) >= room
            upcoming = found.claims.next_due
            if upcoming is not None and (self._next_due is None or upcoming < self._next_due):
                self._next_due = upcoming
            for claimed in found.claims.runs:
                self._begin(claimed, goes_on=True)

    def _hear(self, renewal: Renewal, leases: Mapping[str, int]) -> None:
        """Leases that were lost, and messages for runs that are held."""
        unheld: set[str] = set()
        for run_id in renewal.lost:
            mover = self._movers.get(run_id)
            if mover is not None and mover.checkpoints.fence == leases.get(run_id):
                mover.lose()
        for message in renewal.messages:
            mover = self.held(message.run_id)
            if mover is not None:
                mover.deliver(message)
            else:
                unheld.add(message.id)
        if unheld - self._unheld:
            # They came to rest meanwhile, and are due by that. Once a message: such a run may also be in the hands of nobody
            # until its lease has run out, or in those of another worker of this name.
            self._news.set()
        self._unheld = unheld

    # --- in the writing thread ---

    def _look_at_store(self, room: int, leases: Mapping[str, int] | None) -> _Found:
        around = self._around
        store, settings = around.store, around.settings
        found = _Found()
        if leases is not None:
            began = monotonic()
            found.renewal = store.renew(settings.worker_id, leases, settings.lease)
            found.renewed_in = monotonic() - began
            around.clock.align(found.renewal.now)
        if room > 0:
            for queue in settings.queues:
                store.admit(queue, _ADMITTED_AT_ONCE)
            found.claims = store.claim(settings.worker_id, around.catalogue.known(), settings.lease, room)
            around.clock.align(found.claims.now)
        return found

    def _claim_run(self, run_id: str) -> Claims:
        around = self._around
        claims = around.store.claim_run(around.settings.worker_id, run_id, around.settings.lease)
        around.clock.align(claims.now)
        return claims

    def _open(self) -> None:
        self._around.store.open()
        self._around.clock.align(self._around.store.now())

    # --- in the listening thread ---

    def _listen(self) -> None:
        """Hear from the database that there may be something to do."""
        store, seconds = self._around.store, self._around.settings.poll.total_seconds()
        first = True
        while not self._stopped:
            began = monotonic()
            try:
                # The first time only to listen from now on: what came before that is found by the look behind it.
                store.wait(_SHORTEST if first else seconds)
            except Exception as error:  # noqa: BLE001 without it the worker still looks by itself, every now and then
                logger.info("the worker can't hear from the database, and looks now and then: %s", said(error))
                threading.Event().wait(max(0.0, seconds - (monotonic() - began)))
            if (first or monotonic() - began < 0.9 * seconds) and not self._tell(self._ring):
                return
            first = False
        self._tell(self._fall_silent)

    def _tell(self, function: Callable[[], None]) -> bool:
        assert self._loop is not None  # the worker was started
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False  # the event loop was closed
        return True

    def _ring(self) -> None:
        self._news.set()
        for bell in self._bells:
            bell()

    def _fall_silent(self) -> None:
        if not self._deaf.done():
            self._deaf.set_result(None)


def _ignore(_: Any) -> None:
    """For a write whose outcome changes nothing."""


def _version_of(claimed: Claimed) -> int:
    version: int = _document(claimed).get("version", 0)
    return version


def _document(claimed: Claimed) -> dict[str, Any]:
    """The snapshot; empty if nobody can read it, which its mover says and does what follows from it."""
    try:
        document = orjson.loads(claimed.snapshot)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
