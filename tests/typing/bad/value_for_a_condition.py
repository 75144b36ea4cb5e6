"""A plain value where a class-style condition must be a callable."""

from __future__ import annotations

from typing import Self

from flowstmt import If, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return If("is paid", cls.paid, Step("ship", cls.ship))
