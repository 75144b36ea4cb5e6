"""A loop that a run is inside of nearly all the time."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, ForEach, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            ForEach(
                "lines",
                ["tea", "milk"],
                Step("pick", self.pick),
                Wait("packing", On("packed")),
            ),
            Step("send", self.note("send")),
        )

    def pick(self, line: str) -> None:
        self.log.append(line)


CALLS: list[Call] = [(CallbackRequest("packed"), None), (CallbackRequest("packed"), None)]
