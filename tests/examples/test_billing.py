"""The example with a queue and child runs: bills are in the ledger once, and one customer's trouble is nobody else's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from examples.billing import LEDGER, Bill, CardDeclinedError, Month, PlayBank, main, make_engine, start_month
from flowstmt import ErrorInfo
from flowstmt.testing import Harness

SOON = timedelta(seconds=60)


def ledger(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT customer, cents FROM ledger ORDER BY customer").fetchall()


def test_each_bill_is_booked_once_and_a_declined_card_is_told(tmp_path: Path) -> None:
    path = tmp_path / "billing.db"
    with make_engine(path, PlayBank()) as engine:
        run_id = start_month(engine, "north", "2026-10", {"ann": 500, "bob": 700, "carl": 900})
        assert engine.result(run_id, SOON) == {"cents": 1200, "declined": 1}
        assert start_month(engine, "north", "2026-10", {"ann": 500, "bob": 700, "carl": 900}) == run_id
        (declined,) = engine.list(parent=run_id, status="Failed").runs
        assert declined.error == ErrorInfo("CardDeclinedError", "the card of carl has expired", "charge", 1)
    assert ledger(path) == [("ann", 500), ("bob", 700)]


def test_a_month_that_is_left_halfway_is_taken_up_by_the_next_engine(tmp_path: Path) -> None:
    path = tmp_path / "billing.db"
    with make_engine(path, PlayBank(), worker=False) as web:
        run_id = start_month(web, "north", "2026-10", {"ann": 500})
    for _ in range(2):  # the second one has nothing left to do
        with make_engine(path, PlayBank()) as engine:
            assert engine.result(run_id, SOON) == {"cents": 500, "declined": 0}
    assert ledger(path) == [("ann", 500)]


class HeldBank(PlayBank):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.open = Event()

    def charge(self, key: str, customer: str, cents: int) -> str:
        assert self.open.wait(60)
        return super().charge(key, customer, cents)


def test_months_of_one_tenant_take_turns_and_two_tenants_go_at_once(tmp_path: Path) -> None:
    bank = HeldBank()
    with make_engine(tmp_path / "billing.db", bank) as engine:
        october = start_month(engine, "north", "2026-10", {"ann": 1})
        november = start_month(engine, "north", "2026-11", {"ann": 2})
        others = [start_month(engine, tenant, "2026-10", {"ann": 3}) for tenant in ("south", "west")]
        for run_id in (october, others[0]):
            engine.await_status(run_id, "Waiting", SOON)  # for its child, which waits for the bank
        assert engine.get(november).revision == 0
        assert engine.get(others[1]).revision == 0
        bank.open.set()
        assert [engine.result(run_id, SOON)["cents"] for run_id in (october, november, *others)] == [1, 2, 3, 3]


def test_a_month_needs_no_engine_to_be_tested() -> None:
    harness = Harness(Month("north", {"bob": 2, "ann": 1}))
    harness.run()
    assert list(harness.children.values()) == [Bill("ann", 1), Bill("bob", 2)]
    harness.end_child(1)
    harness.end_child(error=ErrorInfo("CardDeclinedError", "expired"))
    assert harness.result == {"cents": 1, "declined": 1}


def test_a_bill_that_is_declined_is_not_booked() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(LEDGER)
        harness = Harness(Bill("carl", 900), deps=PlayBank(), connection=db)
        assert harness.run() == "Failed"
        assert db.execute("SELECT * FROM ledger").fetchall() == []
    with pytest.raises(CardDeclinedError):
        PlayBank().charge("key", "carl", 900)


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    told = capsys.readouterr().out
    assert "north/2026-10 {'cents': 1200, 'declined': 0}" in told
    assert "south/2026-10 {'cents': 0, 'declined': 1}" in told
    assert "Failed the card of carl has expired" in told
