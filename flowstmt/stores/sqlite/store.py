"""Runs in a file of SQLite: nothing to install, and any number of processes of one machine may share it.

One connection writes, behind a lock; another one reads; a third is for the actions of transactional steps, under the lock of
the first, as SQLite has one writer at a time. The file is in WAL mode: readers and the writer don't wait for each other.
SQLite has no clock of its own but the machine's, which all processes that can share the file go by.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from heapq import nsmallest
from threading import Lock, local
from typing import Any, Literal, TypeAlias

from flowstmt.errors import ConflictError, NotFoundError, StoreError, quoted, said
from flowstmt.stores.bells import Bell
from flowstmt.stores.named_sql import load_migrations, load_statements, prefix_checked
from flowstmt.stores.protocol import (
    Claimed,
    Claims,
    HistoryRow,
    Message,
    MessageStatus,
    Outcome,
    Published,
    QueueLimits,
    Renewal,
    RunQuery,
    StoredRun,
    Taken,
    Write,
)
from flowstmt.stores.sqlite.batches import Batches
from flowstmt.stores.sqlite.connections import (
    CONTENT,
    WAITS,
    StepConnection,
    begin,
    connect,
    discard,
    is_of_the_disk,
    patiently,
    translated,
)
from flowstmt.stores.sqlite.joining import joined
from flowstmt.stores.sqlite.rows import history_row, instant, leading, message, microseconds, page, published, span, stored
from flowstmt.stores.sqlite.schema import check_schema, migrate_schema
from flowstmt.stores.sqlite.transactions import SQLiteTransaction
from flowstmt.stores.sqlite.writes import Writes

__all__ = ["SQLiteStore"]

_log = logging.getLogger("flowstmt.stores.sqlite")

_LOOK = 0.05
"""So often, in seconds, a thread that waits looks whether another process has written."""

_GLANCE = 0.01
"""So long, in seconds, the file is taken to be where it was by those who are in a hurry."""

_Outcomes: TypeAlias = list[Outcome]  # `list` is a method of the store


class SQLiteStore:
    """Keeps runs in a file, which is made if it isn't there, and whose tables are brought up to date when it is opened.

    ``synchronous="FULL"`` (default) waits for the disk at every commit: what was acknowledged survives a loss of power. With
    ``"NORMAL"`` the last commits before a loss of power may be gone, though not those before the end of a process, and the
    file stays whole; ``"OFF"`` may damage the file. ``busy_timeout`` is how many seconds a call waits while others write.
    ``prefix`` begins the names of all tables. With ``migrate=False`` the tables must be up to date: run ``flowstmt migrate``.

        store = SQLiteStore("orders.db")
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["EXTRA", "FULL", "NORMAL", "OFF"] = "FULL",
        busy_timeout: float = 5.0,
        prefix: str = "flowstmt_",
        migrate: bool = True,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        name = os.fspath(path)
        if not isinstance(name, str) or name in ("", ":memory:") or name.startswith("file:"):
            raise StoreError(
                f"SQLiteStore({quoted(path)}) needs the path of a file, which its connections share; for a store in memory use "
                "MemoryStore()"
            )
        if synchronous not in ("EXTRA", "FULL", "NORMAL", "OFF"):
            raise StoreError(f"SQLiteStore: synchronous={quoted(synchronous)} is none of EXTRA, FULL, NORMAL and OFF")
        self.path = os.path.abspath(name)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._migrates = migrate
        self._prefix = prefix_checked(prefix)
        names = {"prefix": self._prefix}
        self._sql = load_statements(__package__, names)
        self._migrations = load_migrations(__package__, names)
        self._writes = Writes(self._sql)
        self._clock = clock
        self._bell = Bell()
        self._batches = Batches(self._sql, self._writes, self._now, self._bell.ring)
        self._seen = local()
        self._write_lock = Lock()
        self._read_lock = Lock()
        self._open = False
        self._file: tuple[int, int] | None = None
        self._looked = 0.0
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._stepper: StepConnection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._writing = _Writing(self, begins=True)
        self._steady = _Writing(self, begins=False)

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    def open(self) -> None:
        """Get ready: migrate, or see whether the tables are those that this version of flowstmt knows."""
        try:
            if self._migrates:
                self.migrate()
            else:
                with self._exclusive(), translated(self.path):
                    check_schema(self._cursor_of_writer(), self._sql, self._migrations, self.path, self._busy_timeout)
        except StoreError as error:
            if not error.retry or os.path.isdir(os.path.dirname(self.path)):
                raise
            # Nobody will make it while this waits: more likely the path is another one than was meant.
            raise StoreError(str(error)) from error.__cause__
        self._open = True
        self._file = _identity(self.path)

    def close(self) -> None:
        """Close all connections."""
        self._open = False
        self._bell.ring()
        with self._read_lock:
            self._drop_reader()
        with self._exclusive():  # last: a step may still be in its transaction
            self._drop_writer()

    def migrate(self) -> Sequence[str]:
        """Bring the tables up to date; the names of the migrations done. Of several processes the first does it."""
        with self._exclusive(), translated(self.path):
            return migrate_schema(
                self._cursor_of_writer(), self._sql, self._migrations, self.path, self._now(), self._busy_timeout
            )

    # -- the writing thread

    def commit(self, writes: Sequence[Write]) -> _Outcomes:
        """Make all writes durable in one transaction; the answer of each, in their order."""
        with self._steady as cursor:
            return self._batches.commit(cursor, writes, self._busy_timeout)

    def commit_at_once(self, writes: Sequence[Write]) -> _Outcomes | None:
        """Commit without waiting for anybody but the disk; None if it can't be done now, and why is for ``commit`` to say."""
        if not self._write_lock.acquire(blocking=False):
            return None
        try:
            cursor = self._cursor
            if cursor is None or not self._open or not self._is_there():
                return None
            return self._batches.at_once(cursor, writes)
        except BaseException as error:
            self._roll_back()
            if not isinstance(error, (sqlite3.Error, *CONTENT)):
                raise
            _log.debug("a commit is left to the thread that writes to %s: %s", self.path, said(error))
            return None
        finally:
            self._write_lock.release()

    def _is_there(self) -> bool:
        """Whether the file is still the one that was opened, or was just now: to ask costs more than all else but the write.

        What is written in the moment after the file was moved is where that is which was written in the moment before.
        """
        now = time.monotonic()
        if now > self._looked + _GLANCE:
            if _identity(self.path) != self._file:
                return False
            self._looked = now
        return True

    def _roll_back(self) -> None:
        """Whoever writes next finds a connection without a transaction, or none."""
        assert self._writer is not None
        try:
            if self._writer.in_transaction:
                self._writer.rollback()
        except sqlite3.Error as error:
            _log.debug("a connection to %s is given up, as it can't roll back: %s", self.path, said(error))
            self._drop_writer()

    def claim(self, worker: str, known: Mapping[str, int], lease: timedelta, limit: int) -> Claims:
        """Lease up to ``limit`` due runs, the longest due first, of ``known`` workflows to a worker."""
        with self._steady as cursor:
            idle = patiently(partial(self._idle, cursor, known, limit), self._busy_timeout)
        if idle is not None:
            return idle
        with self._writing as cursor:
            now = self._now()
            due = self._due(cursor, known, now, limit)
            runs = [self._leased(cursor, rowid, worker, now + span(lease)) for _, rowid in due]
            next_due = instant(now) if len(due) == limit else self._next_due(cursor, known, now)
        return Claims(instant(now), runs, next_due)

    def claim_run(self, worker: str, run_id: str, lease: timedelta) -> Claims:
        """Lease this run, due or not; ``runs`` is empty if there is a lease on it. Raises ``NotFoundError``."""
        with self._writing as cursor:
            now = self._now()
            row = cursor.execute(self._sql["claimable"], (run_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"there is no run {run_id!r} in {self.path}")
            rowid, owner, due_at = row
            if owner is not None and due_at > now:
                return Claims(instant(now), ())
            return Claims(instant(now), (self._leased(cursor, rowid, worker, now + span(lease)),))

    def _idle(self, cursor: sqlite3.Cursor, known: Mapping[str, int], limit: int) -> Claims | None:
        """What a claim is answered if nothing is due."""
        now = self._now()
        if self._due(cursor, known, now, min(limit, 1)):
            return None
        return Claims(instant(now), (), self._next_due(cursor, known, now))

    def _due(self, cursor: sqlite3.Cursor, known: Mapping[str, int], now: int, limit: int) -> Sequence[tuple[int, int]]:
        sql = self._sql["due"]
        found = [row for name, version in known.items() for row in cursor.execute(sql, (name, now, version, limit))]
        return found if len(known) == 1 else nsmallest(limit, found)

    def _next_due(self, cursor: sqlite3.Cursor, known: Mapping[str, int], now: int) -> datetime | None:
        sql = self._sql["next_due"]
        found = [row[0] for name, version in known.items() for row in cursor.execute(sql, (name, now, version))]
        return instant(min(found)) if found else None

    def _leased(self, cursor: sqlite3.Cursor, rowid: int, worker: str, until: int) -> Claimed:
        cursor.execute(self._sql["claim"], (worker, until, rowid))
        row = cursor.execute(self._sql["claimed"], (rowid,)).fetchone()
        run_id, workflow, fence, attempts, snapshot, status, error = row
        messages = [message(row) for row in cursor.execute(self._sql["unseen"], (run_id,))]
        return Claimed(run_id, workflow, fence, attempts, snapshot, messages, status, error)

    def renew(self, worker: str, leases: Mapping[str, int], lease: timedelta) -> Renewal:
        """Renew leases; which are lost; and messages that are new, of all runs that the worker holds."""
        with self._writing if leases else self._steady as cursor:
            now = self._now()
            until, lost = now + span(lease), []
            for run_id, fence in leases.items():
                if cursor.execute(self._sql["renew"], (until, run_id, fence, worker)).rowcount == 0:
                    lost.append(run_id)
            found = patiently(lambda: cursor.execute(self._sql["mail"], (worker,)).fetchall(), self._busy_timeout)
        return Renewal(instant(now), lost, [message(row) for row in found])

    def admit(self, queue: QueueLimits, limit: int) -> int:
        """Make queued runs due, as far as limits allow: highest priority first, then the oldest."""
        with self._writing as cursor:
            admitted = self._writes.admit(cursor, queue, limit, self._now())
        if admitted:
            self._bell.ring()
        return admitted

    def purge(self, finished_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` runs that were over before an instant; how many there were."""
        with self._writing as cursor:
            found = cursor.execute(self._sql["over_before"], (microseconds(finished_before), limit)).fetchall()
            for row in found:
                self._writes.delete(cursor, row)
            return len(found)

    def delete(self, run_id: str) -> bool:
        """Delete a run; whether there was one. Raises ``ConflictError`` if somebody has a lease on it."""
        with self._writing as cursor:
            row = cursor.execute(self._sql["ends_of_life"], (run_id,)).fetchone()
            if row is None:
                return False
            if row[3] is not None and row[4] > self._now():
                raise ConflictError(f"run {run_id!r} can't be deleted: worker {row[3]!r} moves it; cancel or pause it first")
            self._writes.delete(cursor, row)
            return True

    # -- the reading thread

    def get(self, run_id: str) -> StoredRun | None:
        """A run with its snapshot."""
        rows = self._read("get", (run_id,))
        return stored(rows[0]) if rows else None

    def list(self, query: RunQuery) -> Sequence[StoredRun]:
        """Runs without their snapshots, newest first."""
        return [stored(row) for row in self._read(leading(query), page(query))]

    def history(self, run_id: str, after: int, limit: int) -> Sequence[HistoryRow]:
        """Attempts at steps, oldest first; those beyond the first ``after``."""
        return [history_row(row) for row in self._read("history", (run_id, after, limit))]

    def published(self, run_id: str, after: int, limit: int) -> Sequence[Published]:
        """What was published, in order; those whose number is greater than ``after``."""
        return [published(row) for row in self._read("published", (run_id, after, limit))]

    def answers(self, message_ids: Sequence[str]) -> Mapping[str, Taken]:
        """The answers of messages that are done or dead."""
        rows = [row for message_id in message_ids for row in self._read("answer", (message_id,))]
        return {row[0]: Taken(row[0], MessageStatus(row[1]), row[2]) for row in rows}

    def messages(self, run_id: str, status: MessageStatus, limit: int) -> Sequence[Message]:
        """Messages of a run, in the order in which they came."""
        return [message(row) for row in self._read("messages", (run_id, status, limit))]

    def now(self) -> datetime:
        """The machine's clock."""
        return instant(self._now())

    # -- any thread

    def wait(self, seconds: float) -> None:
        """Return when there may be something new, or time is over.

        What this store wrote is heard at once, what other processes and connections did within a twentieth of a second.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._bell.wait(min(left, _LOOK)):
            version, seen = self._version(), getattr(self._seen, "version", None)
            if version is None:
                continue
            self._seen.version = version
            if seen != version:
                return  # also the first time: what was committed before that nobody has told

    def wake(self) -> None:
        """Let those that wait return."""
        self._bell.ring()

    def transaction(self) -> AbstractContextManager[SQLiteTransaction]:
        """A transaction for the action of one step. Nothing else can be written until it ends: keep such actions short."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[SQLiteTransaction]:
        with self._exclusive():
            self._check_open()
            with translated(self.path):
                connection = self._stepping()
                cursor = sqlite3.Connection.cursor(connection)
                begin(cursor, self._busy_timeout)
            transaction = SQLiteTransaction(connection, cursor, self._writes, self._now, self.path)
            try:
                yield transaction
            except sqlite3.Error as error:
                if is_of_the_disk(error):
                    with translated(self.path):
                        raise
                raise
            finally:
                if not self._left(connection, cursor):
                    self._stepper = None
        if transaction.news:
            self._bell.ring()

    def _left(self, connection: StepConnection, cursor: sqlite3.Cursor) -> bool:
        """Roll back what was not committed; whether the connection can serve another step."""
        try:
            if connection.in_transaction:
                cursor.execute("ROLLBACK")
            connection.give_back()
            cursor.close()
        except sqlite3.Error as error:
            _log.warning("the connection of a step to %s is closed, as it can't roll back: %s", self.path, said(error))
            discard(connection)
            return False
        return True

    def join(self, connection: Any, writes: Sequence[Write]) -> Any:
        """Make ``NewRun`` and ``Message`` writes in the caller's own transaction; their answers.

        ``connection`` is one of ``sqlite3`` to the same file, or a connection or session of SQLAlchemy; for an asynchronous one
        the answers have to be awaited. Nothing is visible until the caller commits, and until then nobody else can write.
        """
        return joined(connection, self._writes, writes, self._now(), self.path)

    # -- connections

    def _now(self) -> int:
        return time.time_ns() // 1000 if self._clock is None else microseconds(self._clock())

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(f"{self!r} is not open: call open() first, or use it through an Engine")
        # A file without a name takes writes as if nothing had happened, and nobody ever finds them again.
        if _identity(self.path) != self._file:
            raise StoreError(
                f"the database {self.path} was deleted, moved or replaced while it is open: nothing more is written. Put the "
                "file back with its -wal and -shm files, or restart this process to begin with what is there now",
                retry=True,
            )

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """The lock of those that write, which a step's transaction holds from its beginning to its end."""
        self._lock()
        try:
            yield
        finally:
            self._write_lock.release()

    def _lock(self) -> None:
        lock = self._write_lock
        if not lock.acquire(blocking=False) and not lock.acquire(timeout=self._busy_timeout):
            raise StoreError(
                f"the database {self.path} can't be written to: another thread of this process has been in a transaction for "
                f"{self._busy_timeout:g} s; keep the actions of transactional steps short, and see that they wait for nothing "
                "that the engine has to save first",
                retry=True,
            )

    def _cursor_of_writer(self) -> sqlite3.Cursor:
        if self._cursor is None:
            self._cursor = self._connected().cursor()
        return self._cursor

    def _connected(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = connect(self.path, busy_timeout=self._busy_timeout, synchronous=self._synchronous, waits=0)
        return self._writer

    def _stepping(self) -> StepConnection:
        if self._stepper is None:
            self._stepper = connect(
                self.path, busy_timeout=self._busy_timeout, synchronous=self._synchronous, waits=WAITS, factory=StepConnection
            )
        self._stepper.lent = True
        return self._stepper

    def _drop_writer(self) -> None:
        for connection in (self._writer, self._stepper):
            if connection is not None:
                discard(connection)
        self._writer = self._stepper = self._cursor = None

    def _read(self, name: str, parameters: Any) -> Sequence[Any]:
        self._check_open()
        with self._read_lock, translated(self.path):
            try:
                if self._reader is None:
                    self._reader = connect(self.path, busy_timeout=self._busy_timeout, synchronous=self._synchronous)
                return self._reader.execute(self._sql[name], parameters).fetchall()
            except sqlite3.Error:
                self._drop_reader()
                raise

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _version(self) -> int | None:
        """What changes when another connection commits; None while it can't be asked."""
        if not self._write_lock.acquire(blocking=False):
            return None
        try:
            if self._writer is None:
                return None
            return int(self._writer.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            _log.debug("whether %s has changed can't be told: %s", self.path, said(error))  # the next write will say it aloud
            return None
        finally:
            self._write_lock.release()


def _identity(path: str) -> tuple[int, int] | None:
    """Which file a path leads to."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Writing:
    """The writing connection, under its lock. If it ``begins`` a transaction, that is committed unless something is raised.

    After an error of the database the next call makes a new connection: what state this one is in is not known. Two objects
    for all, and no generators: every checkpoint comes through here.
    """

    def __init__(self, store: SQLiteStore, *, begins: bool) -> None:
        self._store = store
        self._begins = begins

    def __enter__(self) -> sqlite3.Cursor:
        store = self._store
        store._lock()
        try:
            store._check_open()
            cursor = store._cursor_of_writer()
            if self._begins:
                begin(cursor, store._busy_timeout)
        except BaseException as error:
            self._leave(error)
            raise
        return cursor

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        store = self._store
        if error is None:
            if self._begins:
                assert store._cursor is not None
                try:
                    store._cursor.execute("COMMIT")
                except BaseException as failure:
                    self._leave(failure)
                    raise
            store._write_lock.release()
        else:
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        """Roll back, and raise the driver's errors as those of a store."""
        store = self._store
        try:
            with translated(store.path):
                if isinstance(error, sqlite3.Error):
                    store._drop_writer()
                    raise error
                if store._writer is not None and store._writer.in_transaction:
                    store._writer.rollback()
        finally:
            store._write_lock.release()
