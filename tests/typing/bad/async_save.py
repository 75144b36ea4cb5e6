"""An async save for the driver that can't await it."""

from __future__ import annotations

from flowstmt import On, State, Statement, Wait, resume
from tests.typing.shop import PAID, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


async def save(kind: str) -> None: ...


def go_on(order: Order, state: State) -> None:
    resume(order, state, save)
