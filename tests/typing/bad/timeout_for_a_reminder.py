"""A period where the Every of an Approval is expected."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import Approval, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Approval("release", ["ann"], Step("ship", self.ship), remind=timedelta(days=1))
