# pyright: strict
"""ForEach and Go: what takes one more parameter gets the item."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstmt import ForEach, Go, If, Join, On, Return, S, Statement, Step, Wait


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Stock:
    lines: list[Line] = field(default_factory=list[Line])
    grid: list[list[int]] = field(default_factory=list[list[int]])
    taken: dict[str, int] = field(default_factory=dict[str, int])

    def definition(self) -> Statement:
        return S(
            ForEach(
                "lines",
                self.lines,
                Step("take", self.take),
                Step("count", self.count),
                Step("weigh", self.weigh, into=self.keep),
                If("any", lambda line: line.count > 0, Step("take more", self.take)),
                Wait("approval", On("approve", self.approve)),
                S(Step("take again", self.take), self.section("all")),
                Go("pack", Step("wrap", self.take), id=lambda line: line.sku),
                Go("label", Step("print", self.say), arg=lambda line: line.sku),
            ),
            ForEach("rows", self.grid, ForEach("cells", lambda row: row, Step("add", self.add))),
            ForEach("words", ["a", "b"], Step("say", self.say)),
            ForEach("numbers", range(3), Step("add number", self.add)),
            ForEach("later", self.later, Step("take later", self.take)),
            Go("one", Step("take one", self.take), arg=Line("tea", 1)),
            Go("two", Step("take two", self.take), arg=self.first),
            Join("all packed", "pack", "label", "one", "two"),
            Return(self.taken),
        )

    def section(self, name: str) -> Statement:
        return Step(name, self.count)

    def take(self, line: Line) -> None:
        self.taken[line.sku] = line.count

    def weigh(self, line: Line) -> int:
        return line.count

    def keep(self, weight: int, line: Line) -> None:
        self.taken[line.sku] = weight

    def approve(self, verdict: bool, line: Line) -> None:
        self.taken[line.sku] = int(verdict)

    def count(self) -> None: ...

    def say(self, word: str) -> None: ...

    def add(self, number: int) -> None: ...

    def later(self) -> list[Line]:
        return self.lines

    def first(self) -> Line:
        return self.lines[0]


WORKFLOWS = [Stock]
