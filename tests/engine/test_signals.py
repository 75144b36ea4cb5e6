"""Signals: kept until a Wait takes them, once each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from flowstmt import (
    CallbackRequest,
    Go,
    InvalidPayloadError,
    Join,
    NotFoundError,
    On,
    Return,
    S,
    StateError,
    Statement,
    Step,
    UnknownEventError,
    Wait,
    WorkflowFinishedError,
    current,
)
from tests.engine.databases import Database
from tests.engine.flows import PAID, Counting, Gate, Held, Order, Receipt
from tests.engine.running import SOON, engine_on, run, until


@dataclass
class TwoWaits:
    got: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Wait("first", On("one", self.one)),
            Step("between", lambda: None),
            Wait("second", On("two", self.two)),
            Return(self.got),
        )

    def one(self, text: str) -> None:
        self.got.append(text)

    def two(self, text: str) -> None:
        self.got.append(text)


def test_a_signal_waits_for_its_wait(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=[TwoWaits]) as engine:
            await engine.start(TwoWaits(), run_id="t-1")
            await engine.await_status("t-1", "Waiting", SOON)
            assert await engine.signal("t-1", "two", "second")
            await engine.await_status("t-1", "Waiting", SOON)
            assert await engine.signal("t-1", "one", "first")
            assert await engine.result("t-1", SOON) == ["first", "second"]

    run(main())


def test_a_signal_survives_the_engine_that_it_was_given_to(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=[TwoWaits], worker=False) as engine:
            await engine.start(TwoWaits(), run_id="t-1")
            await engine.signal("t-1", "two", "second")
            await engine.signal("t-1", "one", "first")
        async with engine_on(database, workflows=[TwoWaits]) as engine:
            assert await engine.result("t-1", SOON) == ["first", "second"]

    run(main())


def test_signals_of_one_key_are_taken_once(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as one, engine_on(database) as two:
            await one.start(Order(), run_id="o-1")
            await one.await_status("o-1", "Waiting", SOON)
            sent = await asyncio.gather(*(engine.signal("o-1", PAID, 5, key="evt-17") for engine in (one, two) * 5))
            assert sorted(sent) == [False] * 9 + [True]
            assert await one.result("o-1", SOON) == 5
            assert not await two.signal("o-1", PAID, 5, key="evt-17")

    run(main())


def test_a_busy_run_gets_its_signals_from_here_and_from_elsewhere(database: Database) -> None:
    async def main() -> None:
        gate = Gate("signals")
        async with engine_on(database) as there, engine_on(database) as here:
            await there.start(Held("signals"), run_id="h-1")
            await gate.arrived()
            assert await here.signal("h-1", "number", 21)
            gate.open()
            assert await here.result("h-1", SOON) == [21]

    run(main())


def test_a_paused_run_keeps_its_signals(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.pause("o-1")
            await engine.signal("o-1", PAID, 5)
            with pytest.raises(TimeoutError, match="the run is Paused, until unpause"):
                await engine.result("o-1", timedelta(seconds=0.2))
            await engine.unpause("o-1")
            assert await engine.result("o-1", SOON) == 5

    run(main())


def test_an_event_that_the_workflow_does_not_have_is_refused_at_once(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine, engine_on(database, workflows=[Counting]) as stranger:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            with pytest.raises(UnknownEventError, match=r"Order has no event 'payd'.*did you mean 'paid'"):
                await engine.signal("o-1", "payd", 5)
            # Who does not know the class can't know; whoever moves the run finds out, and says so in the log.
            assert await stranger.signal("o-1", "payd", 5)
            assert await engine.callback("o-1", PAID, 5) == Receipt(5)

    run(main())


def test_what_is_known_to_be_wrong_is_refused_at_once(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            with pytest.raises(InvalidPayloadError):
                await engine.signal("o-1", PAID, b'"much"')
            with pytest.raises(StateError, match="the key of a signal must be a text"):
                await engine.signal("o-1", PAID, 5, key="")
            with pytest.raises(NotFoundError):
                await engine.signal("o-2", PAID, 5)
            await engine.callback("o-1", "closed")
            await engine.result("o-1", SOON)
            with pytest.raises(WorkflowFinishedError, match="the run is Finished"):
                await engine.signal("o-1", PAID, 5)

    run(main())


def test_a_signal_that_is_refused_later_is_a_dead_letter_and_harms_nobody(database: Database, caplog) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.signal("o-1", "paid", -1, key="bad")
            await engine.signal("o-1", "paid", 5, key="good")
            assert await engine.result("o-1", SOON) == 5
            (letter,) = await engine.dead_letters("o-1")
            assert (letter.run_id, letter.event, letter.payload, letter.key) == ("o-1", "paid", b"-1", "bad")
            assert letter.request == CallbackRequest("paid", run_id="o-1")
            assert letter.error == "RefusedError: that is not how paying works"
            assert letter.sent_at is not None
            with pytest.raises(StateError, match="limit must be a whole number from 1"):
                await engine.dead_letters("o-1", limit=0)
            with pytest.raises(NotFoundError):
                await engine.dead_letters("o-2")

    run(main())
    assert "is a dead letter: RefusedError: that is not how paying works" in caplog.text


@dataclass
class Converting:
    """Two threads that wait for the same event, whose handler fails for want of a rate."""

    rates: ClassVar[dict[str, int]] = {}

    got: list[Any] = field(default_factory=list)

    def definition(self) -> Statement:
        one, other = (Go(name, Wait(f"{name} payment", On("paid", self.pay))) for name in ("one", "other"))
        return S(one, other, Join("both", "one", "other"), Return(self.got))

    def pay(self, amount: int) -> None:
        self.got.append([current().thread_id, amount * self.rates["CHF"]])


def test_a_dead_letter_is_sent_once_more_to_whom_it_was_for_when_the_cause_is_mended(database: Database) -> None:
    async def main() -> None:
        Converting.rates = {}
        async with engine_on(database, workflows=[Converting]) as engine:
            await engine.start(Converting(), run_id="c-1")
            await engine.signal("c-1", "paid", 5, key="evt-1", thread_id="other")
            await engine.signal("c-1", "paid", 7, key="evt-2", thread_id="one")

            async def are_dead() -> bool:
                return len(await engine.dead_letters("c-1")) == 2

            await until(are_dead, "both are dead letters")
            letters = await engine.dead_letters("c-1")
            assert [letter.error for letter in letters] == ["KeyError: 'CHF'"] * 2
            Converting.rates = {"CHF": 2}
            for new in (True, False):
                sent = [
                    await engine.signal(letter.run_id, letter.request, letter.payload, key=f"{letter.key}, again")
                    for letter in letters
                    if letter.request is not None
                ]
                assert sent == [new, new]
                if new:
                    assert await engine.result("c-1", SOON) == [["other", 10], ["one", 14]]

    run(main())


@dataclass
class WithoutTheFirst(TwoWaits):
    def definition(self) -> Statement:
        return S(Wait("another", On("two", self.two)), Return(self.got))


def test_a_signal_outlives_code_without_the_wait_that_it_is_for(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A bad deploy is rolled back; what was paid meanwhile has been paid."""

    async def main() -> None:
        async with engine_on(database, workflows=[TwoWaits]) as engine:
            await engine.start(TwoWaits(), run_id="t-1")
            await engine.await_status("t-1", "Waiting", SOON)
        async with (
            engine_on(database, workflows=[TwoWaits], worker=False) as elsewhere,
            engine_on(database, workflows={"TwoWaits": WithoutTheFirst}) as engine,
        ):
            assert await elsewhere.signal("t-1", "one", "first", key="evt-1")
            stuck = await engine.await_status("t-1", "Paused", SOON)
            assert stuck.error is not None
            assert stuck.error.type == "PositionError"
            assert await elsewhere.signal("t-1", "two", "second", key="evt-2")
        async with engine_on(database, workflows=[TwoWaits]) as engine:
            await engine.retry("t-1")
            assert await engine.result("t-1", SOON) == ["first", "second"]

    run(main())
    assert "dead letter" not in caplog.text
    assert caplog.text.count("is Paused after 1 failure: PositionError") == 1
