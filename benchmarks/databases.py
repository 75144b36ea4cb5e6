"""The databases in which engines are measured: files on a disk, and a PostgreSQL server of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from benchmarks.peers.stores import folder, postgres
from flowstmt import PostgresStore, SQLiteStore

__all__ = ["Databases", "databases"]

Store = SQLiteStore | PostgresStore


class Databases:
    """Gives away places for new databases: a file in ``folder``, a database in ``server``."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.server = server

    def file(self) -> Path:
        return self.folder / f"{uuid4().hex}.sqlite"

    def uri(self) -> str:
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.server.replace("/postgres?", f"/{name}?")


@contextmanager
def databases() -> Iterator[Databases]:
    """Files and server are gone afterwards."""
    with folder() as path, postgres(path / "server") as server:
        with psycopg.connect(server) as db:
            for setting in ("fsync", "synchronous_commit"):
                assert db.execute(f"SHOW {setting}".encode()).fetchone() == ("on",), setting
        yield Databases(path, server)
