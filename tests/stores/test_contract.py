"""The stores of flowstmt keep the contract that everybody's has to keep: the public suite, unchanged."""

from __future__ import annotations

from contextlib import closing, contextmanager

import psycopg
import pytest
from psycopg import sql

from flowstmt.stores.memory import MemoryStore
from flowstmt.stores.postgres import PostgresStore
from flowstmt.testing.store_suite import StoreSuite


@pytest.fixture(scope="module")
def contract_url(postgres):
    return postgres("contract")


class TestMemory(StoreSuite):
    """One object is the whole database: two workers on it share it."""

    def make_store(self, database):
        return self.__dict__.setdefault("databases", {}).setdefault(database, MemoryStore())


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
