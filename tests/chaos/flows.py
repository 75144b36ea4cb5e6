"""The workflows that run while processes die: one for each thing that an engine has to get right.

What they do goes to the tables of ``world.World``, which is their ``deps``. How each run has to end is known beforehand:
``cases.py`` has the oracles.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from datetime import timedelta

from flowstmt import (
    ANY,
    Branch,
    Call,
    CallbackRequest,
    ErrorInfo,
    Every,
    Fail,
    FinalError,
    For,
    ForEach,
    Go,
    If,
    Map,
    On,
    Parallel,
    RefusedError,
    Retry,
    Return,
    S,
    Saga,
    Sleep,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
    WaitFor,
    current,
)

__all__ = ["FLOWS"]


def note(what: str) -> None:
    """An effect outside."""
    current().deps.note(current(), what)


def book(what: str) -> None:
    """An effect in the transaction of the step."""
    current().deps.book(current(), what)


async def note_beside(what: str) -> None:
    """An effect outside, of an async action: the loop is not kept waiting."""
    here = current()
    await asyncio.to_thread(here.deps.note, here, what)


class Page:
    """What an event needs outside for as long as somebody waits for it."""

    async def setup(self, request: CallbackRequest) -> str:
        return str(await asyncio.to_thread(current().deps.put_up, request))

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        current().deps.take_down(request)


class FlakyError(Exception):
    """What may be tried again."""


SOON = timedelta(milliseconds=20)


@dataclass
class Parcel:
    """Steps of every manner in a row: in the transaction, blocking, async, inline."""

    lines: list[str]
    weight: int = 0

    def definition(self) -> Statement:
        return S(
            Step("reserve", self.reserve, transactional=True),
            ForEach("lines", self.lines, Step("pack", self.pack), Step("label", self.label, transactional=True)),
            Step("weigh", self.weigh, into="weight", inline=True),
            Step("ship", self.ship),
            Return(self.weight),
        )

    def reserve(self) -> None:
        book("reserve")

    async def pack(self, line: str) -> None:
        await note_beside(f"pack {line}")

    def label(self, line: str) -> None:
        book(f"label {line}")

    def weigh(self) -> int:
        return len(self.lines)

    def ship(self) -> None:
        note("ship")


@dataclass
class Stubborn:
    """A step that fails as often as it is told, and one in a transaction that does."""

    failures: int
    attempts: int
    caught: bool
    rollbacks: int = 0
    error: ErrorInfo | None = None

    def definition(self) -> Statement:
        retry = Retry(max_attempts=self.attempts, initial=SOON, max_delay=4 * SOON, jitter=0.5)
        call = Step("call", self.call, retry=retry)
        often = Retry(max_attempts=50, initial=SOON, max_delay=SOON)
        return S(
            Try("calling", If("caught", self.caught, Step("call in vain", self.call, retry=retry))).catch(
                FlakyError, into="error"
            ),
            If("not caught", not self.caught, call),
            Step("book", self.book, retry=often, transactional=True),
            Return(None if self.error is None else self.error.attempts),
        )

    def call(self) -> None:
        note("call")
        if current().attempt <= self.failures:
            raise FlakyError(f"attempt {current().attempt}")

    def book(self) -> None:
        book("book")
        if current().attempt <= self.rollbacks:
            raise FlakyError("after it was written")


@dataclass
class Mailbox:
    """Letters come by callback and signal, twice and at once, until it is closed with the list of those that must be here."""

    wanted: list[str] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Go("taker", For("ever", Wait("letter", On("letter", self.take, via=Page())), Step("read", self.read))),
            Wait("close", On("close", into="wanted", via=Page()), Every("reminder", timedelta(seconds=1))),
            WaitFor("all here", set(self.wanted) <= set(self.letters)),
            Return(self.letters),
        )

    def take(self, letter: str) -> int:
        if not letter:
            raise RefusedError("an empty letter")
        self.letters.append(letter)
        return len(self.letters)

    async def read(self) -> None:
        await note_beside(f"read {self.letters[-1]}")


@dataclass
class Payment:
    """One payment is taken, whoever offers one; without any it is overdue."""

    patience: float
    paid: str = ""

    def definition(self) -> Statement:
        return S(
            Wait(
                "payment",
                On("paid", self.take, via=Page()),
                On("call off", Return("called off"), via=Page()),
                Timeout("late", timedelta(seconds=self.patience), Step("remind", self.remind), Return("overdue")),
            ),
            Step("receipt", self.receipt, transactional=True),
            Return(self.paid),
        )

    def take(self, by: str) -> str:
        self.paid = by
        return f"thank you, {by}"

    def receipt(self) -> None:
        book(f"receipt for {self.paid}")

    def remind(self) -> None:
        note("remind")


@dataclass
class Nap:
    """Times pass, each at least as long as it is said, by the database's clock."""

    naps: list[float]

    def definition(self) -> Statement:
        return S(
            Step("lie down", self.lie_down, transactional=True),
            ForEach("naps", self.naps, Sleep("nap", self.how_long), Step("turn over", self.turn_over, transactional=True)),
            Return("rested"),
        )

    def lie_down(self) -> None:
        book("lie down")

    def how_long(self, nap: float) -> timedelta:
        return timedelta(seconds=nap)

    def turn_over(self, nap: float) -> None:
        book(f"nap {nap}")


@dataclass
class Item:
    name: str
    fails: bool


@dataclass
class Fan:
    """Many at once, some of which fail; and a race that leaves a loser behind, who waits for a callback."""

    items: list[Item]
    results: list[str | ErrorInfo | None] = field(default_factory=list)
    winner: list[str | None] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Map(
                "fan",
                self.items,
                Step("ask", self.ask, concurrent=True),
                If("fails", self.is_bad, Fail("bad item", "it was told to fail")),
                Step("keep", self.keep, transactional=True),
                Return(self.name),
                key=self.name,
                max_concurrency=4,
                tolerate=len(self.items),
                into="results",
            ),
            Parallel(
                "race",
                Branch("waits", Wait("never", On("never", via=Page())), Return("never")),
                Branch("runs", Sleep("short", SOON), Step("run", self.run), Return("ran")),
                join=ANY,
                into="winner",
            ),
            Return([result if isinstance(result, str) else None for result in self.results]),
        )

    async def ask(self, item: Item) -> str:
        await note_beside(f"ask {item.name}")
        return item.name

    def keep(self, item: Item) -> None:
        book(f"keep {item.name}")

    def is_bad(self, item: Item) -> bool:
        return item.fails

    def name(self, item: Item) -> str:
        return item.name

    def run(self) -> None:
        note("run")


@dataclass
class Trip:
    """Bookings that are undone, the newest first, if the trip fails, or is cancelled while it waits for somebody."""

    legs: list[str]
    ends: str
    """finishes, fails, or waits for ever."""

    def definition(self) -> Statement:
        return S(
            ForEach("legs", self.legs, Step("leg", self.leg, transactional=True, compensate=self.undo_leg)),
            Saga("hotel", Step("room", self.room, compensate=self.undo_room)),
            If("waits", self.ends == "waits", Wait("go", On("go", via=Page()))),
            If("fails", self.ends == "fails", Step("car", self.car, retry=Retry(max_attempts=2, initial=SOON))),
            Return("arrived"),
        )

    def leg(self, leg: str) -> str:
        book(f"do {leg}")
        return leg

    def room(self) -> str:
        note("do room")
        return "room"

    def undo_leg(self, leg: str) -> None:
        book(f"undo {leg}")

    def undo_room(self, room: str) -> None:
        note(f"undo {room}")

    def car(self) -> None:
        raise FinalError("no car left")


@dataclass
class Poison:
    """Raises, in a step or in a condition, until it is mended. Nobody has said what to do then."""

    where: str
    is_good: bool = False

    def definition(self) -> Statement:
        return S(
            Step("before", self.before, transactional=True),
            If("condition", self.condition, Step("never", self.before)),
            Step("try", self.attempt),
            Step("after", self.after, transactional=True),
            Return("mended"),
        )

    def before(self) -> None:
        book("before")

    def condition(self) -> bool:
        if self.where == "condition" and not self.is_good:
            raise ValueError("a condition that nobody can tell")
        return False

    def attempt(self) -> None:
        note("try")
        if self.where == "step" and not current().deps.is_mended(current().run_id):
            raise ValueError("a step that nobody has thought of")

    def after(self) -> None:
        book("after")


@dataclass
class Killer:
    """Kills the process that moves it, a few times."""

    times: int

    def definition(self) -> Statement:
        return S(
            Step("before", self.before, transactional=True),
            Step("kill", self.kill),
            Step("after", self.after, transactional=True),
            Return("survived"),
        )

    def before(self) -> None:
        book("before")

    def kill(self) -> None:
        note("kill")
        if current().deps.tally(current().run_id, "kill") <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self) -> None:
        book("after")


@dataclass
class Family:
    """Children, some of which fail, or wait until the parent is cancelled."""

    children: list[str]
    """What becomes of each: finishes, fails, or waits."""
    results: list[int | ErrorInfo | None] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Map("children", self.children, Call("child", self.child), tolerate=len(self.children), into="results"),
            Return([result if isinstance(result, int) else None for result in self.results]),
        )

    def child(self, ends: str) -> Parcel | Trip:
        return Parcel(["the only line"]) if ends == "finishes" else Trip(["the only leg"], ends)


FLOWS = (Parcel, Stubborn, Mailbox, Payment, Nap, Fan, Trip, Poison, Killer, Family)
