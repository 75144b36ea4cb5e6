"""A closure without parameters in a class-style definition."""

from __future__ import annotations

from typing import Self

from flowstmt import S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Step("ship", cls.ship), Step("note", lambda: print("note")))
