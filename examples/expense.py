"""An expense approval: two approvers in any order, questions, reminders, escalation, withdrawal at any time, one payout.

Copy what you need: ``Expense`` is the workflow, ``expense_store.py`` keeps it in a SQLite file. ``python examples/expense.py``
plays a few virtual weeks of an office on the terminal (``expense_show.py``).

The definition is in class style: many expenses lie about for weeks, all with the same tree, which is built once per class and
not once per step. So conditions are callables, and everything takes the expense first; inside the ``ForEach``, the desk too.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

from pydantic import Field

from flowstmt import (
    Break,
    For,
    ForEach,
    Go,
    If,
    On,
    RefusedError,
    Return,
    S,
    Statement,
    Step,
    Timeout,
    Wait,
    WaitFor,
    current,
)

LIMIT = Decimal(1000)  # above it, finance has to approve too
PATIENCE = timedelta(days=2)
REMINDERS = 3  # then it goes one up


class Office(Protocol):
    """The world outside. A step may run twice, with the same key: `tell` and `pay` do their work once per key."""

    # Who decides as `role`, and who after them if they are silent: at least one, and never the employee.
    def approvers(self, role: str, employee: str) -> list[str]: ...
    def tell(self, key: str, person: str, text: str) -> None: ...
    def pay(self, key: str, employee: str, amount: Decimal) -> str: ...


@dataclass
class By:
    """Who calls: put in by your web handler, which knows who is logged in, and not by the caller."""

    by: str


@dataclass
class Remark(By):
    text: Annotated[str, Field(min_length=1)]


@dataclass
class Desk:
    """An approval that is to be made. It belongs to its thread, and is saved with it when an action changes it."""

    role: str
    line: list[str]  # who is asked now, and who after them
    reminders: int = 0
    question: str = ""

    @property
    def approver(self) -> str:
        return self.line[0]


@dataclass
class Expense:
    employee: str
    purpose: str
    amount: Decimal
    desks: list[Desk] = field(default_factory=list)
    approvals: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    # Set by the handler that decides, in the callback itself: whoever comes later is refused, and nothing is undone.
    outcome: Literal["", "approved", "rejected", "withdrawn"] = ""
    payment: str = ""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Go("may withdraw", Wait("withdrawal", On("withdraw", cls.withdraw))),
            Step("route", cls.route, into="desks"),
            ForEach("desks", lambda w: w.desks, Go("approval", cls.approval(), id=lambda w, desk: desk.role)),
            WaitFor("decision", lambda w: w.outcome != ""),
            If("approved", lambda w: w.outcome == "approved", Step("pay", cls.pay, into="payment")),
            Step("report", cls.report),
            Return(lambda w: w.outcome),  # ends the approvals that are still open, and the thread for the withdrawal
        )

    @classmethod
    def approval(cls) -> Statement[Self, Desk]:
        question = S(
            Step("pass on", cls.pass_on),
            Wait("reply", On("answer", cls.answer), Timeout("no reply", timedelta(days=7))),
            Break(),  # ask again
        )
        silence = If("too silent", cls.too_silent, Step("escalate", cls.escalate), Break()).else_(Step("remind", cls.remind))
        verdict = Wait(
            "verdict",
            On("approve", cls.approve, Return()),
            On("reject", cls.reject, Return()),
            On("question", cls.question, question),
            Timeout("silence", PATIENCE, silence),
        )
        return For("deciding", lambda w: w.outcome == "", Step("ask", cls.ask), For("patience", verdict))

    # Handlers: what they return is the answer to whoever called.

    def withdraw(self, who: By) -> str:
        self._must_be(self.employee, who)
        self.outcome = "withdrawn"
        return "withdrawn"

    def approve(self, who: By, desk: Desk) -> str:
        self._must_be(desk.approver, who)
        self.approvals[desk.role] = who.by
        missing = [other.role for other in self.desks if other.role not in self.approvals]
        if missing:
            return f"approved; {', '.join(missing)} still to come"
        self.outcome = "approved"
        return "approved, and about to be paid"

    def reject(self, remark: Remark, desk: Desk) -> str:
        self._must_be(desk.approver, remark)
        self.remarks.append(f"{remark.by} rejects: {remark.text}")
        self.outcome = "rejected"
        return "rejected"

    def question(self, remark: Remark, desk: Desk) -> None:
        self._must_be(desk.approver, remark)
        desk.reminders = 0
        desk.question = f"{remark.by} asks: {remark.text}"
        self.remarks.append(desk.question)

    def answer(self, remark: Remark) -> None:
        self._must_be(self.employee, remark)
        self.remarks.append(f"{remark.by} answers: {remark.text}")

    def _must_be(self, person: str, who: By) -> None:
        if self.outcome:
            raise RefusedError(f"too late: it is {self.outcome}")
        if who.by != person:
            raise RefusedError(f"this is for {person}, not for {who.by}")

    def too_silent(self, desk: Desk) -> bool:
        return desk.reminders >= REMINDERS and len(desk.line) > 1

    # Actions: may run twice if the process dies, so what they do outside carries a key.

    def route(self) -> list[Desk]:
        office: Office = current().deps
        roles = ["manager", "finance"] if self.amount > LIMIT else ["manager"]
        return [Desk(role, office.approvers(role, self.employee)) for role in roles]

    def ask(self, desk: Desk) -> None:
        self._tell_approver(desk, "please decide on")

    def remind(self, desk: Desk) -> None:
        desk.reminders += 1
        self._tell_approver(desk, f"reminder {desk.reminders}: please decide on")

    def escalate(self, desk: Desk) -> None:
        del desk.line[0]
        desk.reminders = 0

    def _tell_approver(self, desk: Desk, what: str) -> None:
        # Another thread's callback may have decided while this step waited for its turn.
        if not self.outcome:
            said = "".join(f"; {remark}" for remark in self.remarks)
            self._tell(desk.approver, f"{what} {self.amount} for {self.employee}: {self.purpose} (as {desk.role}){said}")

    def pass_on(self, desk: Desk) -> None:
        if not self.outcome:
            self._tell(self.employee, f"your expense '{self.purpose}': {desk.question} (as {desk.role})")

    def pay(self) -> str:
        office: Office = current().deps
        return office.pay(current().idempotency_key, self.employee, self.amount)

    def report(self) -> None:
        told = [f"your expense '{self.purpose}' is {self.outcome}", *self.remarks, self.payment]
        self._tell(self.employee, "; ".join(filter(None, told)))

    def _tell(self, person: str, text: str) -> None:
        office: Office = current().deps
        office.tell(current().idempotency_key, person, text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    runpy.run_module("examples.expense_show", run_name="__main__")
