"""The floor in SQLite: the statements that flowstmt's contender makes, and nothing that decides what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

from benchmarks.peers.contract import Contender, DiedError, Steps
from benchmarks.peers.flowstmt_sqlite import INSERT, UPDATE, connected
from benchmarks.peers.flowstmt_workflow import Count, row_of
from flowstmt import State

__all__ = ["Peer"]

SELECT = "SELECT revision, snapshot FROM runs WHERE run_id = ?"


class Peer(Contender):
    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        self.db = connected(store)
        self.snapshot = row_of(Count(1), State.new("workflow-1", "Count"))[2]

    def begin(self, run_id: str, until: int) -> None:
        self.db.execute(INSERT, (run_id, 0, _now(), self.snapshot))
        self.db.execute(UPDATE, (0, _now(), self.snapshot, run_id, 0))
        self._move(run_id, 0, until)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        revision, _ = self.db.execute(SELECT, [run_id]).fetchone()
        self._move(run_id, revision, -1)
        return start

    def _move(self, run_id: str, number: int, until: int) -> None:
        try:
            while number != until:
                self.steps(number)
                self.db.execute(UPDATE, (number + 1, _now(), self.snapshot, run_id, number))
                number += 1
        except DiedError:
            return

    def close(self) -> None:
        self.db.close()


def _now() -> str:
    return datetime.now(UTC).isoformat()
