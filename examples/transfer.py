"""Money transfers whose bookings commit together with the checkpoint, in one SQLite file: each is made exactly once.

Copy ``Bank``: ``in_transaction`` is the ``invoke`` hook, which opens a transaction around every action and handler, and
``saver`` commits it together with the snapshot. An action that raises, a handler that refuses, a ``save`` that comes too late
and a process that dies leave nothing: neither a booking without its checkpoint, nor a checkpoint without its booking.

This is for what an action writes to *this* database. What it does elsewhere needs an idempotency key (``pizza.py``). An action
holds the only write lock of the file while it runs, so it must be short. ``python examples/transfer.py`` shows three transfers.
"""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from flowstmt import (
    CallbackRequest,
    CheckpointType,
    ConflictError,
    Current,
    FlowstmtError,
    If,
    On,
    RefusedError,
    Return,
    S,
    State,
    Statement,
    Step,
    Timeout,
    Wait,
    current,
    dump,
    handle_callback,
    load,
    resume,
)

log = logging.getLogger("transfer")

LIMIT = 1000_00  # above this many cents a second person has to confirm
TRANSIT = "in transit"  # the account of the bank's own that holds what has left one account and not yet reached the other

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0), frozen INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY, transfer TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL, cents INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS transfers (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, wake_at REAL, snapshot BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS transfers_due ON transfers (wake_at) WHERE wake_at IS NOT NULL;
"""


@dataclass
class Transfer:
    source: str
    target: str
    cents: Annotated[int, Field(gt=0)]
    ordered_by: str
    confirmed_by: str | None = None
    refusal: str | None = None

    def definition(self) -> Statement:
        return S(
            Step("reserve", self.reserve, into="refusal"),
            If("no money", self.refusal is not None, Return(lambda: f"refused: {self.refusal}")),
            If(
                "large",
                self.cents > LIMIT,
                Wait(
                    "second person",
                    On("confirm", self.confirm),
                    On("reject", self.reject),
                    Timeout("nobody came", timedelta(days=2), Step("expire", self.expire, into="refusal")),
                ),
            ),
            If("still wanted", self.refusal is None, Step("deposit", self.deposit, into="refusal")),
            If(
                "not to be",
                self.refusal is not None,
                Step("give back", self.give_back),
                Return(lambda: f"given back: {self.refusal}"),
            ),
            Return("done"),
        )

    # Actions write to the bank's tables, and know nothing of the transaction in which they do.

    def reserve(self) -> str | None:
        if TRANSIT in (self.source, self.target):
            return f"account {TRANSIT!r} is the bank's own"  # what it holds belongs to other transfers
        return book(self.source, TRANSIT, self.cents)

    def deposit(self) -> str | None:
        return book(TRANSIT, self.target, self.cents)

    def give_back(self) -> None:
        refusal = book(TRANSIT, self.source, self.cents, even_if_frozen=True)
        if refusal is not None:
            raise RuntimeError(f"the money can't go back: {refusal}")  # it stays in transit, and `wake` tries again

    def expire(self) -> str:
        return "nobody confirmed"

    def confirm(self, person: str) -> str:
        if person == self.ordered_by:
            raise RefusedError(f"{person} ordered this transfer: somebody else has to confirm it")
        self.confirmed_by = person
        return f"{self.cents / 100:.2f} go to {self.target}"

    def reject(self, person: str) -> None:
        self.refusal = f"rejected by {person}"


def book(source: str, target: str, cents: int, *, even_if_frozen: bool = False) -> str | None:
    """Move money and write it down; or say why not, and write nothing."""
    db: sqlite3.Connection = current().deps
    found = db.execute("SELECT * FROM accounts WHERE name IN (?, ?)", (source, target))
    accounts = {name: (balance, frozen) for name, balance, frozen in found}
    for name in (source, target):
        if name not in accounts:
            return f"there is no account {name!r}"
        if accounts[name][1] and not even_if_frozen:
            return f"account {name!r} is frozen"
    if accounts[source][0] < cents:
        return f"account {source!r} has only {accounts[source][0] / 100:.2f}"
    db.execute("UPDATE accounts SET cents = cents - ? WHERE name = ?", (cents, source))
    db.execute("UPDATE accounts SET cents = cents + ? WHERE name = ?", (cents, target))
    entry = (current().run_id, source, target, cents)
    db.execute("INSERT INTO ledger (transfer, source, target, cents) VALUES (?, ?, ?, ?)", entry)
    return None


class Bank:
    """Accounts, a ledger and transfers in a SQLite file, one for each thread and process. "Your class": where to name yours."""

    def __init__(self, path: str | Path) -> None:
        self.db = sqlite3.connect(path, timeout=30, isolation_level=None)  # transactions begin where we say
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.executescript(SCHEMA)
        self.db.execute("INSERT OR IGNORE INTO accounts VALUES (?, 0, 0)", (TRANSIT,))

    def in_transaction(self, _: Current, call: Callable[[], Any]) -> Any:
        """The ``invoke`` hook: whatever ``call`` writes is committed by the next ``save``, or never."""
        # IMMEDIATE: the lock is taken before anything is read. A transaction that gets it only with its first write would
        # decide on what was read before, and fail if somebody has written meanwhile.
        self.db.execute("BEGIN IMMEDIATE")
        try:
            return call()
        except BaseException:
            self.db.rollback()  # here, since the failure of a setup or teardown is saved: without what it had half done
            raise

    def saver(self, transfer: Transfer, state: State) -> Callable[..., None]:  # your class
        """What ``resume`` calls at each checkpoint: write the run, and commit it with what the action has written."""
        loaded = state.revision

        def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            row = (state.revision, wake_at, dump(transfer, state), state.run_id, loaded)
            done = self.db.execute(
                "UPDATE transfers SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?", row
            )
            if done.rowcount == 0:
                raise ConflictError(f"{state.run_id} was moved by somebody else since revision {loaded}: load it again")
            self.db.commit()
            loaded = state.revision

        return save

    def start(self, transfer_id: str, transfer: Transfer, now: datetime | None = None) -> None:  # your class
        """Begin a transfer; to begin it once more, as a caller without an answer does, changes nothing."""
        state = State.new(transfer_id, "Transfer", now)  # its name
        # wake_at 0: should this process die now, `wake` finds the transfer.
        self.db.execute("INSERT OR IGNORE INTO transfers VALUES (?, 0, 0, ?)", (transfer_id, dump(transfer, state)))
        self.move(transfer_id, now)

    def load(self, transfer_id: str) -> tuple[Transfer, State]:  # your class
        row = self.db.execute("SELECT snapshot FROM transfers WHERE id = ?", (transfer_id,)).fetchone()
        if row is None:
            raise LookupError(f"there is no transfer {transfer_id!r}")
        return load(Transfer, row[0])  # your class

    def move(self, transfer_id: str, now: datetime | None = None) -> None:
        """Let a transfer go on as far as it can by itself."""
        transfer, state = self.load(transfer_id)
        try:
            resume(transfer, state, self.saver(transfer, state), now=now, deps=self.db, invoke=self.in_transaction)
        except ConflictError:
            log.info("%s is being moved by somebody else, who sees to the rest", transfer_id)
        except FlowstmtError:
            log.exception("%s can't go on now; `wake` tries again", transfer_id)
        finally:
            self.db.rollback()  # what an action wrote whose outcome could not be saved; else there is nothing to roll back

    def callback(
        self, transfer_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None
    ) -> Any:
        """Hand in a callback; the answer means that it is stored."""
        for _ in range(10):
            # It may not have come to its wait (a process died), or be past it (the two days are over).
            self.move(transfer_id, now)
            transfer, state = self.load(transfer_id)
            save = self.saver(transfer, state)
            try:
                answer = handle_callback(request, transfer, state, payload, now=now, deps=self.db, invoke=self.in_transaction)
                save(CheckpointType.afterCallback)
            except ConflictError:
                continue  # somebody else was faster: whether the callback still fits is to be seen
            finally:
                self.db.rollback()
            self.move(transfer_id, now)
            return answer
        raise ConflictError(f"{transfer_id} is moved by others all the time: hand the callback in once more")

    def wake(self, now: datetime) -> list[str]:
        """Move every transfer that can do something by itself: one whose process died, one whose time has come."""
        due = self.db.execute("SELECT id FROM transfers WHERE wake_at <= ? ORDER BY wake_at", (now.timestamp(),)).fetchall()
        for (transfer_id,) in due:
            try:
                self.move(transfer_id, now)
            except FlowstmtError:
                log.exception("%s needs somebody to look at it", transfer_id)  # it can't be read, say; those behind it can
        return [transfer_id for (transfer_id,) in due]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        bank = Bank(Path(folder) / "bank.db")
        bank.db.execute("INSERT INTO accounts VALUES ('ann', 500000, 0), ('bob', 0, 0), ('eve', 0, 1)")
        bank.start("t-1", Transfer("ann", "bob", 25_00, ordered_by="ann"))
        bank.start("t-2", Transfer("ann", "eve", 25_00, ordered_by="ann"))
        bank.start("t-3", Transfer("ann", "bob", 2000_00, ordered_by="ann"))
        print("t-3 waits for a second person:", bank.callback("t-3", "confirm", b'"carl"', datetime.now(UTC)))
        for transfer_id in ("t-1", "t-2", "t-3"):
            print(transfer_id, bank.load(transfer_id)[1].result)
        for entry in bank.db.execute("SELECT transfer, source, target, cents FROM ledger ORDER BY id"):
            print("ledger:", *entry)
        bank.db.close()
