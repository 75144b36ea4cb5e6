"""A setter that takes another type than the action returns."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, into=self.pack)
