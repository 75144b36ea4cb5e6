"""A number of attempts for the policy of an action."""

from __future__ import annotations

from flowstmt import Statement, Step, step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("pay", self.pay)

    @step(retry=3)
    def pay(self) -> str:
        return "receipt"
