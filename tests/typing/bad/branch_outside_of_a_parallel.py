"""A Branch that stands in a row instead of a Parallel."""

from __future__ import annotations

from flowstmt import Branch, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Branch("left", Step("ship", self.ship)))
