"""Callbacks, signals and controls for a run that somebody moves: each is applied once, between two checkpoints."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from flowstmt import (
    ALL as EVERYBODY,
)
from flowstmt import (
    APPROVE,
    Answer,
    Approval,
    Engine,
    For,
    Go,
    Join,
    NotWaitingError,
    On,
    Return,
    S,
    Statement,
    Step,
    Wait,
)
from tests.engine.databases import Database
from tests.engine.running import SOON, mover_of, run, until
from tests.engine.test_callbacks import posted

CALLS: Counter[str] = Counter()
GATES: dict[str, asyncio.Event] = {}


@dataclass
class Adds:
    """Takes numbers, one after the other, with steps in between, until it has had so many."""

    wanted: int = 3
    numbers: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        more = len(self.numbers) < self.wanted
        return S(For("more", more, Wait("number", On("add", self.add)), Step("think", self.think)), Return(sum(self.numbers)))

    async def add(self, number: int) -> int:
        self.numbers.append(number)
        return len(self.numbers)

    async def think(self) -> None:
        await asyncio.sleep(0)


@dataclass
class Beside:
    """A long action in flight, and a thread that waits."""

    gate: str = ""
    got: str = ""

    def definition(self) -> Statement:
        return S(
            Go("long", Step("work", self.work, concurrent=True)),
            Wait("news", On("told", into="got")),
            Join("all", "long"),
            Return(self.got),
        )

    async def work(self) -> None:
        CALLS[self.gate] += 1
        await GATES[self.gate].wait()


@dataclass
class Approved:
    gate: str = ""

    def definition(self) -> Statement:
        return S(
            Go("long", Step("work", self.work, concurrent=True)),
            Approval("sign", ["ann", "bob"], need=EVERYBODY),
            Join("all", "long"),
        )

    async def work(self) -> None:
        CALLS[self.gate] += 1
        await GATES[self.gate].wait()


@dataclass
class Late:
    """Gets to its Wait after a while."""

    gate: str = ""

    def definition(self) -> Statement:
        return S(Step("work", self.work), Wait("pay", On("paid", self.pay)), Return("paid"))

    async def work(self) -> None:
        CALLS[self.gate] += 1
        await GATES[self.gate].wait()

    def pay(self, amount: int) -> int:
        return amount * 2


@dataclass
class InTurn:
    gate: str = ""

    def definition(self) -> Statement:
        return S(Step("work", self.work), Wait("one", On("first")), Step("more", self.work), Wait("two", On("second")))

    async def work(self) -> None:
        await GATES[self.gate].wait()


@dataclass
class Two:
    """Two threads wait for the same event."""

    took: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Go("first", Wait("one", On("go", self.first))),
            Step("pause", self.pause),
            Go("second", Wait("other", On("go", self.second))),
            Join("all", "first", "second"),
            Return(self.took),
        )

    async def pause(self) -> None:
        await asyncio.sleep(0)

    async def first(self) -> None:
        self.took.append("first")

    async def second(self) -> None:
        self.took.append("second")


ALL = (Adds, Beside, Approved, Late, InTurn, Two)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    GATES.clear()


def engine_on(database: Database, **settings: Any) -> Engine:
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=50), **settings})


def test_callbacks_and_signals_from_everywhere_are_taken_once_each(database: Database) -> None:
    """Also those which are sent twice, and those for runs that another worker moves at that moment."""

    async def main() -> None:
        async with engine_on(database, concurrency=4) as one, engine_on(database, concurrency=4) as two:
            runs = [f"a-{number}" for number in range(6)]
            for number, run_id in enumerate(runs):
                await (one, two)[number % 2].start(Adds(8), run_id=run_id)
            sends = []
            for run_id in runs:
                for number in range(8):
                    engine = (one, two)[number % 2]
                    sends.append(engine.signal(run_id, "add", 10**number, key=f"k-{number}"))
                    sends.append((two, one)[number % 2].signal(run_id, "add", 10**number, key=f"k-{number}"))
            await asyncio.gather(*sends)
            for run_id in runs:
                assert await one.result(run_id, 3 * SOON) == 11111111

    run(main())


def test_callbacks_for_one_run_at_the_same_time_are_all_answered(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as one, engine_on(database) as two:
            await one.start(Adds(10), run_id="a")
            answers = await asyncio.gather(
                *((one, two)[number % 2].callback("a", "add", number, timeout=SOON) for number in range(10))
            )
            assert sorted(answers) == list(range(1, 11))
            assert await two.result("a", SOON) == 45

    run(main())


def test_a_callback_is_taken_while_an_action_is_in_flight(database: Database) -> None:
    async def main() -> None:
        GATES["beside"] = asyncio.Event()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            for number, caller in enumerate((one, two)):
                run_id = f"b-{number}"
                await one.start(Beside("beside"), run_id=run_id)
                await until(partial(_called, "beside", number + 1), "it is in its action")
                await caller.callback(run_id, "told", "news", timeout=SOON)
            assert CALLS["beside"] == 2  # nothing was interrupted
            GATES["beside"].set()
            assert await one.result("b-0", SOON) == await one.result("b-1", SOON) == "news"

    run(main())


def test_a_signal_is_taken_while_an_action_is_in_flight(database: Database) -> None:
    async def main() -> None:
        GATES["beside"] = asyncio.Event()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            await one.start(Beside("beside"), run_id="b")
            await until(lambda: _is(CALLS["beside"] == 1), "it is in its action")
            await two.signal("b", "told", "by signal", key="k")

            async def is_told() -> bool:
                return b'"got":"by signal"' in ((await one.get("b")).snapshot or b"")

            await until(is_told, "it is saved while the action goes on")
            GATES["beside"].set()
            assert await one.result("b", SOON) == "by signal"
            assert CALLS["beside"] == 1

    run(main())


def test_an_approval_from_another_process_is_answered_with_how_things_stand(database: Database) -> None:
    async def main() -> None:
        GATES["sign"] = asyncio.Event()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            await one.start(Approved("sign"), run_id="p")
            await until(lambda: _is(CALLS["sign"] == 1), "it is in its action")
            answering = asyncio.create_task(two.callback("p", APPROVE, Answer("ann"), timeout=SOON))
            await until(lambda: posted(two, "p"), "the message is in the inbox")
            GATES["sign"].set()
            found = await answering
            assert (found.decision, found.missing) == ("open", ["bob"])
            found = await one.callback("p", APPROVE, Answer("bob"), timeout=SOON)
            assert found.decision == "approved"
            await one.result("p", SOON)

    run(main())


def test_a_callback_that_comes_before_its_wait_is_taken_when_the_run_gets_there(database: Database) -> None:
    async def main() -> None:
        GATES["late"] = asyncio.Event()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            await one.start(Late("late"), run_id="a")
            await one.start(Late("late"), run_id="b")
            await until(lambda: _is(CALLS["late"] == 2), "they are in their actions")
            answers = asyncio.gather(one.callback("a", "paid", 2), two.callback("b", "paid", 3))
            for run_id in ("a", "b"):
                await until(partial(_has_come, one, run_id), "its mover has got it")
            GATES["late"].set()
            assert list(await answers) == [4, 6]
            assert await one.result("a", SOON) == await one.result("b", SOON) == "paid"

    run(main())


def test_a_callback_for_which_the_run_will_not_wait_by_itself_is_refused(database: Database) -> None:
    async def main() -> None:
        GATES["never"] = asyncio.Event()
        GATES["never"].set()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            await one.start(InTurn("never"), run_id="i")
            with pytest.raises(NotWaitingError):
                await one.callback("i", "second")  # it may be on its way, or there
            await one.await_status("i", "Waiting", SOON)
            for engine in (one, two):
                with pytest.raises(NotWaitingError):
                    await engine.callback("i", "second")
            await two.callback("i", "first")
            await one.callback("i", "second")
            await one.result("i", SOON)

    run(main())


def test_of_two_threads_the_one_that_has_waited_longest_takes_a_signal(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Two(), run_id="t")
            await engine.await_status("t", "Waiting", SOON)
            await engine.signal("t", "go", key="1")
            await engine.signal("t", "go", key="2")
            assert await engine.result("t", SOON) == ["first", "second"]

    run(main())


def test_a_control_for_a_busy_run_is_applied_after_its_next_checkpoint(database: Database) -> None:
    async def main() -> None:
        GATES["busy"] = asyncio.Event()
        async with engine_on(database) as one, engine_on(database, worker=False) as two:
            for number, who in enumerate((one, two)):
                run_id = f"l-{number}"
                GATES["busy"].clear()
                await one.start(Late("busy"), run_id=run_id)
                await until(partial(_called, "busy", number + 1), "it is in its action")
                pausing = asyncio.ensure_future(who.pause(run_id))
                await until(partial(_is_to_be_controlled, one, run_id), "its mover has been told")
                assert (await one.get(run_id)).status == "Resuming"
                assert not pausing.done()
                GATES["busy"].set()
                await pausing
                assert (await one.get(run_id)).status == "Paused"
                await who.unpause(run_id)
                await one.await_status(run_id, "Waiting", SOON)
                assert CALLS["busy"] == number + 1

    run(main())


async def _has_come(engine: Engine, run_id: str) -> bool:
    return mover_of(engine, run_id).post.is_busy()


async def _is_to_be_controlled(engine: Engine, run_id: str) -> bool:
    return len(mover_of(engine, run_id)._controls) == 1


async def _called(name: str, times: int) -> bool:
    return CALLS[name] == times


async def _is(holds: bool) -> bool:
    return holds
