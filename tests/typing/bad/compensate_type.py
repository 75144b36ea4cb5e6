"""What undoes a step takes another type than the step returns."""

from __future__ import annotations

from flowstmt import Saga, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Saga("shipping", Step("count", self.count, compensate=self.pack))
