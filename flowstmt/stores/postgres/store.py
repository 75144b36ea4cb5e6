"""Runs in PostgreSQL, for any number of processes and machines.

One connection writes: all writes of a commit in one pipeline. One reads, one hears of news (LISTEN), and transactional steps
have some of their own. All are made when they are needed, and again after they were lost. The connections must be sessions:
behind a pooler such as PgBouncer, ``pool_mode = session``. Needs psycopg 3: ``pip install "flowstmt[postgres]"``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, TypeAlias

try:
    import psycopg
except ModuleNotFoundError as error:
    raise ImportError('PostgresStore needs psycopg 3: pip install "flowstmt[postgres]"') from error
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from flowstmt.errors import ConflictError, NotFoundError, StoreError
from flowstmt.stores.named_sql import load_migrations, load_statements, prefix_checked
from flowstmt.stores.postgres.at_once import PostgresUnderway, begun
from flowstmt.stores.postgres.batches import Batches
from flowstmt.stores.postgres.connections import Connection, Link, Statements, told, unavailable
from flowstmt.stores.postgres.joining import Joining
from flowstmt.stores.postgres.listening import Listener
from flowstmt.stores.postgres.queues import admit
from flowstmt.stores.postgres.rows import claimed, history_row, message, published, query_parameters, stored, taken, utc
from flowstmt.stores.postgres.schema import check_schema, migrate_schema
from flowstmt.stores.postgres.transactions import Transactions
from flowstmt.stores.postgres.writes import Writes
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
    Transaction,
    Write,
)

__all__ = ["PostgresStore"]

_log = logging.getLogger("flowstmt.stores.postgres")

_Outcomes: TypeAlias = list[Outcome]  # `list` is a method of the store
_Messages: TypeAlias = list[Message]


class PostgresStore:
    """Keeps runs in tables of a schema, which are made, and brought up to date, when the store is opened.

    ``dsn`` is a URL or string as libpq takes them. ``schema`` is where the tables are; stores with the same one share runs.
    With ``migrate=False`` the tables must be up to date: run ``flowstmt migrate``. ``lock_timeout`` is how many seconds a
    write waits for somebody else's open transaction (one that starts a run of the same id, say) before it is answered with
    an error. ``synchronous_commit=False`` doesn't wait for the disk: a crash of the server may lose what was acknowledged in
    the last half second, though it leaves no half of anything. ``transactions`` are how many transactional steps may be
    under way at once, each with a connection of its own.

        store = PostgresStore("postgresql://orders@db.internal/orders", schema="flowstmt")
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "flowstmt",
        migrate: bool = True,
        lock_timeout: float = 2.0,
        synchronous_commit: bool = True,
        transactions: int = 10,
        connect_timeout: int = 10,
    ) -> None:
        self._dsn = dsn
        self.schema = prefix_checked(schema, "schema")
        self._where = _told(dsn)
        self._migrates = migrate
        self._connect_timeout = connect_timeout
        channel = f"flowstmt_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
        names = {"schema": sql.Identifier(schema).as_string(None), "channel": sql.Identifier(channel).as_string(None)}
        self._sql = Statements(load_statements(__package__, names))
        self._migrations = load_migrations(__package__, names)
        self._session = {
            "lock_timeout": f"{round(lock_timeout * 1000)}ms",
            "synchronous_commit": "on" if synchronous_commit else "off",
        }
        writes = Writes(channel)
        self._batches = Batches(self._sql, writes, channel)
        self._channel = channel
        self._writing = Link(self._connected, self._where)
        self._reading = Link(self._connected, self._where)
        self._listener = Listener(self._listening, self._where)
        self._transactions = Transactions(self._connected, self._sql, self._batches, writes, channel, transactions, self._where)
        self._joining = Joining(self._sql, writes, channel, schema, self._identity, self._where)
        self._known_as: tuple[Any, ...] | None = None

    def __repr__(self) -> str:
        return f"PostgresStore({self._where!r}, schema={self.schema!r})"

    def _connected(self) -> Connection:
        connection = None
        try:
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=0,
                connect_timeout=self._connect_timeout,
                application_name="flowstmt",
                client_encoding="UTF8",
            )
            self._sql.execute(connection, "prepare_session", self._session)
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            if isinstance(error, psycopg.OperationalError):
                raise unavailable(error, self._where) from error
            raise StoreError(f"PostgreSQL ({self._where}) can't be connected to: {told(error)}") from error
        return connection

    def _listening(self) -> Connection:
        connection = self._connected()
        self._sql.execute(connection, "listen")
        return connection

    def open(self) -> None:
        """Get ready: migrate, or see whether the tables are those that this version of flowstmt knows."""
        if self._migrates:
            self.migrate()
        else:
            with self._reading() as connection:
                check_schema(connection, self._sql, self._migrations, self.schema, self._where)
        self._identity()
        self._listener.open()

    def close(self) -> None:
        """Give up all connections."""
        self._listener.close()
        self._transactions.close()
        self._writing.close()
        self._reading.close()

    def migrate(self) -> Sequence[str]:
        """Bring the tables up to date; the names of the migrations done. Of several processes the first does it."""
        with self._writing() as connection:
            return migrate_schema(connection, self._sql, self._migrations, self.schema, self._where)

    def _identity(self) -> object:
        if self._known_as is None:
            [self._known_as] = self._read("database", {"schema": self.schema})
        return self._known_as

    # -- the writing thread

    def commit(self, writes: Sequence[Write]) -> _Outcomes:
        """Make all writes durable in one transaction; the answer of each, in their order."""
        if not writes:
            return []
        with self._writing() as connection:
            return self._batches.commit(connection, self._writing.prepared, writes)

    def claim(self, worker: str, known: Mapping[str, int], lease: timedelta, limit: int) -> Claims:
        """Lease up to ``limit`` due runs, the longest due first, of ``known`` workflows to a worker."""
        workflows = {"workflows": [*known], "versions": [*known.values()]}
        parameters = {**workflows, "worker": worker, "lease": lease, "limit": limit}
        with self._writing() as connection:
            with connection.pipeline():
                self._sql.execute(connection, "begin")
                self._sql.execute(connection, "wake_for_messages")
                due = self._sql.execute(connection, "claim", parameters)
                clock = self._sql.execute(connection, "next_due", workflows)
                self._sql.execute(connection, "commit")
            [(now, next_due)] = clock.fetchall()
            runs = self._claimed(connection, due.fetchall())
        return Claims(utc(now), runs, None if next_due is None else utc(next_due))

    def claim_run(self, worker: str, run_id: str, lease: timedelta) -> Claims:
        """Lease this run, due or not; ``runs`` is empty if there is a lease on it. Raises ``NotFoundError``."""
        with self._writing() as connection:
            with connection.pipeline():
                found = self._sql.execute(connection, "claim_run", {"worker": worker, "run_id": run_id, "lease": lease})
                there = self._sql.execute(connection, "standing", {"run_ids": [run_id]})
                clock = self._sql.execute(connection, "now")
            [(now,)] = clock.fetchall()
            if not there.fetchall():
                raise NotFoundError(f"there is no run {run_id!r} in the schema {self.schema!r} of {self._where}")
            return Claims(utc(now), self._claimed(connection, found.fetchall()))

    def _claimed(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Sequence[Claimed]:
        messages: dict[str, _Messages] = {row[0]: [] for row in rows}
        if messages:
            for row in self._sql.rows(connection, "open_messages", {"run_ids": [*messages]}):
                messages[row[1]].append(message(row))
        return [claimed(row, messages[row[0]]) for row in rows]

    def renew(self, worker: str, leases: Mapping[str, int], lease: timedelta) -> Renewal:
        """Renew leases; which are lost; and messages that are new, of all runs that the worker holds."""
        parameters = {"worker": worker, "lease": lease, "run_ids": [*leases], "fences": [*leases.values()]}
        with self._writing() as connection:
            with connection.pipeline():
                renewed = self._sql.execute(connection, "renew", parameters)
                mail = self._sql.execute(connection, "mail", {"worker": worker})
                clock = self._sql.execute(connection, "now")
            kept = {row[0] for row in renewed.fetchall()}
            lost = [run_id for run_id in leases if run_id not in kept]
            [(now,)] = clock.fetchall()
            return Renewal(utc(now), lost, [message(row) for row in mail.fetchall()])

    def admit(self, queue: QueueLimits, limit: int) -> int:
        """Make queued runs due, as far as limits allow: highest priority first, then the oldest."""
        with self._writing() as connection:
            return admit(connection, self._sql, queue, limit, self.schema, self._channel)

    def purge(self, finished_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` runs that were over before an instant; how many there were."""
        with self._writing() as connection:
            [(count,)] = self._sql.rows(connection, "purge", {"finished_before": finished_before, "limit": limit})
            self._sql.execute(connection, "purge_strays")
            return int(count)

    def delete(self, run_id: str) -> bool:
        """Delete a run; whether there was one. Raises ``ConflictError`` if somebody has a lease on it."""
        with self._writing() as connection, connection.transaction():
            found = self._sql.rows(connection, "lock_run", {"run_id": run_id})
            if found and found[0][0]:
                raise ConflictError(
                    f"run {run_id!r} can't be deleted: worker {found[0][1]!r} moves it; cancel or pause it first"
                )
            if found:
                self._sql.execute(connection, "delete", {"run_id": run_id})
            return bool(found)

    # -- the reading thread

    def get(self, run_id: str) -> StoredRun | None:
        """A run with its snapshot."""
        rows = self._read("get", {"run_id": run_id})
        return stored(rows[0]) if rows else None

    def list(self, query: RunQuery) -> Sequence[StoredRun]:
        """Runs without their snapshots, newest first."""
        name = "list" if query.label is None else "list_labelled"
        return [stored(row) for row in self._read(name, query_parameters(query))]

    def history(self, run_id: str, after: int, limit: int) -> Sequence[HistoryRow]:
        """Attempts at steps, oldest first; those beyond the first ``after``."""
        return [history_row(row) for row in self._read("history", {"run_id": run_id, "after": after, "limit": limit})]

    def published(self, run_id: str, after: int, limit: int) -> Sequence[Published]:
        """What was published, in order; those whose number is greater than ``after``."""
        return [published(row) for row in self._read("published", {"run_id": run_id, "after": after, "limit": limit})]

    def answers(self, message_ids: Sequence[str]) -> Mapping[str, Taken]:
        """The answers of messages that are done or dead."""
        rows = self._read("answers", {"ids": [*message_ids]}) if message_ids else ()
        return {row[0]: taken(row) for row in rows}

    def messages(self, run_id: str, status: MessageStatus, limit: int) -> Sequence[Message]:
        """Messages of a run, in the order in which they came."""
        return [message(row) for row in self._read("messages", {"run_id": run_id, "status": status.value, "limit": limit})]

    def now(self) -> datetime:
        """The database's clock."""
        return utc(self._read("now", {})[0][0])

    def _read(self, name: str, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        with self._reading() as connection:
            return self._sql.rows(connection, name, parameters)

    # -- the thread of an event loop

    def commit_at_once(self, writes: Sequence[Write]) -> _Outcomes | PostgresUnderway | None:
        """Send all writes without waiting, for whoever watches what is returned; None if that can't be done just now."""
        return begun(self._writing, self._batches.dialogue(writes)) if writes else []

    # -- any thread

    def wait(self, seconds: float) -> None:
        """Return when there is news, or time is over. Without a connection it waits for ``wake`` and the time alone."""
        self._listener.wait(seconds)

    def wake(self) -> None:
        """Let those that wait return."""
        self._listener.wake()

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction for the action of one step, on a connection of its own; waits if too many are under way."""
        return self._transactions.one()

    def join(self, connection: Any, writes: Sequence[Write]) -> Any:
        """Make ``NewRun`` and ``Message`` writes in the caller's own open transaction; their answers.

        ``connection`` is a psycopg ``Connection`` or ``AsyncConnection`` (then await the answers), or a ``Connection`` or
        ``Session`` of SQLAlchemy that uses psycopg, async ones too.
        """
        return self._joining.join(connection, writes)


def _told(dsn: str) -> str:
    """Which database it is, for messages: never its password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        parts = None  # not what the driver says: a piece of the password may be in that
    if parts is not None:
        host, port, name = str(parts.get("host") or "localhost"), parts.get("port"), str(parts.get("dbname") or "")
        if "@" not in host[1:] + name:  # else a piece of the password was taken for one of these
            return f"{name or 'the default database'} at {host}{f':{port}' if port else ''}"
    raise StoreError(
        "PostgresStore can't read its dsn: it takes a URL, as postgresql://user:password@host:5432/database, or what libpq "
        "takes, as 'host=... dbname=...'; in a URL, characters of a password such as @ : / are written as %40 %3A %2F"
    )
