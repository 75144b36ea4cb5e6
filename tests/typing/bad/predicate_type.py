"""A predicate of a policy that takes another type than any exception."""

from __future__ import annotations

from flowstmt import Retry, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("count", self.count, retry=Retry(when=self.is_busy))

    def is_busy(self, error: TimeoutError) -> bool:
        return "busy" in str(error)
