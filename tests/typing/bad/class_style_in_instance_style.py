"""A function of the class instead of a bound method."""

from __future__ import annotations

from flowstmt import S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Step("ship", Shop.ship))
