"""What undoes a step that has a setter takes another type than the step returns."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, into=self.weigh, compensate=self.pack)
