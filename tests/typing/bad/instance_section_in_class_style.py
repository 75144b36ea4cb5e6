"""Class style: a section of instance style in a loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from flowstmt import ForEach, Statement, Step
from tests.typing.shop import Shop


def noting() -> Statement:
    return Step("note", lambda: print("noted"))


@dataclass
class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return ForEach("lines", lambda w: w.lines, noting())
