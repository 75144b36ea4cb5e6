# pyright: strict
"""Sections: methods and functions that return statements, in both styles, for items too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Never, Self

from flowstmt import Break, Case, For, ForEach, Go, If, On, Return, S, Statement, Step, Switch, Wait


@dataclass
class Line:
    sku: str
    count: int


@dataclass
class Order:
    lines: list[Line] = field(default_factory=list[Line])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Wait("start", On("start", cls.start)),  # by its name: to pyright it might take the payload first
            cls.courier("first"),
            courier("by a function"),
            ForEach("one", lambda w: w.lines, cls.packing("one")),
            ForEach("of method", cls.open_lines, cls.packing("of method")),
            ForEach("of tuple", (Line("tea", 1),), cls.packing("of tuple")),
            ForEach("beside", lambda w: w.lines, cls.packing("beside"), cls.courier("beside"), Step("pack more", cls.pack)),
            ForEach("without item", lambda w: w.lines, cls.courier("without item")),
            ForEach("by functions", lambda w: w.lines, packing("by functions"), courier("by functions")),
            ForEach("nested", lambda w: w.lines, If("any", lambda w, line: line.count > 0, cls.packing("nested"))),
            ForEach("in a row", lambda w: w.lines, S(cls.packing("in a row"), Break())),
            ForEach("beside each other", lambda w: w.lines, Go("go", cls.packing("go"), id=lambda w, line: line.sku)),
            ForEach("no id", lambda w: w.lines, Go("go on", cls.packing("go on"))),
            Go("handed over", cls.packing("handed over"), arg=cls.first),
            Go("handed over here", cls.packing("handed over here"), Step("pack here", cls.pack), arg=lambda w: w.lines[0]),
            Switch(Case("many", lambda w: len(w.lines) > 3, cls.courier("many"))),
        )

    @classmethod
    def packing(cls, name: str) -> Statement[Self, Line]:
        return For(
            f"packing {name}",
            lambda w: w.lines,
            Step(f"pack {name}", cls.pack),
            If(f"packed {name}", lambda w, line: line.count == 0, Break()),
        )

    @classmethod
    def courier(cls, name: str) -> Statement[Self]:
        return If(f"empty {name}", lambda w: not w.lines, Step(f"call {name}", cls.call))

    def start(self, lines: list[Line]) -> None:
        self.lines = lines

    def pack(self, line: Line) -> None:
        line.count = 0

    def call(self) -> None: ...

    def open_lines(self) -> list[Line]:
        return [line for line in self.lines if line.count]

    def first(self) -> Line:
        return self.lines[0]


@dataclass
class Express(Order):
    """Inherits the definition, and the sections."""


# Named from outside: the class instead of Self, and Never instead of a style, since `cls` may be any subclass.
def packing(name: str) -> Statement[Order, Line, Never]:
    return Step(f"pack by function {name}", Order.pack)


def courier(name: str) -> Statement[Order, object, Never]:
    return If(f"empty by function {name}", lambda w: not w.lines, Step(f"call by function {name}", Order.call))


@dataclass
class Static:
    lines: list[Line] = field(default_factory=list[Line])

    @staticmethod
    def definition() -> Statement[Static]:
        return S(
            Static.courier(),
            ForEach("lines", lambda w: w.lines, Static.packing("lines")),
            ForEach("threads", lambda w: w.lines, Go("go", Static.packing("go"), id=lambda w, line: line.sku)),
            Go("handed over", Static.packing("handed over"), arg=lambda w: w.lines[0]),
        )

    @staticmethod
    def packing(name: str) -> Statement[Static, Line]:
        return If(f"any {name}", lambda w, line: line.count > 0, Step(f"pack {name}", Static.pack))

    @staticmethod
    def courier() -> Statement[Static]:
        return Step("call", Static.call)

    def pack(self, line: Line) -> None: ...

    def call(self) -> None: ...


@dataclass
class Stock:
    lines: list[Line] = field(default_factory=list[Line])

    def definition(self) -> Statement:
        return S(
            ForEach("lines", self.lines, self.packing("lines"), self.labelling("lines")),
            ForEach("threads", self.lines, Go("go", self.packing("go"), self.labelling("go"), id=lambda line: line.sku)),
            Go("handed over", self.packing("handed over"), arg=self.first),
            self.labelling("all"),
            Return(),
        )

    def packing(self, name: str) -> Statement[Line, object, object]:
        return If(f"any {name}", lambda line: line.count > 0, Step(f"pack {name}", self.pack))

    def labelling(self, name: str) -> Statement:
        return Step(f"print {name}", self.print_label)

    def pack(self, line: Line) -> None: ...

    def print_label(self) -> None: ...

    def first(self) -> Line:
        return self.lines[0]


WORKFLOWS = [Order, Express, Static, Stock]
