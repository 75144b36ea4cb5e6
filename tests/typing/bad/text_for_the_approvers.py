"""A single text where the approvers are expected."""

from __future__ import annotations

from flowstmt import Approval, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Approval("release", "ann", Step("ship", self.ship))
