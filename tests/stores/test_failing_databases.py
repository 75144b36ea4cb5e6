"""Databases that fail while they are used: what is told, and that the store goes on when they are well again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from flowstmt.errors import StoreError
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.protocol import Message, MessageKind, NewRun, Rest, Save
from flowstmt.stores.sqlite import SQLiteStore

HOUR = timedelta(hours=1)
HELD = NewRun("r", "Order", 1, b"{}", "d", worker="w", lease=HOUR)
SCHEMAS = count(1)


@pytest.fixture(scope="module")
def url(postgres):
    return postgres("failing")


@pytest.fixture
def store(url) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, schema=f"failing_{next(SCHEMAS)}")) as store:
        store.open()
        store.commit([HELD])
        yield store


def cut(url: str) -> None:
    """End the connections of stores."""
    with psycopg.connect(url, autocommit=True) as mine:
        mine.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'flowstmt'"
        )


def test_a_setting_that_the_server_refuses_is_told_and_no_connection_is_left(url):
    with closing(PostgresStore(url, lock_timeout=-1)) as store:
        with pytest.raises(StoreError, match="can't be connected to: InvalidParameterValue") as refusal:
            store.open()
        assert not refusal.value.retry
    with psycopg.connect(url) as mine:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowstmt'"
        assert mine.execute(query).fetchone() == (0,)


def test_what_the_server_refuses_is_told_and_is_not_tried_again(store, url):
    with psycopg.connect(url) as mine:
        mine.execute(f"ALTER TABLE {store.schema}.runs RENAME TO gone".encode())
    for call in (lambda: store.get("r"), lambda: store.commit([Save("r", 1, 1, b"{}"), HELD])[0]):
        try:
            outcome = call()
        except StoreError as error:
            outcome = error
        assert isinstance(outcome, StoreError)
        assert "UndefinedTable" in str(outcome)
        assert not outcome.retry
    with psycopg.connect(url) as mine:
        mine.execute(f"ALTER TABLE {store.schema}.gone RENAME TO runs".encode())
    assert store.commit([Save("r", 1, 1, b"{}")]) == [True]


def test_who_waits_without_a_server_is_told_once_and_when_it_is_back(url, caplog):
    caplog.set_level(logging.INFO, "flowstmt")
    with closing(PostgresStore(url, schema=f"failing_{next(SCHEMAS)}")) as store:
        store.open()
        there = store._dsn
        store._dsn = "postgresql://nobody@127.0.0.1:1/nothing"
        store.wait(0)
        store.wait(0)
        store._dsn = there
        store.wait(0)
        told = [record.getMessage() for record in caplog.records]
        assert ["tells no news" in text for text in told] == [True, False]
        assert "tells news again" in told[1]
        for _ in range(100_000):
            store.wake()  # more than anybody has taken in: that is rung already
        store.wait(30)


def test_a_connection_that_was_lost_between_two_steps_is_made_again(store, url):
    with store.transaction() as transaction:
        assert transaction.commit(Save("r", 1, 1, b"{}")) is True
    cut(url)
    with store.transaction() as transaction:
        sent = [Message("m", "r", MessageKind.signal, b"{}")]
        assert transaction.commit(Save("r", 1, 2, b"{}", messages=sent)) is True


def test_a_connection_that_is_lost_as_soon_as_it_was_made_is_told(store, url):
    connect = store._transactions._connect

    def connected():
        connection = connect()
        cut(url)
        return connection

    store._transactions._connect = connected
    with pytest.raises(StoreError, match="can't be used just now") as refusal, store.transaction():
        pass
    assert refusal.value.retry


def test_what_an_action_raises_as_its_connection_is_lost_may_be_tried_again(store, url):
    def step() -> None:
        with store.transaction() as transaction:
            cut(url)
            transaction.connection.execute("SELECT 1")

    with pytest.raises(StoreError, match="the connection was lost inside of a step") as refusal:
        step()
    assert refusal.value.retry


def test_a_savepoint_that_an_action_leaves_open_is_told_and_nothing_is_kept(store, caplog):
    with store.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE left_open (n int)")
        psycopg.Transaction(transaction.connection).__enter__()
        with pytest.raises(StoreError, match="has left a block of"):
            transaction.commit(Save("r", 1, 1, b"{}"))
    with store.transaction() as transaction:
        psycopg.Transaction(transaction.connection).__enter__()
    assert "can't roll back" in caplog.text
    with store.transaction() as transaction:
        assert transaction.connection.execute("SELECT to_regclass('left_open')").fetchone() == (None,)
        assert transaction.commit(Save("r", 1, 1, b"{}", Rest("Waiting", "p", None))) is True


def test_a_disk_that_is_full_inside_of_a_step_is_no_failure_of_the_step(tmp_path: Path):
    with closing(SQLiteStore(tmp_path / "runs.db")) as store:
        store.open()
        store.commit([HELD])

        def step() -> None:
            with store.transaction() as transaction:
                (pages,) = transaction.connection.execute("PRAGMA page_count").fetchone()
                transaction.connection.execute(f"PRAGMA max_page_count = {pages}")
                transaction.connection.execute("CREATE TABLE notes (note)")
                transaction.connection.execute("INSERT INTO notes VALUES (?)", ("x" * 100_000,))

        with pytest.raises(StoreError, match="make room on the disk") as refusal:
            step()
        assert refusal.value.retry
        with pytest.raises(sqlite3.OperationalError, match="no such table"), store.transaction() as transaction:
            transaction.connection.execute("SELECT * FROM notes")
        assert store.commit([Save("r", 1, 1, b"{}")]) == [True]
