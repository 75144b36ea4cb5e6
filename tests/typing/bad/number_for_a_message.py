"""A number where the message of a Fail is expected."""

from __future__ import annotations

from flowstmt import Fail, Statement
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Fail("no money", self.total)
