"""A snapshot loaded as one class and used as another."""

from __future__ import annotations

from flowstmt import On, Statement, Wait, load
from tests.typing.shop import PAID, Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


def first_line(blob: bytes) -> Line:
    order, _ = load(Order, blob)
    return order
