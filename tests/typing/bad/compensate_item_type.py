"""What undoes a step in a loop takes another item than the loop has."""

from __future__ import annotations

from flowstmt import ForEach, Statement, Step
from tests.typing.shop import Line, Payment, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.lines, Step("count", self.price_of, compensate=self.refund))

    def price_of(self, line: Line) -> int:
        return line.count

    def refund(self, price: int, payment: Payment) -> None: ...
