"""Databases for tests: each can be opened by several stores at once, as by several processes."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psycopg

import flowstmt
from flowstmt.stores.protocol import Store
from tests.postgres import Postgres

_numbers = count(1)


class Database(Protocol):
    """A database that is there, and empty. ``url`` is what another process opens it by."""

    url: str
    sqlalchemy_url: str

    def store(self) -> Store:
        """A store on it, of its own."""

    def connect(self) -> Any:
        """A connection of the user's, with a table ``notes (body text)``."""


class MemoryDatabase:
    url = sqlalchemy_url = ""

    def __init__(self) -> None:
        self._store = flowstmt.MemoryStore()

    def store(self) -> Store:
        return self._store  # the only way in which two can share it

    def connect(self) -> Any:
        raise NotImplementedError("nobody can connect to the memory of this process")


class SQLiteDatabase:
    def __init__(self, path: Path) -> None:
        self.url = str(path)
        self.sqlalchemy_url = f"sqlite:///{path}"

    def store(self) -> Store:
        return flowstmt.SQLiteStore(self.url)

    def connect(self) -> Any:
        connection = sqlite3.connect(self.url, isolation_level=None)
        connection.execute("CREATE TABLE IF NOT EXISTS notes (body TEXT)")
        connection.execute("BEGIN IMMEDIATE")
        return connection


class PostgresDatabase:
    """A schema of its own in a database that all tests share: that is made ten times faster than a database."""

    _dsn: ClassVar[str] = ""

    def __init__(self, postgres: Postgres) -> None:
        cls = type(self)
        if not cls._dsn:
            cls._dsn = postgres("engine")
        self.dsn = cls._dsn
        self.sqlalchemy_url = self.dsn.replace("postgresql://", "postgresql+psycopg://")
        self.url = f"{cls._dsn}#flows_{next(_numbers)}"
        with psycopg.connect(self.dsn) as connection:
            connection.execute("DROP TABLE IF EXISTS notes")

    def store(self) -> Store:
        return opened(self.url)

    def connect(self) -> Any:
        with psycopg.connect(self._dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (body TEXT)")
        return psycopg.connect(self._dsn)


def opened(url: str) -> Store:
    """A store for another process."""
    if not url.startswith("postgres"):
        return flowstmt.SQLiteStore(url)
    dsn, _, schema = url.partition("#")
    return flowstmt.PostgresStore(dsn, schema=schema)
