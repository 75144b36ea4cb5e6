# pyright: strict
"""Options that stand with the action: what is decorated keeps its type."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from flowstmt import ForEach, Retry, S, Statement, Step, step


@dataclass
class Line:
    sku: str
    count: int


@step(retry=Retry(max_attempts=2))
def by_a_function() -> int:
    return 1


@dataclass
class Order:
    total: int = 0
    receipt: str = ""
    lines: list[Line] = field(default_factory=list[Line])

    def definition(self) -> Statement:
        return S(
            Step("charge", self.charge),
            Step("fetch", self.fetch, into=self.keep, compensate=self.refund),
            Step("count", by_a_function, into="total"),
            ForEach("lines", self.lines, Step("pack", self.pack), Step("weigh", self.weigh, compensate=self.unweigh)),
        )

    @step(into="receipt", retry=Retry(max_attempts=5), compensate="refund")
    def charge(self) -> str:
        return "1"

    @step(timeout=timedelta(seconds=30), concurrent=True)
    async def fetch(self) -> str:
        return self.charge() + by_a_function().to_bytes().hex()

    def keep(self, receipt: str) -> None:
        self.receipt = receipt

    def refund(self, receipt: str) -> None: ...

    @step(retry=Retry(on=OSError))
    def pack(self, line: Line) -> None: ...

    @step()
    def weigh(self, line: Line) -> int:
        return line.count

    def unweigh(self, weight: int, line: Line) -> None: ...


@dataclass
class FastOrder:
    total: int = 0
    lines: list[Line] = field(default_factory=list[Line])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Step("count", cls.count, into=cls.keep),
            ForEach("lines", lambda w: w.lines, Step("weigh", cls.weigh), Step("weigh more", cls.weigh, into="total")),
        )

    def uncount(self, total: int) -> None: ...

    @step(compensate=uncount, retry=Retry(max_attempts=5))
    def count(self) -> int:
        return 1

    def keep(self, total: int) -> None:
        self.total = total

    @step(into="total", concurrent=False)
    def weigh(self, line: Line) -> int:
        return line.count


WORKFLOWS = [Order, FastOrder]
