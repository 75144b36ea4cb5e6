"""flowstmt over a table in PostgreSQL, by psycopg 3."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import psycopg

from benchmarks.peers.contract import Contender, Steps
from benchmarks.peers.flowstmt_workflow import Count, move, row_of
from flowstmt import CheckpointType, ConflictError, State, load

__all__ = ["INSERT", "SELECT", "UPDATE", "Peer", "connected"]

CREATE = "CREATE TABLE runs (run_id text PRIMARY KEY, revision bigint NOT NULL, wake_at timestamptz, snapshot jsonb NOT NULL)"
INDEX = "CREATE INDEX runs_by_wake_at ON runs (wake_at)"
INSERT = "INSERT INTO runs VALUES (%s, %s, %s, %s::jsonb)"
# As text: what psycopg would parse, `load` parses again.
SELECT = "SELECT snapshot::text FROM runs WHERE run_id = %s"
UPDATE = "UPDATE runs SET revision = %s, wake_at = %s, snapshot = %s::jsonb WHERE run_id = %s AND revision = %s"


def connected(store: str) -> psycopg.Connection[Any]:
    """Every statement is a transaction."""
    db = psycopg.connect(store, autocommit=True)
    db.execute(CREATE)
    db.execute(INDEX)
    return db


class Peer(Contender):
    packages = ("flowstmt", "psycopg")

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        self.db = connected(store)

    def begin(self, run_id: str, until: int) -> None:
        count, state = Count(until), State.new(run_id, "Count")
        revision, wake_at, snapshot = row_of(count, state)
        self.db.execute(INSERT, (run_id, revision, wake_at, snapshot.decode()))
        self._move(count, state)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        row = self.db.execute(SELECT, [run_id]).fetchone()
        assert row is not None
        self._move(*load(Count, row[0]))
        return start

    def _move(self, count: Count, state: State) -> None:
        loaded = state.revision

        def save(kind: CheckpointType) -> None:
            nonlocal loaded
            revision, wake_at, snapshot = row_of(count, state)
            row = (revision, wake_at, snapshot.decode(), state.run_id, loaded)
            if self.db.execute(UPDATE, row).rowcount != 1:
                raise ConflictError(f"run {state.run_id!r} was moved by somebody else")
            loaded = revision

        move(count, state, save, self.steps)

    def close(self) -> None:
        self.db.close()
