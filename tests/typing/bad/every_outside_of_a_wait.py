"""An Every that stands in a row instead of a Wait."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import Every, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Every("daily", timedelta(days=1), Step("ship", self.ship)))
