"""A callback of an engine with another payload than its event has."""

from __future__ import annotations

from flowstmt import Engine, On, Statement, Wait
from tests.typing.shop import PAID, Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


async def pay(engine: Engine) -> None:
    await engine.callback("order-1", PAID, Line("tea", 1))
