"""Transactions of steps: a few connections, each for one at a time, on which the action's writes and the checkpoint commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

import psycopg
from psycopg.pq import TransactionStatus

from flowstmt.errors import StoreError
from flowstmt.stores.postgres.batches import Batches
from flowstmt.stores.postgres.connections import Connection, Statements, told, unavailable
from flowstmt.stores.postgres.writes import Writes, is_news, was_saved
from flowstmt.stores.protocol import Save

__all__ = ["PostgresTransaction", "Transactions"]

_log = logging.getLogger("flowstmt.stores.postgres")


class Transactions:
    """Connections that are kept for transactions, up to ``most`` of them; who needs one more waits."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        sql: Statements,
        batches: Batches,
        writes: Writes,
        channel: str,
        most: int,
        where: str,
    ) -> None:
        self.sql = sql
        self.batches = batches
        self.writes = writes
        self.channel = channel
        self.where = where
        self._connect = connect
        self._places = BoundedSemaphore(most)
        self._lock = Lock()
        self._idle: list[Connection] = []

    @contextmanager
    def one(self) -> Iterator[PostgresTransaction]:
        """A transaction, rolled back unless it was committed.

        What is raised inside while its connection is lost comes of that: it is a ``StoreError``, to be tried again.
        """
        with self._places:
            transaction = self._begun()
            try:
                yield transaction
            except Exception as error:
                if not transaction.connection.broken or isinstance(error, StoreError):
                    raise
                raise StoreError(
                    f"PostgreSQL ({self.where}) can't be used just now: the connection was lost inside of a step "
                    f"({told(error)}). Nothing of the step was saved",
                    retry=True,
                ) from error
            finally:
                transaction.end()
                self._take_back(transaction.connection)

    def saved(self, save: Save) -> bool:
        """Whether a checkpoint is there, asked on another connection."""
        connection = self._connect()
        try:
            return was_saved(save, self.sql.rows(connection, "standing", {"run_ids": [save.run_id]}))
        finally:
            connection.close()

    def close(self) -> None:
        """Give up the connections that nobody uses."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _begun(self) -> PostgresTransaction:
        """A transaction. A connection that was lost while nobody used it is replaced."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            fresh = connection is None
            if connection is None:
                connection = self._connect()
            try:
                return PostgresTransaction(self, connection)
            except psycopg.OperationalError as error:
                connection.close()
                if fresh:
                    raise unavailable(error, self.where) from error

    def _take_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)


class PostgresTransaction:
    """One transaction. The action writes with ``connection``, and leaves its end to the engine: its ``commit`` is refused."""

    def __init__(self, transactions: Transactions, connection: Connection) -> None:
        self._transactions = transactions
        self._connection = connection
        self._block = psycopg.Transaction(connection)
        self._block.__enter__()
        self._ended = False

    @property
    def connection(self) -> Connection:
        """A psycopg ``Connection``. Savepoints are ``with connection.transaction():``."""
        return self._connection

    def commit(self, save: Save) -> bool:
        """Commit what was written, with the checkpoint; ``False``, and nothing is committed, if the lease is lost.

        Where the connection is lost on the way, the checkpoint is looked for: it is there with all the rest, or nothing is.
        """
        connection, shared = self._connection, self._transactions
        if not connection.closed and connection.info.transaction_status != TransactionStatus.INTRANS:
            raise StoreError(
                f"run {save.run_id!r}: the transaction of its step is not good any more: a statement has failed in it, or it "
                "was ended by a statement; nothing of the step was saved. Put statements that may fail into "
                "`with connection.transaction():`"
            )
        try:
            if not shared.batches.run(connection, shared.writes.steps(save)):
                return False
            if is_news(save):
                shared.sql.execute(connection, "notify", {"channel": shared.channel})
            self._ended = True
            self._block.__exit__(None, None, None)
        except psycopg.Error as error:
            if not connection.closed:
                raise StoreError(
                    f"run {save.run_id!r}: its step can't be committed: {told(error)}. Nothing that it wrote is there"
                ) from error
            if shared.saved(save):
                _log.warning("run %r: the connection was lost after its step was committed: %s", save.run_id, told(error))
                return True
            raise StoreError(
                f"run {save.run_id!r}: the connection was lost before its step was committed ({told(error)}): nothing that the "
                "step wrote is there, and it has to run again",
                retry=True,
            ) from error
        return True

    def end(self) -> None:
        """Roll back what was not committed."""
        if self._ended:
            return
        self._ended = True
        undo = psycopg.Rollback(self._block)
        try:
            self._block.__exit__(psycopg.Rollback, undo, None)
        except psycopg.Error as error:
            where = self._transactions.where
            _log.warning("the connection of a step to PostgreSQL (%s) is closed, as it can't roll back: %s", where, told(error))
            self._connection.close()
