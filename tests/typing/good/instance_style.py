# pyright: strict
"""Instance style: bound methods, closures, plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flowstmt import (
    Break,
    Case,
    Continue,
    Default,
    For,
    If,
    Return,
    S,
    Scope,
    Sleep,
    State,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
    resume,
)


@dataclass
class Receipt:
    number: str


@dataclass
class Order:
    paid: bool = False
    tries: int = 0
    receipt: Receipt | None = None
    log: list[str] = field(default_factory=list[str])
    due: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def definition(self) -> S:
        return S(
            Step("charge", self.charge, into="tries"),
            Step("charge again", self.charge, into=self.set_tries),
            Step("fetch", self.fetch, into=self.set_tries),
            Step("note", lambda: self.log.append("note")),
            *[Step(f"say {word}", lambda word=word: self.log.append(word)) for word in ("a", "b")],
            If("is paid", self.paid, Step("ship", self.ship))
            .else_if("has tried", lambda: self.tries > 3, Return("gave up"))
            .else_(self.section("other")),
            If("has a receipt", self.receipt, Return(self.receipt)),
            Switch(Case("none", self.log, Step("say none", self.ship)), Default(Return(self.total))),
            For("until enough", lambda: self.tries < 3, Step("once more", self.more)),
            For("for ever", Step("one", self.more), If("odd", self.tries % 2 == 1, Continue()), Break()),
            WaitFor("money", lambda: self.paid, self.ship),
            WaitFor("more money", self.paid),
            Sleep("a while", timedelta(hours=1)),
            Sleep("until it is due", lambda: self.due),
            Wait("late", Timeout("too late", self.due, Return("late")), Timeout("much too late", self.after)),
            Scope("again", self.section("other")),
        )

    def section(self, name: str) -> Statement:
        return S(Step(name, self.ship), If("lost", self.lost, Return()))

    def charge(self) -> int:
        return self.tries + 1

    async def fetch(self) -> int:
        return self.tries

    def set_tries(self, tries: int) -> None:
        self.tries = tries

    def more(self) -> None:
        self.tries += 1

    def ship(self) -> None:
        self.log.append("shipped")

    def lost(self) -> bool:
        return False

    def total(self) -> dict[str, int]:
        return {"tries": self.tries}

    def after(self) -> timedelta:
        return timedelta(days=self.tries)


def go_on(order: Order, state: State) -> str:
    return resume(order, state, print).value


WORKFLOWS = [Order]
