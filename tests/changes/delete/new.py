"""A run that was to stamp sends; one that waits for its approval may wait to the end, where new runs never come."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import If, On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            If("retired", False, Wait("approval", On("approved"))),
            Step("send", self.note("send"), was=("stamp",)),
        )


ENDS = {
    "1-pick": ["pick", "send"],
    "2-stamp": ["pick", "send"],
    "3-approval": ["pick", "stamp", "send"],
    "4-approval-approved": ["pick", "stamp", "send"],
    "5-send": ["pick", "stamp", "send"],
    "6-end": ["pick", "stamp", "send"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
