"""The floors below the engine: snapshots written by loops that do nothing else, one UPDATE a commit and 64."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.chain import STEPS, ClassChain, run

__all__ = ["BATCH", "BarePostgres", "BareSqlite"]

BATCH = 64
"""How many UPDATEs a commit of the batched loop has: as many as the runs that an engine moves at once."""

RUN_IDS = [f"run-{i}" for i in range(BATCH)]
REUSED = 1_100
"""After so many commits SQLite begins to write over its WAL, which is what it does from then on."""

CREATE = "CREATE TABLE runs (run_id TEXT PRIMARY KEY, revision BIGINT NOT NULL, snapshot {} NOT NULL)"


class Bare:
    """Two loops over one table. Each answers how many microseconds one UPDATE took, commits included."""

    def __init__(self) -> None:
        self.snapshots = run(ClassChain, RUN_IDS[0])[1:]
        self.revision = 0

    def one_a_commit(self, runs: int) -> float:
        """As many UPDATEs as so many runs have steps, each in a commit of its own."""
        return self._timed(self._one, runs, 1)

    def batched(self, commits: int) -> float:
        """64 UPDATEs of 64 rows a commit."""
        return self._timed(self._batch, commits, BATCH)

    def _timed(self, commit: Callable[[int, Any], None], rounds: int, updates: int) -> float:
        start = perf_counter()
        for _ in range(rounds):
            for snapshot in self.snapshots:
                self.revision += 1
                commit(self.revision, snapshot)
        return (perf_counter() - start) / (rounds * STEPS * updates) * 1e6

    def _one(self, revision: int, snapshot: Any) -> None:
        raise NotImplementedError

    def _batch(self, revision: int, snapshot: Any) -> None:
        raise NotImplementedError


class BareSqlite(Bare):
    """A file in WAL mode with ``synchronous=FULL``."""

    UPDATE = "UPDATE runs SET revision = ?, snapshot = ? WHERE run_id = ?"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.db = sqlite3.connect(file)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(CREATE.format("BLOB"))
        self.db.executemany("INSERT INTO runs VALUES (?, 0, ?)", [(run_id, self.snapshots[0]) for run_id in RUN_IDS])
        self.db.commit()
        self.one_a_commit(REUSED // STEPS)

    def _one(self, revision: int, snapshot: bytes) -> None:
        self.db.execute(self.UPDATE, (revision, snapshot, RUN_IDS[0]))
        self.db.commit()

    def _batch(self, revision: int, snapshot: bytes) -> None:
        for run_id in RUN_IDS:
            self.db.execute(self.UPDATE, (revision, snapshot, run_id))
        self.db.commit()

    def close(self) -> None:
        self.db.close()


class BarePostgres(Bare):
    """psycopg, with ``fsync`` and ``synchronous_commit`` on; snapshots are text. A lone UPDATE commits by itself."""

    UPDATE = "UPDATE runs SET revision = %s, snapshot = %s WHERE run_id = %s"

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.snapshots: list[Any] = [snapshot.decode() for snapshot in self.snapshots]
        self.db = psycopg.connect(uri, autocommit=True)
        self.db.execute(CREATE.format("TEXT"))
        for run_id in RUN_IDS:
            self.db.execute("INSERT INTO runs VALUES (%s, 0, %s)", (run_id, self.snapshots[0]))
        self.one_a_commit(5)

    def _one(self, revision: int, snapshot: str) -> None:
        self.db.execute(self.UPDATE, (revision, snapshot, RUN_IDS[0]))

    def _batch(self, revision: int, snapshot: str) -> None:
        with self.db.transaction():
            # In a pipeline, and faster than a loop of ``execute`` in one.
            self.db.cursor().executemany(self.UPDATE, [(revision, snapshot, run_id) for run_id in RUN_IDS])

    def close(self) -> None:
        self.db.close()
