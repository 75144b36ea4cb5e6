"""What a transactional action writes is committed with its checkpoint, or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import Engine, Retry, Return, S, Statement, Step, Try, current
from flowstmt.errors import StoreError
from flowstmt.stores.protocol import Save
from tests.engine.databases import Database
from tests.engine.running import SOON, run, stored, until

TRIED: list[str] = []
BROKEN: dict[str, Any] = {}

FAST = Retry(max_attempts=3, initial=timedelta(milliseconds=1))


@dataclass
class Writes:
    """Writes a note in a transaction, then goes on."""

    name: str = ""
    done: int = 0

    def definition(self) -> Statement:
        return S(
            Step("before", self.before),
            Step("write", self.write, transactional=True),
            Step("after", self.before),
            Return(self.done),
        )

    async def before(self) -> None:
        self.done += 1

    def write(self) -> None:
        TRIED.append(self.name)
        current().connection.execute("INSERT INTO notes VALUES (" + f"'{self.name}')")
        broken = BROKEN.get(self.name)
        if broken is not None:
            broken(self)
        self.done += 1


@dataclass
class Caught(Writes):
    """Its failure is caught: an afterFailure checkpoint follows the attempt."""

    def definition(self) -> Statement:
        return S(
            Try("try", Step("write", self.write, transactional=True, retry=Retry(max_attempts=2, initial=timedelta(0)))).catch(
                Exception, Step("caught", self.before)
            ),
            Return(self.done),
        )


ALL = (Writes, Caught)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    TRIED.clear()
    BROKEN.clear()


def engine_on(store: Any, **settings: Any) -> Engine:
    return Engine(store, **{"workflows": ALL, "retry": FAST, "poll": timedelta(milliseconds=50), **settings})


def notes(database: Database) -> list[str]:
    connection = database.connect()
    try:
        return sorted(row[0] for row in connection.execute("SELECT body FROM notes").fetchall())
    finally:
        connection.rollback()
        connection.close()


def with_table(database: Database) -> Database:
    """Its table of notes is there, and empty: tests share one database of PostgreSQL."""
    connection = database.connect()
    connection.execute("DELETE FROM notes")
    connection.commit()
    connection.close()
    return database


def test_writes_and_checkpoint_are_committed_together(shared_database: Database) -> None:
    with_table(shared_database)

    async def main() -> None:
        async with engine_on(shared_database.store()) as engine:
            await asyncio.gather(*(engine.start(Writes(f"n-{number}"), run_id=f"w-{number}") for number in range(10)))
            for number in range(10):
                assert await engine.result(f"w-{number}", SOON) == 3

    run(main())
    assert notes(shared_database) == sorted(f"n-{number}" for number in range(10))


def test_a_failed_attempt_leaves_nothing(shared_database: Database) -> None:
    with_table(shared_database)

    def once(writes: Writes) -> None:
        if len(TRIED) < 3:
            raise OSError("not yet")

    BROKEN["n"] = once

    async def main() -> None:
        async with engine_on(shared_database.store()) as engine:
            await engine.start(Writes("n"), run_id="w")
            assert await engine.result("w", SOON) == 3

    run(main())
    assert (len(TRIED), notes(shared_database)) == (3, ["n"])


def test_a_failure_that_is_caught_rolls_back_before_it_is_saved(shared_database: Database) -> None:
    with_table(shared_database)

    def always(_: Writes) -> None:
        raise OSError("never")

    BROKEN["n"] = always

    async def main() -> None:
        async with engine_on(shared_database.store()) as engine:
            await engine.start(Caught("n"), run_id="w")
            assert await engine.result("w", SOON) == 1

    run(main())
    assert (len(TRIED), notes(shared_database)) == (2, [])


def test_what_can_t_be_saved_is_not_committed(shared_database: Database) -> None:
    with_table(shared_database)

    def unfit(writes: Writes) -> None:
        writes.done = object()  # type: ignore[assignment] # that is the point: it has no JSON

    BROKEN["n"] = unfit

    async def main() -> None:
        async with engine_on(shared_database.store()) as engine:
            await engine.start(Writes("n"), run_id="w")
            await engine.await_status("w", "Paused", SOON)

    run(main())
    assert notes(shared_database) == []


def test_nothing_is_committed_once_the_lease_is_lost(shared_database: Database) -> None:
    with_table(shared_database)
    entered, go_on = threading.Event(), threading.Event()

    def hold(_: Writes) -> None:
        if len(TRIED) == 1:
            entered.set()
            assert go_on.wait(20)

    BROKEN["n"] = hold

    async def main() -> None:
        store = shared_database.store()
        async with engine_on(store) as engine:
            await engine.start(Writes("n"), run_id="w")
            assert await asyncio.to_thread(entered.wait, 30)
            parts = engine._parts
            assert parts is not None
            mover = parts.worker.held("w")
            assert mover is not None
            mover.checkpoints.fence -= 1  # as if somebody else had got a higher one
            go_on.set()
            await until(lambda: _is(parts.worker.held("w") is None), "it is dropped")

    run(main())
    assert notes(shared_database) == []


@pytest.mark.parametrize("committed", [True, False])
def test_a_commit_of_which_nobody_knows_how_it_ended_is_right_all_the_same(shared_database: Database, committed: bool) -> None:
    with_table(shared_database)

    async def main() -> None:
        store = Doubtful(shared_database.store(), committed)
        async with engine_on(store) as engine:
            await engine.start(Writes("n"), run_id="w")
            assert await engine.result("w", SOON) == 3
            assert store.doubts == 1

    run(main())
    assert notes(shared_database) == ["n"]
    assert len(TRIED) == (1 if committed else 2)


def test_a_database_that_can_t_begin_a_transaction_is_asked_again(shared_database: Database) -> None:
    with_table(shared_database)

    async def main() -> None:
        store = Refusing(shared_database.store())
        async with engine_on(store) as engine:
            await engine.start(Writes("n"), run_id="w")
            assert await engine.result("w", SOON) == 3
            assert store.refused == 2
            row = await stored(store, "w")
            assert row.attempts == 0

    run(main())
    assert notes(shared_database) == ["n"]


class _Wrapped:
    """A store of which one part is broken."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Refusing(_Wrapped):
    refused = 0

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        if self.refused < 2:
            self.refused += 1
            raise StoreError("too many connections", retry=True)
        with self._store.transaction() as transaction:
            yield transaction


class Doubtful(_Wrapped):
    """The connection is lost while the first transaction commits."""

    doubts = 0

    def __init__(self, store: Any, committed: bool) -> None:
        super().__init__(store)
        self._committed = committed

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._store.transaction() as transaction:
            self._transaction = transaction
            yield self if self.doubts == 0 else transaction

    @property
    def connection(self) -> Any:
        return self._transaction.connection

    def commit(self, given: Any) -> Any:
        if not isinstance(given, Save):
            return self._store.commit(given)
        self.doubts += 1
        if self._committed:
            self._transaction.commit(given)
        raise StoreError("the connection was lost", retry=True)


async def _is(holds: bool) -> bool:
    return holds
