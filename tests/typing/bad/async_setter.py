"""An async setter: nothing awaits it."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, into=self.store)

    async def store(self, total: int) -> None:
        self.total = total
