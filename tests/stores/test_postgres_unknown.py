"""A connection that is cut after COMMIT was sent and before its answer came: nobody knows whether it took effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from flowstmt.errors import StoreError
from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Posted,
    Publication,
    Release,
    Rest,
    Save,
    Setback,
    Started,
    Withdrawal,
    Write,
)
from tests.stores.lines import Line, line_to

NUMBERS = count()


@pytest.fixture
def line(postgres) -> Iterator[tuple[Line, str]]:
    with line_to(postgres(f"unknown{next(NUMBERS)}")) as line:
        yield line


def test_writes_whose_commit_was_not_answered_are_handed_in_again_and_made_once(line):
    cutter, url = line
    with closing(PostgresStore(url)) as store:
        store.open()
        begun = [NewRun(run, "Order", 1, b"{}", "d", worker="one") for run in ("a", "b", "c", "d", "e")]
        store.commit([*begun, Message("withdrawn", "a", MessageKind.callback, b"{}")])
        row = HistoryRow(1, "main", "pay", 1, store.now(), store.now() - store.now())
        saved = Save("a", 1, 1, b"[1]", messages=[Message("sent", "b", MessageKind.signal, b"{}")], history=[row])
        parked = Save("b", 1, 1, b"[1]", Rest("Waiting", "payment", None))
        writes: list[Write] = [
            saved,
            parked,
            Setback("c", 1, 1, b"{}", None),
            Release("d", 1),
            Publication("e", b"1"),
            Message("posted", "e", MessageKind.signal, b"{}"),
            Withdrawal("withdrawn"),
            NewRun("the last", "Order", 1, b"{}", "d"),
        ]
        cutter.cut_at = b"the last"  # sent with the COMMIT, which is a prepared statement
        with pytest.raises(StoreError) as raised:
            store.commit(writes)
        assert raised.value.retry
        answers = store.commit(writes)
        assert answers[:3] == [True, True, True]
        assert (answers[4], answers[5], answers[6]) == (True, Posted.duplicate, True)
        again = answers[7]
        assert isinstance(again, Started)
        assert (again.created, again.existing and again.existing.digest) == (False, "d")
        assert len(store.published("e", 0, 10)) == 1, "a publication is told once"
        assert len(store.history("a", 0, 10)) == 1
        assert [message.id for message in store.messages("b", MessageStatus.new, 10)] == ["sent"]
        store.commit([Publication("e", b"1")])
        assert len(store.published("e", 0, 10)) == 2, "another one of the same text is another one"


def test_a_step_whose_commit_was_not_answered_is_found_to_be_saved(postgres, line):
    cutter, url = line
    with closing(PostgresStore(url)) as store:
        store.open()
        store.commit([NewRun("r", "Order", 1, b"{}", "d", worker="one")])
        with store.transaction() as transaction:
            transaction.connection.execute("CREATE TABLE charged (n int)")
            cutter.cut_at = b"COMMIT"
            assert transaction.commit(Save("r", 1, 1, b"[1]")) is True
        run = store.get("r")
        assert run is not None
        assert (run.revision, run.snapshot) == (1, b"[1]")
        with store.transaction() as transaction:
            assert transaction.connection.execute("SELECT count(*) FROM charged").fetchone() == (0,)
