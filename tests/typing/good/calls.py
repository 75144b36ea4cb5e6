# pyright: strict
"""Child runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from flowstmt import Call, ChildError, ForEach, Map, Return, S, Statement, Try


@dataclass
class Invoice:
    amount: int = 0

    def definition(self) -> Statement:
        return Return(self.amount)


@dataclass
class FastInvoice:
    amount: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return Return(lambda w: w.amount)


@dataclass
class Order:
    total: int = 0
    totals: list[Any] = field(default_factory=list[Any])

    def definition(self) -> Statement:
        return S(
            Call("invoice", Invoice(self.total), into="total"),
            Call("made", self.invoice, self.keep),
            Call("fast", lambda: FastInvoice(3), was=("quick",)),
            ForEach("amounts", [1, 2], Call("each", self.of)),
            Try("all", Map("many", [1, 2], Call("one", self.of), into="totals", max_concurrency=10)).catch(ChildError),
        )

    def invoice(self) -> Invoice:
        return Invoice()

    def of(self, amount: int) -> Invoice:
        return Invoice(amount)

    def keep(self, total: int) -> None:
        self.total = total


@dataclass
class FastOrder:
    total: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Call("fixed", Invoice(5)),
            Call("invoice", cls.invoice, into="total"),
            Call("kept", lambda w: Invoice(w.total), into=cls.keep),
            ForEach("amounts", lambda w: [w.total], Call("each", cls.of)),
        )

    def invoice(self) -> Invoice:
        return Invoice()

    def of(self, amount: int) -> FastInvoice:
        return FastInvoice(amount)

    def keep(self, total: int) -> None:
        self.total = total


WORKFLOWS = [Order, FastOrder]
