"""Four statements in a row."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Step("pack", self.note("pack")),
            Wait("courier", On("arrived")),
            Step("send", self.note("send")),
        )


CALLS: list[Call] = [(CallbackRequest("arrived"), None)]
