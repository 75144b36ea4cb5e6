"""Connections to PostgreSQL: made when they are needed, given up when they are lost; and what the driver's errors mean."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from threading import Lock
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.transaction import OutOfOrderTransactionNesting

from flowstmt.errors import StoreError, said
from flowstmt.stores.postgres.wire import Sent, encoded, number, numbers, positional, texts
from flowstmt.stores.postgres.writes import Call, Result
from flowstmt.stores.protocol import Save

__all__ = ["CONTENT", "Connection", "Link", "Statements", "is_about_content", "told", "unavailable"]

_log = logging.getLogger("flowstmt.stores.postgres")

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

CONTENT = (psycopg.Error, UnicodeError, ValueError, OverflowError)
"""What a write may be refused with, by the driver or by the server; see ``is_about_content``."""

_PLANNED_ANEW = frozenset(
    {"claim", "list", "list_labelled", "mail", "next_due", "purge", "purge_strays", "queued", "wake_for_messages"}
)
"""What is never prepared: a plan that is made for any parameters reads whole tables for these."""

_UNREAD = frozenset({"hand_back", "notify", "release", "rest", "setback"})
"""What gives rows that nobody looks at: how many there are says it all."""


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
        self._positional = {name: positional(text) for name, text in texts.items()}

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

    def sent(self, call: Call) -> Sent:
        """A call, to be sent without the driver. Raises ``ValueError`` if it can't be."""
        text, names = self._positional[call.name]
        values = [encoded(call.parameters[name]) for name in names]
        return Sent(call.name, text, values, None, call.name not in _UNREAD)

    def saves(self, saves: Sequence[Save]) -> Sent:
        """Checkpoints without rest, each of another run, as one statement. Raises ``ValueError``, ``OverflowError``."""
        if len(saves) == 1:
            [save] = saves
            values = [save.snapshot, number(save.revision), save.run_id.encode(), number(save.fence)]
            return Sent("save", self._positional["save"][0], values, (1, 1, 1, 1), False)
        # In the order of their ids, in which their rows are locked: so batches of several workers don't deadlock.
        ordered = sorted(saves, key=attrgetter("run_id"))
        values = [
            texts([save.run_id.encode() for save in ordered]),
            numbers([save.fence for save in ordered]),
            numbers([save.revision for save in ordered]),
            texts([save.snapshot for save in ordered]),
        ]
        return Sent("saves", self._positional["saves"][0], values, (1, 0, 0, 1), False)


def result_of(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Result:
    """What a cursor has found."""
    return Result(cursor.rowcount, cursor.fetchall() if cursor.description else ())


class Link:
    """One connection behind a lock. After it was lost, the next one who asks gets a new one."""

    def __init__(self, connect: Callable[[], Connection], where: str) -> None:
        self._connect = connect
        self.where = where
        self._lock = Lock()
        self._connection: Connection | None = None
        self._lost = False
        self.prepared: dict[str, bytes] = {}
        """Which statements were prepared on the connection, not by the driver, and under which names."""
        self._selector: selectors.BaseSelector | None = None

    @contextmanager
    def __call__(self) -> Iterator[Connection]:
        """The connection, which is in no transaction. What is left open is rolled back."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                    self.prepared = {}
                    if self._lost:
                        _log.info("connected again to PostgreSQL (%s)", self.where)
                        self._lost = False
                yield self._connection
            except psycopg.Error as error:
                self._mend()
                if is_about_content(error):
                    raise StoreError(f"PostgreSQL ({self.where}) refused what was asked: {told(error)}") from error
                raise unavailable(error, self.where) from error
            except BaseException:
                self._mend()
                raise

    def taken(self) -> Connection | None:
        """The connection, until ``give_back``, for who can't wait: None if somebody has it, or if there is none."""
        if not self._lock.acquire(blocking=False):
            return None
        connection = self._connection
        if connection is None:
            self._lock.release()
        return connection

    def selector(self, connection: Connection) -> selectors.BaseSelector:
        """One that waits for the connection, which was ``taken``. Both are closed together.

        Not sooner: an event loop that watches the selector's descriptor would go on to do so after the number was given anew.
        """
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            self._selector.register(connection.pgconn.socket, selectors.EVENT_READ)
        return self._selector

    def give_back(self) -> None:
        """Let others have what was ``taken``. It is in no transaction."""
        self._lock.release()

    def give_up(self) -> None:
        """Let others have what was ``taken``, or, if it is closed by now, a new one."""
        self._mend()
        self._lock.release()

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
            self._close(connection)
            self._lost = True
            _log.warning("the connection to PostgreSQL (%s) was lost", self.where)

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            if self._connection is not None:
                self._close(self._connection)

    def _close(self, connection: Connection) -> None:
        connection.close()
        self._connection = None
        if self._selector is not None:
            self._selector.close()
            self._selector = None
