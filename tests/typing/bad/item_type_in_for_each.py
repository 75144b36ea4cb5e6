"""An action in a ForEach that takes another type than the items have."""

from __future__ import annotations

from flowstmt import ForEach, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.lines, Step("weigh", self.weigh))
