"""A driver called with an object that has no definition."""

from __future__ import annotations

from flowstmt import On, State, Statement, Wait, resume
from tests.typing.shop import PAID, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


def go_on(shop: Shop, state: State) -> None:
    resume(shop, state)
