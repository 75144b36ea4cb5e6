"""The stores of flowstmt keep the contract that everybody's has to keep: the public suite, unchanged."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager

import psycopg
import pytest
from psycopg import sql

from flowstmt.stores.memory import MemoryStore
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.sqlite import SQLiteStore
from flowstmt.testing.store_suite import StoreSuite


@pytest.fixture(scope="module")
def contract_url(postgres):
    return postgres("contract")


class TestMemory(StoreSuite):
    """One object is the whole database: two workers on it share it."""

    def make_store(self, database):
        return self.__dict__.setdefault("databases", {}).setdefault(database, MemoryStore())


class TestSQLite(StoreSuite):
    """Each store has connections of its own to one file."""

    one_writer_at_a_time = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def path(self, database):
        return self.folder / f"{database}.db"

    def make_store(self, database):
        return SQLiteStore(self.path(database))

    def write_note(self, database, connection, text):
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        connection.execute("INSERT INTO notes VALUES (?)", (text,))

    def notes(self, database):
        with closing(sqlite3.connect(self.path(database))) as connection:
            return [text for (text,) in connection.execute("SELECT text FROM notes")]

    @contextmanager
    def open_connection(self, database):
        with closing(sqlite3.connect(self.path(database))) as connection:
            yield connection


class TestPostgres(StoreSuite):
    """Each test's database is a schema."""

    @pytest.fixture(autouse=True)
    def _server(self, contract_url):
        self.url = contract_url

    def make_store(self, database):
        return PostgresStore(self.url, schema=database)

    def write_note(self, database, connection, text):
        with psycopg.connect(self.url) as db:
            db.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} (text text)").format(sql.Identifier(database, "notes")))
        connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier(database, "notes")), (text,))

    def notes(self, database):
        with psycopg.connect(self.url) as db:
            return [text for (text,) in db.execute(sql.SQL("SELECT text FROM {}").format(sql.Identifier(database, "notes")))]

    @contextmanager
    def open_connection(self, database):
        with closing(psycopg.connect(self.url)) as connection:
            yield connection
