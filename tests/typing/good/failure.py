# pyright: strict
"""Failure in instance style: policies, catches, what runs on every way out, what undoes a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from flowstmt import (
    Break,
    Catch,
    Continue,
    ErrorInfo,
    Fail,
    FinalError,
    Finally,
    For,
    ForEach,
    Go,
    If,
    On,
    Retry,
    Return,
    S,
    Saga,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
)


class ThrottledError(Exception):
    retry_after: int = 0


@dataclass
class Line:
    sku: str
    count: int


def is_transient(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


ONCE = Retry(max_attempts=1)
PATIENT = Retry(
    max_attempts=10,
    initial=timedelta(seconds=2),
    multiplier=1.5,
    max_delay=timedelta(minutes=5),
    jitter=0.2,
    on=(TimeoutError, ConnectionError, "HTTPStatusError", is_transient),
    unless=(FinalError, lambda error: isinstance(error, ThrottledError) and error.retry_after),
    when=is_transient,
    total=timedelta(days=1),
)


@dataclass
class Trip:
    retry: ClassVar[Retry] = Retry(on=ConnectionError, unless="PermissionError")

    paid: bool = False
    error: ErrorInfo | None = None
    lines: list[Line] = field(default_factory=list[Line])
    seats: list[str] = field(default_factory=list[str])

    def definition(self) -> Statement:
        return S(
            Try(
                "pay",
                Step("charge", self.charge, retry=PATIENT),
                Step("fetch", self.fetch, retry=ONCE, timeout=timedelta(seconds=30)),
                If("is paid", self.paid, Return("paid")),
            )
            .catch(ValueError, Step("tell", self.tell), into="error")
            .catch((KeyError, "no money", is_transient), Step("tell more", self.tell), into=self.keep_error)
            .catch(lambda error: isinstance(error, ThrottledError) and error.retry_after > 3)
            .catch(Exception, Fail("other", lambda: f"it is {self.error}"))
            .finally_(Step("clean", self.tell), If("was paid", lambda: self.paid, Step("clean more", self.tell))),
            Try(
                "parts",
                Step("charge again", self.charge),
                Catch(Exception, Step("tell it", self.tell), into="error"),
                Finally(Step("clean it", self.tell)),
            ),
            If("broke", not self.paid, Fail("no money", "There is none.")).else_(Fail("why", self.why)),
            Saga(
                "trip",
                Step("book", self.book, into="seats", compensate=self.unbook),
                Step("book later", self.book_later, compensate=self.unbook_later),
                Step("pay for it", self.charge, compensate=self.tell),
                Step("insure", self.tell, compensate=lambda: self.unbook(self.seats)),
                Step("upgrade", self.book, into=self.keep, compensate=lambda seats: self.unbook(seats[1:])),
                Go("beside", Step("book beside", self.book, compensate=self.unbook)),
            ),
            ForEach(
                "lines",
                self.lines,
                Try("line", Step("pack", self.pack), If("many", lambda line: line.count > 3, Break()))
                .catch(ValueError, Step("unpack", self.pack), Continue(), into=self.keep_error_of)
                .finally_(Step("label", self.pack)),
                Saga(
                    "line saga",
                    Step("weigh", self.weigh, compensate=self.unweigh),
                    Step("weigh it", self.weigh, into=self.keep_weight, compensate=self.unweigh_it),
                    Step("weigh once", self.weigh, compensate=self.tell),
                ),
                self.section("in a loop"),
                Fail("lost", self.why_of),
            ),
            For("ever", Try("round", Step("work", self.tell), Break()).finally_(self.section("round")), max_iterations=3),
            For("while", lambda: self.paid, Step("work more", self.tell), max_iterations=100),
            Wait(
                "answer",
                On("yes", Try("on yes", Step("go", self.tell)).catch("no money", Return())),
                Timeout("late", timedelta(days=1), Fail("too late", "Nobody answered.")),
            ),
        )

    def section(self, name: str) -> Statement:
        return Try(f"try {name}", Step(f"do {name}", self.tell)).catch(ValueError)

    def charge(self) -> int:
        return 1

    async def fetch(self) -> str:
        return ""

    def tell(self) -> None: ...

    def why(self) -> str:
        return "for no reason"

    def why_of(self, line: Line) -> str:
        return line.sku

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


WORKFLOWS = [Trip]
