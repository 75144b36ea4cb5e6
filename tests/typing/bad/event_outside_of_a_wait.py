"""An On that stands in a row instead of a Wait."""

from __future__ import annotations

from flowstmt import On, S, Statement
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(On("paid"))
