# pyright: strict
"""What is less usual, and right: unions, partials, untyped decorators, pydantic models, inheritance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict

from flowstmt import Break, Continue, For, ForEach, Go, If, On, Return, S, Statement, Step, Timeout, Wait, WaitFor


class Kind(Enum):
    A = 1


class Doc(TypedDict):
    name: str


class Model(BaseModel):
    paid: bool = False
    price: Decimal = Decimal(0)
    doc: Doc = {"name": "x"}
    rows: tuple[int, ...] = ()
    seq: Sequence[str] = []

    def definition(self) -> Statement:
        steps = [Step(f"s{i}", self.a) for i in range(3)]
        first = Step("first", self.a) if steps else Return()
        more: list[Statement] = [Step("m", self.a), Return()]
        return S(
            *steps,
            first,
            *more,
            Step("p", partial(self.say, "a")),
            Step("b", print),
            Step("d", self.with_default),
            Step("v", self.variadic),
            If("and", self.paid and self.price, Step("x", self.a)),
            If("kind", Kind.A, Return(self.doc)),
            If("not", not self.paid, Return(Decimal(1))).else_(Return()),
            For("dear", lambda: self.price > 3, Step("y", self.a)),
            Wait("many", *[On(f"e{i}") for i in range(3)]),
            Wait(
                "w",
                On("l", lambda: None),
                On("p", lambda p: self.say(str(p))),
                On("q", print),
                Timeout("t", lambda: timedelta(1)),
            ),
            ForEach("r", self.rows, Step("add", self.add), ForEach("s", self.seq, Step("say", self.say))),
            ForEach("again", self.rows, Go("g", Step("add2", self.add), Step("plain", self.a), id=lambda row: row)),
            Go("empty"),
            S(),
            Return(self.any()),
            Return(lambda: self.doc),
            Return(self.model_again),
            For("ever", If("x?", lambda: self.paid, Break(), was=("x once",)), Step("zz", self.a)),
        )

    def a(self) -> None: ...
    def say(self, word: str) -> None: ...
    def add(self, n: int) -> None: ...
    def with_default(self, n: int = 3) -> int:
        return n

    def variadic(self, *args: Any, **kwargs: Any) -> None: ...
    def any(self) -> Any: ...
    def model_again(self) -> Model:
        return self


T = TypeVar("T")


@dataclass
class Base(Generic[T]):
    value: T | None = None

    def definition(self) -> Statement:
        return Step("x", self.act)

    def act(self) -> None: ...


@dataclass
class Derived(Base[int]):
    def definition(self) -> Statement:
        return S(super().definition(), Step("y", self.act))


def logged(f: Callable[..., Any]) -> Callable[..., Any]:
    return f


@dataclass
class ByClass:
    n: int = 0
    due: datetime | None = None
    lines: list[str] = field(default_factory=list[str])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            If("n", lambda w: w.n > 3, Return("x")),
            Step("l", lambda w: w.lines.append("x")),
            Step("dec", cls.decorated),
            ForEach(
                "lines",
                lambda w: w.lines,
                Step("s", lambda w, line: w.lines.remove(line)),
                If("x", lambda w, line: len(line) > w.n, Continue()),
            ),
            For("until", lambda w: w.n < 3, Wait("e", On("x", lambda w, p: w.lines.append(p)))),
            WaitFor("due", lambda w: w.due),
            *[Step(f"s{i}", cls.act) for i in range(3)],
            Return(lambda w: {"n": w.n}),
        )

    def act(self) -> None: ...
    @logged
    def decorated(self) -> int:
        return 1


WORKFLOWS = [Model, Derived, ByClass]
