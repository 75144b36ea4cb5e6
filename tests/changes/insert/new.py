"""What is inserted runs where a run still comes by."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("count", self.note("count")),
            Step("pick", self.note("pick")),
            Step("pack", self.note("pack")),
            Wait("courier", On("arrived")),
            Step("send", self.note("send")),
            Step("thank", self.note("thank")),
        )


ENDS = {
    "1-pick": ["pick", "pack", "send", "thank"],
    "2-courier": ["pick", "send", "thank"],
    "3-courier-arrived": ["pick", "send", "thank"],
    "4-send": ["pick", "send", "thank"],
    "5-end": ["pick", "send"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
