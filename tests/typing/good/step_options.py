# pyright: strict
"""Options near the code: the decorated function is what it was."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self, assert_type

from flowstmt import ForEach, Retry, S, Statement, Step, step


def undo(result: int) -> None: ...


@step(retry=Retry(), compensate=undo)
def count(first: str, second: int = 1) -> int:
    return len(first) * second


assert_type(count("a", second=2), int)


@dataclass
class Order:
    receipt: str = ""

    def refund(self, receipt: str) -> None: ...

    @step(into="receipt", compensate=refund, transactional=True, inline=False)
    def charge(self) -> str:
        return ""

    @step(timeout=timedelta(seconds=3), concurrent=True, compensate="refund")
    async def ask(self) -> int:
        return 1

    @step(retry=Retry(max_attempts=3))
    def pack(self, item: int) -> None: ...

    @staticmethod
    @step(into="receipt")
    def number() -> str:
        return ""

    def definition(self) -> Statement:
        return S(
            Step("charge", self.charge),
            Step("ask", self.ask, concurrent=False),
            Step("number", self.number, retry=Retry(), transactional=True, inline=False),
            ForEach("items", [1], Step("pack", self.pack)),
        )


@dataclass
class Fast(Order):
    @classmethod
    def definition(cls) -> Statement[Self]:  # type: ignore[override] # a class may choose its style
        return S(Step("charge", cls.charge), Step("ask", cls.ask), ForEach("items", lambda w: [1], Step("pack", cls.pack)))


assert_type(Order().charge(), str)
assert_type(Order.number(), str)


def asked() -> Awaitable[int]:
    return Order().ask()


WORKFLOWS = [Order, Fast]
