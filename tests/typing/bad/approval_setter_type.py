"""A setter of an Approval that takes something else than its result."""

from __future__ import annotations

from flowstmt import Approval, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Approval("release", ["ann"], Step("ship", self.ship), into=self.pack)
