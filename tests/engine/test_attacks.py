"""What would hurt an engine if it were not ready for it: bad handlers, bad moments, bad names, far too much of anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    Branch,
    Engine,
    For,
    On,
    Parallel,
    RemoteError,
    Return,
    S,
    StateError,
    Statement,
    Step,
    Wait,
)
from tests.engine.databases import Database
from tests.engine.running import SOON, run, until

MS_300 = timedelta(milliseconds=300)
TRIED: Counter[str] = Counter()


@dataclass
class Careless:
    """Its handlers leave behind what can't be saved, exit, and are slow."""

    kept: Any = 0

    def definition(self) -> Statement:
        return S(self.wait(), Return(self.kept))

    def wait(self) -> Wait:
        return Wait("w", On("spoil", self.spoil), On("slow", self.slow), On("leave", self.leave), On("end"))

    def spoil(self) -> None:
        self.kept = object()

    async def slow(self) -> None:
        self.kept = "slow"
        await asyncio.sleep(60)

    def leave(self) -> None:
        raise SystemExit(3)


@dataclass
class CarelessBeside(Careless):
    """The same beside a step."""

    def definition(self) -> Statement:
        return S(
            Parallel("both", Branch("asks", self.wait()), Branch("works", Step("long", self.long, concurrent=True))),
            Return(self.kept),
        )

    async def long(self) -> None:
        while TRIED["end"] == 0:  # noqa: ASYNC110 opened by the test
            await asyncio.sleep(0.01)


@dataclass
class Counts:
    """Takes so many signals, one after the other."""

    wanted: int = 0
    got: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            For("each", lambda: len(self.got) < self.wanted, Wait("number", On("number", self.take))),
            Return(self.got),
        )

    def take(self, number: int) -> None:
        self.got.append(number)


@dataclass
class FailsBeforeItWaits:
    name: str = ""

    def definition(self) -> Statement:
        return S(Step("fail", self.fail), Wait("w", On("number", self.take)))

    def fail(self) -> None:
        TRIED[self.name] += 1
        raise OSError("the disk is on fire")

    def take(self, number: int) -> None:
        raise NotImplementedError


ALL = [Careless, CarelessBeside, Counts, FailsBeforeItWaits]


def engine_on(database: Database, **settings: Any) -> Engine:
    TRIED.clear()
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=100), **settings})


@pytest.mark.parametrize("beside", [False, True], ids=["at rest", "beside a step"])
def test_a_callback_whose_handler_spoils_the_data_is_refused_and_the_run_unharmed(database: Database, beside: bool) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(CarelessBeside() if beside else Careless(), run_id="c")
            if beside:
                await until(lambda: _waits(engine, "c"), "the Wait was not set up")
            else:
                await engine.await_status("c", "Waiting", SOON)
            with pytest.raises(StateError, match=r"\.kept can't be saved"):
                await engine.callback("c", "spoil", timeout=SOON)
            assert (await engine.get("c")).error is None
            await engine.callback("c", "end", timeout=SOON)
            TRIED["end"] = 1
            assert await engine.result("c", SOON) == 0

    run(main())


async def _waits(engine: Engine, run_id: str) -> bool:
    return b'"WaitingEvent"' in ((await engine.get(run_id)).snapshot or b"")


def test_a_signal_whose_handler_spoils_the_data_is_a_dead_letter(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Careless(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)
            await engine.signal("c", "spoil")
            await engine.signal("c", "end")
            assert await engine.result("c", SOON) == 0

    run(main())


def test_a_handler_that_exits_ends_nobody_elses_program(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Careless(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)
            with pytest.raises(RemoteError, match="SystemExit: 3"):
                await engine.callback("c", "leave", timeout=SOON)
            with pytest.raises(TimeoutError):
                await engine.callback("c", "slow", timeout=MS_300)
            await engine.callback("c", "end", timeout=SOON)
            assert await engine.result("c", SOON) == 0

    run(main())


def test_thousands_of_signals_are_taken_in_the_order_in_which_they_came(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Counts(500), run_id="c")
            for first in range(0, 500, 50):
                await asyncio.gather(*(engine.signal("c", "number", number) for number in range(first, first + 50)))
            assert await engine.result("c", SOON) == list(range(500))

    run(main())
