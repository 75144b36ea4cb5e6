"""A text that says whether an event stays."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On("paid"), On("noted", stay="yes"))
