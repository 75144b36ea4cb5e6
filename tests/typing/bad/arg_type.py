"""A Go whose arg has another type than its actions take."""

from __future__ import annotations

from flowstmt import Go, Statement, Step
from tests.typing.shop import Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Go("first", Step("weigh", self.weigh), arg=Line("tea", 1))
