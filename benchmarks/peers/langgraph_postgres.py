"""LangGraph with its checkpointer for PostgreSQL."""

from __future__ import annotations

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row

from benchmarks.peers.contract import Steps
from benchmarks.peers.langgraph_loop import Loop

__all__ = ["Peer"]


class Peer(Loop):
    packages = ("langgraph", "langgraph-checkpoint-postgres", "psycopg")

    def __init__(self, store: str, steps: Steps) -> None:
        # As its own `from_conn_string` connects.
        self.db = psycopg.connect(store, autocommit=True, prepare_threshold=0, row_factory=dict_row)
        super().__init__(store, steps, PostgresSaver(self.db))

    def close(self) -> None:
        self.db.close()
