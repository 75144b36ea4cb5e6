"""A Go hands the item on to an action that takes another type."""

from __future__ import annotations

from flowstmt import ForEach, Go, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.lines, Go("each", Step("weigh", self.weigh)))
