"""Who is measured, with which packages, and what a reader has to know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CONTENDERS", "ENGINE", "FLOWSTMT", "NOT_MEASURED", "Listed", "Store"]

Store = Literal["SQLite", "PostgreSQL", "none"]

PSYCOPG = "psycopg[binary]==3.3.9"
LANGGRAPH = "langgraph==1.2.22"


@dataclass(frozen=True)
class Listed:
    name: str
    module: str
    store: Store
    requirements: tuple[str, ...] = ()
    """Of an environment of its own; without any it is the one for development."""
    note: str = ""


FLOWSTMT, ENGINE, FLOOR = "flowstmt", "flowstmt engine", "bare UPDATE and commit"

CONTENDERS = (
    Listed(FLOOR, "floor_sqlite", "SQLite", note="the floor: flowstmt's statements without flowstmt"),
    Listed(
        FLOWSTMT, "flowstmt_sqlite", "SQLite", note="class style; one document a step, in a table with an index on `wake_at`"
    ),
    Listed(ENGINE, "engine", "SQLite", note="`Engine`, async steps; resumed by `retry`: getting the lease is part of it"),
    Listed(
        "DBOS", "dbos_transact", "SQLite", ("dbos==3.4.0",), "resumed from the moment when its queue has handed the run out"
    ),
    Listed(
        "LangGraph",
        "langgraph_sqlite",
        "SQLite",
        (LANGGRAPH, "langgraph-checkpoint-sqlite==3.1.2"),
        'durability="sync"; keeps every checkpoint',
    ),
    Listed("Burr", "burr", "SQLite", ("burr==0.42.0",), "keeps every state"),
    Listed(FLOOR, "floor_postgres", "PostgreSQL", note="the floor: flowstmt's statements without flowstmt"),
    Listed(FLOWSTMT, "flowstmt_postgres", "PostgreSQL", note="as in SQLite; the document as `jsonb`, by psycopg"),
    Listed(ENGINE, "engine", "PostgreSQL", note="`Engine`, async steps; resumed by `retry`: getting the lease is part of it"),
    Listed(
        "DBOS",
        "dbos_transact",
        "PostgreSQL",
        ("dbos==3.4.0", PSYCOPG),
        "resumed from the moment when its queue has handed the run out",
    ),
    Listed(
        "LangGraph",
        "langgraph_postgres",
        "PostgreSQL",
        (LANGGRAPH, "langgraph-checkpoint-postgres==3.2.0", PSYCOPG),
        'durability="sync"; keeps every checkpoint',
    ),
    Listed(
        "absurd",
        "absurd",
        "PostgreSQL",
        ("absurd-sdk==0.5.1", "absurdctl==0.5.1", PSYCOPG),
        "claiming the task from its queue is part of both figures",
    ),
    Listed(
        "Temporal",
        "temporal",
        "none",
        ("temporalio==1.35.0",),
        "replay of a history alone, out of the sandbox: no server, no network, no database",
    ),
)

NOT_MEASURED = {
    "Temporal's steps": "its server, the one for development too, is a binary that no wheel brings",
    "Restate": "the same: the SDK can do nothing without its server",
    "AWS Lambda durable functions": "a service",
    "procrastinate": "a queue of jobs: it has no run that could be resumed",
    "pydantic-graph 2": "has no persistence of its own",
}
