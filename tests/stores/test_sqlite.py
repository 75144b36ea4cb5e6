"""What is SQLite's own: files, locks, processes, and connections of the caller's."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flowstmt.errors import SchemaError, StoreError
from flowstmt.stores.protocol import (
    Message,
    MessageKind,
    NewRun,
    Posted,
    Publication,
    Rest,
    RunQuery,
    Save,
    Started,
    Withdrawal,
)
from flowstmt.stores.sqlite import SQLiteStore
from flowstmt.stores.sqlite.connections import _use_wal

HOUR = timedelta(hours=1)
DEADLINE = 30.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def store(path):
    store = SQLiteStore(path, busy_timeout=0.05)
    store.open()
    yield store
    store.close()


@pytest.fixture
def other(path):
    """A connection that has nothing to do with the store."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def new(run_id="r", **more):
    return NewRun(run_id, "Order", 1, b"{}", "d", **more)


def message(id="m", run_id="r"):
    return Message(id, run_id, MessageKind.signal, b"{}")


def started(script, *arguments):
    """A process of Python that has this package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# --- the file and its tables


@pytest.mark.parametrize("path", ["", ":memory:", "file:runs.db?mode=ro", b"runs.db"])
def test_what_is_no_path_is_refused_with_a_hint(path):
    with pytest.raises(StoreError, match="MemoryStore"):
        SQLiteStore(path)


@pytest.mark.parametrize("prefix", ["", "1a", "a-b", "a b", 'a";--', "x" * 41, None])
def test_a_prefix_that_is_no_identifier_is_refused(path, prefix):
    with pytest.raises(StoreError, match="prefix="):
        SQLiteStore(path, prefix=prefix)


def test_two_prefixes_are_two_stores_in_one_file(path):
    one, two = SQLiteStore(path, prefix="one_"), SQLiteStore(path, prefix="Two")
    for store in (one, two):
        store.open()
    try:
        one.commit([new("a", labels={"k": "v"})])
        two.commit([new("b")])
        assert [[run.run_id for run in store.list(RunQuery())] for store in (one, two)] == [["a"], ["b"]]
        with sqlite3.connect(path) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")}
        connection.close()
        assert {name[:3] for name in names} == {"one", "Two"}
    finally:
        one.close()
        two.close()


def test_tables_are_made_once(path):
    store = SQLiteStore(path)
    assert list(store.migrate()) == ["0001_runs"]
    assert list(store.migrate()) == []
    store.close()


def test_a_store_that_may_not_migrate_says_what_to_do(path):
    store = SQLiteStore(path, migrate=False)
    with pytest.raises(SchemaError, match="missing: run `flowstmt migrate`"):
        store.open()
    store.migrate()
    store.open()
    assert store.get("r") is None
    store.close()


def test_tables_that_are_newer_are_refused(path, store, other):
    other.execute("INSERT INTO flowstmt_migrations VALUES (9999, '9999_future', 0)")
    for migrate in (True, False):
        with pytest.raises(SchemaError, match=r"newer than this version.*9999_future"):
            SQLiteStore(path, migrate=migrate).open()


def test_a_migration_that_fails_leaves_nothing_behind(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE flowstmt_published (mine TEXT)")
    connection.close()
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match="flowstmt_published already exists"):
        store.open()
    store.close()
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert tables == [("flowstmt_published",)]


def test_processes_that_open_a_new_file_at_once_all_succeed(path):
    script = """
        import sys
        from flowstmt.stores.protocol import NewRun
        from flowstmt.stores.sqlite import SQLiteStore
        store = SQLiteStore(sys.argv[1], busy_timeout=20)
        print("ready", flush=True)
        sys.stdin.readline()
        done = store.migrate()
        store.open()
        store.commit([NewRun(sys.argv[2], "Order", 1, b"{}", "d")])
        store.close()
        print(len(done))
    """
    processes = [started(script, path, number) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    done = sorted(process.communicate(timeout=DEADLINE)[0] for process in processes)
    assert done == ["0\n", "0\n", "0\n", "1\n"], "one of them has migrated, and all have written"
    store = SQLiteStore(path)
    store.open()
    assert {run.run_id for run in store.list(RunQuery())} == {"0", "1", "2", "3"}
    store.close()


def test_a_file_that_is_no_database_is_no_reason_to_try_again(path):
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    with pytest.raises(StoreError, match="not a database") as refusal:
        SQLiteStore(path).open()
    assert not refusal.value.retry


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoreError, match="its folder is there") as refusal:
        SQLiteStore(tmp_path / "missing" / "runs.db").open()
    assert not refusal.value.retry


def test_what_keeps_a_file_from_being_opened_just_now_is_a_reason_to_try_again(path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked") as refusal:
            SQLiteStore(path, busy_timeout=0.01).open()
    assert refusal.value.retry


def test_a_store_that_is_not_open_says_so(path):
    store = SQLiteStore(path)
    calls = [lambda: store.commit([new()]), lambda: store.get("r"), lambda: store.claim("w", {}, HOUR, 1)]
    for call in [*calls, lambda: store.transaction().__enter__()]:
        with pytest.raises(StoreError, match=r"not open: call open\(\)"):
            call()
    store.wait(0.01)


# --- durability


@pytest.mark.parametrize(("chosen", "level"), [({}, 2), ({"synchronous": "NORMAL"}, 1), ({"synchronous": "OFF"}, 0)])
def test_commits_wait_for_the_disk_unless_the_user_says_otherwise(path, chosen, level):
    store = SQLiteStore(path, **chosen)
    store.open()
    try:
        with store.transaction() as transaction:
            assert transaction.connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert transaction.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        store.close()


def test_an_unknown_setting_of_synchronous_is_refused(path):
    with pytest.raises(StoreError, match="synchronous='full'"):
        SQLiteStore(path, synchronous="full")  # type: ignore[arg-type]


# --- when the database can't be used


def test_a_locked_database_is_told_and_the_same_call_works_later(store, other):
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as refusal:
        store.commit([new()])
    assert refusal.value.retry
    assert store.get("r") is None, "readers don't wait"
    other.execute("ROLLBACK")
    assert store.commit([new()])[0].created


def test_a_full_disk_is_told_nothing_is_lost_and_the_same_call_works_later(path, store):
    store.commit([new(worker="w", lease=HOUR)])
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    batch = [Save("r", 1, 1, b"x" * 100_000), new("other")]
    with pytest.raises(StoreError, match="make room on the disk") as refusal:
        store.commit(batch)
    assert refusal.value.retry
    assert (store.get("r").revision, store.get("other")) == (0, None)
    saved, other = store.commit(batch)  # a new connection has no such limit
    assert (saved, other.created, store.get("r").revision) == (True, True, 1)


def test_a_connection_that_was_lost_is_made_anew(store):
    store.commit([new()])
    store._writer.close()
    store._reader = sqlite3.connect(":memory:", check_same_thread=False)
    with pytest.raises(StoreError):
        store.get("r")
    assert store.get("r") is not None
    with pytest.raises(StoreError):
        store.claim("w", {"Order": 1}, HOUR, 1)
    assert [run.run_id for run in store.claim("w", {"Order": 1}, HOUR, 1).runs] == ["r"]


def test_a_write_that_is_refused_does_not_take_its_batch_down(store):
    refused, made, also = store.commit([new("\ud800"), new("r"), Withdrawal("\ud800")])
    assert isinstance(refused, StoreError)
    assert "the NewRun of run" in str(refused)
    assert made.created
    assert isinstance(also, StoreError)


def test_a_commit_that_fails_leaves_nothing_and_the_same_call_works_later(store):
    def no_commits(action, argument, *_):
        refused = action == sqlite3.SQLITE_TRANSACTION and argument == "COMMIT"
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    store.commit([new("first")])
    store._writer.set_authorizer(no_commits)
    with pytest.raises(StoreError, match="not authorized"):
        store.commit([new()])
    assert store.get("r") is None
    assert store.commit([new()])[0].created
    store._writer.set_authorizer(no_commits)
    with pytest.raises(StoreError, match="not authorized"):
        store.claim("w", {"Order": 1}, HOUR, 10)
    assert store.get("r").owner is None
    assert {run.run_id for run in store.claim("w", {"Order": 1}, HOUR, 10).runs} == {"first", "r"}


# --- threads and processes


def test_waiting_ends_when_another_process_writes(path, store):
    store.commit([new()])
    store.wait(0.0)
    script = """
        import sys
        from flowstmt.stores.protocol import NewRun
        from flowstmt.stores.sqlite import SQLiteStore
        store = SQLiteStore(sys.argv[1])
        store.open()
        print("ready", flush=True)
        sys.stdin.readline()
        store.commit([NewRun("other", "Order", 1, b"{}", "d")])
        store.close()
    """
    process = started(script, path)
    assert process.stdout.readline() == "ready\n"
    store.wait(0.1)
    store.wait(0.1)
    process.stdin.write("go\n")
    process.stdin.flush()
    start = time.monotonic()
    while store.get("other") is None:
        store.wait(DEADLINE)
        assert time.monotonic() - start < DEADLINE
    process.communicate(timeout=DEADLINE)


def test_waiting_ends_at_once_when_the_same_store_has_news(store):
    heard = threading.Event()

    def wait():
        store.wait(DEADLINE)
        heard.set()

    thread = threading.Thread(target=wait)
    thread.start()
    store.commit([new()])
    assert heard.wait(DEADLINE)
    thread.join()


def test_checkpoints_that_concern_nobody_end_no_waiting(store):
    store.commit([new(worker="w", lease=HOUR)])
    while store._bell.wait(0):
        pass
    store.commit([Save("r", 1, 1, b"{}")])
    assert not store._bell.wait(0)
    store.commit([Save("r", 1, 2, b"{}", rest=Rest("Waiting", "p", None))])
    assert store._bell.wait(0)


def test_waiting_lasts_as_long_as_it_may_while_a_step_holds_the_database(store):
    with store.transaction():
        start = time.monotonic()
        store.wait(0.12)
        assert time.monotonic() - start >= 0.12


def test_waiting_goes_on_when_the_database_can_not_be_asked(store, caplog):
    caplog.set_level("DEBUG", "flowstmt.stores.sqlite")
    store.commit([new(worker="w", lease=HOUR)])
    while store._bell.wait(0):
        pass
    store._writer.close()
    store.wait(0.06)
    assert "whether" in caplog.text


def test_a_file_that_several_processes_open_gets_its_mode_from_whoever_is_first(path, other):
    """SQLite doesn't wait here by itself."""
    other.execute("BEGIN EXCLUSIVE")
    other.execute("CREATE TABLE mine (a)")
    opened = []

    def opening():
        store = SQLiteStore(path, busy_timeout=DEADLINE)
        store.open()
        opened.append(store.path)
        store.close()

    thread = threading.Thread(target=opening)
    thread.start()
    while not sleeping(thread):
        assert thread.is_alive()
    other.execute("COMMIT")
    thread.join(DEADLINE)
    assert opened == [str(path)]


def sleeping(thread):
    """Whether a thread is where it tries again."""
    frame = sys._current_frames().get(thread.ident)
    while frame is not None and frame.f_code.co_name != "_use_wal":
        frame = frame.f_back
    return frame is not None


def test_a_file_system_without_shared_memory_is_refused(path):
    """As one that SQLite treats so: its exclusive mode can't be had here, its journal can."""
    connection = sqlite3.connect(path, factory=WithoutWal)
    with pytest.raises(StoreError, match="can't be put into WAL mode"):
        _use_wal(connection, str(path), 1.0)
    connection.close()


class WithoutWal(sqlite3.Connection):
    """Where shared memory can't be had, SQLite keeps the mode that it was in."""

    def execute(self, sql, parameters=(), /):
        return super().execute(sql.replace("= WAL", "= DELETE"), parameters)


# --- transactions of steps


def test_a_step_that_takes_long_is_told_to_those_who_wait_for_it(store):
    with store.transaction(), pytest.raises(StoreError, match="another thread of this process") as refusal:
        store.commit([new()])
    assert refusal.value.retry
    assert store.commit([new()])[0].created


@pytest.mark.parametrize("method", ["commit", "rollback", "executescript"])
def test_an_action_can_not_end_its_transaction(store, method):
    store.commit([new(worker="w", lease=HOUR)])
    with store.transaction() as transaction:
        connection = transaction.connection
        connection.execute("CREATE TABLE notes (note)")
        with pytest.raises(StoreError, match=r"action|executescript"):
            getattr(connection, method)(*(["SELECT 1"] if method == "executescript" else []))
        with connection:
            connection.execute("INSERT INTO notes VALUES ('a')")
        assert transaction.commit(Save("r", 1, 1, b"{}"))
    with store.transaction() as transaction:
        assert transaction.connection.execute("SELECT * FROM notes").fetchall() == [("a",)]


def test_an_action_that_commits_in_sql_is_told(store):
    store.commit([new(worker="w", lease=HOUR)])
    with store.transaction() as transaction:
        transaction.connection.execute("COMMIT")
        with pytest.raises(StoreError, match=r"run 'r' has ended its transaction itself"):
            transaction.commit(Save("r", 1, 1, b"{}"))
    assert store.get("r").revision == 0


def test_a_connection_is_good_for_its_step_only_and_comes_back_as_it_was(store):
    with store.transaction() as transaction:
        kept = transaction.connection
        kept.row_factory, kept.text_factory = sqlite3.Row, bytes
        open_cursor = kept.execute("SELECT 1 UNION SELECT 2")
        kept.execute("CREATE TEMP TABLE notes (note)")
        kept.executemany("INSERT INTO notes VALUES (?)", [("a",), ("b",)])
    with pytest.raises(StoreError, match="a step which is over"):
        kept.execute("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError):
        open_cursor.fetchone()
    with store.transaction() as transaction:
        assert transaction.connection.execute("SELECT 'a'").fetchone() == ("a",)


def test_a_checkpoint_that_is_refused_rolls_the_action_back(store, other):
    store.commit([new(worker="w", lease=HOUR)])
    with store.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE notes (note)")
        with pytest.raises(StoreError, match="the Save of run 'r' can't be written"):
            transaction.commit(Save("r", 1, 1, None))  # type: ignore[arg-type]
    assert other.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes'").fetchone() is None
    assert store.get("r").revision == 0


def test_a_connection_that_an_action_closes_is_made_anew_for_the_next_step(store):
    store.commit([new(worker="w", lease=HOUR)])
    with store.transaction() as transaction:
        transaction.connection.close()
        with pytest.raises(StoreError, match="closed database"):
            transaction.commit(Save("r", 1, 1, b"{}"))
    with store.transaction() as transaction:
        assert transaction.commit(Save("r", 1, 1, b"{}", rest=Rest("Waiting", "p", None)))
    assert store.get("r").revision == 1


# --- transactions of callers


def test_a_start_and_a_message_are_seen_once_the_caller_commits(path, store):
    connection = sqlite3.connect(path)
    connection.row_factory, connection.text_factory = sqlite3.Row, bytes
    for ending, seen in ((connection.rollback, False), (connection.commit, True)):
        answers = store.join(connection, [new(labels={"a": "b"}), new(), message()])
        assert (answers[0].created, answers[1].created, answers[2]) == (True, False, Posted.posted)
        assert answers[1].existing.workflow == "Order"
        assert store.get("r") is None
        ending()
        assert (store.get("r") is not None) == seen
    assert connection.text_factory is bytes
    connection.close()


def test_what_can_not_be_joined_is_refused_and_says_why(tmp_path, path, store, other):
    elsewhere = sqlite3.connect(tmp_path / "elsewhere.db")
    with pytest.raises(StoreError, match="only if it is one of the same database"):
        store.join(elsewhere, [new()])
    (tmp_path / "elsewhere.db").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="only if it is one of the same database"):
        store.join(elsewhere, [new()])
    elsewhere.close()
    with pytest.raises(StoreError, match="has no open transaction"):
        store.join(other, [new()])
    with pytest.raises(StoreError, match="a str can't be joined"):
        store.join("connection", [new()])
    with pytest.raises(StoreError, match="only starts and messages"):
        store.join(other, [Publication("r", b"")])


def test_a_joined_write_that_is_refused_leaves_the_caller_s_own(store, other):
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE notes (note)")
    with pytest.raises(StoreError, match="nothing was written into your transaction"):
        store.join(other, [new(), new("\ud800")])
    other.execute("COMMIT")
    assert store.get("r") is None
    assert other.execute("SELECT COUNT(*) FROM notes").fetchone() == (0,)


def test_joining_a_database_that_is_locked_says_so(path, store, other):
    connection = sqlite3.connect(path, timeout=0.01)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked") as refusal:
        store.join(connection, [new()])
    assert not refusal.value.retry, "it is the caller's transaction that has to be done again"
    connection.close()


def test_connections_and_sessions_of_sqlalchemy_can_be_joined(path, store):
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        store.join(connection, [new("rolled back")])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE notes (note)"))
        store.join(connection, [new("begun")])
    with engine.connect() as connection:
        store.join(connection, [new("by itself")])
        connection.commit()
    with Session(engine) as session:
        store.join(session, [new("of a session")])
        assert store.get("of a session") is None
        session.commit()
    engine.dispose()
    assert {run.run_id for run in store.list(RunQuery())} == {"begun", "by itself", "of a session"}


def test_asynchronous_connections_and_sessions_of_sqlalchemy_can_be_joined(path, store):
    pytest.importorskip("aiosqlite")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def work():
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        async with engine.connect() as connection:
            await store.join(connection, [new("rolled back")])
        async with engine.begin() as connection:
            [outcome] = await store.join(connection, [new("begun")])
            assert outcome.created
            assert store.get("begun") is None
        async with AsyncSession(engine) as session:
            assert await store.join(session, [new("of a session"), message(run_id="begun")]) == [Started(True), Posted.posted]
            await session.commit()
        await engine.dispose()

    asyncio.run(work())
    assert {run.run_id for run in store.list(RunQuery())} == {"begun", "of a session"}


@pytest.mark.parametrize("instead", [None, b""])
def test_a_file_that_is_taken_away_takes_nothing_more_until_it_is_back(store, path, instead):
    store.commit([new("before")])
    away = path.with_name("away")
    path.rename(away)
    if instead is not None:
        path.write_bytes(instead)
    for use in (
        lambda: store.commit([new("meanwhile")]),
        lambda: store.claim("w", {"Order": 1}, HOUR, 1),
        lambda: store.get("before"),
        lambda: store.transaction().__enter__(),
    ):
        with pytest.raises(StoreError, match="was deleted, moved or replaced while it is open") as refused:
            use()
        assert refused.value.retry
    assert path.exists() == (instead is not None)
    away.rename(path)
    store.commit([new("after")])
    assert [run.run_id for run in store.list(RunQuery())] == ["after", "before"]
