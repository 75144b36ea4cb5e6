"""flowstmt over a table in SQLite."""

from __future__ import annotations

import sqlite3
from time import perf_counter

from benchmarks.peers.contract import Contender, Steps
from benchmarks.peers.flowstmt_workflow import Count, move, row_of
from flowstmt import CheckpointType, ConflictError, State, load

__all__ = ["INSERT", "SELECT", "UPDATE", "Peer", "connected"]

CREATE = "CREATE TABLE runs (run_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, wake_at TEXT, snapshot BLOB NOT NULL)"
INDEX = "CREATE INDEX runs_by_wake_at ON runs (wake_at)"
INSERT = "INSERT INTO runs VALUES (?, ?, ?, ?)"
SELECT = "SELECT snapshot FROM runs WHERE run_id = ?"
UPDATE = "UPDATE runs SET revision = ?, wake_at = ?, snapshot = ? WHERE run_id = ? AND revision = ?"


def connected(store: str) -> sqlite3.Connection:
    """Every statement is a transaction. Python's SQLite is synchronous=FULL from the start; this says so."""
    db = sqlite3.connect(store, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    db.execute(CREATE)
    db.execute(INDEX)
    return db


class Peer(Contender):
    packages = ("flowstmt",)

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        self.db = connected(store)

    def begin(self, run_id: str, until: int) -> None:
        count, state = Count(until), State.new(run_id, "Count")
        revision, wake_at, snapshot = row_of(count, state)
        self.db.execute(INSERT, (run_id, revision, wake_at and wake_at.isoformat(), snapshot))
        self._move(count, state)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        (snapshot,) = self.db.execute(SELECT, [run_id]).fetchone()
        self._move(*load(Count, snapshot))
        return start

    def _move(self, count: Count, state: State) -> None:
        loaded = state.revision

        def save(kind: CheckpointType) -> None:
            nonlocal loaded
            revision, wake_at, snapshot = row_of(count, state)
            row = (revision, wake_at and wake_at.isoformat(), snapshot, state.run_id, loaded)
            if self.db.execute(UPDATE, row).rowcount != 1:
                raise ConflictError(f"run {state.run_id!r} was moved by somebody else")
            loaded = revision

        move(count, state, save, self.steps)

    def close(self) -> None:
        self.db.close()
