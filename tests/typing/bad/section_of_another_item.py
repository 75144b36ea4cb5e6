"""Class style: a section for other items than the loop has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from flowstmt import ForEach, Statement, Step
from tests.typing.shop import Line, Shop


@dataclass
class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return ForEach("amounts", lambda w: [w.total], cls.packing())

    @classmethod
    def packing(cls) -> Statement[Self, Line]:
        return Step("pack", cls.pack)
