"""A setter that takes another type than an action returns that has options."""

from __future__ import annotations

from flowstmt import Statement, Step, step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("pay", self.pay, into=self.pack)

    @step(concurrent=True)
    def pay(self) -> str:
        return "receipt"
