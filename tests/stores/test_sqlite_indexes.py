"""A million runs: what a store of SQLite asks for all the time goes along an index, and is answered in milliseconds."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowstmt.stores.named_sql import load_migrations, load_statements
from flowstmt.stores.protocol import Message, MessageKind, MessageStatus, QueueLimits, Release, RunQuery, Save
from flowstmt.stores.sqlite import SQLiteStore
from flowstmt.stores.sqlite.rows import leading

RUNS = 1_000_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_AT = int(NOW.timestamp()) * 1_000_000
MINUTE = timedelta(minutes=1)
MOST = 15.0
"""Milliseconds that one call may take on a slow machine; going through a million rows takes a hundred times as long."""
NAMES = {"prefix": "flowstmt_"}
SQL = load_statements("flowstmt.stores.sqlite", NAMES)

ROWS = """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :runs - 1)
    INSERT INTO flowstmt_runs SELECT
        'r' || n,
        CASE n % 10 WHEN 0 THEN 'Refund' WHEN 1 THEN 'Strange' ELSE 'Order' END,
        1 + (n % 10 = 9),
        CASE WHEN n % 1000 = 5 THEN 'Paused' WHEN n % 5 = 2 THEN 'Finished' ELSE 'Waiting' END,
        'position' || (n % 500),
        n % 20, 0, 1, NULL,
        CASE n % 10 WHEN 0 THEN :now + n * 1000 WHEN 1 THEN :now - 1 WHEN 9 THEN :now - 1 END,
        NULL, :now,
        :now - n * 1000000, :now,
        CASE n % 5 WHEN 2 THEN :now - n * 1000 END,
        CASE WHEN n % 10 = 3 THEN 'customer' || n END,
        CASE WHEN n % 4 = 3 THEN 'parent' || (n % 1000) END,
        CASE WHEN n % 10 >= 8 THEN 'queue' || (n % 2) END,
        CASE WHEN n % 10 >= 8 THEN 'key' || (n % 97) END,
        n % 3,
        CASE n % 10 WHEN 8 THEN 0 END,
        'd', '{}', NULL, zeroblob(20)
    FROM numbers
"""
LABELS = (
    "INSERT INTO flowstmt_labels SELECT 'customer', 'c' || (rowid % 1000), created_at, run_id FROM flowstmt_runs ORDER BY 2, 3"
)
INBOX = """
    INSERT INTO flowstmt_inbox (id, run_id, kind, status, key, created_at, body)
    SELECT 'm' || rowid, run_id, 'signal', CASE WHEN rowid % 10 = 1 THEN 'new' ELSE 'done' END, 'k', 0, x'7b7d'
    FROM flowstmt_runs WHERE rowid <= 200000
"""


LISTS = {
    "list_by_created": RunQuery(),
    "list_by_workflow": RunQuery(workflow="Order"),
    "list_by_status": RunQuery(status="Paused", workflow="Order"),
    "list_by_position": RunQuery(position="position7"),
    "list_by_parent": RunQuery(parent="parent7"),
    "list_by_queue": RunQuery(queue="queue1"),
    "list_by_label": RunQuery(label=("customer", "c42")),
    "list_by_wake": RunQuery(wake_before=NOW + MINUTE, workflow="Refund"),
}
AFTER = (NOW - timedelta(days=3), "r")
"""A page in the middle."""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Rows first, indexes afterwards: that is several times as fast."""
    path = tmp_path_factory.mktemp("million") / "runs.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    migrations = load_migrations("flowstmt.stores.sqlite", NAMES)
    statements = [statement for migration in migrations for statement in migration.sql.split(";\n")]
    indexes = [statement for statement in statements if "INDEX " in statement]
    connection.execute("BEGIN")
    for statement in statements:
        if statement not in indexes:
            connection.execute(statement)
    connection.execute(SQL["create_migrations"])
    for migration in migrations:
        connection.execute(SQL["add_migration"], (migration.number, migration.name, 0))
    connection.execute(ROWS, {"runs": RUNS, "now": NOW_AT})
    connection.execute(LABELS)
    connection.execute(INBOX)
    for index in indexes:
        connection.execute(index)
    connection.execute("COMMIT")
    connection.close()
    return path


@pytest.fixture
def store(database):
    store = SQLiteStore(database, synchronous="OFF", clock=lambda: NOW + timedelta(seconds=1))
    store.open()
    yield store
    store.close()


def plan_of(database, name):
    """How SQLite goes about a statement; what it is given doesn't matter, as nothing is known of the values."""
    connection = sqlite3.connect(database)
    try:
        text = SQL[name]
        named = dict.fromkeys(re.findall(r":(\w+)", text))
        numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
        values = named or [None] * max(*numbers, len(re.findall(r"\?(?!\d)", text)) + bool(numbers), 0)
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    finally:
        connection.close()


def quickest(action, times=5):
    """The best of some tries, in milliseconds of this thread: what the machine does besides is not measured."""
    best = float("inf")
    for _ in range(times):
        start = time.thread_time()
        action()
        best = min(best, time.thread_time() - start)
    return best * 1000


@pytest.mark.parametrize(
    "name", sorted(set(SQL) - {"create_migrations", "find_migrations", "list_migrations", "add_migration"})
)
def test_no_statement_goes_through_a_table(database, name):
    plan = plan_of(database, name)
    assert not [line for line in plan if line.startswith("SCAN ") and "CONSTANT ROW" not in line and line != "SCAN saved"], plan
    sorts = [line for line in plan if "TEMP B-TREE" in line]
    assert not sorts or name in ("list_by_wake", "mail", "unseen"), "these sort few rows, no others sort"


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("due", "USING COVERING INDEX flowstmt_runs_due (workflow=? AND due_at<?)"),
        ("next_due", "USING COVERING INDEX flowstmt_runs_due (workflow=? AND due_at>?)"),
        ("mail", "USING INDEX flowstmt_inbox_run (run_id=? AND status=?)"),
        ("mail", "USING INDEX flowstmt_runs_owner (owner=?)"),
        ("unseen", "USING INDEX flowstmt_inbox_run (run_id=? AND status=?)"),
        ("messages", "USING INDEX flowstmt_inbox_run (run_id=? AND status=?)"),
        ("waiting", "USING INDEX flowstmt_runs_waiting (queue=?)"),
        ("waiting", "USING COVERING INDEX flowstmt_runs_placed (queue=?"),
        ("places", "USING COVERING INDEX flowstmt_runs_placed (queue=?)"),
        ("places_of_key", "USING COVERING INDEX flowstmt_runs_placed (queue=? AND queue_key=? AND place=?)"),
        ("over_before", "USING INDEX flowstmt_runs_finished (finished_at<?)"),
        ("list_by_created", "USING INDEX flowstmt_runs_created (created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_workflow", "USING INDEX flowstmt_runs_workflow (workflow=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_status", "USING INDEX flowstmt_runs_status (status=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_position", "USING INDEX flowstmt_runs_position (position=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_parent", "USING INDEX flowstmt_runs_parent (parent=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_queue", "USING INDEX flowstmt_runs_queue (queue=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_label", "USING PRIMARY KEY (name=? AND value=? AND created_at>? AND (created_at,run_id)<(?,?))"),
        ("list_by_wake", "flowstmt_runs_wake (due_at<?)"),
    ],
)
def test_a_statement_uses_its_index(database, name, step):
    plan = plan_of(database, name)
    assert [line for line in plan if step in line], plan


def test_checkpoints_look_for_their_runs_by_id_and_touch_no_index(database):
    with closing(sqlite3.connect(database)) as connection:
        for name, count in (("save", 5), ("save_8", 33), ("save_64", 257)):
            sql, given = SQL[name], [None] * count
            *_, step = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
            assert step == "SEARCH flowstmt_runs USING INDEX sqlite_autoindex_flowstmt_runs_1 (run_id=?)"
            steps = {row[1] for row in connection.execute(f"EXPLAIN {sql}", given)}
            assert "Insert" in steps
            assert not steps & {"IdxInsert", "IdxDelete"}, "a checkpoint writes to the table alone"


@pytest.mark.parametrize("name", LISTS)
def test_a_page_of_a_million_runs_is_there_in_milliseconds(store, name):
    query = LISTS[name]
    later = replace(query, after=AFTER)
    assert leading(query) == name
    assert store.list(query)
    assert [run.created_at for run in store.list(later)] == sorted((run.created_at for run in store.list(later)), reverse=True)
    most = 20 * MOST if name == "list_by_wake" else MOST  # 200,000 runs are due: all of them are looked at, in the index
    assert quickest(lambda: store.list(query)) < most
    assert quickest(lambda: store.list(later)) < most


def test_claims_are_quick_however_much_is_due_that_a_worker_does_not_know(store):
    nothing = []
    assert quickest(lambda: nothing.append(store.claim("one", {"Nothing": 1}, MINUTE, 100))) < MOST
    assert not nothing[0].runs
    found = []
    assert quickest(lambda: found.append(store.claim("one", {"Refund": 1, "Nothing": 1}, MINUTE, 10))) < MOST
    assert [run.run_id for run in found[0].runs] == [f"r{n}" for n in range(0, 100, 10)], "the longest due come first"
    assert found[0].runs[0].messages, "with their messages"
    assert quickest(lambda: store.claim("one", {"Refund": 1}, MINUTE, 0)) < MOST
    held = {run.run_id: run.fence for claims in found for run in claims.runs}
    renewed = []
    assert quickest(lambda: renewed.append(store.renew("one", held, MINUTE))) < MOST
    assert not renewed[0].lost
    assert {message.run_id for message in renewed[0].messages} <= set(held)
    store.commit([Release(run_id, fence) for run_id, fence in held.items()])


def test_newer_versions_that_are_due_are_passed_over_inside_the_index(store):
    """A hundred thousand of them: what a deploy that was rolled back may leave. No row is looked at."""
    assert quickest(lambda: store.claim("one", {"Order": 1}, MINUTE, 100)) < 10 * MOST


def test_the_next_timer_is_found_at_once(store):
    due = []
    assert quickest(lambda: due.append(store.claim("one", {"Refund": 1}, MINUTE, 0).next_due)) < MOST
    assert due[0] is not None


def test_runs_of_a_queue_are_let_in_at_once_by_priority(store):
    admitted = []
    limits = QueueLimits("queue0", concurrency=1000, per_key_concurrency=10)
    assert quickest(lambda: admitted.append(store.admit(limits, 10))) < MOST
    assert sum(admitted) == 50


def test_messages_and_checkpoints_cost_what_they_cost_in_a_small_database(store):
    number = iter(range(1_000_000))
    post = lambda: Message(f"new{next(number)}", "r500003", MessageKind.signal, b"{}")  # noqa: E731
    assert quickest(lambda: store.commit([post()])) < MOST
    assert len(store.messages("r500003", MessageStatus.new, 100)) == 5
    (claimed,) = store.claim_run("one", "r500004", MINUTE).runs
    save = Save("r500004", claimed.fence, 30, b"{}")
    assert quickest(lambda: store.commit([save])) < MOST
    runs = [f"r{number}" for number in range(600_000, 600_064)]
    fences = [store.claim_run("one", run, MINUTE).runs[0].fence for run in runs]
    saves = [Save(run, fence, 30, b"{}") for run, fence in zip(runs, fences, strict=True)]
    assert quickest(lambda: store.commit(saves)) < MOST
    assert store.commit_at_once(saves) == [True] * 64
    store.commit([Release(run, fence) for run, fence in zip(runs, fences, strict=True)])
    assert quickest(lambda: store.get("r500004")) < MOST


def test_the_oldest_finished_runs_are_deleted_at_once(store):
    deleted = []
    assert quickest(lambda: deleted.append(store.purge(NOW, 10)), times=3) < MOST
    assert deleted == [10, 10, 10]
