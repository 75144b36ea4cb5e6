"""A text where the most rounds of a For are expected."""

from __future__ import annotations

from flowstmt import For, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return For("ever", Step("ship", self.ship), max_iterations="3")
