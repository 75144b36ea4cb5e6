"""Three names that somebody found lacking."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("charge", self.note("charge")),
            Wait("payment", On("paid")),
            Step("send", self.note("send")),
        )


CALLS: list[Call] = [(CallbackRequest("paid"), None)]
