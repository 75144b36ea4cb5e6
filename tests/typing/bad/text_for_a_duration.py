"""A text where a timedelta is expected."""

from __future__ import annotations

from flowstmt import Sleep, Statement
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Sleep("a while", "3 days")
