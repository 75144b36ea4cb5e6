"""An amount in euros, and lines that are texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstmt import CallbackRequest, ForEach, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


@dataclass
class Order(Noting):
    amount: float = 5.25
    lines: list[str] = field(default_factory=lambda: ["tea", "milk"])

    def definition(self) -> Statement:
        return S(
            Wait("payment", On("paid")),
            ForEach("each line", self.lines, Step("pick", self.pick)),
            Step("total", lambda: self.log.append(f"{self.amount}")),
        )

    def pick(self, line: str) -> None:
        self.log.append(line)


CALLS: list[Call] = [(CallbackRequest("paid"), None)]
