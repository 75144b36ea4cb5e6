"""A stamp and an approval that nobody wants any more."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Step("stamp", self.note("stamp")),
            Wait("approval", On("approved")),
            Step("send", self.note("send")),
        )


CALLS: list[Call] = [(CallbackRequest("approved"), None)]
