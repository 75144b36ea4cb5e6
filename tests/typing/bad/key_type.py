"""A key of a Map that takes another type than the items have."""

from __future__ import annotations

from flowstmt import Map, Statement, Step
from tests.typing.shop import Payment, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Map("lines", self.lines, Step("pack", self.pack), key=self.key_of)

    def key_of(self, payment: Payment) -> int:
        return payment.amount
