"""What the bad samples have in common: everything here is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstmt import Event


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Payment:
    amount: int


@dataclass
class Receipt:
    number: str


PAID = Event("paid", Payment, Receipt)


@dataclass
class Shop:
    """The data and the actions; each sample adds a definition with one mistake."""

    paid: bool = False
    total: int = 0
    lines: list[Line] = field(default_factory=list[Line])

    def ship(self) -> None: ...

    def count(self) -> int:
        return self.total

    def take(self, payment: Payment) -> Receipt:
        return Receipt(str(payment.amount))

    def pack(self, line: Line) -> None: ...

    def weigh(self, grams: int) -> None: ...
