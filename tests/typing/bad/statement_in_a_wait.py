"""A statement that stands in a Wait instead of an On."""

from __future__ import annotations

from flowstmt import Statement, Step, Wait
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", Step("ship", self.ship))
