"""A number where the workflow of a child is expected."""

from __future__ import annotations

from flowstmt import Call, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Step("count", self.count), Call("invoice", 7))
