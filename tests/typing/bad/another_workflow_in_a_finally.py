"""Class style: an action of another workflow in a finally."""

from __future__ import annotations

from typing import Self

from flowstmt import S, Statement, Step, Try
from tests.typing.shop import Shop


class Ticket:
    def cancel(self) -> None: ...


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Try("try", Step("ship", cls.ship)).finally_(Step("cancel", Ticket.cancel)))
