"""LangGraph with its checkpointer for SQLite."""

from __future__ import annotations

import sqlite3

from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.peers.contract import Steps
from benchmarks.peers.langgraph_loop import Loop

__all__ = ["Peer"]


class Peer(Loop):
    packages = ("langgraph", "langgraph-checkpoint-sqlite")

    def __init__(self, store: str, steps: Steps) -> None:
        # As its own `from_conn_string` connects.
        self.db = sqlite3.connect(store, check_same_thread=False)
        super().__init__(store, steps, SqliteSaver(self.db))

    def close(self) -> None:
        self.db.close()
