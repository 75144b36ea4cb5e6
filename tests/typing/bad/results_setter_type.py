"""A setter of a Parallel that takes something else than a list."""

from __future__ import annotations

from flowstmt import Branch, Parallel, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Parallel("all", Branch("left", Step("count", self.count)), into=self.weigh)
