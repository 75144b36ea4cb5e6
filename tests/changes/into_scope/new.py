"""It stands in a scope now. Old names that begin with a slash are full names."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import Go, Join, On, S, Scope, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Scope(
                "goods",
                Go(
                    "ship",
                    Wait("parcel", On("sent"), was=("/parcel",)),
                    Step("tell", self.note("sent"), was=("/tell",)),
                    was=("/ship",),
                ),
                Step("pack", self.note("packed"), was=("/pack",)),
                Join("shipped", "ship", was=("/shipped",)),
            ),
            Scope("gift", Step("pack", self.note("gift"))),
        )


ENDS = {
    "1-pack": ["packed", "sent", "gift"],
    "2-shipped": ["packed", "sent", "gift"],
    "3-shipped": ["packed", "sent", "gift"],
    "4-shipped": ["packed", "sent", "gift"],
    "5-end": ["packed", "sent"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
