"""A text for the time of a Timeout."""

from __future__ import annotations

from flowstmt import On, Statement, Timeout, Wait
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On("paid"), Timeout("late", "3 days"))
