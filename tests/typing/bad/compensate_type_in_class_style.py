"""Class style: what undoes a step takes another type than the step returns."""

from __future__ import annotations

from typing import Self

from flowstmt import Saga, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Saga("shipping", Step("count", cls.count, compensate=cls.pack))
