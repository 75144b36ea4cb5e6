"""Its statements stand alone; the other scope has another name, and with it all that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import ForEach, On, S, Scope, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            ForEach("lines", ["tea"], Wait("parcel", On("sent"), was=("goods/parcel",)), was=("goods/lines",)),
            Step("tell", self.note("told"), was=("goods/tell",)),
            Scope("present", Step("pack", self.note("gift")), was=("gift",)),
        )


ENDS = dict.fromkeys(
    ("1-goods.parcel", "2-goods.parcel-sent", "3-goods.tell", "4-gift.pack", "5-end"),
    ("told", "gift"),
)
"""What is in the log at the end, by the snapshot that the run went on from."""
