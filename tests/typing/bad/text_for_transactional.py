"""A text that says whether a step is transactional."""

from __future__ import annotations

from flowstmt import S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Step("count", self.count), Step("ship", self.ship, transactional="yes"))
