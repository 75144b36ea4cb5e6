"""What engines move in the benchmarks: trivial workflows, in modules that worker processes can import."""

from __future__ import annotations

import time
from dataclasses import dataclass
from time import perf_counter
from typing import Self

from benchmarks.chain import NAMES, Chain
from flowstmt import Event, For, On, S, Statement, Step, Wait, current

__all__ = ["CALLED", "AsyncChain", "BlockingChain", "Busy", "Clocked", "Counting", "Parked"]

CALLED = Event("called", int, int)


class AsyncChain(Chain):
    """20 steps that are awaited."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(*[Step(name, cls.astep) for name in NAMES])

    async def astep(self) -> None:
        self.done += 1


class BlockingChain(Chain):
    """20 steps of plain functions, which get threads of their own."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(*[Step(name, cls.step) for name in NAMES])


@dataclass
class Busy:
    """Blocks a thread most of the time, for ever."""

    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("ever", Step("block", cls.block))

    def block(self) -> None:
        time.sleep(0.005)  # a query, say
        self.done += 1


@dataclass
class Counting:
    """As many steps as it is told, then a wait, and one more step each time."""

    until: int
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        count = For("count", lambda w: w.done < w.until, Step("step", cls.step))
        return For("ever", count, Wait("more", On("more", cls.more)))

    async def step(self) -> None:
        self.done += 1
        begun: dict[str, float] = current().deps
        begun[current().run_id] = perf_counter()

    def more(self) -> None:
        self.until += 1


@dataclass
class Parked:
    """Waits to be called, again and again."""

    number: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("ever", Wait("parked", On(CALLED, cls.called)))

    def called(self, number: int) -> int:
        self.number += number
        return self.number


@dataclass
class Clocked:
    """Tells when its first step began."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return Step("first", cls.first)

    async def first(self) -> None:
        begun: dict[str, float] = current().deps
        begun[current().run_id] = perf_counter()
