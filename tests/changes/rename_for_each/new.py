"""The loop goes on at the item that it was at."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import ForEach, On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            ForEach(
                "items",
                ["tea", "milk"],
                Step("pick", self.pick),
                Wait("packing", On("packed")),
                was=("lines",),
            ),
            Step("send", self.note("send")),
        )

    def pick(self, line: str) -> None:
        self.log.append(line)


ENDS = dict.fromkeys(
    ("1-pick", "2-packing", "3-packing-packed", "4-pick", "5-packing", "6-packing-packed", "7-send", "8-end"),
    ("tea", "milk", "send"),
)
"""What is in the log at the end, by the snapshot that the run went on from."""
