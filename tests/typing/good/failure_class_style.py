# pyright: strict
"""Failure in class style: the workflow first, the error, the result or the item after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Never, Self

from flowstmt import (
    Break,
    Catch,
    Continue,
    ErrorInfo,
    Fail,
    Finally,
    For,
    ForEach,
    If,
    Retry,
    Return,
    S,
    Saga,
    Statement,
    Step,
    Try,
)


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Trip:
    paid: bool = False
    error: ErrorInfo | None = None
    lines: list[Line] = field(default_factory=list[Line])
    seats: list[str] = field(default_factory=list[str])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Try(
                "pay",
                Step("charge", cls.charge, retry=Retry(max_attempts=5, when=lambda error: "busy" in str(error))),
                Step("fetch", cls.fetch, timeout=timedelta(seconds=30)),
                If("is paid", lambda w: w.paid, Return("paid")),
            )
            .catch(ValueError, Step("tell", cls.tell), into="error")
            .catch((KeyError, "no money"), Step("tell more", cls.tell), into=cls.keep_error)
            .catch(cls.is_transient)
            .catch(Exception, Fail("other", cls.why))
            .finally_(Step("clean", cls.tell), If("was paid", lambda w: w.paid, Step("clean more", cls.tell))),
            Try(
                "parts",
                If("is paid now", lambda w: w.paid, Return()),
                Catch(Exception, If("was it paid", lambda w: w.paid, Return()), into=lambda w, error: w.keep_error(error)),
                Finally(Step("clean it", cls.tell)),
            ),
            Fail("no money", lambda w: f"There is none, but {w.error}."),
            Saga(
                "trip",
                Step("book", cls.book, into="seats", compensate=cls.unbook),
                Step("book later", cls.book_later, compensate=cls.unbook_later),
                Step("pay for it", cls.charge, compensate=cls.tell),
                Step("insure", cls.tell, compensate=lambda w: w.tell()),
                Step("upgrade", cls.book, into=cls.keep, compensate=lambda w, seats: w.unbook(seats)),
            ),
            ForEach(
                "lines",
                lambda w: w.lines,
                Try("line", Step("pack", cls.pack), If("many", lambda w, line: line.count > 3, Break()))
                .catch(ValueError, Step("unpack", cls.pack), Continue(), into=cls.keep_error_of)
                .finally_(Step("label", cls.pack)),
                Saga(
                    "line saga",
                    Step("weigh", cls.weigh, compensate=cls.unweigh),
                    Step("weigh it", cls.weigh, into=cls.keep_weight, compensate=cls.unweigh_it),
                    Step("weigh once", cls.weigh, compensate=cls.tell),
                    Step("weigh here", cls.weigh, compensate=lambda w, weight, line: w.unweigh_it(weight, line)),
                ),
                cls.section("in a loop"),
                cls.packing("all"),
                Fail("lost", lambda w, line: line.sku),
            ),
            For("ever", Try("round", Step("work", cls.tell), Break()).finally_(cls.section("round")), max_iterations=3),
            For("while", lambda w: w.paid, Step("work more", cls.tell), max_iterations=100),
            by_a_function("outside"),
        )

    @classmethod
    def section(cls, name: str) -> Statement[Self]:
        return Try(f"try {name}", Step(f"do {name}", cls.tell)).catch(ValueError)

    @classmethod
    def packing(cls, name: str) -> Statement[Self, Line]:
        return Saga(f"saga {name}", Try(f"pack {name}", Step(f"packing {name}", cls.pack)).finally_())

    @staticmethod
    def is_transient(error: Exception) -> bool:
        return isinstance(error, TimeoutError)

    def charge(self) -> int:
        return 1

    async def fetch(self) -> str:
        return ""

    def tell(self) -> None: ...

    def why(self) -> str:
        return "for no reason"

    def keep_error(self, error: ErrorInfo) -> None:
        self.error = error

    def keep_error_of(self, error: ErrorInfo, line: Line) -> None:
        self.error = error

    def book(self) -> list[str]:
        return ["1A"]

    async def book_later(self) -> list[str]:
        return ["1A"]

    def keep(self, seats: list[str]) -> None:
        self.seats = seats

    def unbook(self, seats: Sequence[str]) -> None: ...

    async def unbook_later(self, seats: list[str]) -> None: ...

    def pack(self, line: Line) -> None: ...

    def weigh(self, line: Line) -> int:
        return line.count

    def keep_weight(self, weight: int, line: Line) -> None: ...

    def unweigh(self, weight: int) -> None: ...

    def unweigh_it(self, weight: int, line: Line) -> None: ...


def by_a_function(name: str) -> Statement[Trip, object, Never]:
    return Try(f"by {name}", Step(f"charge by {name}", Trip.charge, compensate=Trip.tell)).catch(ValueError)


WORKFLOWS = [Trip]
