"""An action where a statement is expected."""

from __future__ import annotations

from flowstmt import S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Step("ship", self.ship), self.count)
