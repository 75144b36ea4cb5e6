"""A handler that takes more than the payload, outside of any loop."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import PAID, Line, Payment, Receipt, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take_both))

    def take_both(self, payment: Payment, line: Line) -> Receipt:
        return Receipt(line.sku)
