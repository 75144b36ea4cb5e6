"""Writes on an open transaction of SQLite: what each of them does to the tables, and what it is answered.

Whoever calls holds the database's one write lock (``BEGIN IMMEDIATE``), so what was read stays true until the commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, assert_never

import orjson

from flowstmt.core.state import WorkflowStatus
from flowstmt.errors import StoreError, said
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    NewRun,
    Outcome,
    Posted,
    Publication,
    QueueLimits,
    Release,
    Rest,
    Save,
    Setback,
    Started,
    Withdrawal,
    Write,
)
from flowstmt.stores.sqlite.rows import labels_json, microseconds, span, stored

__all__ = ["Cursor", "Writes", "is_news", "refused"]

_OVER = frozenset({WorkflowStatus.Finished, WorkflowStatus.Failed, WorkflowStatus.Cancelled})


class Cursor(Protocol):
    """What is needed of a cursor: those of ``sqlite3`` have it, and those that SQLAlchemy puts before an async driver."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""

    def execute(self, sql: str, parameters: Any = ..., /) -> object:
        """Run one statement."""

    def fetchone(self) -> Any:
        """A row of what the last statement found."""

    def fetchall(self) -> list[Any]:
        """All of them."""


def is_news(write: Write) -> bool:
    """Whether who waits may find something new: not what its own worker goes on with, nor a run that is over."""
    if type(write) is Save:
        rest = write.rest
        return bool((rest is not None and rest.status not in _OVER) or write.taken or write.messages or write.children)
    return type(write) is not NewRun or write.worker is None


def refused(write: Write, error: Exception) -> StoreError:
    """What a write is answered that the database can't keep."""
    subject = f"of run {write.run_id!r}" if not isinstance(write, Withdrawal) else f"of message {write.id!r}"
    refusal = StoreError(f"the {type(write).__name__} {subject} can't be written: {said(error)}")
    refusal.__cause__ = error
    return refusal


class Writes:
    """The statements of one store."""

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql

    def write(self, cursor: Cursor, write: Write, now: int) -> Outcome:
        """Make one."""
        match write:
            case Save():
                return self.save(cursor, write, now)
            case NewRun():
                return self._start(cursor, write, now)
            case Message():
                return self._post(cursor, write, now)
            case Setback():
                return self._set_back(cursor, write, now)
            case Release(run_id=run_id, fence=None):
                cursor.execute(self._sql["release"], {"run_id": run_id, "now": now})
                return cursor.rowcount == 1
            case Release(run_id=run_id, fence=fence):
                cursor.execute(self._sql["give_up"], {"run_id": run_id, "fence": fence, "now": now})
                return cursor.rowcount == 1
            case Publication():
                cursor.execute(self._sql["publish"], (write.run_id, now, write.body))
                return cursor.rowcount == 1
            case Withdrawal():
                return self._withdraw(cursor, write)
        assert_never(write)

    def save(self, cursor: Cursor, save: Save, now: int) -> bool:
        """A checkpoint with all that belongs to it."""
        if save.taken or save.children or save.messages:
            cursor.execute(self._sql["lease"], (save.run_id, save.fence))
            row = cursor.fetchone()
            if row is None or not row[0] or row[1] > save.revision:
                return row is not None and row[1] >= save.revision  # made before, and handed in once more
            for taken in save.taken:
                cursor.execute(self._sql["take"], (taken.status, taken.answer, taken.id, save.run_id))
            for child in save.children:
                self._start(cursor, child, now)
            for message in save.messages:
                self._post(cursor, message, now)
        if save.rest is None:
            cursor.execute(self._sql["save"], (save.snapshot, save.revision, now, save.run_id, save.fence))
        else:
            self._rest(cursor, save, save.rest, now)
        if cursor.rowcount == 0:
            return self.was_saved(cursor, save)
        self._remember(cursor, save.run_id, save.history)
        return True

    def leased(self, cursor: Cursor, save: Save) -> bool:
        """Whether the lease that a checkpoint needs is still held."""
        cursor.execute(self._sql["lease"], (save.run_id, save.fence))
        row = cursor.fetchone()
        return row is not None and bool(row[0])

    def was_saved(self, cursor: Cursor, save: Save) -> bool:
        """Whether a checkpoint was made, now or when it was handed in before, under the lease that it names."""
        cursor.execute(self._sql["lease"], (save.run_id, save.fence))
        row = cursor.fetchone()
        return row is not None and row[1] >= save.revision

    def _rest(self, cursor: Cursor, save: Save, rest: Rest, now: int) -> None:
        wake_at = None if rest.wake_at is None else microseconds(rest.wake_at)
        cursor.execute(
            self._sql["save_at_rest"],
            (
                save.run_id,
                save.fence,
                save.revision,
                save.snapshot,
                now,
                rest.version,
                rest.error,
                rest.status,
                rest.position,
                int(rest.status in _OVER),
                wake_at,
            ),
        )

    def _start(self, cursor: Cursor, new: NewRun, now: int) -> Started:
        start_at = now if new.start_at is None else microseconds(new.start_at)
        owned = new.worker is not None
        due_at = now + span(new.lease) if owned else start_at if new.queue is None else None
        cursor.execute(
            self._sql["start"],
            (
                new.run_id,
                new.workflow,
                new.version,
                new.position,
                int(owned),
                new.worker,
                due_at,
                start_at,
                start_at,
                now,
                now,
                new.single_flight,
                new.parent,
                new.queue,
                new.queue_key,
                new.priority,
                None if new.queue is None else int(owned),
                new.digest,
                labels_json(new.labels),
                new.snapshot,
            ),
        )
        if cursor.rowcount == 1:
            for name, value in new.labels.items():
                cursor.execute(self._sql["label"], (name, value, now, new.run_id))
            return Started(True)
        cursor.execute(self._sql["get"], (new.run_id,))
        if (row := cursor.fetchone()) is not None:
            return Started(False, stored(row))
        cursor.execute(self._sql["get_in_flight"], (new.workflow, new.single_flight))
        return Started(False, stored(cursor.fetchone()), in_flight=True)

    def _post(self, cursor: Cursor, message: Message, now: int) -> Posted:
        cursor.execute(self._sql["post"], (message.id, message.kind, message.key, message.body, now, message.run_id))
        if cursor.rowcount == 1:
            cursor.execute(self._sql["knock"], (now, message.run_id))
            return Posted.posted
        cursor.execute(self._sql["why_not_posted"], (message.id, message.run_id, message.key))
        row = cursor.fetchone()
        if row is None:
            return Posted.unknown
        return Posted.duplicate if row[0] else Posted.over

    def _withdraw(self, cursor: Cursor, withdrawal: Withdrawal) -> bool:
        cursor.execute(self._sql["find_message"], (withdrawal.id,))
        row = cursor.fetchone()
        if row is None:
            return True  # withdrawn before, and handed in once more
        if row[1]:
            cursor.execute(self._sql["withdraw"], (withdrawal.id,))
            cursor.execute(self._sql["go_back_to_sleep"], (row[0],))
        return bool(row[1])

    def _set_back(self, cursor: Cursor, setback: Setback, now: int) -> bool:
        cursor.execute(self._sql["lease"], (setback.run_id, setback.fence))
        row = cursor.fetchone()
        if row is None or not row[0]:
            return row is not None and row[2] == setback.attempts
        retry_at = None if setback.retry_at is None else microseconds(setback.retry_at)
        values = {"run_id": setback.run_id, "attempts": setback.attempts, "error": setback.error, "retry_at": retry_at}
        cursor.execute(self._sql["set_back"], {**values, "now": now})
        self._remember(cursor, setback.run_id, setback.history)
        return True

    def _remember(self, cursor: Cursor, run_id: str, rows: Sequence[HistoryRow]) -> None:
        for row in rows:
            attempt = (row.revision, row.thread_id, row.attempt, row.position)
            cursor.execute(
                self._sql["remember"], (run_id, *attempt, microseconds(row.started_at), span(row.duration), row.error)
            )

    # -- queues

    def admit(self, cursor: Cursor, queue: QueueLimits, limit: int, now: int) -> int:
        """Let runs in, as far as limits allow."""
        free = limit
        if queue.concurrency is not None:
            free = min(free, queue.concurrency - self._count(cursor, "places", (queue.name,)))
        if queue.rate is not None:
            most, per = queue.rate
            cursor.execute(self._sql["forget_admissions"], (queue.name, now - span(per)))
            free = min(free, most - self._count(cursor, "admitted_since", (queue.name, now - span(per))))
        admitted = 0
        counted: dict[str, int] = {}
        while admitted < free:
            asked = {"queue": queue.name, "now": now, "per_key": queue.per_key_concurrency, "limit": free - admitted}
            cursor.execute(self._sql["waiting"], asked)
            found = cursor.fetchall()
            let_in = [rowid for rowid, key in found if self._has_room(cursor, queue, key, counted)]
            for rowid in let_in:
                cursor.execute(self._sql["admit"], (now, rowid))
                if queue.rate is not None:
                    cursor.execute(self._sql["note_admission"], (queue.name, now))
            admitted += len(let_in)
            if len(let_in) == len(found):
                break  # nobody was passed over whose place another could have
        return admitted

    def _has_room(self, cursor: Cursor, queue: QueueLimits, key: str | None, counted: dict[str, int]) -> bool:
        """Whether there is room for one more of a key; if so, it is taken."""
        if queue.per_key_concurrency is None or key is None:
            return True
        if key not in counted:
            counted[key] = self._count(cursor, "places_of_key", (queue.name, key))
        counted[key] += 1
        return counted[key] <= queue.per_key_concurrency

    # -- the end of runs

    def delete(self, cursor: Cursor, row: Sequence[Any]) -> None:
        """Delete a run, told by a row of ``ends_of_life``, with all that belongs to it."""
        run_id, created_at, labels = row[:3]
        for name, value in orjson.loads(labels).items():
            cursor.execute(self._sql["delete_label"], (name, value, created_at, run_id))
        for table in ("inbox", "history", "published", "run"):
            cursor.execute(self._sql[f"delete_{table}"], (run_id,))

    def _count(self, cursor: Cursor, name: str, parameters: tuple[Any, ...]) -> int:
        cursor.execute(self._sql[name], parameters)
        return int(cursor.fetchone()[0])
