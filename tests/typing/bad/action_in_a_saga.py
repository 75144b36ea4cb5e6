"""An action where the statements of a Saga are expected."""

from __future__ import annotations

from flowstmt import Saga, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Saga("shipping", Step("ship", self.ship), self.ship)
