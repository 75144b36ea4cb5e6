"""A setter of an event that takes another type than the payload."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import PAID, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, into=self.pack))
