"""Commits of PostgresStore that are sent without waiting: they answer as `commit` does, and keep out of everybody's way."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event, Thread

import psycopg
import pytest
from psycopg import sql

from flowstmt.errors import StoreError
from flowstmt.stores.at_once import Underway, at_once_of
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.postgres.at_once import PostgresUnderway
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Outcome,
    Posted,
    Publication,
    Release,
    Rest,
    Save,
    Setback,
    Started,
    StoredRun,
    Taken,
    Withdrawal,
    Write,
)
from flowstmt.testing.store_suite import StoreSuite
from tests.stores.lines import line_to

HOUR = timedelta(hours=1)
NUMBERS = count()
SMALL = 4096
"""A connection that takes in so little at a time can't be sent much at once."""


def readable(found, seconds):
    """Whether there is news; ``select.select`` knows no descriptor from 1024 on."""
    with selectors.DefaultSelector() as selector:
        selector.register(found, selectors.EVENT_READ)
        return bool(selector.select(seconds))


@pytest.fixture(scope="module")
def url(postgres):
    return postgres("at_once")


@pytest.fixture
def schema():
    return f"s{next(NUMBERS)}"


@pytest.fixture
def store(url, schema) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, schema=schema)) as store:
        store.open()
        yield store


def new(run_id: str = "r", **changes) -> NewRun:
    return NewRun(run_id, "Order", 1, b'{"at":"birth"}', "d", **changes)


def held(store: PostgresStore, *run_ids: str) -> None:
    store.commit([new(run_id, worker="one", lease=HOUR) for run_id in run_ids])


def save(run_id: str = "r", revision: int = 1, fence: int = 1, snapshot: bytes = b'{"at":"\xe2\x82\xac"}', **changes) -> Save:
    return Save(run_id, fence, revision, snapshot, **changes)


def message(id: str, run_id: str = "r", key: str | None = None) -> Message:
    return Message(id, run_id, MessageKind.signal, b"{}", key)


def got(store: PostgresStore, run_id: str = "r") -> StoredRun:
    found = store.get(run_id)
    assert found is not None
    return found


def underway(store: PostgresStore, *writes: Write) -> PostgresUnderway:
    found = store.commit_at_once(writes)
    assert isinstance(found, PostgresUnderway), "the connection is there, and free"
    return found


def answers(found: Underway) -> Sequence[Outcome]:
    """Read when there is something to read, as an event loop would."""
    outcomes = None
    while outcomes is None:
        assert readable(found, 30), "no answer for 30 s"
        outcomes = found.outcomes()
    return outcomes


def at_once(store: PostgresStore, *writes: Write) -> Sequence[Outcome]:
    return answers(underway(store, *writes))


def backend(store: PostgresStore) -> int:
    with store._writing() as connection:
        return connection.info.backend_pid


def cut(url: str, store_pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        assert db.execute("SELECT pg_terminate_backend(%s, 30000)", (store_pid,)).fetchone() == (True,)


# --- answers


class AtOnceStore(PostgresStore):
    """Commits at once where it can, and in the other way where that is what is asked for."""

    def commit(self, writes):
        found = self.commit_at_once(writes)
        if not isinstance(found, PostgresUnderway):
            return super().commit(writes) if found is None else list(found)
        try:
            return list(answers(found))
        except StoreError:
            return super().commit(writes)


class TestAtOnce(StoreSuite):
    """The whole contract, in this way."""

    @pytest.fixture(autouse=True)
    def _server(self, url):
        self.url = url

    def make_store(self, database):
        return AtOnceStore(self.url, schema=database)


def test_a_run_alone_goes_this_way_from_its_start_to_its_end(store):
    row = HistoryRow(1, "main", "pay", 1, store.now(), timedelta(days=-1, microseconds=5), "odd 'text' \\ %s $1")
    labels = {"customer": 'a"b\\c,{d}', "empty": ""}
    assert at_once(store, new(worker="one", lease=HOUR, labels=labels)) == [Started(True)]
    assert at_once(store, save()) == [True]
    assert at_once(store, save(revision=2, history=[row])) == [True]
    ready = Rest("Finished", "end", None, error=b"{}", version=2)
    assert at_once(store, save(revision=3, rest=ready, children=[new("child")], messages=[message("m", "child")])) == [True]
    run = got(store)
    assert (run.status, run.revision, run.version, run.owner, run.labels, run.snapshot) == (
        "Finished",
        3,
        2,
        None,
        labels,
        b'{"at":"\xe2\x82\xac"}',
    )
    assert list(store.history("r", 0, 10)) == [row]
    assert [found.id for found in store.messages("child", MessageStatus.new, 10)] == ["m"]


def test_writes_of_all_kinds_are_answered_as_commit_answers_them(url, schema):
    def writes(store: PostgresStore) -> list[Write]:
        now = store.now()
        return [
            *(save(f"r{n}") for n in range(20)),
            save("r20", fence=7),
            save("unheard"),
            save("r21", rest=Rest("Waiting", "payment", now + HOUR), taken=[Taken("m-1", MessageStatus.done, b"1")]),
            save("r22", rest=Rest("Paused", "payment", None)),
            save("r0", 2),
            message("m-2", "r1", "key"),
            message("m-3", "r1", "key"),
            message("m-4", "unheard"),
            save("r1", 2, rest=Rest("Waiting", "payment", None)),
            Setback("r23", 1, 3, b"{}", now + HOUR),
            Setback("r23", 1, 3, b"{}", now + HOUR),
            Setback("r23", 2, 3, b"{}", None),
            Release("r24", 1),
            Release("r22"),
            Release("unheard"),
            Publication("r2", b"1"),
            Publication("unheard", b"1"),
            Withdrawal("m-2"),
            Withdrawal("m-2"),
            new("r0"),
            new("single", single_flight="k"),
            new("second", single_flight="k"),
            new("later", start_at=now + HOUR, queue="q", queue_key="k", priority=3, parent="r0"),
        ]

    found = []
    for number, way in enumerate((PostgresStore.commit, lambda store, writes: at_once(store, *writes))):
        with closing(PostgresStore(url, schema=f"{schema}_{number}")) as store:
            store.open()
            held(store, *(f"r{n}" for n in range(25)))
            store.commit([message("m-1", "r21")])
            for again in range(2):
                outcomes = [
                    (outcome.created, outcome.in_flight, outcome.existing and outcome.existing.run_id)
                    if isinstance(outcome, Started)
                    else outcome
                    for outcome in way(store, writes(store))
                ]
                runs = [
                    (run.revision, run.status, run.fence, run.owner, run.attempts, run.wake_at is None, run.snapshot)
                    for run in (store.get(f"r{n}") for n in range(25))
                    if run is not None
                ]
                found.append((again, outcomes, runs))
    assert found[:2] == found[2:]
    assert found[0][1][:22] == [True] * 20 + [False] * 2


def test_a_batch_may_be_one_or_as_many_as_are_ever_committed_together(store):
    runs = [f"r{n:03}" for n in range(512)]
    held(store, *runs)
    for revision, size in enumerate((1, 2, 3, 64, 511, 512), 1):
        assert at_once(store, *(save(run, revision) for run in reversed(runs[:size]))) == [True] * size
        assert [got(store, run).revision for run in (runs[0], runs[size - 1])] == [revision] * 2
    lost = [save(run, 9, fence=2 if number % 3 else 1) for number, run in enumerate(runs)]
    assert at_once(store, *lost) == [number % 3 == 0 for number in range(512)]
    assert at_once(store, save("unheard"), save(runs[0], 10)) == [False, True]
    assert store.commit_at_once([]) == []


def test_what_is_handed_in_again_is_made_once(store):
    held(store, "a", "b")
    parked = save("a", rest=Rest("Waiting", "payment", None))
    for posted in (Posted.posted, Posted.duplicate):
        assert at_once(store, parked, save("b"), message("m", "b")) == [True, True, posted]
    assert at_once(store, parked) == [True]
    assert at_once(store, save("a", 2)) == [False], "its lease was given up with an earlier one"


def test_a_start_whose_rival_goes_away_meanwhile_is_made(store, url, schema):
    store.commit([new()])
    found = underway(store, new(), message("m"))
    assert readable(found, 30), "that there was one is known by now"
    with psycopg.connect(url) as mine:
        mine.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(schema, "runs")))
    assert answers(found) == [Started(True), Posted.posted]


# --- what can't be kept


@pytest.mark.parametrize(
    "odd",
    [
        save(snapshot=b"\xff"),
        save(snapshot=b"nul \0"),
        save(history=[HistoryRow(1 << 70, "t", "p", 1, datetime(2026, 1, 1, tzinfo=UTC), HOUR)]),
        message("x" * 100_000 + "".join(map(chr, range(33, 10_000)))),
    ],
    ids=("no UTF-8", "a NUL", "a number that is too great", "an id that is too long"),
)
def test_what_the_server_refuses_leaves_nothing_and_is_for_the_other_way(store, odd):
    held(store, "r", "a")
    pid = backend(store)
    for writes in ([odd], [save("a"), odd]):
        with pytest.raises(StoreError) as raised:
            at_once(store, *writes)
        assert raised.value.retry
    assert got(store, "a").revision == 0, "all or nothing"
    saved, refused = store.commit([save("a"), odd])
    assert (saved, type(refused)) == (True, StoreError)
    assert at_once(store, save("a", 2)) == [True]
    assert backend(store) == pid, "the connection was good all the time"


@pytest.mark.parametrize(
    "odd",
    [
        save("nul \0", rest=Rest("Waiting", "p", None)),
        save("\ud800"),
        save(rest=Rest("Waiting", object(), None)),  # type: ignore[arg-type] # on purpose
        save(revision=1 << 70),
        save(snapshot=b"x" * 1_000_000),
    ],
    ids=("a NUL", "half a character", "no text", "a number that is too great", "a megabyte"),
)
def test_what_can_not_be_sent_is_not_begun(store, odd):
    held(store, "r", "a")
    assert store.commit_at_once([odd]) is None
    assert store.commit_at_once([message("m", "a"), odd]) is None
    assert store.commit([save("a")]) == [True], "the connection was given back"


# --- not now


def test_without_a_connection_or_while_others_have_it_it_is_not_begun(url, schema, store):
    held(store, "r")
    with closing(PostgresStore(url, schema=schema)) as fresh:
        assert fresh.commit_at_once([save()]) is None, "nobody has connected yet"
        assert fresh.commit([save()]) == [True]
        with fresh._writing():
            assert fresh.commit_at_once([save(revision=2)]) is None
        found = underway(fresh, save(revision=2))
        assert fresh.commit_at_once([save(revision=3)]) is None, "one at a time"
        assert answers(found) == [True]
        fresh.close()
        assert fresh.commit_at_once([save(revision=3)]) is None


def test_other_calls_wait_for_the_end_of_what_is_underway(store):
    held(store, "r")
    store.commit([new("due")])
    begun, claimed = Event(), []

    def claim() -> None:
        begun.set()
        claimed.extend(store.claim("two", {"Order": 1}, HOUR, 10).runs)

    found = underway(store, save(rest=Rest("Resuming", "p", store.now())))
    thread = Thread(target=claim)
    thread.start()
    begun.wait()
    thread.join(0.05)
    assert thread.is_alive()
    assert not claimed
    assert answers(found) == [True]
    thread.join(30)
    assert {run.run_id for run in claimed} == {"due", "r"}, "what was underway is seen"


def test_a_lock_of_somebody_elses_is_waited_for_by_the_server_alone(store, url, schema):
    held(store, "r", "a")
    with psycopg.connect(url) as mine:
        mine.execute(sql.SQL("SELECT 1 FROM {} WHERE run_id = 'r' FOR UPDATE").format(sql.Identifier(schema, "runs")))
        found = underway(store, save("a"), save())
        assert not readable(found, 0.05)
        assert found.outcomes() is None
        mine.commit()
        assert answers(found) == [True, True]


# --- connections


@pytest.mark.parametrize("writes", [(save(),), (save(), message("m"))], ids=("alone", "together"))
def test_a_connection_that_is_lost_before_the_answer_is_made_again(store, url, writes, caplog):
    held(store, "r")
    at_once(store, save("unheard"))
    pid = backend(store)
    with psycopg.connect(url) as mine:
        mine.execute(sql.SQL("LOCK TABLE {}").format(sql.Identifier(store.schema, "runs")))
        found = underway(store, *writes)
        cut(url, pid)
    with pytest.raises(StoreError, match="can't be used just now") as raised:
        answers(found)
    assert raised.value.retry
    assert "was lost" in caplog.text
    found.abandon()
    assert store.commit_at_once(writes) is None, "there is no connection"
    assert store.commit(writes)[0] is True
    assert at_once(store, save(revision=2)) == [True]
    assert backend(store) != pid


@pytest.mark.parametrize("writes", [(save(),), (save(), message("m"))], ids=("alone", "together"))
@pytest.mark.parametrize("prepared", [False, True])
def test_a_connection_that_was_lost_while_nobody_used_it_is_made_again(store, url, writes, prepared):
    held(store, "r")
    if prepared:
        at_once(store, save(), message("before"))
        at_once(store, save())
    cut(url, backend(store))
    with pytest.raises(StoreError, match="can't be used just now: AdminShutdown"):
        at_once(store, *writes)
    assert store.commit(writes)[0] is True


def test_on_a_connection_that_is_closed_it_is_not_begun(store):
    held(store, "r")
    with store._writing() as connection:
        connection.close()
    assert store.commit_at_once([save()]) is None
    assert store.commit([save()]) == [True]


def test_what_was_committed_before_the_line_was_cut_is_found_when_it_is_handed_in_again(url, schema):
    with line_to(url) as (line, through), closing(PostgresStore(through, schema=schema)) as store:
        store.open()
        held(store, "r")
        writes = (save(rest=Rest("Waiting", "payment", None)), message("the last"))
        line.cut_at = b"the last"
        with pytest.raises(StoreError) as raised:
            at_once(store, *writes)
        assert raised.value.retry
        assert store.commit(writes) == [True, Posted.duplicate]


def test_what_is_abandoned_keeps_nobody_waiting(store, url, schema):
    held(store, "r")
    with psycopg.connect(url) as mine:
        mine.execute(sql.SQL("SELECT 1 FROM {} WHERE run_id = 'r' FOR UPDATE").format(sql.Identifier(schema, "runs")))
        found = underway(store, save())
        found.abandon()
        found.abandon()
        with pytest.raises(StoreError, match="abandoned") as raised:
            found.outcomes()
        assert raised.value.retry
        assert store.commit([message("m")]) == [Posted.posted], "on another connection"
    underway(store, save(revision=2)).abandon()
    store.close()
    store.open()
    assert got(store, "r").revision in (0, 1, 2)


def test_statements_that_somebody_deallocates_are_prepared_again(store):
    held(store, "r", "a")
    batches: list[list[Write]] = [[save()], [save(), save("a")], [save(), message("m")]]
    for way in (PostgresStore.commit, lambda store, writes: at_once(store, *writes)):
        for writes in batches:
            assert at_once(store, *writes)[0] is True
            with store._writing() as connection:
                connection.execute("DEALLOCATE ALL")
            assert way(store, writes)[0] is True, f"{len(writes)} writes"
    with store._writing() as connection:
        connection.execute("DEALLOCATE ALL")
    assert at_once(store, save(), save("a"), save("unheard"), Release("unheard")) == [True, True, False, False], "some are new"


def test_a_table_that_is_away_for_a_while_is_no_harm_to_what_is_prepared_then(store, url, schema):
    held(store, "r")
    with psycopg.connect(url, autocommit=True) as mine:
        mine.execute(sql.SQL("ALTER TABLE {} RENAME TO away").format(sql.Identifier(schema, "inbox")))
        with pytest.raises(StoreError, match="UndefinedTable"):
            at_once(store, save(), message("m"))
        assert at_once(store, save()) == [True]
        mine.execute(sql.SQL("ALTER TABLE {} RENAME TO inbox").format(sql.Identifier(schema, "away")))
    assert at_once(store, save(), message("m")) == [True, Posted.posted]


def test_what_looks_like_a_missing_statement_again_and_again_is_not_sent_for_ever(store, url, schema):
    held(store, "r")
    runs = sql.Identifier(schema, "runs")
    with psycopg.connect(url, autocommit=True) as mine:
        mine.execute(
            sql.SQL(
                "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'odd' USING ERRCODE = '26000'; END $$"
            ).format(sql.Identifier(schema, "odd"))
        )
        at_once(store, save())
        mine.execute(
            sql.SQL("CREATE TRIGGER odd BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
                runs, sql.Identifier(schema, "odd")
            )
        )
        with pytest.raises(StoreError, match="odd"):
            at_once(store, save())
        mine.execute(sql.SQL("DROP TRIGGER odd ON {}").format(runs))
    assert at_once(store, save()) == [True]


# --- much at once


def throttle(store: PostgresStore) -> None:
    with store._writing() as connection, socket.socket(fileno=socket.dup(connection.pgconn.socket)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)


def test_what_the_connection_does_not_take_in_one_go_is_sent_as_there_is_room(store):
    runs = [f"r{n}" for n in range(64)]
    held(store, *runs)
    throttle(store)
    large = b'"%s"' % (b"x" * 3000)
    for revision in (1, 2):
        writes = [save(run, revision, snapshot=large) for run in runs]
        found = underway(store, *writes)
        assert found.fileno() != store._writing._connection.pgconn.socket
        assert answers(found) == [True] * 64
        assert got(store, "r63").snapshot == large
    assert store.commit([save("r0", 3, snapshot=b'"%s"' % (b"x" * 1_000_000))]) == [True], "nor by the other way"
    found = underway(store, *(save(run, 4, 1 + (run == "r7"), large) for run in runs))
    assert answers(found) == [run != "r7" for run in runs]
    found = underway(store, *writes)
    found.abandon()
    assert store.commit([save("r0", 5)]) == [True]


def test_a_question_that_can_not_be_asked_in_one_go_is_for_the_other_way(store):
    runs = [f"{n:02}" + "x" * 1000 for n in range(64)]
    writes = [save(run) for run in runs]
    found = underway(store, *writes)
    assert readable(found, 30)
    with socket.socket(fileno=socket.dup(store._writing._connection.pgconn.socket)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    with pytest.raises(StoreError, match="takes in too little") as raised:
        answers(found)
    assert raised.value.retry
    assert store.commit(writes) == [False] * 64


def test_the_engine_can_see_that_it_commits_at_once(store):
    assert at_once_of(store) == store.commit_at_once
