"""What is the memory store's own: there is no database that a caller's transaction could be in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowstmt.errors import StoreError
from flowstmt.stores.memory import MemoryStore
from flowstmt.stores.protocol import Message, MessageKind, NewRun, Posted, Publication, Release, Rest, Save, Started

HOUR = timedelta(hours=1)


def new(run_id, **more):
    return NewRun(run_id, "Order", 1, b"{}", "d", **more)


def message(id, run_id, key=None):
    return Message(id, run_id, MessageKind.signal, b"{}", key)


def test_there_is_nothing_to_join_but_the_transaction_of_a_step():
    store, other = MemoryStore(), MemoryStore()
    with pytest.raises(StoreError, match="a str can't be joined: MemoryStore has no database"):
        store.join("connection", [new("r")])
    with other.transaction() as transaction, pytest.raises(StoreError, match="can't be joined"):
        store.join(transaction.connection, [new("r")])
    with store.transaction() as transaction:
        connection = transaction.connection
        with pytest.raises(StoreError, match="only starts and messages can join a transaction, not a Publication"):
            store.join(connection, [Publication("r", b"{}")])
    with pytest.raises(StoreError, match="can't be joined"):
        store.join(connection, [new("r")])


def test_what_joins_a_step_is_answered_as_it_will_be_at_its_commit():
    store = MemoryStore()
    store.commit([new("parent", worker="w", lease=HOUR), new("there"), message("m", "there", "k")])
    with store.transaction() as transaction:
        joined = [new("child"), new("child"), new("there"), message("a", "there", "k"), message("b", "there", "l")]
        answers = store.join(transaction.connection, [*joined, message("c", "there", "l"), message("d", "child")])
        assert [isinstance(started, Started) and started.created for started in answers[:3]] == [True, False, False]
        assert answers[3:] == [Posted.duplicate, Posted.posted, Posted.duplicate, Posted.posted]
        assert store.get("child") is None
        assert transaction.commit(Save("parent", 1, 1, b"{}"))
    claimed = {run.run_id: [mail.id for mail in run.messages] for run in store.claim("w", {"Order": 1}, HOUR, 10).runs}
    assert claimed == {"there": ["m", "b"], "child": ["d"]}


def test_time_is_the_clock_that_was_given():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = MemoryStore(clock=lambda: now)
    store.open()
    assert list(store.migrate()) == []
    store.commit([new("r", worker="one", lease=HOUR)])
    assert not store.claim("two", {"Order": 1}, HOUR, 10).runs
    now += HOUR
    assert [run.fence for run in store.claim("two", {"Order": 1}, HOUR, 10).runs] == [2]
    store.close()


def test_a_run_that_is_over_stays_so_when_it_is_released():
    store = MemoryStore()
    store.commit([new("r", worker="w", lease=HOUR), Save("r", 1, 1, b"{}", rest=Rest("Failed", "", None, b"why"))])
    assert store.commit([Release("r")]) == [True]
    run = store.get("r")
    assert run is not None
    assert (run.status, run.error) == ("Failed", b"why")
    assert [claimed.run_id for claimed in store.claim("w", {"Order": 1}, HOUR, 10).runs] == ["r"], "it may have to tear down"
