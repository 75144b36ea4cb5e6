"""A child that is made of another item than there is."""

from __future__ import annotations

from flowstmt import Call, Map, Statement
from tests.typing.shop import Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Map("all", ["tea", "rice"], Call("each", self.child))

    def child(self, line: Line) -> Order:
        return Order(total=line.count)
