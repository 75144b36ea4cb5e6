# pyright: strict
"""Waits that take events, times and conditions alike, both styles: reminders, events that stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from flowstmt import Event, Every, ForEach, On, Return, S, Statement, Step, Timeout, Try, Wait, When


@dataclass
class Line:
    sku: str
    count: int


NOTED = Event("noted", str, int)


@dataclass
class Order:
    paid: bool = False
    notes: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])

    def definition(self) -> Statement:
        return S(
            Wait(
                "payment",
                On("paid", Return("paid")),
                On(NOTED, self.note, Step("thank", self.tell), stay=True),
                On("comment", self.comment, stay=True),
                Every("daily", timedelta(days=1), Step("remind", self.tell), was=("weekly",)),
                Every("often", self.period, Try("mail", Step("write", self.tell)).catch(Exception)),
                Every("now and then", lambda: timedelta(days=len(self.notes)), Step("look", self.tell)),
                When("is paid", lambda: self.paid, Step("ship", self.tell)),
                When("has notes", self.notes, Step("read", self.tell)),
                When("is late", self.is_late),
                Timeout("too late", timedelta(days=30), Return("gave up")),
            ),
            ForEach(
                "lines",
                self.lines,
                Wait(
                    "line",
                    On("picked", self.pick, Step("pack", self.pack), stay=True),
                    Every("each day", self.period_of, Step("search", self.pack)),
                    When("all there", lambda line: line.count > 0, Step("take", self.pack)),
                ),
            ),
        )

    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    def comment(self, text: str) -> None: ...

    def tell(self) -> None: ...

    def period(self) -> timedelta:
        return timedelta(days=1)

    def period_of(self, line: Line) -> timedelta:
        return timedelta(days=line.count)

    def is_late(self) -> bool:
        return False

    def pick(self, count: int, line: Line) -> None:
        line.count = count

    def pack(self, line: Line) -> None: ...


@dataclass
class FastOrder:
    paid: bool = False
    notes: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Wait(
                "payment",
                On("paid", Return("paid")),
                On(NOTED, cls.note, Step("thank", cls.tell), stay=True),
                Every("daily", timedelta(days=1), Step("remind", cls.tell)),
                Every("often", cls.period, Try("mail", Step("write", cls.tell)).catch(Exception)),
                Every("now and then", lambda w: timedelta(days=len(w.notes)), Step("look", cls.tell)),
                When("is paid", lambda w: w.paid, Step("ship", cls.tell)),
                When("is late", cls.is_late),
                Timeout("too late", timedelta(days=30), Return("gave up")),
            ),
            ForEach(
                "lines",
                lambda w: w.lines,
                Wait(
                    "line",
                    On("picked", cls.pick, Step("pack", cls.pack), stay=True),
                    Every("each day", cls.period_of, Step("search", cls.pack)),
                    When("all there", lambda w, line: line.count > 0, Step("take", cls.pack)),
                ),
            ),
        )

    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    def tell(self) -> None: ...

    def period(self) -> timedelta:
        return timedelta(days=1)

    def period_of(self, line: Line) -> timedelta:
        return timedelta(days=line.count)

    def is_late(self) -> bool:
        return False

    def pick(self, count: int, line: Line) -> None:
        line.count = count

    def pack(self, line: Line) -> None: ...


WORKFLOWS = [Order, FastOrder]
