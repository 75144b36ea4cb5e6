# pyright: strict
"""Parallel and Map, both styles: branches, items, keys, results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from flowstmt import (
    ALL,
    ANY,
    AtLeast,
    Branch,
    ErrorInfo,
    ForEach,
    If,
    Map,
    Parallel,
    Percent,
    Return,
    S,
    Statement,
    Step,
    Try,
)


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Stock:
    patient: bool = True
    lines: list[Line] = field(default_factory=list[Line])
    grid: list[list[int]] = field(default_factory=list[list[int]])
    results: list[Any] = field(default_factory=list[Any])

    def definition(self) -> Statement:
        return S(
            Parallel(
                "trip",
                Branch("flight", Step("book a flight", self.book), If("enough", lambda: self.patient, Return(1))),
                Branch("hotel", Step("book a hotel", self.book), Return(self.patient)),
                *[Branch(f"car {number}", Step(f"book car {number}", self.book)) for number in range(3)],
                into="results",
            ),
            Parallel("fast", self.branch("a"), self.branch("b"), join=ANY, into=self.keep),
            Parallel("many", self.branch("c"), join=AtLeast(1), tolerate=1, fail_fast=not self.patient, into=self.keep_any),
            Map(
                "lines",
                self.lines,
                Step("pack", self.pack),
                Step("book it", self.book),
                If("any", lambda line: line.count > 0, Step("pack more", self.pack)),
                Try("try", Step("label", self.pack)).catch(ValueError, Step("label by hand", self.pack)),
                Parallel("sides", Branch("left", Step("pack left", self.pack)), Branch("right", Step("rest", self.book))),
                key=lambda line: line.sku,
                into=self.keep,
                max_concurrency=10,
                tolerate=Percent(5),
            ),
            Map("numbers", range(100), Step("add", self.add), key=str, join=ALL),
            Map("words", ["a", "b"], Step("say", self.say), key=self.key_of, into="results"),
            Map("later", self.later, Step("pack later", self.pack)),
            Map("now", lambda: self.lines, Step("pack now", self.pack)),
            ForEach("rows", self.grid, Map("cells", lambda row: row, Step("add cell", self.add), into=self.keep_of_row)),
        )

    def branch(self, name: str) -> Branch[object, object, object]:
        return Branch(name, Step(f"do {name}", self.book))

    def book(self) -> str:
        return "1A"

    def pack(self, line: Line) -> None:
        line.count = 0

    def add(self, number: int) -> int:
        return number

    def say(self, word: str) -> None: ...

    def key_of(self, word: str) -> str:
        return word

    def later(self) -> list[Line]:
        return self.lines

    def keep(self, results: list[str | ErrorInfo | None]) -> None: ...

    def keep_any(self, results: Sequence[object]) -> None: ...

    def keep_of_row(self, results: list[int], row: list[int]) -> None: ...


@dataclass
class FastStock:
    patient: bool = True
    lines: list[Line] = field(default_factory=list[Line])
    grid: list[list[int]] = field(default_factory=list[list[int]])
    results: list[Any] = field(default_factory=list[Any])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Parallel(
                "trip",
                Branch("flight", Step("book a flight", cls.book), If("enough", lambda w: w.patient, Return(1))),
                Branch("hotel", Step("book a hotel", cls.book), Return(lambda w: w.patient)),
                *[Branch(f"car {number}", Step(f"book car {number}", cls.book)) for number in range(3)],
                into="results",
            ),
            Parallel("fast", cls.branch("a"), cls.branch("b"), join=ANY, into=cls.keep),
            Parallel("many", cls.branch("c"), join=AtLeast(1), tolerate=1, into=lambda w, results: w.keep(results)),
            Map(
                "lines",
                lambda w: w.lines,
                Step("pack", cls.pack),
                Step("book it", cls.book),
                If("any", lambda w, line: line.count > 0, Step("pack more", cls.pack)),
                Try("try", Step("label", cls.pack)).catch(ValueError, Step("label by hand", cls.pack)),
                Parallel("sides", Branch("left", Step("pack left", cls.pack)), Branch("right", Step("rest", cls.book))),
                key=lambda w, line: line.sku,
                into=cls.keep,
                max_concurrency=10,
                tolerate=Percent(5),
            ),
            Map("numbers", range(100), Step("add", cls.add), key=lambda w, number: str(number), join=ALL),
            Map("words", ("a", "b"), Step("say", cls.say), key=cls.key_of, into="results"),
            Map("later", cls.later, Step("pack later", cls.pack), cls.packing("more")),
            ForEach(
                "rows",
                lambda w: w.grid,
                Map("cells", lambda w, row: row, Step("add cell", cls.add), into=cls.keep_of_row),
            ),
        )

    @classmethod
    def branch(cls, name: str) -> Branch[Self]:
        return Branch(name, Step(f"do {name}", cls.book))

    @classmethod
    def packing(cls, name: str) -> Statement[Self, Line]:
        return Parallel(f"packing {name}", Branch(f"branch {name}", Step(f"pack it {name}", cls.pack)))

    def book(self) -> str:
        return "1A"

    def pack(self, line: Line) -> None:
        line.count = 0

    def add(self, number: int) -> int:
        return number

    def say(self, word: str) -> None: ...

    def key_of(self, word: str) -> str:
        return word

    def later(self) -> list[Line]:
        return self.lines

    def keep(self, results: list[str | ErrorInfo | None]) -> None: ...

    def keep_of_row(self, results: list[int], row: list[int]) -> None: ...


WORKFLOWS = [Stock, FastStock]
