"""A Join given the Go itself instead of its name."""

from __future__ import annotations

from flowstmt import Go, Join, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        go = Go("pack", Step("wrap", self.ship))
        return S(go, Join("packed", go))
