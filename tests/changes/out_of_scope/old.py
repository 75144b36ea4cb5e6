"""A section in a scope that is not needed any more."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, ForEach, On, S, Scope, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Scope("goods", ForEach("lines", ["tea"], Wait("parcel", On("sent"))), Step("tell", self.note("told"))),
            Scope("gift", Step("pack", self.note("gift"))),
        )


CALLS: list[Call] = [(CallbackRequest("sent"), None)]
