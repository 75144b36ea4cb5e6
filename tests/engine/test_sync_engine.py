"""The same engine for code that does not await."""

from __future__ import annotations

import inspect
import sqlite3
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from flowstmt import (
    ConflictError,
    Engine,
    FlowstmtError,
    MemoryStore,
    NotFoundError,
    Return,
    S,
    Statement,
    Step,
    StoreError,
    SyncEngine,
    WorkflowStatus,
    current,
)
from tests.engine.databases import Database
from tests.engine.flows import ALL, PAID, Counting, Order, Receipt, Talking
from tests.engine.running import SOON
from tests.engine.test_misuse import CALLS


def sync_engine_on(database: Database, **settings: Any) -> SyncEngine:
    return SyncEngine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=100), **settings})


@pytest.mark.parametrize("method", ["__init__", *CALLS])
def test_methods_take_what_those_of_the_engine_take(method: str) -> None:
    asynchronous, synchronous = (inspect.signature(getattr(cls, method)) for cls in (Engine, SyncEngine))
    assert synchronous.parameters == asynchronous.parameters
    if method != "watch":
        assert synchronous.return_annotation == asynchronous.return_annotation


def test_a_run_from_its_start_to_its_end(database: Database) -> None:
    with sync_engine_on(database, history=True) as engine:
        assert engine.start(Order(), run_id="o-1", labels={"customer": "c-42"}).run_id == "o-1"
        assert engine.await_status("o-1", "Waiting", SOON).position == "payment"
        assert [each.event for each in engine.legal("o-1").callbacks] == ["paid", "closed"]
        engine.pause("o-1", by="ann")
        engine.unpause("o-1")
        engine.set_data("o-1", {"sku": "milk"})
        engine.fork("o-1", "payment", "o-2")
        engine.await_status("o-2", "Waiting", SOON)
        engine.goto("o-2", "main", "ship")
        assert engine.callback("o-1", PAID, 5) == Receipt(5)
        assert engine.result("o-1", SOON) == 5
        assert [row.position for row in engine.history("o-1")] == ["ship"]
        assert engine.result("o-2", SOON) == 0
        engine.start(Order(), run_id="o-3")
        assert engine.signal("o-3", PAID, 7, key="once")
        assert engine.result("o-3", SOON) == 7
        engine.start(Order(), run_id="o-4")
        engine.cancel("o-4", "out of stock")
        assert engine.await_status("o-4", ["Cancelled"], SOON).is_over
        assert {each.run_id for each in engine.list().runs} == {"o-1", "o-2", "o-3", "o-4"}
        with pytest.raises(FlowstmtError):
            engine.retry("o-4", "main")
        assert engine.delete("o-4")
        assert engine.health().is_well
        finished = engine.get("o-1").finished_at
        assert finished is not None
        assert engine.purge(finished + timedelta(days=1)) == 3


def test_changes_are_watched_from_any_thread(database: Database) -> None:
    with sync_engine_on(database) as engine:
        engine.start(Talking(["one", "two"]), run_id="t-1")
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(engine.watch("t-1")))
        thread.start()
        thread.join(10)
        assert [each.body for each in seen if each.kind == "published"] == [{"word": "one"}, "two"]
        assert seen[-1].status is WorkflowStatus.Finished
        for change in engine.watch("t-1"):
            assert change.is_over
            break  # what is left of it is closed


def test_it_can_be_entered_again_but_not_twice(database: Database) -> None:
    engine = sync_engine_on(database)
    for _ in range(2):
        with engine:
            engine.start(Counting(), run_id="c-1")
            assert engine.result("c-1", SOON) == 3
            with pytest.raises(FlowstmtError, match="in use already"):
                engine.__enter__()
    assert not [thread for thread in threading.enumerate() if thread.name == "flowstmt engine"]


@pytest.mark.parametrize("method", CALLS)
def test_one_that_is_not_in_use_says_so(method: str) -> None:
    engine = SyncEngine(MemoryStore(), ALL)
    with pytest.raises(FlowstmtError, match=f"{method} needs an engine that is in use: call it inside `with engine:`"):
        getattr(engine, method)(*CALLS[method])


def test_a_store_that_can_not_be_opened_leaves_no_thread() -> None:
    class Closed(MemoryStore):
        def open(self) -> None:
            raise StoreError("the door is locked")

    with pytest.raises(StoreError, match="the door is locked"):
        SyncEngine(Closed(), ALL).__enter__()
    assert not [thread for thread in threading.enumerate() if thread.name == "flowstmt engine"]


class TestInATransactionOfTheUsers:
    """A connection is used in the thread that it belongs to: sqlite3 would complain about any other."""

    def test_a_start_and_a_signal_are_committed_with_it(self, shared_database: Database) -> None:
        with sync_engine_on(shared_database) as engine:
            connection = shared_database.connect()
            connection.execute("INSERT INTO notes VALUES ('an order')")
            engine.start(Order(), run_id="o-1", connection=connection)
            assert engine.signal("o-1", PAID, 5, connection=connection)
            with pytest.raises(NotFoundError):
                engine.get("o-1")
            connection.commit()
            connection.close()
            assert engine.result("o-1", SOON) == 5

    def test_what_is_refused_is_raised_here(self, shared_database: Database) -> None:
        with sync_engine_on(shared_database) as engine:
            engine.start(Order("tea"), run_id="o-1")
            engine.await_status("o-1", "Waiting", SOON)
            connection = shared_database.connect()
            with pytest.raises(ConflictError, match="field 'sku'"):
                engine.start(Order("milk"), run_id="o-1", connection=connection)
            connection.rollback()
            connection.close()
            with pytest.raises(StoreError):
                engine.start(Counting(), connection=sqlite3.connect(":memory:"))


@dataclass
class Ordering:
    """Starts another run from an action."""

    engine: ClassVar[Any] = None
    mode: str
    seen: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("thread", self.in_a_thread),
            Step("inline", self.in_the_loop, inline=True),
            Return(self.seen),
        )

    def in_a_thread(self) -> None:
        self.seen.append(type(self).engine.start(Counting(), run_id=f"{current().run_id}/child").run_id)

    def in_the_loop(self) -> None:
        try:
            type(self).engine.get("o-1")
        except FlowstmtError as error:
            self.seen.append(str(error))


def test_an_action_in_a_worker_thread_may_use_it_and_one_in_the_loop_is_told_why_not(database: Database) -> None:
    with sync_engine_on(database, workflows=[Ordering, Counting]) as engine:
        Ordering.engine = engine
        engine.start(Ordering("both"), run_id="o-1")
        child, refused = engine.result("o-1", SOON)
        assert child == "o-1/child"
        assert "get was called in the engine's own event loop" in refused
        assert engine.result("o-1/child", SOON) == 3
