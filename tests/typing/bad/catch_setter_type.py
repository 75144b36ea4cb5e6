"""A setter of a catch that takes something else than the error."""

from __future__ import annotations

from flowstmt import Statement, Step, Try
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Try("try", Step("ship", self.ship)).catch(ValueError, into=self.pack)
