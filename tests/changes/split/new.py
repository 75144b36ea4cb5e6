"""The first of two steps takes its place."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import S, Statement, Step
from tests.changes.record import Noting


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Step("pick", self.note("pick")),
            Step("pack", self.note("pack"), was=("pack and send",)),
            Step("send", self.note("send")),
        )


ENDS = dict.fromkeys(("1-pick", "2-pack-and-send", "3-end"), ("pick", "pack", "send"))
"""What is in the log at the end, by the snapshot that the run went on from."""
