"""What PostgresStore promises beyond the contract: news, connections that are lost, migrations, joins, what a save costs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from threading import Event, Thread

import psycopg
import pytest
from psycopg import sql

from flowstmt.errors import SchemaError, StoreError
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.protocol import (
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Posted,
    Publication,
    Rest,
    Save,
    Started,
    StoredRun,
)

HOUR = timedelta(hours=1)
FINISHED = Rest("Finished", "end", None)


@pytest.fixture(scope="module")
def url(postgres):
    return postgres("stores")


@pytest.fixture
def schema(request):
    return f"s{abs(hash(request.node.name))}"


@pytest.fixture
def store(url, schema) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, schema=schema)) as store:
        store.open()
        yield store


@pytest.fixture
def other(store, url, schema) -> Iterator[PostgresStore]:
    with closing(PostgresStore(url, schema=schema, lock_timeout=0.1)) as other:
        other.open()
        yield other


def new(run_id: str = "r", **changes) -> NewRun:
    return NewRun(run_id, "Order", 1, b'{"at":"birth"}', "d", **changes)


def held(store: PostgresStore, *run_ids: str) -> None:
    store.commit([new(run_id, worker="one", lease=HOUR) for run_id in run_ids])


def save(run_id: str = "r", revision: int = 1, **changes) -> Save:
    return Save(run_id, 1, revision, b'{"at":"%d"}' % revision, **changes)


def message(id: str, run_id: str = "r", key: str | None = None) -> Message:
    return Message(id, run_id, MessageKind.signal, b"{}", key)


def got(store: PostgresStore, run_id: str = "r") -> StoredRun:
    found = store.get(run_id)
    assert found is not None
    return found


def cut_connections(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as db:
        cut = db.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'flowstmt'"
        )
        return next(iter(cut))[0]


# --- news


def waited(store: PostgresStore, news) -> float:
    """So long after the news a wait that was under way returned."""
    store.wait(0)  # a first wait listens from now on, and returns
    begun, returned = Event(), Event()

    def wait() -> None:
        begun.set()
        store.wait(30)
        returned.set()

    thread = Thread(target=wait)
    thread.start()
    begun.wait()
    at = time.monotonic()
    news()
    assert returned.wait(30)
    thread.join()
    return time.monotonic() - at


def test_news_wake_another_process_within_milliseconds(store, other):
    times = [waited(other, lambda n=n: store.commit([new(f"r{n}")])) for n in range(5)]
    assert min(times) < 0.1, "a notification does not wait for a poll"


def test_checkpoints_are_no_news(store, url):
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(store._channel)))
        held(store, "a", "b")
        store.commit([save("a"), save("b", rest=Rest("Waiting", "payment", None))])
        store.commit([save("a", 2), Publication("a", b"1")])
        assert list(db.notifies(timeout=0.2)) == [], "each NOTIFY would make commits stand in a line"
        store.commit([message("m", "a")])
        assert len(list(db.notifies(timeout=5, stop_after=1))) == 1


def test_a_wake_before_a_wait_is_not_lost(store):
    store.wait(0)
    for _ in range(100_000):
        store.wake()
    at = time.monotonic()
    store.wait(30)
    assert time.monotonic() - at < 10
    store.wait(0.001)


def test_whoever_waits_is_told_of_the_end(store):
    store.close()
    store.wait(30)
    store.wake()


# --- connections that are lost


def test_a_lost_connection_is_made_again_at_the_next_call(store, url):
    held(store, "r")
    store.get("r")
    assert cut_connections(url) >= 2
    for call in (lambda: store.commit([save()]), lambda: store.get("r")):
        with pytest.raises(StoreError, match="can't be used just now") as raised:
            call()
        assert raised.value.retry
    assert store.commit([save()]) == [True]
    assert store.get("r").revision == 1


def test_news_are_heard_again_after_a_connection_was_lost(store, other, url):
    waited(other, lambda: store.commit([new("before")]))
    cut_connections(url)
    other.wait(30)  # the end of the connection is something to look at
    with pytest.raises(StoreError):
        store.commit([new("r")])
    assert waited(other, lambda: store.commit([new("r")])) < 10


def test_without_a_server_a_wait_waits_for_wake_and_time():
    with closing(PostgresStore("postgresql://nobody@127.0.0.1:1/nothing")) as store:
        store.wait(0.001)
        store.wake()
        store.wait(30)
        with pytest.raises(StoreError, match=r"nothing at 127\.0\.0\.1:1") as raised:
            store.open()
        assert raised.value.retry


def test_a_step_whose_connection_is_lost_has_written_nothing(store, url):
    held(store, "r")
    with store.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE left_over (n int)")
        cut_connections(url)
        with pytest.raises(StoreError, match="has to run again") as raised:
            transaction.commit(save())
    assert raised.value.retry  # the step may be tried again: that it failed is not its own doing
    with pytest.raises(StoreError):
        store.get("r")
    assert store.get("r").revision == 0
    with store.transaction() as transaction:
        assert transaction.commit(save()) is True
    with psycopg.connect(url) as db:
        assert db.execute("SELECT to_regclass('left_over')").fetchone() == (None,)


def test_a_crash_of_the_server_loses_nothing_that_was_acknowledged(own_postgres):
    store = PostgresStore(own_postgres.url)
    store.open()
    runs = [f"r{n}" for n in range(8)]
    held(store, *runs)
    acknowledged = dict.fromkeys(runs, 0)
    stop = Event()
    failures: list[StoreError] = []

    def write() -> None:
        revision = 0
        while not stop.is_set():
            revision += 1
            batch = [save(run, revision) for run in runs] + [message(f"m{revision}", "r0")]
            while True:
                try:
                    outcomes = store.commit(batch)
                    break
                except StoreError as error:
                    failures.append(error)
            assert outcomes[:-1] == [True] * len(runs)
            assert outcomes[-1] in (Posted.posted, Posted.duplicate), "the first commit may have taken effect"
            acknowledged.update(dict.fromkeys(runs, revision))

    writer = Thread(target=write)
    writer.start()
    for _ in range(2):
        before = acknowledged["r0"]
        deadline = time.monotonic() + 30
        while acknowledged["r0"] < before + 20:
            assert time.monotonic() < deadline
            stop.wait(0.001)
        own_postgres.restart_immediately()
    stop.set()
    writer.join()
    assert failures, "the server was away"
    assert all(error.retry for error in failures), "whatever happens to the server, the same call may be made again"
    with closing(PostgresStore(own_postgres.url)) as fresh:
        fresh.open()
        for run, revision in acknowledged.items():
            assert got(fresh, run).revision == revision
        assert len(fresh.messages("r0", MessageStatus.new, 10**6)) == acknowledged["r0"], "each message once"
    store.close()


# --- the tables


MIGRATE = """
import sys
from flowstmt.stores.postgres import PostgresStore
store = PostgresStore(sys.argv[1], schema=sys.argv[2])
print(*store.migrate())
store.close()
"""


def test_processes_that_migrate_at_the_same_time_do_it_once(url):
    begun = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url, "together"], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    done = sorted(process.communicate(timeout=60)[0].split() for process in begun)
    assert [process.returncode for process in begun] == [0, 0, 0]
    assert done == [[], [], ["0001_first_tables"]]


def test_the_schema_is_the_users_choice(url):
    for name in ("Order_Runs", "select", "_x"):
        with closing(PostgresStore(url, schema=name)) as store:
            store.open()
            store.commit([new()])
            with psycopg.connect(url) as db:
                assert db.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name, "runs"))).fetchone() == (1,)
    for odd in ('a"; DROP SCHEMA public', "", "a.b", "x" * 64, None):
        with pytest.raises(StoreError, match="schema="):
            PostgresStore(url, schema=odd)  # type: ignore[arg-type] # on purpose


def test_a_schema_that_was_made_for_us_is_enough(url):
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE SCHEMA given")
    with closing(PostgresStore(url, schema="given")) as store:
        store.open()
        assert store.commit([new()]) == [Started(created=True)]


def test_missing_and_newer_tables_are_refused(url, store, schema):
    with closing(PostgresStore(url, schema="missing", migrate=False)) as missing:
        with pytest.raises(SchemaError, match="has no tables of flowstmt: run `flowstmt migrate`"):
            missing.open()
    with closing(PostgresStore(url, schema=schema, migrate=False)) as ready:
        ready.open()
    with psycopg.connect(url) as db:
        db.execute(sql.SQL("INSERT INTO {} VALUES (99, '0099_later')").format(sql.Identifier(schema, "migrations")))
    for migrate in (True, False):
        with closing(PostgresStore(url, schema=schema, migrate=migrate)) as older:
            with pytest.raises(SchemaError, match=r"newer than this version of flowstmt.*'0099_later'"):
                older.open()
    with psycopg.connect(url) as db:
        db.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(schema, "migrations")))
    with closing(PostgresStore(url, schema=schema, migrate=False)) as behind:
        with pytest.raises(SchemaError, match="run `flowstmt migrate`"):
            behind.open()


def test_messages_name_the_database_and_never_its_password():
    with closing(PostgresStore("postgresql://me:secret@db.internal:6432/orders")) as store:
        assert repr(store) == "PostgresStore('orders at db.internal:6432', schema='flowstmt')"
    for dsn in (
        "postgresql://me:secret@[::1",
        "secret",
        "postgresql://me:1/secret@db/orders",
        "postgresql://me:1@secret@db/orders",
    ):
        with pytest.raises(StoreError, match="can't read its dsn") as refusal:
            PostgresStore(dsn)
        assert "secret" not in "".join(traceback.format_exception(refusal.value))


# --- writes


def test_a_text_that_can_not_be_kept_is_answered_and_its_neighbours_are_written(store):
    held(store, "a", "b")
    odd = save("a", rest=Rest("Waiting", "nul \x00", None))
    first, refused, last, long = store.commit([save("b"), odd, message("m", "b"), new("x" * 100_000 + str(range(10**6)))])
    assert (first, last) == (True, Posted.posted)
    assert isinstance(refused, StoreError)
    assert not refused.retry
    assert "the Save of run 'a' can't be written" in str(refused)
    assert "NUL" in str(refused)
    assert isinstance(long, StoreError | Started)
    assert [store.get(run).revision for run in "ab"] == [0, 1]


def test_who_waits_for_anothers_transaction_waits_alone_and_not_for_ever(store, other, url):
    held(store, "r")
    with psycopg.connect(url) as mine:
        store.join(mine, [message("m", key="evt-1"), new("twice")])
        blocked, twice, saved = other.commit([message("n", key="evt-1"), new("twice"), save()])
        assert saved is True
        for outcome in (blocked, twice):
            assert isinstance(outcome, StoreError)
            assert outcome.retry
            assert "somebody else's open transaction" in str(outcome)
        mine.commit()
    blocked, twice = other.commit([message("n", key="evt-1"), new("twice")])
    assert (blocked, twice.created) == (Posted.duplicate, False)


def test_saves_write_no_index(store, url, schema):
    runs = [f"r{n}" for n in range(64)]
    held(store, *runs)
    for revision in range(1, 40):
        assert store.commit([save(run, revision) for run in runs]) == [True] * 64
    with psycopg.connect(url, autocommit=True) as db:
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'runs'"
        cut_connections(url)  # a session tells its counts at its end
        [(updates, hot)] = db.execute(query, (schema,)).fetchall()
    assert updates == 39 * 64
    assert hot / updates > 0.95, "a checkpoint changes no indexed column, and there is room on the page"


def test_the_transaction_of_a_step_is_ended_by_the_engine_alone(store):
    held(store, "r")
    with store.transaction() as transaction:
        with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
            transaction.connection.commit()
        with pytest.raises(psycopg.errors.UndefinedTable), transaction.connection.transaction():
            transaction.connection.execute("SELECT * FROM nowhere")
        assert transaction.commit(save()) is True
    with store.transaction() as transaction:
        with pytest.raises(psycopg.errors.UndefinedTable):
            transaction.connection.execute("SELECT * FROM nowhere")
        with pytest.raises(StoreError, match="a statement has failed in it"):
            transaction.commit(save(revision=2))
    assert store.get("r").revision == 1


def test_so_many_transactions_have_connections_and_others_wait(url, schema):
    with closing(PostgresStore(url, schema=schema, transactions=1)) as store:
        store.open()
        held(store, "r")
        entered = Event()

        def step() -> None:
            with store.transaction() as second:
                entered.set()
                second.commit(save(revision=2))

        with store.transaction() as first:
            thread = Thread(target=step)
            thread.start()
            assert not entered.wait(0.05), "there is one connection"
            first.commit(save())
        thread.join()
        assert got(store).revision == 2


# --- the caller's own connection


def test_an_async_connection_is_joined_by_awaiting(store, url):
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(url, row_factory=psycopg.rows.dict_row) as mine:
            started, posted = await store.join(mine, [new(labels={"a": "b"}), message("m")])
            assert (started.created, posted) == (True, Posted.posted)
            assert store.get("r") is None
            await mine.commit()

    asyncio.run(main())
    assert store.get("r").labels == {"a": "b"}


def test_connections_and_sessions_of_sqlalchemy_are_joined(store, url):
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.orm import Session

    address = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address)
    with engine.connect() as connection:
        store.join(connection, [new("connection")])
        connection.rollback()
        store.join(connection, [new("connection")])
        assert store.get("connection") is None
        connection.commit()
    with Session(engine) as session:
        store.join(session, [new("session")])
        session.commit()
    with engine.begin() as connection:
        store.join(connection, [new("begun")])
    engine.dispose()

    async def main() -> None:
        engine = create_async_engine(address)
        async with engine.connect() as connection:
            await store.join(connection, [new("async connection")])
            await connection.commit()
        async with AsyncSession(engine) as session:
            await store.join(session, [new("async session")])
            await session.commit()
        await engine.dispose()

    asyncio.run(main())
    for run in ("connection", "session", "begun", "async connection", "async session"):
        assert store.get(run) is not None, run


def test_what_can_not_be_joined_is_refused_with_what_can(store, url, postgres):
    asyncpg = type("Connection", (), {"__module__": "asyncpg.connection"})()
    with pytest.raises(StoreError, match=r"asyncpg\.connection\.Connection is no connection.*: PostgresStore takes a psycopg"):
        store.join(asyncpg, [new()])
    with psycopg.connect(postgres("elsewhere")) as stranger, pytest.raises(StoreError, match="another database"):
        store.join(stranger, [new()])
    with psycopg.connect(url, autocommit=True) as alone:
        with pytest.raises(StoreError, match="autocommit mode and in no transaction"):
            store.join(alone, [new()])
        with alone.transaction():
            store.join(alone, [new()])
    assert store.get("r") is not None
    with pytest.raises(StoreError, match="closed"):
        store.join(alone, [new()])
    with pytest.raises(StoreError, match="only starts and messages"), psycopg.connect(url) as mine:
        store.join(mine, [save()])


def test_sqlalchemy_with_another_driver_is_refused(store):
    from sqlalchemy import create_engine

    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(StoreError, match=r"sqlite3\.Connection is no connection"):
        store.join(connection, [new()])
    engine.dispose()
