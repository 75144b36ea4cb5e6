"""What a callback of an engine gives, taken for something else."""

from __future__ import annotations

from flowstmt import Engine, On, Statement, Wait
from tests.typing.shop import PAID, Line, Payment, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


async def pay(engine: Engine) -> Line:
    return await engine.callback("order-1", PAID, Payment(1))
