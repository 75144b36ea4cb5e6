"""Asks several suppliers for a price side by side, over HTTP, and orders from the cheapest: once, whatever gets killed.

Copy what you need: ``Purchase`` is the workflow, ``Purchases`` keeps its runs in a SQLite file. Suppliers are asked by steps
with ``concurrent=True``: their requests are under way together, and a crash repeats those that were, with the same keys.
``python examples/quotes.py`` shows a purchase in processes that get killed; the suppliers are in ``quotes_show.py``.

Each action says what an error means. No price in time is an answer as well, kept in ``silent``. An order without an answer may
have been taken: the action raises, nothing in the definition takes that, the run stays where it is, and ``Purchases.wake`` asks
again, with the same idempotency key.
"""

from __future__ import annotations

import asyncio
import logging
import runpy
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import httpx
from pydantic import TypeAdapter, ValidationError

from flowstmt import (
    CheckpointType,
    ConflictError,
    FlowstmtError,
    For,
    ForEach,
    Go,
    If,
    Join,
    Return,
    S,
    State,
    Statement,
    Step,
    WorkflowStatus,
    current,
    dump,
    load,
    resume_async,
)

log = logging.getLogger("quotes")


@dataclass
class Quote:
    """What a supplier answers; validated against these annotations, as everything that comes from outside."""

    price: Decimal
    days: int


QUOTE = TypeAdapter(Quote)


@dataclass
class Purchase:
    part: str
    count: int
    suppliers: list[str]
    patience: float = 2.0
    quotes: dict[str, Quote] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    sold_out: list[str] = field(default_factory=list)
    number: str | None = None

    def definition(self) -> Statement:
        return S(
            ForEach(
                "suppliers",
                self.suppliers,
                Go("inquiry", Step("ask", self.ask, into=self.keep, concurrent=True), id=lambda supplier: supplier),
            ),
            Join("all have answered, or their time is up", "inquiry"),
            For(
                "from the cheapest on",
                lambda: self.best() is not None,
                Step("order", self.order, into=self.ordered),
                If("taken", lambda: self.number is not None, Return(self.receipt)),
            ),
            Return("nobody can deliver"),
        )

    # Concurrent: it reads, and hands back. Whatever goes wrong is an answer, as the others should not wait for it.

    async def ask(self, supplier: str) -> Quote | str:
        client: httpx.AsyncClient = current().deps
        try:
            # Over all of the exchange. httpx's own timeout is for each read and write: a slow drip never ends.
            async with asyncio.timeout(self.patience):
                response = await client.get(
                    f"/{supplier}/quote",
                    params={"part": self.part, "count": self.count},
                    headers={"Idempotency-Key": current().idempotency_key},
                )
            return QUOTE.validate_json(response.raise_for_status().content)
        except TimeoutError:
            return f"no answer within {self.patience} s"
        except (httpx.HTTPError, ValidationError) as error:
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    def keep(self, answer: Quote | str, supplier: str) -> None:
        if isinstance(answer, Quote):
            self.quotes[supplier] = answer  # by supplier: answers come in in any order
        else:
            self.silent[supplier] = answer

    # An effect outside: never given up without an answer, and sent with the same key until there is one.

    async def order(self) -> str | None:
        client: httpx.AsyncClient = current().deps
        response = await client.post(
            f"/{self.best()}/orders",
            json={"part": self.part, "count": self.count},
            headers={"Idempotency-Key": current().idempotency_key},
        )
        if response.status_code == httpx.codes.CONFLICT:
            return None
        number: str = response.raise_for_status().json()["number"]
        return number

    def ordered(self, number: str | None) -> None:
        self.number = number
        if number is None:
            self.sold_out.append(self.best() or "")

    def best(self) -> str | None:
        """The cheapest that is not sold out. Of equal ones always the same: a crash must not change whom we ask."""
        left = [supplier for supplier in self.quotes if supplier not in self.sold_out]
        return min(left, key=lambda supplier: (self.quotes[supplier].price, supplier), default=None)

    def receipt(self) -> str:
        supplier = self.best() or ""
        return f"{self.count} x {self.part} from {supplier} for {self.quotes[supplier].price}, order {self.number}"


class Purchases:
    """Purchases in a SQLite file, one row each."""

    def __init__(self, path: str | Path, client: httpx.AsyncClient) -> None:
        self.client = client
        self.db = sqlite3.connect(path, isolation_level=None)  # every statement commits by itself
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS purchases (id TEXT PRIMARY KEY, revision INTEGER, wake_at REAL, snapshot BLOB) STRICT"
        )

    def saver(self, purchase: Purchase, state: State) -> Callable[..., Awaitable[None]]:
        """What ``resume_async`` calls at each checkpoint. With an async database driver it would await the write."""
        loaded = state.revision

        async def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            self.write((state.revision, wake_at, dump(purchase, state), state.run_id, loaded))
            loaded = state.revision

        return save

    def write(self, row: tuple[int, float | None, bytes, str, int]) -> None:
        # Not in a thread: it takes a millisecond or so, and a thread goes on writing when its save has been cancelled.
        done = self.db.execute(
            "UPDATE purchases SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?", row
        )
        if done.rowcount == 0:
            raise ConflictError(f"{row[3]} was moved by somebody else since revision {row[4]}: load it again")

    def load(self, purchase_id: str) -> tuple[Purchase, State]:
        row = self.db.execute("SELECT snapshot FROM purchases WHERE id = ?", (purchase_id,)).fetchone()
        if row is None:
            raise LookupError(f"there is no purchase {purchase_id!r}")
        return load(Purchase, row[0])

    def start(self, purchase_id: str, purchase: Purchase, now: datetime | None = None) -> None:
        """Keep a new purchase; ``wake_at`` 0 lets ``wake`` find it."""
        snapshot = dump(purchase, State.new(purchase_id, "Purchase", now))
        self.db.execute("INSERT INTO purchases VALUES (?, 0, 0, ?)", (purchase_id, snapshot))

    async def go_on(self, purchase_id: str, now: datetime | None = None) -> WorkflowStatus:
        try:
            purchase, state = self.load(purchase_id)
            concurrency = max(1, len(purchase.suppliers))  # more would be of no use
            return await resume_async(
                purchase, state, self.saver(purchase, state), now=now, deps=self.client, concurrency=concurrency
            )
        except FlowstmtError:
            # All is saved up to the last checkpoint, and `wake` tries again; or it can't be read, and others can.
            log.exception("%s can't go on now", purchase_id)
            return WorkflowStatus.Resuming

    async def wake(self, now: datetime) -> list[str]:
        """Move on all that can do something: new ones, those whose process died, those whose order got no answer."""
        due = self.db.execute("SELECT id FROM purchases WHERE wake_at <= ? ORDER BY id", (now.timestamp(),)).fetchall()
        await asyncio.gather(*(self.go_on(purchase_id, now) for (purchase_id,) in due))
        return [purchase_id for (purchase_id,) in due]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    runpy.run_module("examples.quotes_show", run_name="__main__")
