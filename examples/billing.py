"""The bills of a month: one run for each tenant in a queue, and a child run for each of its customers, on the engine.

From the folder above::

    python examples/billing.py

A month is a run that stands in a queue: two are under way at once, across all workers of the database, and one of each tenant.
It has a child for each customer, five at a time, and each child is a run of its own: moved by whichever worker is free, with a
document of its own, listed, paused and tried again by itself. A bill is booked in the transaction of its checkpoint, so that it
is in the ledger once, whatever crashes; charging the card is outside, and may come twice with the same key.

A card that is declined fails its child, which is an ``ErrorInfo`` in the results of the month. A bank that does not answer is
asked again with growing pauses, and is such a failure when those are used up. What nobody has thought of, a ledger that can't
be written, say, fails nobody: the engine tries again, then that child is Paused until somebody calls ``engine.retry``.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from flowstmt import (
    Call,
    ErrorInfo,
    FinalError,
    Map,
    Percent,
    Queue,
    Retry,
    Return,
    S,
    SQLiteStore,
    Statement,
    Step,
    SyncEngine,
    current,
)

LEDGER = "CREATE TABLE IF NOT EXISTS ledger (run TEXT PRIMARY KEY, customer TEXT NOT NULL, cents INTEGER NOT NULL)"
MONTHS = Queue("months", concurrency=2, per_key_concurrency=1)


class CardDeclinedError(FinalError):
    """Trying again would not help."""


class Bank(Protocol):
    def charge(self, key: str, customer: str, cents: int) -> str:
        """Take money, once for each key; the number of the receipt. Raises ``CardDeclinedError``."""
        ...


@dataclass
class Bill:
    customer: str
    cents: int
    receipt: str = ""

    def definition(self) -> Statement:
        return S(
            Step("charge", self.charge, into="receipt", retry=Retry(10)),
            Step("book", self.book, transactional=True),
            Return(lambda: self.cents),
        )

    def charge(self) -> str:
        bank: Bank = current().deps
        return bank.charge(current().idempotency_key, self.customer, self.cents)

    def book(self) -> None:
        row = (current().run_id, self.customer, self.cents)
        current().connection.execute("INSERT INTO ledger VALUES (?, ?, ?)", row)


@dataclass
class Month:
    tenant: str
    usage: dict[str, int]
    taken: list[int | ErrorInfo | None] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Map(
                "customers",
                lambda: sorted(self.usage),
                Call("bill", self.bill),
                key=lambda customer: customer,
                max_concurrency=5,
                tolerate=Percent(100),
                into="taken",
            ),
            Return(self.total),
        )

    def bill(self, customer: str) -> Bill:
        return Bill(customer, self.usage[customer])

    def total(self) -> dict[str, int]:
        cents = [taken for taken in self.taken if isinstance(taken, int)]
        return {"cents": sum(cents), "declined": len(self.taken) - len(cents)}


def make_engine(path: Path, bank: Bank, worker: bool = True) -> SyncEngine:
    with sqlite3.connect(path) as db:
        db.execute(LEDGER)
    db.close()
    return SyncEngine(SQLiteStore(path), workflows=[Month, Bill], deps=bank, queues=[MONTHS], worker=worker)


def start_month(engine: SyncEngine, tenant: str, month: str, usage: dict[str, int]) -> str:
    """May be called twice: the run's id says of whom and when it is."""
    run_id = f"{tenant}/{month}"
    engine.start(Month(tenant, usage), run_id=run_id, queue=MONTHS.name, queue_key=tenant, labels={"tenant": tenant})
    return run_id


class PlayBank:
    """Remembers keys, as banks do."""

    def __init__(self) -> None:
        self.receipts: dict[str, str] = {}

    def charge(self, key: str, customer: str, cents: int) -> str:
        if customer == "carl":
            raise CardDeclinedError("the card of carl has expired")
        return self.receipts.setdefault(key, f"receipt {len(self.receipts) + 1}")


def main() -> None:
    usage = {"north": {"ann": 500, "bob": 700}, "south": {"carl": 900}, "west": {"dora": 300, "emil": 20, "fay": 5}}
    with tempfile.TemporaryDirectory() as folder, make_engine(Path(folder) / "billing.db", PlayBank()) as engine:
        run_ids = [start_month(engine, tenant, "2026-10", each) for tenant, each in usage.items()]
        for run_id in run_ids:
            print(run_id, engine.result(run_id, timeout=timedelta(seconds=60)))
            for child in reversed(engine.list(parent=run_id).runs):
                print("   ", child.run_id, child.status, child.error.message if child.error else "")


if __name__ == "__main__":
    logging.getLogger("flowstmt.rounds").setLevel(logging.ERROR)  # the card that is declined is shown, without its traceback
    main()
