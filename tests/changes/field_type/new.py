"""Cents, and lines that have a count. ``migrate`` sees the data; an item that a run is at is kept in its loop, as it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from flowstmt import ForEach, On, S, Statement, Step, Wait
from tests.changes.record import Noting


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order(Noting):
    version: ClassVar[int] = 2
    cents: int = 0
    lines: list[Line] = field(default_factory=list)

    @classmethod
    def migrate(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        lines = [{"sku": sku} for sku in data["lines"]]
        return {"log": data["log"], "cents": round(data["amount"] * 100), "lines": lines}

    def definition(self) -> Statement:
        return S(
            Wait("payment", On("paid")),
            ForEach("each line", self.lines, Step("pick", self.pick)),
            Step("total", lambda: self.log.append(f"{self.cents} cents")),
        )

    def pick(self, line: Line | str) -> None:
        self.log.append(line if isinstance(line, str) else f"{line.count} {line.sku}")


ENDS = {
    "1-payment": ["1 tea", "1 milk", "525 cents"],
    "2-payment-paid": ["1 tea", "1 milk", "525 cents"],
    "3-pick": ["tea", "1 milk", "525 cents"],
    "4-pick": ["tea", "milk", "525 cents"],
    "5-total": ["tea", "milk", "525 cents"],
    "6-end": ["tea", "milk", "5.25"],
}
"""What is in the log at the end, by the snapshot that the run went on from."""
