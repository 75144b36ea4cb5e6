"""20 steps, each persisted in a SQLite file before the next one runs, against the same UPDATEs in a bare loop."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.chain import STEPS, ClassChain, run
from benchmarks.measure import Figure, interleaved
from flowstmt import CheckpointType, ConflictError, State, dump, resume

__all__ = ["figures"]

ROUNDS = 300
ON_DISK = Path("/var/tmp")
"""Where files survive a reboot: /tmp may be memory."""

CREATE = "CREATE TABLE runs (run_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, snapshot BLOB NOT NULL)"
INSERT = "INSERT INTO runs VALUES (?, 0, ?)"
UPDATE = "UPDATE runs SET revision = ?, snapshot = ? WHERE run_id = ? AND revision = ?"

RUN_IDS = [f"run-{i:03}" for i in range(ROUNDS + 1)]
"""One for each turn, and one for warming up."""


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(CREATE)
    for run_id in RUN_IDS:
        db.execute(INSERT, (run_id, dump(ClassChain(), State.new(run_id, "Chain"))))
    db.commit()
    return db


def _persisted(db: sqlite3.Connection, run_id: str) -> None:
    workflow, state = ClassChain(), State.new(run_id, "Chain")

    def save(kind: CheckpointType) -> None:
        row = (state.revision, dump(workflow, state), state.run_id, state.revision - 1)
        if db.execute(UPDATE, row).rowcount != 1:
            db.rollback()
            raise ConflictError(f"run {state.run_id!r} was moved by somebody else")
        db.commit()

    resume(workflow, state, save)


def _bare(db: sqlite3.Connection, run_id: str, snapshots: list[bytes]) -> None:
    for revision, snapshot in enumerate(snapshots, 1):
        db.execute(UPDATE, (revision, snapshot, run_id, revision - 1))
        db.commit()


def _revisions(db: sqlite3.Connection) -> list[tuple[str, int]]:
    return db.execute("SELECT run_id, revision FROM runs").fetchall()


def figures() -> list[Figure]:
    snapshots = run(ClassChain, RUN_IDS[0])
    with (
        TemporaryDirectory(dir=ON_DISK if ON_DISK.is_dir() else None) as folder,
        closing(_open(Path(folder, "persisted.sqlite"))) as first,
        closing(_open(Path(folder, "bare.sqlite"))) as second,
    ):
        ids, same_ids = iter(RUN_IDS), iter(RUN_IDS)
        ours, theirs = interleaved(
            lambda: _persisted(first, next(ids)),
            lambda: _bare(second, next(same_ids), snapshots),
            rounds=ROUNDS,
            turn=0,
            clock=perf_counter,
            at_most=15,
        )
        assert _revisions(first) == _revisions(second)
    return [
        Figure("20 UPDATEs and commits, SQLite WAL FULL", f"{theirs / STEPS:.0f} us a step"),
        Figure("20 steps saved by them", f"{ours / STEPS:.0f} us a step = {ours / theirs:.3f} x the UPDATEs", "1.25 x"),
    ]
