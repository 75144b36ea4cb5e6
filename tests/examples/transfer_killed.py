"""What the children of ``mortal.py`` do with ``examples/transfer.py``, and what must be true whenever one has died."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from examples.transfer import TRANSIT, Bank, Transfer
from flowstmt import NotWaitingError, WorkflowFinishedError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

BALANCES = {"ann": 10_000_00, "bob": 0, "carl": 10_00, "eve": 0, TRANSIT: 0}

DONE = ("done", [("ann", TRANSIT), (TRANSIT, "bob")])

EXPECTED = {
    "small": DONE,
    "confirmed": DONE,
    "too much": ("refused: account 'carl' has only 10.00", []),
    "to frozen": ("given back: account 'eve' is frozen", [("ann", TRANSIT), (TRANSIT, "ann")]),
    "late": ("given back: nobody confirmed", [("ann", TRANSIT), (TRANSIT, "ann")]),
}


def prepare(path: Path) -> None:
    with closing(Bank(path).db) as db:
        accounts = [(name, cents, name == "eve") for name, cents in BALANCES.items()]
        db.executemany("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", accounts)


def work(path: Path) -> None:
    """All transfers, from whatever has been done of them to their end: whoever starts or confirms has never had an answer."""
    bank = Bank(path)
    bank.start("small", Transfer("ann", "bob", 25_00, ordered_by="ann"), NOON)
    bank.start("too much", Transfer("carl", "bob", 25_00, ordered_by="carl"), NOON)
    bank.start("to frozen", Transfer("ann", "eve", 25_00, ordered_by="ann"), NOON)
    bank.start("confirmed", Transfer("ann", "bob", 2000_00, ordered_by="ann"), NOON)
    bank.start("late", Transfer("ann", "bob", 3000_00, ordered_by="ann"), NOON)
    confirm(bank, "confirmed")
    bank.wake(NOON + timedelta(days=2))


def endless(path: Path) -> None:
    bank = Bank(path)
    (begun,) = bank.db.execute("SELECT count(*) FROM transfers").fetchone()
    for n in count(max(begun - 2, 0)):
        bank.start(f"t-{n}", Transfer("ann", "bob", 1, ordered_by="ann"), NOON)
        if n < 4:
            bank.start(f"confirmed-{n}", Transfer("ann", "bob", 2000_00, ordered_by="ann"), NOON)
            confirm(bank, f"confirmed-{n}")


def finish(path: Path) -> None:
    bank = Bank(path)
    for (transfer_id,) in bank.db.execute("SELECT id FROM transfers WHERE id LIKE 'confirmed-%'").fetchall():
        confirm(bank, transfer_id)
    bank.wake(NOON)


def confirm(bank: Bank, transfer_id: str) -> None:
    try:
        bank.callback(transfer_id, "confirm", b'"dora"', NOON)
    except (NotWaitingError, WorkflowFinishedError):
        assert bank.load(transfer_id)[0].confirmed_by == "dora"  # it was taken, only the answer was lost


def check(path: Path, *, over: bool) -> None:
    """No money is lost or made, and the ledger holds of each transfer what its snapshot says; read by a new connection."""
    bank = Bank(path)
    with closing(bank.db) as db:
        ledger: dict[str, list[tuple[str, str]]] = {}
        balances = dict(BALANCES)
        for transfer_id, source, target, cents in db.execute("SELECT transfer, source, target, cents FROM ledger ORDER BY id"):
            ledger.setdefault(transfer_id, []).append((source, target))
            balances[source] -= cents
            balances[target] += cents
        assert dict(db.execute("SELECT name, cents FROM accounts")) == balances
        assert sum(balances.values()) == sum(BALANCES.values())
        transfers = [transfer_id for (transfer_id,) in db.execute("SELECT id FROM transfers")]
        assert set(ledger) <= set(transfers)
        for transfer_id in transfers:
            _, state = bank.load(transfer_id)
            entries = ledger.get(transfer_id, [])
            expected = EXPECTED.get(transfer_id, DONE)
            if state.result is not None:
                assert (state.result, entries) == expected, transfer_id
            else:
                assert not over, transfer_id
                # What is saved and what is booked are of one moment.
                begun = state.revision > 0 and state.threads[0].position != "reserve"
                assert entries == expected[1][:1] if begun else not entries, (transfer_id, state)
        if over:
            assert balances[TRANSIT] == 0
            assert transfers
