"""A number for the period of an Every."""

from __future__ import annotations

from flowstmt import Every, On, Statement, Step, Wait
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On("paid"), Every("daily", 86400, Step("ship", self.ship)))
