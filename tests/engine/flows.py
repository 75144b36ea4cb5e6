"""Workflows for the tests of the engine."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from flowstmt import ConflictError, Event, On, RefusedError, Return, S, Sleep, Statement, Step, Wait, current


@dataclass
class Receipt:
    amount: int
    by: str = "card"


PAID = Event("paid", int, Receipt)
CLOSED = Event("closed")


@dataclass
class Order:
    """Waits for a payment, and then for nothing."""

    sku: str = "tea"
    paid: int = 0
    shipped: int = 0

    def definition(self) -> Statement:
        return S(Wait("payment", On(PAID, self.pay), On("closed")), Step("ship", self.ship), Return(self.paid))

    def pay(self, amount: int) -> Receipt:
        if amount < 0:
            raise RefusedError("that is not how paying works")
        if amount == 13:
            raise OSError("the till is jammed")
        self.paid += amount
        return Receipt(amount)

    def ship(self) -> None:
        self.shipped += 1


@dataclass
class Counting:
    """So many steps, with a pause of the event loop in each."""

    steps: int = 3
    done: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            *(Step(f"step {number}", self.step) for number in range(3)),
            Return(len(self.done)),
        )

    async def step(self) -> None:
        await asyncio.sleep(0)
        self.done.append(len(self.done))


class Gate:
    """Holds actions until it is opened; tells when one has come. Gates are known by name, for actions to find them."""

    known: dict[str, Gate] = {}

    def __init__(self, name: str) -> None:
        self.come = threading.Event()
        self.opened = threading.Event()
        Gate.known[name] = self

    async def arrived(self) -> None:
        """Some action has come."""
        assert await asyncio.to_thread(self.come.wait, 30), "no action came to the gate"

    def open(self) -> None:
        self.opened.set()

    def pass_through(self) -> None:
        self.come.set()
        assert self.opened.wait(30), "nobody opened the gate"


@dataclass
class Held:
    """A long step, and after it a Wait."""

    gate: str
    got: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("long", self.long),
            Wait("number", On("number", self.take), On(PAID, self.pay)),
            Return(self.got),
        )

    def long(self) -> None:
        Gate.known[self.gate].pass_through()

    def take(self, number: int) -> int:
        self.got.append(number)
        return number * 2

    def pay(self, amount: int) -> Receipt:
        self.got.append(amount)
        return Receipt(amount)


@dataclass
class Refusing(Order):
    """An order behind a long step."""

    gate: str = ""

    def definition(self) -> Statement:
        return S(Step("long", self.long), Wait("payment", On(PAID, self.pay)), Step("ship", self.ship))

    def long(self) -> None:
        Gate.known[self.gate].pass_through()


@dataclass
class Selfish:
    """Asks the engine about its own run, from inside of it."""

    engine: ClassVar[Any] = None

    seen: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(Step("ask", self.ask), Return(self.seen))

    async def ask(self) -> None:
        engine = type(self).engine
        for call in (engine.callback("s-1", PAID, 5), engine.result("s-1"), engine.pause("s-1")):
            try:
                await call
            except ConflictError as error:
                self.seen.append(type(error).__name__)


@dataclass
class Failing:
    """Fails until its world is mended."""

    name: str

    def definition(self) -> Statement:
        return Step("work", self.work)

    def work(self) -> None:
        if self.name not in MENDED:
            raise OSError("the disk is on fire")


MENDED: set[str] = set()


@dataclass
class Talking:
    """Publishes in its steps."""

    words: list[str] = field(default_factory=lambda: ["one", "two"])

    def definition(self) -> Statement:
        return S(Step("first", self.first), Step("second", self.second))

    async def first(self) -> None:
        current().publish({"word": self.words[0]})

    def second(self) -> None:
        current().publish(self.words[1])


@dataclass
class Sleeping:
    seconds: float = 0.05

    def definition(self) -> Statement:
        return S(Sleep("nap", timedelta(seconds=self.seconds)), Return("rested"))


ALL = (Order, Counting, Held, Refusing, Failing, Talking, Sleeping)
