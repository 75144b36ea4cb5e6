"""They changed places, and one stands in a branch now: a run takes the new way from where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import If, On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Wait("courier", On("arrived")),
            If("packed too late", "pack" not in self.log, Step("pack", self.note("pack"))),
            Step("send", self.note("send")),
        )


ENDS = {
    "1-pick": ["pick", "pack", "send"],
    "2-pack": ["pick", "pack", "send"],
    "3-courier": ["pick", "pack", "send"],
    "4-courier-arrived": ["pick", "pack", "send"],
    "5-send": ["pick", "pack", "send"],
    "6-end": ["pick", "pack", "send"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
