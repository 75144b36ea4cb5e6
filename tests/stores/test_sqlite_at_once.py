"""Commits of SQLite: checkpoints in one statement, and all of it in the thread of an event loop if nothing is in the way."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest

from flowstmt.errors import StoreError
from flowstmt.stores.memory import MemoryStore
from flowstmt.stores.protocol import (
    Message,
    MessageKind,
    NewRun,
    Posted,
    Publication,
    Release,
    Rest,
    RunQuery,
    Save,
    Withdrawal,
)
from flowstmt.stores.sqlite import SQLiteStore

HOUR = timedelta(hours=1)
DEADLINE = 30.0
SOON = 0.002
"""So many seconds are enough for not waiting, if one looks for the shortest of some tries."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def store(path):
    store = SQLiteStore(path)
    store.open()
    yield store
    store.close()


@pytest.fixture
def other(path):
    """A connection that has nothing to do with the store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def held(*names):
    return [NewRun(name, "Order", 1, b"{}", "d", worker="w", lease=HOUR) for name in names]


def save(run="r", revision=1, **more):
    return Save(run, 1, revision, b"%d" % revision, **more)


def message(name="m", run="r"):
    return Message(name, run, MessageKind.signal, b"{}")


@contextmanager
def statements(store):
    """What SQLite is told while this lasts: the first word of each statement."""
    told = []
    store._writer.set_trace_callback(lambda sql: told.append(sql.split()[0]))
    yield told
    store._writer.set_trace_callback(None)


def quickest(action, times=20):
    """The best of some tries, in seconds: what the machine does besides is not measured."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


# --- as few statements as there can be


@pytest.mark.parametrize("way", ["commit", "commit_at_once"])
@pytest.mark.parametrize("count", [1, 4, 5, 63, 64])
def test_checkpoints_are_one_statement_that_commits_by_itself(store, way, count):
    names = [f"r{number}" for number in range(count)]
    store.commit(held(*names))
    with statements(store) as told:
        assert getattr(store, way)([save(name) for name in names]) == [True] * count
    assert told == ["UPDATE"]
    assert {(store.get(name).revision, store.get(name).snapshot) for name in names} == {(1, b"1")}


@pytest.mark.parametrize("count", [2, 3, 65, 130])
def test_as_many_as_have_no_statement_are_made_one_by_one_in_one_transaction(store, count):
    names = [f"r{number}" for number in range(count)]
    store.commit(held(*names))
    with statements(store) as told:
        assert store.commit_at_once([save(name) for name in names]) == [True] * count
    assert told == ["BEGIN", *["UPDATE"] * count, "COMMIT"]
    assert {store.get(name).revision for name in names} == {1}


def test_an_old_sqlite_makes_checkpoints_one_by_one(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 3))
    with closing(SQLiteStore(path)) as store:
        store.open()
        store.commit(held("a", "b", "c", "d"))
        with statements(store) as told:
            assert store.commit_at_once([save(name) for name in "abcd"]) == [True] * 4
        assert told == ["BEGIN", *["UPDATE"] * 4, "COMMIT"]


def test_checkpoints_go_ahead_of_other_writes_unless_those_are_about_their_run(store):
    store.commit([*held("a", "b", "c", "d"), message("m", "a")])
    made = []
    write = store._batches._writes.write

    def watched(cursor, one, now):
        made.append(one)
        return write(cursor, one, now)

    store._batches._writes.write = watched
    child = NewRun("child", "Order", 1, b"{}", "d", worker="w", lease=HOUR)
    writes = [
        Withdrawal("m"),
        save("a"),
        Release("b", fence=1),
        save("b"),
        save("c", messages=[message("n", "d")], children=[child]),
        save("d"),
        save("child"),
        Publication("a", b"1"),
        save("a", 2),
    ]
    assert store.commit_at_once(writes) == [True, True, True, False, True, True, True, True, True]
    assert made == [*writes[:1], *writes[2:9]], "only the first about a run may go ahead, and past others a mere snapshot"
    revisions = {name: store.get(name).revision for name in ("a", "b", "c", "d", "child")}
    assert revisions == {"a": 2, "b": 0, "c": 1, "d": 1, "child": 1}


def test_a_rest_is_one_statement_and_told_from_one_that_was_made_before(store):
    store.commit(held("r", "lost"))
    rest = Rest("Waiting", "p", None)
    with statements(store) as told:
        assert store.commit([save(rest=rest)]) == [True]
    assert told == ["BEGIN", "UPDATE", "COMMIT"]
    assert store.commit([save(rest=rest), Save("lost", 9, 1, b"{}", rest), save(revision=2, rest=rest)]) == [True, False, False]


@pytest.mark.parametrize(
    "snapshot", [b"", b"\0 and \xff", b'"\\u0000"', '"\ud800"'.encode("utf-8", "surrogatepass"), bytes(10**6)]
)
def test_snapshots_of_a_batch_come_back_byte_for_byte(store, snapshot):
    names = ["a", "b'\"", "c\0", "\U0001f375"]
    store.commit(held(*names))
    assert store.commit_at_once([Save(name, 1, 1, snapshot) for name in names]) == [True] * 4
    assert [store.get(name).snapshot for name in names] == [snapshot] * 4


# --- what is in the way


@pytest.mark.parametrize("batch", [[save()], [save(), message()], [save(str(number)) for number in range(9)]])
def test_while_another_process_writes_nobody_waits_and_nothing_is_done(store, other, batch):
    store.commit(held("r", *map(str, range(9))))
    other.execute("BEGIN IMMEDIATE")
    assert quickest(lambda: store.commit_at_once(batch)) < SOON
    assert store.commit_at_once(batch) is None
    assert not store._writer.in_transaction
    other.execute("ROLLBACK")
    assert [store.get(name).revision for name in ("r", "0")] == [0, 0]
    assert store.commit_at_once(batch) == [Posted.posted if type(write) is Message else True for write in batch]


def test_a_commit_of_a_thread_asks_again_until_the_other_process_has_written(store, other):
    store.commit(held("r"))
    other.execute("BEGIN IMMEDIATE")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(store.commit([save()])))
    thread.start()
    deadline = time.monotonic() + DEADLINE
    while not store._write_lock.locked():
        assert time.monotonic() < deadline
    assert store.commit_at_once([save()]) is None, "the thread has the connection"
    other.execute("COMMIT")
    thread.join(DEADLINE)
    assert answers == [[True]]


def test_while_a_step_has_the_database_nobody_waits(store):
    store.commit(held("r"))
    with store.transaction():
        assert quickest(lambda: store.commit_at_once([save()])) < SOON
        assert store.commit_at_once([save()]) is None
    assert store.commit_at_once([save()]) == [True]


def test_a_store_that_is_not_open_does_nothing_at_once(path):
    store = SQLiteStore(path)
    assert store.commit_at_once([save()]) is None
    store.migrate()
    assert store.commit_at_once([save()]) is None, "it is not open yet"
    store.open()
    store.commit(held("r"))
    store.close()
    assert store.commit_at_once([save()]) is None
    with pytest.raises(StoreError, match="not open"):
        store.commit([save()])


def test_a_connection_that_is_gone_is_made_by_the_thread(store):
    store.commit(held("r"))
    store._drop_writer()
    assert store.commit_at_once([save()]) is None
    assert store.commit([save()]) == [True]
    assert store.commit_at_once([save(revision=2)]) == [True]


def test_a_file_that_is_taken_away_is_missed_in_a_moment(store, path):
    store.commit(held("r"))
    assert store.commit_at_once([save()]) == [True]
    away = path.with_name("away")
    path.rename(away)
    deadline, revision = time.monotonic() + DEADLINE, 2
    while store.commit_at_once([save(revision=revision)]) is not None:
        assert time.monotonic() < deadline
        revision += 1
    with pytest.raises(StoreError, match="was deleted, moved or replaced"):
        store.commit([save(revision=revision)])
    away.rename(path)
    assert store.get("r").revision == revision - 1, "what was written in that moment is where all else is"
    assert store.commit_at_once([save(revision=revision)]) == [True]


def test_a_full_disk_is_told_by_the_thread(store):
    store.commit(held("r"))
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    for batch in ([Save("r", 1, 1, b"x" * 100_000)], [save(), *held("other"), Publication("r", b"x" * 100_000)]):
        assert store.commit_at_once(batch) is None
        assert not store._writer.in_transaction
        assert (store.get("r").revision, store.get("other")) == (0, None)
    with pytest.raises(StoreError, match="make room on the disk") as refusal:
        store.commit(batch)
    assert refusal.value.retry
    assert store.commit(batch)[0] is True, "the next connection has no such limit"


def test_a_disk_that_fails_is_told_by_the_thread(store, path):
    """Files may not grow past what there is: writing fails as on a disk that is broken."""
    store.commit(held("r"))
    big = [Save("r", 1, 1, b"x" * 1_000_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{path}-wal"), hard))
    try:
        assert store.commit_at_once(big) is None
        with pytest.raises(StoreError, match="can't be used") as refusal:
            store.commit(big)
        assert refusal.value.retry
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.get("r").revision == 0
    assert store.commit(big) == [True]


def test_a_connection_that_can_not_even_roll_back_is_given_up(store):
    def no_commits(action, argument, *_):
        refused = action == sqlite3.SQLITE_TRANSACTION and argument in ("COMMIT", "ROLLBACK")
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    store.commit(held("r"))
    store._writer.set_authorizer(no_commits)
    assert store.commit_at_once([save(), message()]) is None
    assert store._writer is None
    assert store.commit([save(), message()]) == [True, Posted.posted]


@pytest.mark.parametrize(
    "odd",
    [
        NewRun("\ud800", "Order", 1, b"{}", "d"),
        Save("r", 1, 1, None),  # type: ignore[arg-type]
        Save("r", 1, 2**70, b"{}"),
    ],
)
def test_what_can_not_be_kept_is_refused_by_the_thread_and_its_neighbours_are_made(store, odd):
    store.commit(held("r", "a", "b", "c"))
    batch = [save("a"), save("b"), odd, save("c")]
    assert store.commit_at_once(batch) is None
    assert not store._writer.in_transaction
    assert {store.get(name).revision for name in "abc"} == {0}
    assert store.commit_at_once([odd]) is None
    answers = store.commit(batch)
    assert isinstance(answers.pop(2), StoreError)
    assert answers == [True] * 3


class StoppedError(BaseException):
    """As Ctrl-C, which comes at any time in the thread of an event loop."""


def test_what_stops_the_event_loop_leaves_no_transaction_and_no_lock(store):
    store.commit(held("r"))
    write = store._batches._writes.write

    def stop(cursor, one, now):
        write(cursor, one, now)
        raise StoppedError

    store._batches._writes.write = stop
    with pytest.raises(StoppedError):
        store.commit_at_once([save(), message()])
    store._batches._writes.write = write
    assert not store._writer.in_transaction
    assert (store.get("r").revision, store.commit([save()])) == (0, [True])


def test_checkpoints_that_concern_nobody_end_no_waiting(store):
    store.commit(held("r", "a"))
    while store._bell.wait(0):
        pass
    assert store.commit_at_once([save(), save("a")]) == [True, True]
    assert not store._bell.wait(0)
    assert store.commit_at_once([save("a", 2), save(revision=2, rest=Rest("Waiting", "p", None))]) == [True, True]
    assert store._bell.wait(0)


# --- in memory


def test_in_memory_nobody_waits_for_another_thread():
    store = MemoryStore()
    store.commit(held("r"))
    with store.transaction():
        assert store.commit_at_once([save()]) is None
    store._lock.acquire()
    found = []
    thread = threading.Thread(target=lambda: found.append(store.commit_at_once([save()])))
    thread.start()
    thread.join(DEADLINE)
    store._lock.release()
    assert found == [None], "somebody reads"
    assert store.commit_at_once([save(), message("\ud800")]) is None
    assert [run.revision for run in store.list(RunQuery())] == [0]
    assert store.commit_at_once([save(), message()]) == [True, Posted.posted]
