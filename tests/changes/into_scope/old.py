"""A section that is wanted a second time."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, Go, Join, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Go("ship", Wait("parcel", On("sent")), Step("tell", self.note("sent"))),
            Step("pack", self.note("packed")),
            Join("shipped", "ship"),
        )


CALLS: list[Call] = [(CallbackRequest("sent", "ship"), None)]
