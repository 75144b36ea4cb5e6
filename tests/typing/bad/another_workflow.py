"""Class style: an action of another workflow."""

from __future__ import annotations

from typing import Self

from flowstmt import S, Statement, Step
from tests.typing.shop import Shop


class Ticket:
    def cancel(self) -> None: ...


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Step("ship", cls.ship), Step("cancel", Ticket.cancel))
