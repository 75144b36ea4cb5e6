"""Those that live are waited for by the Join, and called by their old ids."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import ForEach, Go, Join, On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            ForEach(
                "lines",
                ["tea", "milk"],
                Go(
                    "deliver",
                    Wait("parcel", On("sent")),
                    Step("tell", self.tell),
                    id=lambda line: line,
                    was=("ship",),
                ),
            ),
            Join("all shipped", "deliver"),
            Step("thank", self.note("thank")),
        )

    def tell(self, line: str) -> None:
        self.log.append(line)


ENDS = dict.fromkeys(
    ("1-all-shipped", "2-all-shipped", "3-all-shipped", "4-all-shipped", "5-all-shipped", "6-all-shipped", "7-thank", "8-end"),
    ("milk", "tea", "thank"),
)
"""What is in the log at the end, by the snapshot that the run went on from."""
