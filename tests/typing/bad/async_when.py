"""An async function as the condition of a When: nothing awaits it."""

from __future__ import annotations

from flowstmt import On, Statement, Wait, When
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On("paid"), When("is paid", self.is_paid))

    async def is_paid(self) -> bool:
        return self.paid
