"""An action that was called where it should be named."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count())
