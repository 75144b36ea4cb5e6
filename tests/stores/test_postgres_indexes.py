"""At a million runs the queries that workers and lists live by read what they need off an index: EXPLAIN says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.postgres.rows import query_parameters
from flowstmt.stores.postgres.wire import positional
from flowstmt.stores.protocol import QueueLimits, RunQuery

RUNS = 1_000_000

ROWS = f"""
INSERT INTO flowstmt.runs
SELECT 'run-' || lpad(n::text, 8, '0'), CASE n % 20 WHEN 0 THEN 'Refund' ELSE 'Order' END, 1,
    CASE WHEN n % 1000 = 0 THEN 'Paused' WHEN n % 3 = 0 THEN 'Finished' ELSE 'Waiting' END,
    CASE n % 2000 WHEN 0 THEN 'rare' ELSE 'payment' END, 5, 0, at, at,
    CASE WHEN n % 3 <> 0 AND n % 10 = 1 THEN '2026-01-01+00'::timestamptz + n * interval '1 minute' END,
    CASE WHEN n % 3 = 0 THEN at END,
    NULL, 1, 'd', NULL, NULL,
    CASE n % 500 WHEN 0 THEN 'run-' || lpad((n / 50000)::text, 8, '0') END,
    CASE WHEN n % 100 = 0 THEN 'emails' END, CASE WHEN n % 100 = 0 THEN 'key-' || n % 7 END, n % 5, NULL,
    CASE WHEN n % 100 = 0 AND n % 3 <> 0 THEN 0 END, '{{}}'
FROM generate_series(1, {RUNS}) AS n, LATERAL (SELECT '2025-01-01+00'::timestamptz + n * interval '20 seconds') AS t (at)
"""
LABELS = """
INSERT INTO flowstmt.labels SELECT run_id, 'customer', 'c-' || substr(run_id, 8), created_at FROM flowstmt.runs
WHERE right(run_id, 1) = '0'
"""
MESSAGES = """
INSERT INTO flowstmt.inbox (id, run_id, kind, status, body, created_at)
SELECT 'm-' || n, 'run-' || lpad(n::text, 8, '0'), 'signal', CASE n % 10000 WHEN 1 THEN 'new' ELSE 'done' END, '', now()
FROM generate_series(1, 200000) AS n
"""


@pytest.fixture(scope="module")
def store(postgres) -> Iterator[PostgresStore]:
    url = postgres("million")
    with closing(PostgresStore(url)) as store:
        store.open()
        with psycopg.connect(url, autocommit=True) as db:
            # Indexes that are built over rows that are there take a third of the time.
            found = db.execute(
                "SELECT schemaname, indexname, indexdef FROM pg_indexes "
                "WHERE schemaname = 'flowstmt' AND tablename = 'runs' AND indexname <> 'runs_pkey'"
            ).fetchall()
            for schema, index, _ in found:
                db.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index)))
            db.execute(ROWS)
            for *_, definition in found:
                db.execute(definition)
            db.execute(LABELS)
            db.execute(MESSAGES)
            db.execute("ANALYZE")
        yield store


def plan(store: PostgresStore, name: str, parameters: dict) -> set[str]:
    """The indexes that a statement uses; no table of this size may be read whole."""
    with store._writing() as connection:
        cursor = connection.execute(b"EXPLAIN (FORMAT JSON) " + store._sql[name], parameters, prepare=False)
        return indexes_of(cursor.fetchall(), name)


def generic_plan(store: PostgresStore, name: str) -> set[str]:
    """Those that it uses for whatever parameters."""
    with store._writing() as connection:
        text, _ = positional(store._sql[name].decode())
        return indexes_of(connection.execute(b"EXPLAIN (GENERIC_PLAN, FORMAT JSON) " + text, prepare=False).fetchall(), name)


def indexes_of(plans: list, name: str) -> set[str]:
    [(explained,)] = plans
    indexes, tables = set[str](), set[str]()

    def walk(node: dict) -> None:
        if node["Node Type"] == "Seq Scan":
            tables.add(node["Relation Name"])
        if "Index Name" in node:
            indexes.add(node["Index Name"])
        for inner in node.get("Plans", ()):
            walk(inner)

    walk((json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"])
    assert not tables & {"runs", "inbox", "labels"}, f"{name} reads {tables} whole"
    return indexes


KNOWN = {"workflows": ["Order", "Refund"], "versions": [1, 1]}


def test_claims_and_due_timers_read_the_index_of_what_is_due(store):
    claim = {**KNOWN, "worker": "one", "lease": timedelta(seconds=30), "limit": 100}
    assert "runs_due" in plan(store, "claim", claim)
    assert plan(store, "next_due", KNOWN) == {"runs_due"}
    assert plan(store, "next_due", {"workflows": ["Refund"], "versions": [1]}) == {"runs_due"}


def test_new_messages_are_found_without_a_look_at_the_others(store):
    assert "inbox_new" in plan(store, "wake_for_messages", {})
    assert "inbox_new" in plan(store, "mail", {"worker": "one"})
    assert plan(store, "open_messages", {"run_ids": ["run-00000007", "run-00000008"]}) == {"inbox_status"}
    assert plan(store, "messages", {"run_id": "run-00000007", "status": "kept", "limit": 100}) == {"inbox_status"}
    assert plan(store, "answers", {"ids": ["m-1", "m-2"]}) == {"inbox_pkey"}


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(), "runs_created"),
        (RunQuery(workflow="Refund"), "runs_workflow"),
        (RunQuery(workflow="Unheard"), "runs_workflow"),
        (RunQuery(status="Paused"), "runs_status"),
        (RunQuery(status="Unheard"), "runs_status"),
        (RunQuery(position="rare"), "runs_position"),
        (RunQuery(position="unheard"), "runs_position"),
        (RunQuery(label=("customer", "c-77770")), "labels_value"),
        (RunQuery(parent="run-00000007"), "runs_parent"),
        (RunQuery(queue="emails"), "runs_queue"),
        (
            RunQuery(created_from=datetime(2025, 3, 1, tzinfo=UTC), created_before=datetime(2025, 3, 2, tzinfo=UTC)),
            "runs_created",
        ),
        (RunQuery(wake_before=datetime(2026, 1, 2, tzinfo=UTC)), "runs_due"),
        (RunQuery(after=(datetime(2025, 3, 1, tzinfo=UTC), "run-00250000")), "runs_created"),
        (RunQuery(status="Paused", after=(datetime(2025, 3, 1, tzinfo=UTC), "run-00250000")), "runs_status"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_lists_read_the_index_of_what_they_are_asked_for(store, query, index):
    name = "list" if query.label is None else "list_labelled"
    assert index in plan(store, name, dict(query_parameters(query)))


def test_letting_runs_in_reads_the_queue_in_its_order(store):
    assert plan(store, "is_queued", {"queue": "emails"}) == {"runs_queued"}
    assert plan(store, "queued", {"queue": "emails", "full": ["key-1"], "limit": 10}) == {"runs_queued"}
    assert plan(store, "under_way", {"queue": "emails"}) == {"runs_under_way"}


@pytest.mark.parametrize("runs", [2, 8, 64, 512])
def test_checkpoints_are_looked_up_one_by_one_however_many_there_are(store, runs):
    numbers = list(range(runs))
    saved = {"run_ids": [f"run-{n:08}" for n in numbers], "fences": numbers, "revisions": numbers, "snapshots": ["{}"] * runs}
    assert plan(store, "saves", saved) == {"runs_pkey"}
    assert generic_plan(store, "saves") == {"runs_pkey"}


@pytest.mark.parametrize("analyzed", [False, True])
def test_so_are_they_where_there_are_a_thousand_runs_or_none_were_counted_yet(postgres, analyzed):
    url = postgres(f"thousand_{analyzed}".lower())
    with closing(PostgresStore(url)) as store:
        store.open()
        assert generic_plan(store, "saves") == {"runs_pkey"}, "a plan that is made now is kept for a while"
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(ROWS.replace(str(RUNS), "1000"))
            if analyzed:
                db.execute("ANALYZE")
        assert generic_plan(store, "saves") == {"runs_pkey"}


@pytest.mark.parametrize("name", ["save", "setback", "hand_back"])
def test_writes_about_one_run_go_by_its_id_even_if_nobody_owns_any(store, name):
    assert generic_plan(store, name) == {"runs_pkey"}


def test_one_run_is_found_by_its_id_and_old_ones_by_their_end(store):
    assert "runs_pkey" in plan(store, "get", {"run_id": "run-00000007"})
    assert "runs_single_flight" in plan(store, "get_in_flight", {"workflow": "Order", "single_flight": "k"})
    assert "runs_finished" in plan(store, "purge", {"finished_before": datetime(2025, 1, 2, tzinfo=UTC), "limit": 100})


def test_they_are_as_fast_as_that_sounds(store):
    claims = store.claim("one", {"Order": 1, "Refund": 1}, timedelta(hours=1), 100)
    assert claims.next_due is not None
    assert store.admit(QueueLimits("emails", concurrency=20, per_key_concurrency=2), 100) == 14, "two of each of seven keys"
    assert len(store.list(RunQuery(status="Paused", limit=1000))) == RUNS // 1000
