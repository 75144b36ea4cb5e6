"""Databases full of runs that wait: one is brought there by an engine, the others are copies of its row under other ids."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.engine_workflows import Parked
from flowstmt import Engine, PostgresStore, SQLiteStore

__all__ = ["fill", "run_id", "store_at"]

COPY_SQLITE = """
    INSERT INTO flowstmt_runs ({columns})
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
    SELECT {values} FROM flowstmt_runs CROSS JOIN numbers WHERE run_id = 'parked-0000000'
"""
COPY_POSTGRES = """
    INSERT INTO flowstmt.runs ({columns})
    SELECT {values} FROM flowstmt.runs, generate_series(1, {last}) AS numbers(n) WHERE run_id = 'parked-0000000'
"""


def run_id(number: int) -> str:
    return f"parked-{number:07}"


def store_at(place: str) -> SQLiteStore | PostgresStore:
    """``place``: the path of a file, or the URI of a database."""
    return PostgresStore(place) if "://" in place else SQLiteStore(place)


async def fill(place: str, runs: int) -> None:
    async with Engine(store_at(place), [Parked]) as engine:
        await engine.start(Parked(), run_id=run_id(0))
        await engine.await_status(run_id(0), "Waiting")
    (_fill_postgres if "://" in place else _fill_sqlite)(place, runs)


def _fill_sqlite(place: str, runs: int) -> None:
    name = "printf('parked-%07d', n)"
    changed = {
        "run_id": name,
        "snapshot": f"CAST(replace(CAST(snapshot AS TEXT), 'parked-0000000', {name}) AS BLOB)",
        "created_at": "created_at + n",
    }
    with closing(sqlite3.connect(Path(place), isolation_level=None)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(flowstmt_runs)")]
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -400000")
        values = ", ".join(changed.get(column, column) for column in columns)
        db.execute(COPY_SQLITE.format(columns=", ".join(columns), values=values), (runs,))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert db.execute("SELECT count(*) FROM flowstmt_runs").fetchone() == (runs,)


def _fill_postgres(place: str, runs: int) -> None:
    name = sql.SQL("'parked-' || lpad(n::text, 7, '0')")
    changed = {
        "run_id": name,
        "snapshot": sql.SQL("replace(snapshot, 'parked-0000000', {})").format(name),
        "created_at": sql.SQL("created_at + n * interval '1 microsecond'"),
    }
    with psycopg.connect(place, autocommit=True) as db:
        db.execute("SET synchronous_commit = off")
        db.execute("SET maintenance_work_mem = '512MB'")
        columns = [column.name for column in db.execute("SELECT * FROM flowstmt.runs LIMIT 0").description or ()]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        values = sql.SQL(", ").join(changed.get(column, sql.Identifier(column)) for column in columns)
        db.execute(sql.SQL(COPY_POSTGRES).format(columns=names, values=values, last=sql.Literal(runs - 1)))
        db.execute("VACUUM ANALYZE flowstmt.runs")
        db.execute("CHECKPOINT")
        assert db.execute("SELECT count(*) FROM flowstmt.runs").fetchone() == (runs,)
