"""Class style: an action of another workflow for when people reject."""

from __future__ import annotations

from typing import Self

from flowstmt import Approval, S, Statement, Step
from tests.typing.shop import Shop


class Ticket:
    def cancel(self) -> None: ...


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Approval("release", ("ann",), Step("ship", cls.ship)).rejected(Step("cancel", Ticket.cancel)))
