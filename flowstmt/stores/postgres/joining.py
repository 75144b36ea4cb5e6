"""The caller's own connection: found behind what wraps it, seen to be of this database, and written with.

SQLAlchemy is not imported: its objects are known by their classes' names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from flowstmt.errors import StoreError
from flowstmt.stores.postgres.connections import Statements
from flowstmt.stores.postgres.writes import Call, Result, Writes, is_news
from flowstmt.stores.protocol import Message, NewRun, Outcome, Write

__all__ = ["Joining"]

_TAKES = (
    "PostgresStore takes a psycopg Connection or AsyncConnection, or a Connection or Session of SQLAlchemy (async ones too) "
    "that uses psycopg: postgresql+psycopg://"
)


class Joining:
    """Writes in transactions of callers. ``identity`` tells which database is the store's."""

    def __init__(
        self, sql: Statements, writes: Writes, channel: str, schema: str, identity: Callable[[], object], where: str
    ) -> None:
        self._sql = sql
        self._writes = writes
        self._channel = channel
        self._schema = schema
        self._identity = identity
        self._where = where

    def join(self, connection: Any, writes: Sequence[Write]) -> Any:
        """The answers of writes, or what has to be awaited for them."""
        for write in writes:
            if not isinstance(write, NewRun | Message):
                raise StoreError(f"only starts and messages can join a transaction, not a {type(write).__name__}")
        kinds = {(base.__module__.partition(".")[0], base.__name__) for base in type(connection).__mro__}
        if isinstance(connection, psycopg.AsyncConnection):
            return self._join_async(connection, writes)
        if kinds & {("sqlalchemy", "AsyncSession"), ("sqlalchemy", "AsyncConnection"), ("sqlalchemy", "async_scoped_session")}:
            return self._join_alchemy_async(connection, writes)
        if isinstance(connection, psycopg.Connection):
            return self._join(connection, writes)
        if kinds & {("sqlalchemy", "Session"), ("sqlalchemy", "scoped_session")}:
            connection = connection.connection()
            kinds = {("sqlalchemy", "Connection")}
        if ("sqlalchemy", "Connection") in kinds:
            if not connection.in_transaction():
                connection.begin()  # as its own first statement would: otherwise its commit() would do nothing
            return self._join(connection.connection.driver_connection, writes)
        raise _unfit(connection)

    def _join(self, connection: Any, writes: Sequence[Write]) -> list[Outcome]:
        if not isinstance(connection, psycopg.Connection):
            raise _unfit(connection)
        _see_that_it_is_open(connection)
        steps = self._steps(writes)
        try:
            call = next(steps)
            while True:
                cursor = psycopg.Cursor(connection, row_factory=tuple_row)
                cursor.execute(self._sql[call.name], call.parameters)
                call = steps.send(Result(cursor.rowcount, cursor.fetchall() if cursor.description else ()))
        except StopIteration as stop:
            outcomes: list[Outcome] = stop.value
            return outcomes

    async def _join_async(self, connection: psycopg.AsyncConnection[Any], writes: Sequence[Write]) -> list[Outcome]:
        _see_that_it_is_open(connection)
        steps = self._steps(writes)
        try:
            call = next(steps)
            while True:
                cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
                await cursor.execute(self._sql[call.name], call.parameters)
                call = steps.send(Result(cursor.rowcount, await cursor.fetchall() if cursor.description else ()))
        except StopIteration as stop:
            outcomes: list[Outcome] = stop.value
            return outcomes

    def _steps(self, writes: Sequence[Write]) -> Generator[Call, Result, list[Outcome]]:
        found = yield Call("database", {"schema": self._schema})
        if tuple(found.rows[0]) != self._identity():
            raise StoreError(
                f"the connection is one of another database than {self._where}, where the runs are: a start or message can "
                "only be part of a transaction in that one"
            )
        outcomes: list[Outcome] = []
        for write in writes:
            outcomes.append((yield from self._writes.steps(write)))  # noqa: PERF401 nothing else may yield here
        if any(map(is_news, writes)):
            yield Call("notify", {"channel": self._channel})
        return outcomes

    async def _join_alchemy_async(self, connection: Any, writes: Sequence[Write]) -> list[Outcome]:
        if not hasattr(connection, "get_raw_connection"):
            connection = await connection.connection()  # of a session
        if not connection.in_transaction():
            await connection.begin()
        driver = (await connection.get_raw_connection()).driver_connection
        if not isinstance(driver, psycopg.AsyncConnection):
            raise _unfit(driver)
        return await self._join_async(driver, writes)


def _see_that_it_is_open(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    if connection.closed:
        raise StoreError("the connection is closed: nothing can join its transaction. Hand in an open one")
    if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
        raise StoreError(
            "the connection is in autocommit mode and in no transaction, so there is nothing to join: open one with "
            "`with connection.transaction():`, or leave `connection` out"
        )


def _unfit(connection: object) -> StoreError:
    kind = type(connection)
    return StoreError(f"{kind.__module__}.{kind.__qualname__} is no connection that can be joined: {_TAKES}")
