"""Two steps and a wait."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Wait("courier", On("arrived")),
            Step("send", self.note("send")),
        )


CALLS: list[Call] = [(CallbackRequest("arrived"), None)]
