"""What every part of the suite stands on: the hooks that the writer of a store fills in, and words for its tests.

Nothing here needs a test runner: tests are methods called ``test_...`` with plain asserts, skipping is ``unittest``'s
``SkipTest``, which pytest knows too. Time is the database's, so nothing can be wound forward: what has to run out gets a
lease of a millisecond, and is asked for until it has. Nothing else depends on how fast the database is.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Event, Thread
from typing import Any, NoReturn, TypeVar
from unittest import SkipTest

from flowstmt.stores.protocol import (
    Claimed,
    Claims,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Outcome,
    Rest,
    Save,
    Started,
    Store,
    StoredRun,
    Write,
)

__all__ = ["BRIEF", "DEADLINE", "HOUR", "KNOWN", "PAST", "StoreCase"]

T = TypeVar("T")

HOUR = timedelta(hours=1)
"""A lease that doesn't run out while a test runs."""
BRIEF = timedelta(milliseconds=1)
"""A lease that has run out when somebody asks again."""
DEADLINE = 30.0
"""So many seconds are enough for whatever is waited for, on a slow machine too."""
KNOWN: Mapping[str, int] = {"Order": 1}
"""What the workers of most tests know."""
PAST = datetime(2020, 1, 1, tzinfo=UTC)
"""An instant that has come."""


class StoreCase:
    """The hooks. ``make_store`` is the one that every store needs; the others say what it can do besides."""

    # -- hooks

    def make_store(self, database: str) -> Store:
        """A store, not opened yet, on the database of this name: an empty one at the first call, then the same again.

        Each test has a database of its own; the name is a short identifier, good for a file, a schema or a prefix of tables.
        Stores that one process can't have twice on one database (one in memory) are handed out again as the same object.
        """
        raise NotImplementedError("give your subclass of StoreSuite a method make_store(self, database)")

    def write_note(self, database: str, connection: Any, text: str) -> None:
        """Write a row of your own through the ``connection`` of a transaction, and don't commit."""
        self.skip("the suite was given no write_note: what an action writes in a transaction is not tested")

    def notes(self, database: str) -> Sequence[str]:
        """The rows that ``write_note`` has written and that were committed."""
        self.skip("the suite was given no notes: what an action writes in a transaction is not tested")

    def open_connection(self, database: str) -> AbstractContextManager[Any]:
        """A connection of the caller's, for ``join``: it has ``commit()`` and ``rollback()``, and is closed when left."""
        self.skip("the suite was given no open_connection: join is not tested")

    one_writer_at_a_time = False
    """Whether an open transaction keeps every other from writing, as SQLite's does: what can't be seen then is not asked."""

    # -- life of a test

    @cached_property
    def database(self) -> str:
        """The name of this test's database."""
        return f"t{uuid.uuid4().hex[:12]}"

    @cached_property
    def _made(self) -> list[Store]:
        return []

    @cached_property
    def _open(self) -> list[Store]:
        return []

    def made(self) -> Store:
        """One more store on this test's database, not opened yet."""
        store = self.make_store(self.database)
        if not any(store is other for other in self._made):
            self._made.append(store)
        return store

    def opened(self) -> Store:
        """One more open store on this test's database: another worker's."""
        store = self.made()
        if not any(store is other for other in self._open):
            store.open()
            self._open.append(store)
        return store

    @cached_property
    def store(self) -> Store:
        """The store of most tests."""
        return self.opened()

    @cached_property
    def other(self) -> Store:
        """A second worker's."""
        assert self.store is not None  # opened first
        return self.opened()

    def teardown_method(self) -> None:
        """Close what the test has opened; pytest calls it after each test."""
        self._open.clear()
        while self._made:
            self._made.pop().close()

    def skip(self, reason: str) -> NoReturn:
        """This can't be seen on this database."""
        raise SkipTest(reason)

    # -- words

    def new(self, run_id: str = "r", /, **changes: Any) -> NewRun:
        """A run to start."""
        chosen: dict[str, Any] = {"workflow": "Order", "version": 1, "snapshot": b'{"at":"birth"}', "digest": "d", **changes}
        return NewRun(run_id, **chosen)

    def commit(self, *writes: Write, store: Store | None = None) -> list[Outcome]:
        """Commit; one answer for each write."""
        outcomes = (store or self.store).commit(writes)
        assert len(outcomes) == len(writes), f"{len(writes)} writes have {len(outcomes)} answers"
        return outcomes

    def one(self, write: Write, store: Store | None = None) -> Outcome:
        """Commit one write; its answer."""
        return self.commit(write, store=store)[0]

    def start(self, run_id: str = "r", /, store: Store | None = None, **changes: Any) -> Started:
        """Start a run that must be new."""
        started = self.one(self.new(run_id, **changes), store)
        assert isinstance(started, Started), f"a NewRun is answered with Started, not with {started!r}"
        assert started.created, f"there was a run {run_id} in an empty database"
        return started

    def held(self, run_id: str = "r", /, worker: str = "one", **changes: Any) -> int:
        """Start a run that is born with a worker's lease; its fence."""
        self.start(run_id, worker=worker, **{"lease": HOUR, **changes})
        return 1

    def save(self, run_id: str = "r", /, fence: int = 1, revision: int = 1, **changes: Any) -> Save:
        """A checkpoint."""
        return Save(run_id, fence, revision, changes.pop("snapshot", b'{"at":"%d"}' % revision), **changes)

    def rest(self, status: str = "Waiting", position: str = "payment", wake_at: datetime | None = None, **more: Any) -> Rest:
        """A run that waits for somebody, unless it is told otherwise."""
        return Rest(status, position, wake_at, **more)

    def message(self, id: str, run_id: str = "r", /, **changes: Any) -> Message:
        """A message to post."""
        chosen: dict[str, Any] = {"kind": MessageKind.signal, "body": b'{"event":"paid"}', **changes}
        return Message(id, run_id, **chosen)

    def parked(self, run_id: str = "r", /, status: str = "Waiting", **changes: Any) -> None:
        """A run that nobody owns and that is not due."""
        self.held(run_id, **changes)
        assert self.one(self.save(run_id, rest=self.rest(status))) is True, "the owner of a run can't save it"

    def got(self, run_id: str = "r", store: Store | None = None) -> StoredRun:
        """A run that must be there."""
        found = (store or self.store).get(run_id)
        assert found is not None, f"the run {run_id} is not there"
        return found

    def claim(self, worker: str = "one", *, store: Store | None = None, **changes: Any) -> dict[str, Claimed]:
        """Claim what is due."""
        chosen: dict[str, Any] = {"known": KNOWN, "lease": HOUR, "limit": 1000, **changes}
        claims: Claims = (store or self.store).claim(worker, **chosen)
        found = {run.run_id: run for run in claims.runs}
        assert len(found) == len(claims.runs), "a claim gave a run twice"
        assert len(found) <= chosen["limit"], "a claim gave more runs than it was asked for"
        return found

    def claim_when_due(self, run_id: str = "r", worker: str = "two", **changes: Any) -> Claimed:
        """Claim a run that is due in a moment."""
        return self.until(lambda: self.claim(worker, **changes).get(run_id), f"the run {run_id} does not become due")

    def new_messages(self, run_id: str = "r", status: MessageStatus = MessageStatus.new) -> list[str]:
        """The ids of a run's messages."""
        return [message.id for message in self.store.messages(run_id, status, 1000)]

    def until(self, answer: Callable[[], T | None], complaint: str) -> T:
        """Ask until there is an answer."""
        deadline, pause = time.monotonic() + DEADLINE, Event()
        while (found := answer()) is None:
            assert time.monotonic() < deadline, f"{complaint} within {DEADLINE:.0f} s"
            pause.wait(0.002)
        return found

    def in_threads(self, *works: Callable[[], Any]) -> list[Any]:
        """Do all at the same time; what they returned. What one raises is raised here."""
        results: list[Any] = [None] * len(works)
        raised: list[BaseException] = []

        def work(number: int) -> None:
            try:
                results[number] = works[number]()
            except BaseException as error:  # noqa: BLE001 raised again below, in the thread of the test
                raised.append(error)

        threads = [Thread(target=work, args=(number,), daemon=True) for number in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE * 4)
            assert not thread.is_alive(), f"a call has not returned within {DEADLINE * 4:.0f} s"
        for error in raised:
            raise error
        return results

    def returns(self, waiting: Store, news: Callable[[int], object], what: str) -> None:
        """``wait`` must return while there is news, time and again: there is no telling when it has begun to wait."""
        returned = Event()

        def wait() -> None:
            waiting.wait(0)  # what has happened before is no news
            waiting.wait(DEADLINE * 10)
            returned.set()

        thread = Thread(target=wait, daemon=True)
        thread.start()
        number = 0
        deadline = time.monotonic() + DEADLINE
        while not returned.wait(0.02):
            assert time.monotonic() < deadline, f"wait has not returned within {DEADLINE:.0f} s of {what}"
            number += 1
            news(number)
        thread.join()

    @contextmanager
    def raises(self, expected: type[Exception]) -> Iterator[None]:
        """What is done inside must raise this."""
        try:
            yield
        except expected:
            return
        raise AssertionError(f"no {expected.__name__} was raised")
