"""Each test of this folder that asks for a database gets one of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.databases import Database, MemoryDatabase, PostgresDatabase, SQLiteDatabase

KINDS = ("memory", "sqlite", "postgres")


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "memory":
        return MemoryDatabase()
    if request.param == "sqlite":
        return SQLiteDatabase(tmp_path / "runs.db")
    return PostgresDatabase(request.getfixturevalue("postgres"))


@pytest.fixture(params=KINDS[1:])
def shared_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """One that other processes, and connections of the user's, can open."""
    if request.param == "sqlite":
        return SQLiteDatabase(tmp_path / "runs.db")
    return PostgresDatabase(request.getfixturevalue("postgres"))
