"""Connections to a file of SQLite: how they are opened, what their errors mean, and the one that a step gets."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, Self, TypeVar
from weakref import WeakSet

from flowstmt.errors import StoreError, said

__all__ = ["CONTENT", "WAITS", "StepConnection", "begin", "connect", "discard", "is_of_the_disk", "patiently", "translated"]

CONTENT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    AttributeError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a write raises because of what is in it: the database itself is well."""

T = TypeVar("T")

_log = logging.getLogger("flowstmt.stores.sqlite")

WAITS = 0.005
"""So long, in seconds, SQLite waits by itself on the connection of steps, whose actions may write to other files as well."""

_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""What may pass, or be mended, while the process runs."""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process or connection is in a write transaction; keep those short",
    sqlite3.SQLITE_CANTOPEN: "see whether its folder is there and may be written to",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "see what the system's log says of the disk",
    sqlite3.SQLITE_NOTADB: "see whether this is the path that was meant",
    sqlite3.SQLITE_READONLY: "the file, or its folder, may not be written to",
}


def connect(
    path: str,
    *,
    busy_timeout: float,
    synchronous: str,
    waits: float | None = None,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> Any:
    """A connection in WAL mode that commits when it is told to, and may be used by one thread after the other.

    ``waits`` is how long SQLite waits for a lock by itself, if not ``busy_timeout``.
    """
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout if waits is None else waits,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=factory,
    )
    try:
        _use_wal(connection, path, busy_timeout)
        patiently(partial(connection.execute, f"PRAGMA synchronous = {synchronous}"), busy_timeout)  # one of a few words
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    """Several processes may do this at once: SQLite doesn't wait for its lock here, whatever the timeout."""
    (mode,) = patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone(), busy_timeout)
    if mode != "wal":
        raise StoreError(
            f"{path} can't be put into WAL mode (it stays in {mode!r}): SQLiteStore needs a file on a local disk that can be "
            "shared by memory; a network file system can't"
        )


def discard(connection: sqlite3.Connection) -> None:
    """Close a connection whatever state it is in.

    To close it is not enough: as long as anybody, a traceback say, refers to one of its cursors, SQLite keeps what was closed,
    with its transaction and the lock.
    """
    try:
        if connection.in_transaction:
            sqlite3.Connection.rollback(connection)  # the one of a step refuses it to its action
    except sqlite3.Error as error:
        _log.debug("a connection that is given up can't roll back: %s", said(error))
    finally:
        connection.close()


def begin(cursor: sqlite3.Cursor, busy_timeout: float) -> None:
    """Begin to write, once nobody else does."""
    patiently(partial(cursor.execute, "BEGIN IMMEDIATE"), busy_timeout)


def patiently(action: Callable[[], T], busy_timeout: float) -> T:
    """Do something again while the database is locked.

    SQLite's own way of waiting sleeps longer each time, up to a tenth of a second: whoever waits loses against those who come
    anew, and may starve. The connection that writes does not wait by itself at all, and is asked again here.
    """
    deadline = None
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            deadline = deadline or time.monotonic() + busy_timeout
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.001)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Errors of the driver inside are raised as ``StoreError``, which says whether to try again."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        advice = _ADVICE.get(code)
        raise StoreError(
            f"the database {path} can't be used: {said(error)}" + (f"; {advice}" if advice else ""), retry=code in _PASSING
        ) from error


def is_busy(error: BaseException) -> bool:
    """Whether somebody else writes, or has written since a transaction began to read."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_BUSY


def is_of_the_disk(error: sqlite3.Error) -> bool:
    """Whether what an action raised is a matter of the disk, and not of what the action wrote."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _code(error: sqlite3.Error) -> int:
    """The primary code; of a wrong use of the driver there is none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def same_file(one: str, other: str) -> bool:
    """Whether two paths are one file."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


class StepConnection(sqlite3.Connection):
    """What the action of a transactional step writes with. The engine commits it, so the action can't.

    Outside of a step it refuses everything: who keeps it would write into the transaction of another step.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lent = True
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def give_back(self) -> None:
        """The step is over. Cursors are closed: an open one would hold on to what the database was."""
        for cursor in list(self._cursors):
            cursor.close()
        self.row_factory, self.text_factory = None, str
        self.lent = False

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """A cursor, while the step lasts."""
        if not self.lent:
            raise StoreError("this connection was that of a step which is over; take current().connection anew in each action")
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """A statement on a new cursor."""
        return self.cursor().execute(sql, parameters)  # type: ignore[no-any-return]

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """A statement for many rows."""
        return self.cursor().executemany(sql, parameters)  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:  # type: ignore[override]  # never swallows
        """``with connection:`` commits elsewhere; here the step's end does."""

    def commit(self) -> NoReturn:
        """Refused."""
        raise StoreError("an action can't commit: what it wrote is committed together with its step's checkpoint")

    def rollback(self) -> NoReturn:
        """Refused."""
        raise StoreError("an action can't roll back: let it raise, and what it wrote is gone")

    def executescript(self, sql_script: str, /) -> NoReturn:
        """Refused, as it commits first."""
        raise StoreError("executescript would commit what the action has written so far; use execute for each statement")
