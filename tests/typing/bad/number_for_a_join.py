"""A number where the join of a Parallel is expected."""

from __future__ import annotations

from flowstmt import Branch, Parallel, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Parallel("all", Branch("left", Step("ship", self.ship)), join=1)
