"""A catch whose errors were left out."""

from __future__ import annotations

from flowstmt import Statement, Step, Try
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Try("try", Step("ship", self.ship)).catch(Step("weep", self.ship))
