"""Connections to PostgreSQL: made when they are needed, given up when they are lost; and what the driver's errors mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.transaction import OutOfOrderTransactionNesting

from flowstmt.errors import StoreError, said
from flowstmt.stores.postgres.writes import Result

__all__ = ["CONTENT", "Connection", "Link", "Statements", "is_about_content", "told", "unavailable"]

_log = logging.getLogger("flowstmt.stores.postgres")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

CONTENT = (psycopg.Error, UnicodeError, ValueError, OverflowError)
"""What a write may be refused with, by the driver or by the server; see ``is_about_content``."""

_PLANNED_ANEW = frozenset(
    {"claim", "list", "list_labelled", "mail", "next_due", "purge", "purge_strays", "queued", "wake_for_messages"}
)
"""What is never prepared: a plan that is made for any parameters reads whole tables for these."""


def is_about_content(error: BaseException) -> bool:
    """Whether one write is to blame, and others may go on; otherwise the database can't be used just now.

    One that waits too long for a transaction of somebody else's is to blame as well: no other has to wait with it.
    """
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.ProgramLimitExceeded):
        return True
    return not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def told(error: BaseException) -> str:
    """An error in one line; of the server's the message alone, and not where in our SQL it was."""
    if isinstance(error, OutOfOrderTransactionNesting):
        return "the action has left a block of `connection.transaction()` open"
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return said(error) if message is None else f"{type(error).__name__}: {message}"


def unavailable(error: psycopg.Error, where: str) -> StoreError:
    """The database can't be used just now, and the same call may be made again."""
    return StoreError(f"PostgreSQL ({where}) can't be used just now: {told(error)}", retry=True)


class Statements:
    """The named statements, as the driver takes them, and how each is executed."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {name: text.encode() for name, text in texts.items()}

    def __getitem__(self, name: str) -> bytes:
        return self._texts[name]

    def execute(
        self, connection: Connection, name: str, parameters: Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute one; in a pipeline, ask for it."""
        cursor = psycopg.Cursor(connection, row_factory=tuple_row)
        return cursor.execute(self._texts[name], parameters, prepare=False if name in _PLANNED_ANEW else None)

    def rows(self, connection: Connection, name: str, parameters: Mapping[str, Any] | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows that one gives."""
        return self.execute(connection, name, parameters).fetchall()


def result_of(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Result:
    """What a cursor has found."""
    return Result(cursor.rowcount, cursor.fetchall() if cursor.description else ())


class Link:
    """One connection behind a lock. After it was lost, the next one who asks gets a new one."""

    def __init__(self, connect: Callable[[], Connection], where: str) -> None:
        self._connect = connect
        self._where = where
        self._lock = Lock()
        self._connection: Connection | None = None
        self._lost = False

    @contextmanager
    def __call__(self) -> Iterator[Connection]:
        """The connection, which is in no transaction. What is left open is rolled back."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                    if self._lost:
                        _log.info("connected again to PostgreSQL (%s)", self._where)
                        self._lost = False
                yield self._connection
            except psycopg.Error as error:
                self._mend()
                if is_about_content(error):
                    raise StoreError(f"PostgreSQL ({self._where}) refused what was asked: {told(error)}") from error
                raise unavailable(error, self._where) from error
            except BaseException:
                self._mend()
                raise

    def _mend(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
            try:
                connection.rollback()
            except psycopg.Error:  # lost as well: the error that is on its way says why
                connection.close()
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
            self._connection = None
            self._lost = True
            _log.warning("the connection to PostgreSQL (%s) was lost", self._where)

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
