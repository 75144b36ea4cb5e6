"""An async function as a condition: nothing awaits it."""

from __future__ import annotations

from flowstmt import If, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return If("is paid", self.is_paid, Step("ship", self.ship))

    async def is_paid(self) -> bool:
        return self.paid
