"""A checkpoint whose transaction could not be committed leaves nothing behind, whatever else is written of its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from flowstmt import Engine, Retry, Return, S, Statement, Step, current
from flowstmt.errors import StoreError
from flowstmt.stores.protocol import MessageStatus, Save, Store, Taken, Transaction
from tests.engine.databases import Database
from tests.engine.flows import Gate
from tests.engine.running import SOON, run


@dataclass
class Books:
    def definition(self) -> Statement:
        return S(
            Step("first", self.first),
            Step("book", self.book, transactional=True),
            Return("booked"),
        )

    def first(self) -> None:
        Gate.known["booking"].pass_through()

    def book(self) -> None:
        current().connection.execute("INSERT INTO rolled_back VALUES ('booked')")


class LosesOneCommit:
    """A store that loses the connection of a step once, when it is to be committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lost = 0
        self.meanwhile: Callable[[], Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._store.transaction() as transaction:
            yield cast(Transaction, _LosesOneCommit(transaction, self))


class _LosesOneCommit:
    def __init__(self, transaction: Transaction, store: LosesOneCommit) -> None:
        self.connection = transaction.connection
        self._transaction = transaction
        self._store = store

    def commit(self, save: Save) -> bool:
        if self._store.lost:
            return self._transaction.commit(save)
        self._store.lost += 1
        self._store.meanwhile()
        raise StoreError("the connection was lost before the step was committed", retry=True)


def test_an_answer_that_is_written_afterwards_does_not_take_the_lost_checkpoint_along(shared_database: Database) -> None:
    database = shared_database
    connection = database.connect()
    connection.execute("CREATE TABLE rolled_back (body TEXT)")
    connection.commit()

    async def main() -> None:
        booking = Gate("booking")
        store = LosesOneCommit(database.store())
        settings: dict[str, Any] = {"poll": timedelta(milliseconds=50), "retry": Retry(initial=timedelta(milliseconds=1))}
        async with Engine(cast(Store, store), [Books], **settings) as engine:
            await engine.start(Books(), run_id="b-1")
            await booking.arrived()
            mover = engine._inside("the test").worker.held("b-1")
            assert mover is not None
            # As one that refuses a message which comes while the commit is under way.
            store.meanwhile = lambda: mover.checkpoints.taken.append(Taken("m-1", MessageStatus.done))
            booking.open()
            assert await engine.result("b-1", SOON) == "booked"
        assert store.lost == 1

    run(main())
    assert connection.execute("SELECT body FROM rolled_back").fetchall() == [("booked",)]
    connection.execute("DROP TABLE rolled_back")
    connection.commit()
    connection.close()
