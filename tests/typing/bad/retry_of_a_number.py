"""A number of attempts where a policy is expected."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, retry=3)
