"""Approvers that are no texts."""

from __future__ import annotations

from flowstmt import Approval, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Approval("release", self.who, Step("ship", self.ship))

    def who(self) -> list[int]:
        return [self.total]
