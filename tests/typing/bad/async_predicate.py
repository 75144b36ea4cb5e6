"""An async function as a predicate of a catch: nothing awaits it."""

from __future__ import annotations

from flowstmt import Statement, Step, Try
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Try("try", Step("ship", self.ship)).catch(self.is_busy)

    async def is_busy(self, error: Exception) -> bool:
        return "busy" in str(error)
