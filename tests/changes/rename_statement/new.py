"""They are found under their old names."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("bill", self.note("bill"), was=("charge",)),
            Wait("money", On("paid"), was=("payment",)),
            Step("ship", self.note("ship"), was=("send",)),
        )


ENDS = {
    "1-charge": ["bill", "ship"],
    "2-payment": ["charge", "ship"],
    "3-payment-paid": ["charge", "ship"],
    "4-send": ["charge", "ship"],
    "5-end": ["charge", "send"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
