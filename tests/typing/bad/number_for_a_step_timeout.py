"""A number where the timedelta of a step is expected."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, concurrent=True, timeout=30)
