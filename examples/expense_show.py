"""The show of ``expense.py``: four expenses, played in virtual time; all that the office does is printed."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from examples.expense import Expense
from examples.expense_store import Expenses
from flowstmt import CallbackError

MONDAY = datetime(2026, 6, 1, 9, tzinfo=UTC)


class Terminal:
    """An office whose mails go to the terminal, each once. A real one passes the key on to its mail and payment services."""

    def __init__(self) -> None:
        self.now = MONDAY
        self.done: dict[str, str] = {}

    def approvers(self, role: str, employee: str) -> list[str]:
        return ["Mia", "Max"] if role == "manager" else ["Fay"]

    def tell(self, key: str, person: str, text: str) -> None:
        self._once(key, f"mail to {person}: {text}", "sent")

    def pay(self, key: str, employee: str, amount: Decimal) -> str:
        return self._once(key, f"payment to {employee}: {amount}", f"payment-{len(self.done) + 1}")

    def _once(self, key: str, what: str, answer: str) -> str:
        if key not in self.done:
            self.done[key] = answer
            self.say(what)
        return self.done[key]

    def say(self, what: str) -> None:
        print(f"{self.now:%a %d %b %H:%M}  {what}")


def show(path: Path) -> None:
    office = Terminal()
    expenses = Expenses(path, office)

    def days_pass(days: int) -> None:
        for _ in range(days * 24):  # a timer of an hour
            office.now += timedelta(hours=1)
            expenses.wake(office.now)

    def call(expense_id: str, event: str, by: str, text: str = "", desk: str | None = None) -> None:
        office.say(f"{by}: {event} {expense_id} {text}".rstrip())
        try:
            answer = expenses.call(expense_id, event, by, text, desk, office.now)
        except CallbackError as error:
            answer = f"refused, {error}"
        office.say(f"  -> {answer or 'noted'}")

    def submit(expense_id: str, purpose: str, amount: str) -> None:
        print(f"\n{expense_id}: {amount} for {purpose}")
        expenses.submit(expense_id, Expense("Ann", purpose, Decimal(amount)), office.now)

    submit("exp-1", "a train to Rome", "250")
    call("exp-1", "approve", "Ann", desk="manager")
    call("exp-1", "question", "Mia", "why not Paris?", desk="manager")
    days_pass(1)
    call("exp-1", "answer", "Ann", "the customer is in Rome")
    call("exp-1", "approve", "Mia", desk="manager")

    submit("exp-2", "a very good chair", "1400")
    call("exp-2", "approve", "Fay", desk="finance")
    days_pass(9)  # Mia is on holiday
    call("exp-2", "approve", "Max", desk="manager")
    call("exp-2", "withdraw", "Ann")

    submit("exp-3", "a second chair", "1400")
    call("exp-3", "reject", "Fay", "one is enough", desk="finance")

    submit("exp-4", "a footstool", "40")
    days_pass(3)
    call("exp-4", "withdraw", "Ann")
    days_pass(30)
    expenses.db.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        show(Path(folder) / "expenses.db")
