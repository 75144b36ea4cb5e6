"""Class style: a key that takes the item only."""

from __future__ import annotations

from typing import Self

from flowstmt import Map, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("lines", lambda w: w.lines, Step("pack", cls.pack), key=lambda line: line.sku)
