"""A via that can neither set up nor tear down."""

from __future__ import annotations

from flowstmt import On, Statement, Wait
from tests.typing.shop import Shop


class Page:
    def set_up(self) -> str:
        return "/pay"


class Order(Shop):
    def definition(self) -> Statement:
        return Wait("payment", On("paid", via=Page()))
