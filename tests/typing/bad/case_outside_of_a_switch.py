"""A Case that stands in a row instead of a Switch."""

from __future__ import annotations

from flowstmt import Case, S, Statement
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return S(Case("is paid", self.paid))
