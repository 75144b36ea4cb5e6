"""The answer of a callback used as another type."""

from __future__ import annotations

from flowstmt import On, State, Statement, Wait, handle_callback
from tests.typing.shop import PAID, Payment, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


def pay(order: Order, state: State) -> str:
    return handle_callback(PAID, order, state, Payment(12))
