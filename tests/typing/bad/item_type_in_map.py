"""An action in a Map that takes another type than the items have."""

from __future__ import annotations

from flowstmt import Map, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Map("lines", self.lines, Step("weigh", self.weigh))
