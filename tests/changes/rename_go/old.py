"""Threads, told apart by the lines that they ship."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, ForEach, Go, Join, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            ForEach(
                "lines",
                ["tea", "milk"],
                Go(
                    "ship",
                    Wait("parcel", On("sent")),
                    Step("tell", self.tell),
                    id=lambda line: line,
                ),
            ),
            Join("all shipped", "ship"),
            Step("thank", self.note("thank")),
        )

    def tell(self, line: str) -> None:
        self.log.append(line)


CALLS: list[Call] = [(CallbackRequest("sent", "ship:milk"), None), (CallbackRequest("sent", "ship:tea"), None)]
