"""One process of an office that plays a whole expense, and kills itself with SIGKILL at its n-th point.

``python -m tests.examples.expense_process <folder> <n> <first>``. A point is before and after each save, and before and after
each effect outside. Calls that were answered are not made again (``first`` is the first of the others); one that was taken but
not answered is made again, and refused: that is how callers without an answer behave.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from examples.expense import Expense
from examples.expense_store import Expenses
from flowstmt import CallbackError, CheckpointType, State
from tests.examples.processes import Countdown

STORY = [
    ("question", "Mia", "why not Paris?", "manager"),
    ("answer", "Ann", "the customer is in Rome", "manager"),
    ("approve", "Fay", "", "finance"),
    ("approve", "Mia", "", "manager"),
]


class Ledger:
    """Mails and payments in a file of their own, each once per key."""

    def __init__(self, path: Path, countdown: Countdown) -> None:
        self.countdown = countdown
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS done (n INTEGER PRIMARY KEY, key TEXT UNIQUE, what TEXT, asked INTEGER)")

    def approvers(self, role: str, employee: str) -> list[str]:
        return ["Mia", "Max"] if role == "manager" else ["Fay"]

    def tell(self, key: str, person: str, text: str) -> None:
        self._once(key, f"{person}: {text}")

    def pay(self, key: str, employee: str, amount: Decimal) -> str:
        self._once(key, f"payment of {amount} to {employee}")
        return "payment-1"

    def _once(self, key: str, what: str) -> None:
        insert = "INSERT INTO done (key, what, asked) VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET asked = asked + 1"
        self.countdown.around(self.db.execute, insert, (key, what))


class MortalExpenses(Expenses):
    office: Ledger

    def saver(self, expense: Expense, state: State) -> Callable[..., None]:
        save = super().saver(expense, state)

        def dying(kind: CheckpointType | None = None) -> None:
            self.office.countdown.around(save, kind)

        return dying


def main(folder: Path, die_at: int, first: int) -> None:
    ledger = Ledger(folder / "ledger.db", Countdown(die_at))
    expenses = MortalExpenses(folder / "expenses.db", ledger)
    expenses.submit("exp-1", Expense("Ann", "a train", Decimal(1200)))
    for event, by, text, desk in STORY[first:]:
        try:
            expenses.call("exp-1", event, by, text, desk)
        except CallbackError as refused:
            print(f"{event} refused: {type(refused).__name__}")
        print(f"{event} answered", flush=True)
    expense, state = expenses.load("exp-1")
    print(f"{state.status} {state.result} {expense.payment}")
    expenses.db.close()
    ledger.db.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
