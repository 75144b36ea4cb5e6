"""A callback with another payload than its event has."""

from __future__ import annotations

from flowstmt import On, State, Statement, Wait, handle_callback
from tests.typing.shop import PAID, Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


def pay(order: Order, state: State) -> None:
    handle_callback(PAID, order, state, Line("tea", 1))
