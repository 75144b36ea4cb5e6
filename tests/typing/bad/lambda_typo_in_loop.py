"""A typo in the attribute of an item, instance style."""

from __future__ import annotations

from flowstmt import ForEach, If, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.lines, If("any", lambda line: line.cuont > 0, Step("pack", self.pack)))
