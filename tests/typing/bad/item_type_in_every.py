"""An Every in a loop that takes another type than the items have."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import Every, ForEach, On, Statement, Step, Wait
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.lines, Wait("line", On("picked"), Every("daily", timedelta(1), Step("weigh", self.weigh))))
