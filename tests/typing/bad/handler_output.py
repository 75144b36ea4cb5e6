"""A handler that returns something else than its event promises to callers."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import PAID, Payment, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take_text))

    def take_text(self, payment: Payment) -> str:
        return "thanks"
