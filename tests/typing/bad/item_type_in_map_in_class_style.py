"""Class style: an action in a Map that takes another type than the items have."""

from __future__ import annotations

from typing import Self

from flowstmt import Map, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("lines", lambda w: w.lines, Step("weigh", cls.weigh))
