"""Writes in a transaction of the caller's: on a connection of ``sqlite3``, or one of SQLAlchemy, which is not imported."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowstmt.errors import StoreError, said
from flowstmt.stores.protocol import Message, NewRun, Outcome, Write
from flowstmt.stores.sqlite.connections import CONTENT, is_busy, same_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowstmt.stores.sqlite.writes import Cursor, Writes

__all__ = ["joined"]


def joined(connection: Any, statements: Writes, writes: Sequence[Write], now: int, path: str) -> Any:
    """The answers of writes that were made on ``connection``, or an awaitable of them if it is an asynchronous one."""
    for write in writes:
        if not isinstance(write, NewRun | Message):
            raise StoreError(f"only starts and messages can join a transaction of yours, not a {type(write).__name__}")
    if isinstance(connection, sqlite3.Connection):
        return _on_driver(connection, connection, statements, writes, now, path)
    if not any(base.__module__.partition(".")[0] == "sqlalchemy" for base in type(connection).__mro__):
        raise StoreError(
            f"a {type(connection).__name__} can't be joined by SQLiteStore: hand in a connection of sqlite3, or a connection "
            "or session of SQLAlchemy"
        )
    if hasattr(connection, "run_sync"):
        return connection.run_sync(lambda inner: _on_sqlalchemy(inner, statements, writes, now, path))
    return _on_sqlalchemy(connection, statements, writes, now, path)


def _on_sqlalchemy(connection: Any, statements: Writes, writes: Sequence[Write], now: int, path: str) -> list[Outcome]:
    if callable(connection.connection):
        connection = connection.connection()  # of a session, which has begun by now
    elif not connection.in_transaction():
        connection.begin()  # as any use of it would
    pooled = connection.connection
    return _on_driver(pooled.driver_connection, pooled.dbapi_connection, statements, writes, now, path)


def _on_driver(driver: Any, dbapi: Any, statements: Writes, writes: Sequence[Write], now: int, path: str) -> list[Outcome]:
    """``driver`` knows whether it is in a transaction; ``dbapi`` runs statements: SQLAlchemy puts it before async drivers."""
    cursor = dbapi.cursor()
    try:
        with _read_plainly(dbapi, cursor):
            _check_file(cursor, path)
            _see_to_transaction(driver, cursor)
            cursor.execute("SAVEPOINT flowstmt_join")
            try:
                outcomes = [statements.write(cursor, write, now) for write in writes]
            except BaseException:
                cursor.execute("ROLLBACK TO flowstmt_join")
                cursor.execute("RELEASE flowstmt_join")
                raise
            cursor.execute("RELEASE flowstmt_join")
            return outcomes
    except (sqlite3.Error, *CONTENT) as error:
        advice = ". Begin it with BEGIN IMMEDIATE; this one has to be rolled back" if is_busy(error) else ""
        raise StoreError(f"nothing was written into your transaction: {said(error)}{advice}") from error
    finally:
        cursor.close()


def _check_file(cursor: Cursor, path: str) -> None:
    cursor.execute("PRAGMA database_list")
    files = [row[2] for row in cursor.fetchall() if row[2]]
    if not any(same_file(file, path) for file in files):
        raise StoreError(
            f"the connection is one to {', '.join(files) or 'a database in memory'}, but the runs are in {path}: a transaction "
            "can be joined only if it is one of the same database"
        )


def _see_to_transaction(driver: Any, cursor: Cursor) -> None:
    if driver.in_transaction:
        return
    if driver.isolation_level is None or getattr(driver, "autocommit", None) is True:
        raise StoreError("the connection commits by itself and has no open transaction: begin one, with BEGIN IMMEDIATE")
    cursor.execute("BEGIN IMMEDIATE")  # as the driver does before the first statement that writes


@contextmanager
def _read_plainly(dbapi: Any, cursor: Any) -> Iterator[None]:
    """Rows are read as tuples of plain values, whatever their owner likes them to be."""
    if not isinstance(dbapi, sqlite3.Connection):
        yield
        return
    cursor.row_factory = None
    text_factory, dbapi.text_factory = dbapi.text_factory, str
    try:
        yield
    finally:
        dbapi.text_factory = text_factory
