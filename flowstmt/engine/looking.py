"""What an engine reads: runs, lists of them, what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import Any

from flowstmt.core.children import CHILD_ENDED
from flowstmt.core.state import OVER, WorkflowStatus, aware
from flowstmt.describe.legality import legal
from flowstmt.describe.possibilities import Legal
from flowstmt.engine.letters import DeadLetter, dead_letter
from flowstmt.engine.requests import not_found, why_paused
from flowstmt.engine.runs import Page, cursor_of, read_cursor, run_info
from flowstmt.engine.surroundings import Surroundings
from flowstmt.engine.watching import Change, Ear, change_of, published_change
from flowstmt.errors import StateError, WorkflowFinishedError, a_kind_of, quoted
from flowstmt.snapshot import load
from flowstmt.stores.protocol import HistoryRow, Message, MessageStatus, RunQuery, StoredRun

__all__ = ["Looking", "label_of", "statuses_of"]

_FIRST_LOOK = 0.01
_FIRST_LOOK_WITHIN = 2.0
_MOST = 1000
"""So many rows are read at once, at most."""


class Looking:
    """Reads the store of an engine."""

    def __init__(self, shared: Surroundings) -> None:
        self._store = shared.store
        self._reader = shared.reads
        self._catalogue = shared.catalogue
        self._watchers = shared.watchers
        self._clock = shared.clock
        self._poll = shared.settings.poll.total_seconds()
        self._worker_id = shared.settings.worker_id

    async def row(self, run_id: str) -> StoredRun:
        """The run as it is stored. Raises ``NotFoundError``."""
        found: StoredRun | None = await self._reader.call(self._store.get, run_id)
        if found is None:
            raise not_found(run_id)
        return found

    async def page(self, query: RunQuery, after: str | None) -> Page:
        """The runs of a query, from where the last page ended."""
        _check_limit(query.limit, "list")
        for name in ("created_from", "created_before", "wake_before"):
            instant = getattr(query, name)
            if instant is not None:
                aware(instant, f"list: {name}")
        wanted = replace(query, after=None if after is None else read_cursor(after), limit=query.limit + 1)
        rows = await self._reader.call(self._store.list, wanted)
        page = rows[: query.limit]
        return Page(tuple([run_info(row) for row in page]), cursor_of(page[-1]) if len(rows) > query.limit else None)

    async def history(self, run_id: str, after: int, limit: int) -> tuple[HistoryRow, ...]:
        """Attempts at steps, the oldest first."""
        _check_limit(limit, "history")
        rows = tuple(await self._reader.call(self._store.history, run_id, after, limit))
        if not rows:
            await self.row(run_id)  # an unknown run is told as such
        return rows

    async def dead_letters(self, run_id: str, limit: int) -> tuple[DeadLetter, ...]:
        """Signals that could not be delivered, the oldest first."""
        _check_limit(limit, "dead_letters")
        letters: Sequence[Message] = await self._reader.call(self._store.messages, run_id, MessageStatus.dead, limit)
        if not letters:
            await self.row(run_id)
        answers = await self._reader.call(self._store.answers, [letter.id for letter in letters])
        return tuple([dead_letter(letter, answers.get(letter.id)) for letter in letters])

    async def legal(self, run_id: str) -> Legal:
        """What may happen to a run now."""
        row = await self.row(run_id)
        workflow, state = load(self._catalogue.class_of(row.workflow), row.snapshot or b"")
        return legal(workflow, state, self._clock())

    async def last_checkpoint(self, run_id: str, seconds: float | None) -> bytes | None:
        """The snapshot with which a run that this process moves is over; None if something else happens first."""
        with self._watchers.listening(run_id, checkpoints=False) as ear:
            await ear.news(self._poll if seconds is None else min(seconds, self._poll))
            return ear.over

    async def until(
        self, run_id: str, statuses: Collection[str], what: str, seconds: float | None, *, moves: bool
    ) -> StoredRun:
        """The run, once its status is one of these. Raises ``TimeoutError``, and ``WorkflowFinishedError`` if it is over.

        ``moves``: this process moves it, and will tell when it comes to rest: there is nothing to be read before.
        """
        if moves:
            began = monotonic()
            with self._watchers.listening(run_id, checkpoints=False) as ear:
                await ear.news(self._poll if seconds is None else min(seconds, self._poll))
            seconds = None if seconds is None else max(0.0, seconds - (monotonic() - began))
        row: StoredRun | None = None
        try:
            # The first look is not cut off: who does not want to wait wants to know how it is.
            async with asyncio.timeout(None if seconds is None else max(seconds, _FIRST_LOOK_WITHIN)):
                row = await self.row(run_id)
            async with asyncio.timeout(seconds):
                with self._watchers.listening(run_id, checkpoints=False) as ear:
                    pause = _FIRST_LOOK
                    while row.status not in statuses:
                        if row.status in OVER:
                            raise WorkflowFinishedError(
                                f"run {run_id!r}: {what}: the run is {row.status}, and stays so: nothing is left to wait for"
                            )
                        # Whoever moves it in this process tells; of others one has to look.
                        await ear.news(self._poll if row.owner == self._worker_id else pause)
                        row = await self.row(run_id)
                        pause = min(2 * pause, self._poll)
            return row
        except TimeoutError:
            raise TimeoutError(f"run {run_id!r}: {what}: time is over, and {_how_it_is(row)}") from None

    async def watch(self, run_id: str, published_after: int) -> AsyncGenerator[Change]:
        """What a run is, and all that becomes of it until it is over or deleted."""
        with self._watchers.listening(run_id) as ear:
            row = await self.row(run_id)
            last = change_of(row, None, "status")
            yield last
            number = published_after
            pause = _FIRST_LOOK
            while True:
                changes, gone = await self._changes(run_id, last, ear)
                quiet = not changes
                async with aclosing(self._published(run_id, last, number)) as told:
                    async for change in told:
                        assert change.number is not None  # what is published has one
                        number = change.number
                        quiet = False
                        yield change
                for change in changes:
                    last = change
                    yield change
                if gone or (quiet and last.is_over):
                    return
                pause = min(2 * pause, self._poll) if quiet else _FIRST_LOOK
                await ear.news(0 if last.is_over else pause)

    async def _changes(self, run_id: str, last: Change, ear: Ear) -> tuple[list[Change], bool]:
        """Checkpoints since the last one that was told; whether the run is gone."""
        changes: list[Change] = []
        while ear.snapshots:
            change = change_of(None, ear.snapshots.popleft(), "checkpoint")
            if change.revision > last.revision:
                last = change
                changes.append(change)
        if changes:
            return changes, False
        row = await self._reader.call(self._store.get, run_id)
        if row is None:
            return [], True
        change = change_of(row, None, "checkpoint")
        if change.revision > last.revision or (change.revision == last.revision and change.status != last.status):
            return [change], False
        return [], False

    async def _published(self, run_id: str, last: Change, number: int) -> AsyncGenerator[Change]:
        while True:
            found = await self._reader.call(self._store.published, run_id, number, _MOST)
            for published in found:
                number = published.number
                yield published_change(last, published)
            if len(found) < _MOST:
                return


def _check_limit(limit: Any, what: str) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MOST:
        raise StateError(f"{what}: limit must be a whole number from 1 to {_MOST}, not {quoted(limit)}")


def statuses_of(status: Any, what: str) -> tuple[WorkflowStatus, ...]:
    """One status, or several. Raises ``StateError``."""
    given = [status] if isinstance(status, str) or not isinstance(status, Collection) else list(status)
    try:
        return tuple([WorkflowStatus(each) for each in given])
    except ValueError:
        known = ", ".join(WorkflowStatus)
        raise StateError(f"{what}: a status is one of {known}, not {quoted(status)}") from None


def label_of(label: Any) -> tuple[str, str] | None:
    """The label that listed runs have: a name and a value. Raises ``StateError``."""
    if label is None:
        return None
    if not isinstance(label, tuple) or len(label) != 2 or not all(isinstance(part, str) for part in label):
        raise StateError(f'list: label must be a name and a value, like ("customer", "c-42"), not {a_kind_of(label)}')
    return label


def _how_it_is(row: StoredRun | None) -> str:
    if row is None:
        return "the database has not answered"
    if row.status == WorkflowStatus.Paused:
        if row.error is not None:
            return f"the run is Paused: {why_paused(row)}"
        return "the run is Paused, until unpause"
    if row.status in OVER:
        return f"the run is {row.status}"
    at = f" at {row.position!r}" if row.position else ""
    if row.owner is not None:
        return f"the run is {row.status}: worker {row.owner!r} moves it"
    if row.snapshot is not None and f'"{CHILD_ENDED.name}"'.encode() in row.snapshot:
        due = f"it waits for a child run: list(parent={row.run_id!r}) tells how that is"
    elif row.wake_at is None and row.status == WorkflowStatus.Resuming:
        due = f"it stands in queue {row.queue!r}"
    elif row.wake_at is None:
        due = "a callback or a signal would help"
    else:
        due = f"it is due at {row.wake_at.isoformat()}"
    return f"the run is {row.status}{at}; {due}"
