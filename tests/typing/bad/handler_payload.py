"""A handler that takes another payload than its event has."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import PAID, Line, Receipt, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take_line))

    def take_line(self, line: Line) -> Receipt:
        return Receipt(line.sku)
