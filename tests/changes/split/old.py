"""A step that does two things, of which the second fails now and then."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import S, Statement, Step
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Step("pack and send", self.both),
        )

    def both(self) -> None:
        self.log += ["pack", "send"]


CALLS: list[Call] = []
