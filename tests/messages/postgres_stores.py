"""What can go wrong in PostgreSQL: on a server, which the page calls ``db.internal``."""

from __future__ import annotations

import asyncio
import importlib.util
import selectors
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from flowstmt.stores.named_sql import Migration
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.postgres import store as module
from flowstmt.stores.postgres.at_once import PostgresUnderway
from flowstmt.stores.protocol import NewRun, Rest, Save, Withdrawal
from tests.messages.foreign import call_it
from tests.messages.rows import Table
from tests.messages.stores import HELD, HOUR, SAVE, SIGNAL, START, raised, talkative
from tests.postgres import Postgres
from tests.stores.lines import line_to

OPENING = Table("Stores: PostgreSQL, opened")
USING = Table("Stores: PostgreSQL, used")
AT_ONCE = Table("Stores: PostgreSQL, committed at once")
STEPS = Table("Stores: steps that write into PostgreSQL")
JOINING = Table("Stores: transactions in PostgreSQL that are joined")
TABLES = [OPENING, USING, AT_ONCE, STEPS, JOINING]

ODD = Save("o-1", 1, 1, b"{}", Rest("Waiting", "nul \x00", None))
NOBODY = "postgresql://shop@127.0.0.1:1"

_used: list[str] = []
_schemas = count(1)


def use(postgres: Postgres) -> None:
    """Let the rows make their tables on this server."""
    _used[:] = [postgres("message_rows"), postgres("message_rows_too")]
    (host,) = parse_qs(urlsplit(_used[0]).query)["host"]
    call_it(f"message_rows at {host}", "shop at db.internal")


@contextmanager
def unopened(url: str | None = None, **options: Any) -> Iterator[PostgresStore]:
    schema = f"rows_{next(_schemas)}"
    call_it(f"{schema!r}", "'flowstmt'")
    call_it(f"{schema}.", "flowstmt.")
    with closing(PostgresStore(url or _used[0], schema=schema, **{"lock_timeout": 0.05, **options})) as store:
        yield store


@contextmanager
def opened(url: str | None = None) -> Iterator[PostgresStore]:
    """A store that has a run, ``o-1``, with a lease."""
    with unopened(url) as store:
        store.open()
        store.commit([HELD])
        yield store


def on_server(table: Table, title: str, call: Callable[[PostgresStore], Any]) -> None:
    def provoke() -> None:
        with opened() as store:
            call(store)

    table.add(title, provoke)


def cut() -> None:
    """End all connections of stores."""
    with psycopg.connect(_used[0], autocommit=True) as mine:
        mine.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'flowstmt'"
        )


# --- opening


@OPENING.row
def no_driver() -> None:
    assert module.__file__ is not None
    found = importlib.util.spec_from_file_location("without_driver", module.__file__)
    assert found is not None
    assert found.loader is not None
    with mock.patch.dict(sys.modules, psycopg=None):
        found.loader.exec_module(importlib.util.module_from_spec(found))


OPENING.add("a dsn that can not be read", lambda: PostgresStore("postgresql://shop:secret@[::1"))
OPENING.add("a password that is not quoted", lambda: PostgresStore("postgresql://shop:1/secret@db.internal/shop"))
OPENING.add("a schema that can not be part of SQL", lambda: PostgresStore(NOBODY, schema="flow-stmt"))


@OPENING.row
def a_server_that_is_not_there() -> None:
    with unopened(NOBODY) as store:
        store.open()


@OPENING.row
def a_server_that_is_not_there_when_somebody_listens() -> None:
    with unopened(NOBODY) as store:
        store._listener.open()
        store.wait(0)


@OPENING.row
def a_setting_that_the_server_does_not_take() -> None:
    with unopened(lock_timeout=-1) as store:
        store.open()


@OPENING.row
def tables_that_are_missing() -> None:
    with unopened(migrate=False) as store:
        store.open()


@OPENING.row
def tables_that_are_older() -> None:
    with unopened() as store:
        store.open()
        store._migrations, store._migrates = [*store._migrations, Migration(2, "0002_more", "")], False
        store.open()


@OPENING.row
def tables_that_are_newer() -> None:
    with unopened() as store:
        store.open()
        with psycopg.connect(_used[0]) as mine:
            mine.execute(f"INSERT INTO {store.schema}.migrations (number, name) VALUES (99, '0099_later')".encode())
        store.open()


# --- using


def _dropped(store: PostgresStore) -> None:
    with psycopg.connect(_used[0]) as mine:
        mine.execute(f"DROP TABLE {store.schema}.runs".encode())
    store.get("o-1")


def _waiting(store: PostgresStore) -> None:
    with psycopg.connect(_used[0]) as mine:
        store.join(mine, [NewRun("o-2", "Order", 1, b"{}", "d")])
        raised(store.commit([NewRun("o-2", "Order", 1, b"{}", "d"), SAVE])[0])


def _lost(store: PostgresStore) -> None:
    cut()
    with talkative():
        try:
            store.commit([SAVE])
        finally:
            store.commit([SAVE])


def _news_lost(store: PostgresStore) -> None:
    store.wait(0)
    cut()
    with talkative():
        while store._listener._connection is not None:
            store.wait(10)
        store.wait(0)


on_server(USING, "a run that is not there", lambda store: store.claim_run("w-1", "o-2", HOUR))
on_server(USING, "a run that is deleted while it is moved", lambda store: store.delete("o-1"))
on_server(USING, "a write that can not be kept", lambda store: raised(store.commit([ODD])[0]))
on_server(USING, "a withdrawal that can not be kept", lambda store: raised(store.commit([Withdrawal("\x00")])[0]))
on_server(USING, "a write that somebody else's transaction is in the way of", _waiting)
on_server(USING, "a table that is gone", _dropped)
on_server(USING, "a connection that was lost, and the call after it", _lost)
on_server(USING, "the connection that hears news was lost", _news_lost)


# --- committed at once


def wait_for(underway: Any) -> None:
    with selectors.DefaultSelector() as selector:  # select.select knows no descriptor from 1024 on
        selector.register(underway, selectors.EVENT_READ)
        selector.select(30)


def _answers(underway: Any) -> Any:
    while (outcomes := underway.outcomes()) is None:
        wait_for(underway)
    return outcomes


def _refused(store: PostgresStore) -> None:
    _answers(store.commit_at_once([SAVE, Save("o-2", 1, 1, b"\xff")]))


def _abandoned(store: PostgresStore) -> None:
    underway = store.commit_at_once([SAVE])
    assert isinstance(underway, PostgresUnderway)
    underway.abandon()
    underway.outcomes()


def _throttled(store: PostgresStore) -> None:
    """Of whole batches a question comes up: where their runs stand."""
    writes = [Save(f"{n:02}" + "x" * 1000, 1, 1, b"{}") for n in range(64)]
    underway = store.commit_at_once(writes)
    assert isinstance(underway, PostgresUnderway)
    wait_for(underway)
    with socket.socket(fileno=socket.dup(underway.fileno())) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    _answers(underway)


def _lost_underway(store: PostgresStore) -> None:
    cut()
    _answers(store.commit_at_once([SAVE]))


on_server(AT_ONCE, "a write that the server refuses", _refused)
on_server(AT_ONCE, "a connection that was lost", _lost_underway)
on_server(AT_ONCE, "what was abandoned", _abandoned)
on_server(AT_ONCE, "a connection that takes in too little at a time", _throttled)


# --- steps


def _failed(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        try:
            transaction.connection.execute("SELECT * FROM nowhere")
        except psycopg.Error:
            transaction.commit(SAVE)


def _odd(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        transaction.commit(ODD)


def _lost_at_its_end(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        cut()
        transaction.commit(SAVE)


def _lost_inside(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        cut()
        transaction.connection.execute("SELECT 1")


def _left_open(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        psycopg.Transaction(transaction.connection).__enter__()


def _committed_open(store: PostgresStore) -> None:
    with store.transaction() as transaction:
        psycopg.Transaction(transaction.connection).__enter__()
        transaction.commit(SAVE)


def _lost_at_its_beginning(store: PostgresStore) -> None:
    connect = store._transactions._connect

    def connected() -> Any:
        connection = connect()
        cut()
        return connection

    store._transactions._connect = connected
    with store.transaction():
        pass


@STEPS.row
def a_connection_that_is_lost_after_the_commit() -> None:
    with line_to(_used[0]) as (line, url), opened(url) as store, store.transaction() as transaction:
        line.cut_at = b"COMMIT"
        transaction.commit(SAVE)


on_server(STEPS, "a statement that has failed", _failed)
on_server(STEPS, "a checkpoint that can not be kept", _odd)
on_server(STEPS, "a connection that is lost before the action", _lost_at_its_beginning)
on_server(STEPS, "a connection that is lost in the action", _lost_inside)
on_server(STEPS, "a connection that is lost before the commit", _lost_at_its_end)
on_server(STEPS, "a savepoint that is left open", _committed_open)
on_server(STEPS, "a savepoint that is left open by an action that fails", _left_open)


# --- joining


def _elsewhere(store: PostgresStore) -> None:
    with psycopg.connect(_used[1]) as mine:
        store.join(mine, [SIGNAL])


def _alone(store: PostgresStore) -> None:
    with psycopg.connect(_used[0], autocommit=True) as mine:
        store.join(mine, [SIGNAL])


def _closed(store: PostgresStore) -> None:
    with psycopg.connect(_used[0]) as mine:
        pass
    store.join(mine, [SIGNAL])


def _other_driver(store: PostgresStore) -> None:
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            store.join(connection, [SIGNAL])
    finally:
        engine.dispose()


def _other_async_driver(store: PostgresStore) -> None:
    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        try:
            async with engine.connect() as connection:
                await store.join(connection, [SIGNAL])
        finally:
            await engine.dispose()

    asyncio.run(main())


def _sqlite(store: PostgresStore) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        store.join(connection, [START])


on_server(JOINING, "a write that is none of the caller's", lambda store: store.join("a connection", [SAVE]))
on_server(JOINING, "a connection of another kind", _sqlite)
on_server(JOINING, "another driver below SQLAlchemy", _other_driver)
on_server(JOINING, "another async driver below SQLAlchemy", _other_async_driver)
on_server(JOINING, "another database", _elsewhere)
on_server(JOINING, "no transaction", _alone)
on_server(JOINING, "a closed connection", _closed)
