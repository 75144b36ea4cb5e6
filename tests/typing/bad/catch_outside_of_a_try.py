"""A Catch that stands in a row instead of a Try."""

from __future__ import annotations

from flowstmt import Catch, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Step("ship", self.ship), Catch(ValueError))
