"""A signal with another payload than its event has."""

from __future__ import annotations

from flowstmt import On, Statement, SyncEngine, Wait
from tests.typing.shop import PAID, Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.take))


def pay(engine: SyncEngine) -> None:
    engine.signal("order-1", PAID, Line("tea", 1))
