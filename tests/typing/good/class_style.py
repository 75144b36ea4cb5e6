# pyright: strict
"""Class style: callables that take the workflow first; linked once per class."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from flowstmt import (
    Case,
    Default,
    Event,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Payment:
    amount: int


PAID = Event("paid", Payment, str)


@dataclass
class Order:
    paid: int = 0
    lines: list[Line] = field(default_factory=list[Line])
    log: list[str] = field(default_factory=list[str])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Step("count", cls.count, into="paid"),
            Step("count again", cls.count, into=cls.set_paid),
            If("is paid", lambda o: o.paid > 0, Step("ship", cls.ship)).else_(Step("remind", cls.ship)),
            Switch(Case("rich", lambda o: o.paid > 100, Return("rich")), Default(Return(lambda o: o.paid))),
            For("while poor", lambda o: o.paid < 100, cls.one_more("one more")),
            ForEach(
                "lines",
                lambda o: o.lines,
                If("any", lambda o, line: line.count > 0, Step("take", cls.take)),
                Step("ship line", cls.ship),
                Go("pack", Step("wrap", cls.take), id=lambda o, line: line.sku),
            ),
            ForEach("words", ("a", "b"), Step("say", cls.say)),
            Go("courier", Step("carry", cls.take), arg=cls.first),
            Join("all", "pack", "courier"),
            Wait(
                "payment",
                On(PAID, cls.take_payment, Return("thanks")),
                On("cancel", cls.ship, Return("cancelled")),
                On("note", into="log"),
                Timeout("late", timedelta(days=3), cls.one_more("fine")),
            ),
            WaitFor("money", lambda o: o.paid > 0, cls.ship),
            Sleep("a while", lambda o: timedelta(days=o.paid)),
        )

    @classmethod
    def one_more(cls, name: str) -> Step[Self]:
        return Step(name, cls.ship)

    def count(self) -> int:
        return self.paid

    def set_paid(self, paid: int) -> None:
        self.paid = paid

    def ship(self) -> None:
        self.log.append("shipped")

    def take(self, line: Line) -> None:
        self.log.append(line.sku)

    def say(self, word: str) -> None:
        self.log.append(word)

    def first(self) -> Line:
        return Line("tea", 1)

    def take_payment(self, payment: Payment) -> str:
        self.paid = payment.amount
        return "thanks"


@dataclass
class Express(Order):
    """Inherits the definition."""


@dataclass
class Static:
    paid: bool = False

    @staticmethod
    def definition() -> Statement[Static]:
        return S(Step("pay", Static.pay), If("is paid", lambda w: w.paid, Return("paid")))

    def pay(self) -> None:
        self.paid = True


WORKFLOWS = [Order, Express, Static]
