"""A statement that stands in a Parallel instead of a Branch."""

from __future__ import annotations

from flowstmt import Parallel, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Parallel("all", Step("ship", self.ship))
