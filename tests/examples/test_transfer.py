"""The transfer commits its bookings with its checkpoints: killed anywhere, every booking is made exactly once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.transfer import SCHEMA, TRANSIT, Bank, Transfer
from flowstmt import Current, RefusedError, State, WorkflowFinishedError, current, dump, validate
from flowstmt.testing import Advance, Callback, explore
from tests.examples.processes import python
from tests.examples.transfer_killed import NOON, check, prepare


def test_it_shows_three_transfers():
    done = python("examples/transfer.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "t-3 waits for a second person: 2000.00 go to bob" in done.stdout
    assert "t-2 given back: account 'eve' is frozen" in done.stdout


# --- killed by SIGKILL, and looked at from the file ---


def test_killed_before_and_after_each_of_its_statements_and_at_any_time_it_books_exactly_once():
    done = python("-m", "tests.examples.mortal", "transfer", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    at_statements, at_any_time = (int(line) for line in done.stdout.split())
    assert at_statements > 150
    assert at_any_time == 40


# --- killed in this process, by the explorer ---


class ExploredBank:
    """The tables in memory, with what the explorer does not have: ``save`` commits, and whoever dies is rolled back."""

    def __init__(self, **balances: int) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level="IMMEDIATE")  # a write begins a transaction by itself
        self.db.executescript(SCHEMA)
        accounts = [(name, cents, name == "eve") for name, cents in (balances | {TRANSIT: 0}).items()]
        self.db.executemany("INSERT INTO accounts VALUES (?, ?, ?)", accounts)
        self.db.commit()
        self.owner: object = None

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """What an action asks for. Another workflow object means that the process which had the last one is dead."""
        if self.owner is not current().workflow:
            self.db.rollback()
            self.owner = current().workflow
        return self.db.execute(*args)

    def balances(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT name, cents FROM accounts"))


LARGE: dict[str, Any] = {"source": "ann", "target": "bob", "cents": 2000_00, "ordered_by": "ann"}


@pytest.mark.parametrize(
    ("transfer", "script", "result", "entries"),
    [
        ({"cents": 25_00}, [], "done", [("ann", TRANSIT), (TRANSIT, "bob")]),
        ({"cents": 25_00, "target": "eve"}, [], "given back: account 'eve' is frozen", [("ann", TRANSIT), (TRANSIT, "ann")]),
        ({"cents": 25_00, "source": "eve"}, [], "refused: account 'eve' is frozen", []),
        (
            {"cents": 25_00, "target": "nobody"},
            [],
            "given back: there is no account 'nobody'",
            [("ann", TRANSIT), (TRANSIT, "ann")],
        ),
        ({"cents": 1, "source": TRANSIT}, [], "refused: account 'in transit' is the bank's own", []),
        ({"cents": 1, "target": TRANSIT}, [], "refused: account 'in transit' is the bank's own", []),
        ({"cents": 9000_00}, [], "refused: account 'ann' has only 5000.00", []),
        (
            {},
            [Callback("confirm", "ann", refused=RefusedError), Advance(timedelta(days=1)), Callback("confirm", "carl")],
            "done",
            [("ann", TRANSIT), (TRANSIT, "bob")],
        ),
        ({}, [Callback("reject", "carl")], "given back: rejected by carl", [("ann", TRANSIT), (TRANSIT, "ann")]),
        ({}, [Advance(timedelta(days=2))], "given back: nobody confirmed", [("ann", TRANSIT), (TRANSIT, "ann")]),
    ],
)
def test_money_is_neither_lost_nor_made_wherever_it_is_killed(transfer, script, result, entries):
    banks: list[ExploredBank] = []

    def bank() -> ExploredBank:
        banks.append(ExploredBank(ann=5000_00, bob=0, eve=100_00))
        return banks[-1]

    def save_commits(_: Transfer, state: State) -> bool:
        banks[-1].db.commit()
        return sum(banks[-1].balances().values()) == 5100_00

    found = explore(lambda: Transfer(**(LARGE | transfer)), script, deps=bank, now=NOON, invariant=save_commits)
    assert found.undisturbed.result == result
    assert len(banks) == len(found.points) + 1
    for explored in banks:
        assert explored.db.execute("SELECT source, target FROM ledger ORDER BY id").fetchall() == entries
        assert explored.balances()[TRANSIT] == 0
        explored.db.close()


# --- the file by itself ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    prepare(tmp_path / "bank.db")
    return tmp_path / "bank.db"


@pytest.fixture
def bank(path: Path) -> Iterator[Bank]:
    bank = Bank(path)
    yield bank
    bank.db.close()


def ledger(bank: Bank) -> list[Any]:
    return bank.db.execute("SELECT source, target, cents FROM ledger ORDER BY id").fetchall()


def test_the_definition_is_sound():
    validate(Transfer(**LARGE))


class Slow(Bank):
    """A bank that is overtaken: between what it has loaded and what it makes of it, somebody else does ``meanwhile``."""

    meanwhile: Callable[[], Any] | None = None

    def in_transaction(self, current: Current, call: Callable[[], Any]) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().in_transaction(current, call)


@pytest.fixture
def slow(path: Path) -> Iterator[Slow]:
    slow = Slow(path)
    yield slow
    slow.db.close()


def test_of_two_who_move_one_transfer_the_slower_one_books_nothing(bank, slow, caplog):
    caplog.set_level(logging.INFO)
    slow.meanwhile = lambda: bank.move("t-1", NOON)
    slow.start("t-1", Transfer("ann", "bob", 1_00, ordered_by="ann"), NOON)
    assert "t-1 is being moved by somebody else" in caplog.text
    assert not slow.db.in_transaction
    assert bank.load("t-1")[1].result == "done"
    assert ledger(bank) == [("ann", TRANSIT, 1_00), (TRANSIT, "bob", 1_00)]


def test_of_two_who_confirm_at_once_one_is_told_that_the_other_one_did(bank, slow):
    slow.start("t-1", Transfer(**LARGE), NOON)
    slow.meanwhile = lambda: bank.callback("t-1", "confirm", b'"carl"', NOON)
    with pytest.raises(WorkflowFinishedError):
        slow.callback("t-1", "confirm", b'"dora"', NOON)
    assert bank.load("t-1")[0].confirmed_by == "carl"
    assert ledger(bank) == [("ann", TRANSIT, 2000_00), (TRANSIT, "bob", 2000_00)]


def test_a_confirmation_that_is_overtaken_by_something_else_is_handed_in_once_more(bank, slow):
    slow.start("t-1", Transfer(**LARGE), NOON)
    slow.meanwhile = lambda: write_to_its_row(bank, "t-1")
    assert slow.callback("t-1", "confirm", b'"dora"', NOON) == "2000.00 go to bob"
    assert bank.load("t-1")[0].confirmed_by == "dora"


def write_to_its_row(bank: Bank, transfer_id: str) -> None:
    """Save the transfer as it is, under the next revision."""
    transfer, state = bank.load(transfer_id)
    save = bank.saver(transfer, state)
    state.revision += 1
    save()


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_call_that_raises_leaves_no_transaction_behind(bank):
    with pytest.raises(KeyboardInterrupt):
        bank.in_transaction(None, interrupted)
    assert not bank.db.in_transaction


def test_an_action_that_raises_leaves_no_half_of_a_booking(bank, path, caplog):
    bank.db.execute("CREATE TRIGGER full BEFORE INSERT ON ledger BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    bank.start("t-1", Transfer("ann", "bob", 1_00, ordered_by="ann"), NOON)
    assert "t-1 can't go on now" in caplog.text
    assert not bank.db.in_transaction
    check(path, over=False)
    bank.db.execute("DROP TRIGGER full")
    assert bank.wake(NOON) == ["t-1"]
    assert bank.load("t-1")[1].result == "done"
    check(path, over=True)


def test_a_transfer_is_started_and_confirmed_once_however_often_its_customer_asks(bank):
    for _ in range(2):
        bank.start("t-1", Transfer(**LARGE), NOON)
    assert bank.callback("t-1", "confirm", b'"carl"', NOON) == "2000.00 go to bob"
    with pytest.raises(WorkflowFinishedError):
        bank.callback("t-1", "confirm", b'"carl"', NOON)
    assert ledger(bank) == [("ann", TRANSIT, 2000_00), (TRANSIT, "bob", 2000_00)]


def test_a_confirmation_after_the_two_days_is_too_late_though_nobody_has_moved_the_transfer(bank):
    bank.start("t-1", Transfer(**LARGE), NOON)
    with pytest.raises(WorkflowFinishedError):
        bank.callback("t-1", "confirm", b'"carl"', NOON + timedelta(days=2))
    assert bank.load("t-1")[1].result == "given back: nobody confirmed"


def test_what_can_not_be_given_back_stays_in_transit_until_it_can(bank, caplog):
    bank.start("t-1", Transfer(**LARGE), NOON)
    bank.db.execute("UPDATE accounts SET name = 'anne' WHERE name = 'ann'")
    bank.callback("t-1", "reject", b'"carl"', NOON)
    assert "the money can't go back: there is no account 'ann'" in caplog.text
    assert (bank.load("t-1")[1].result, ledger(bank)) == (None, [("ann", TRANSIT, 2000_00)])
    bank.db.execute("UPDATE accounts SET name = 'ann' WHERE name = 'anne'")
    assert bank.wake(NOON) == ["t-1"]
    assert bank.load("t-1")[1].result == "given back: rejected by carl"
    assert ledger(bank) == [("ann", TRANSIT, 2000_00), (TRANSIT, "ann", 2000_00)]


def test_a_transfer_that_can_not_be_read_keeps_nobody_from_those_behind_it(bank, caplog):
    bank.db.execute("INSERT INTO transfers VALUES ('t-0', 0, 0, x'7B7D')")
    state = State.new("t-1", "Transfer", NOON)
    bank.db.execute("INSERT INTO transfers VALUES ('t-1', 0, 1, ?)", (dump(Transfer("ann", "bob", 1_00, "ann"), state),))
    bank.wake(NOON)
    assert "t-0 needs somebody to look at it" in caplog.text
    assert bank.load("t-1")[1].result == "done"


def test_a_transfer_that_nobody_has_ordered_is_not_found(bank):
    with pytest.raises(LookupError, match="there is no transfer 't-9'"):
        bank.callback("t-9", "confirm", b'"carl"', NOON)
