"""``now=`` as a clock: read at each outcome, and waited by as the machine's own clock is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flowstmt import (
    Go,
    Join,
    On,
    Return,
    S,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    Timeout,
    Wait,
    current,
    handle_callback,
    handle_callback_async,
    resume,
    resume_async,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += SECOND
        return self.now


@dataclass
class Order:
    def definition(self) -> Statement:
        return S(
            Step("first", self.note),
            Step("second", self.note),
            Wait("payment", On("paid", self.note), Timeout("late", timedelta(days=1))),
            Sleep("rest", timedelta(minutes=1)),
        )

    def note(self) -> None:
        noted.append(current().now)


noted: list[datetime] = []


def sync(order: Any, state: State, clock: Callable[[], datetime]) -> None:
    resume(order, state, now=clock)
    handle_callback("paid", order, state, now=clock)
    resume(order, state, now=clock)


def awaited(order: Any, state: State, clock: Callable[[], datetime]) -> None:
    async def main() -> None:
        await resume_async(order, state, now=clock)
        await handle_callback_async("paid", order, state, now=clock)
        await resume_async(order, state, now=clock)

    asyncio.run(main())


@pytest.mark.parametrize("drive", [sync, awaited])
def test_a_clock_is_read_at_each_outcome(drive):
    noted.clear()
    clock = Ticking()
    order, state = Order(), State.new("r1", "Order", NOW)
    drive(order, state, clock)
    assert noted == sorted(set(noted))
    assert NOW < noted[0] < noted[1] < noted[2]
    assert state.wake_at is not None
    assert noted[2] < state.wake_at - timedelta(minutes=1) <= clock.now


def test_a_clock_of_another_time_zone_is_kept_in_utc():
    noted.clear()
    here = timezone(timedelta(hours=2))
    resume(Order(), State.new("r1", "Order", NOW), now=lambda: NOW.astimezone(here))
    assert noted == [NOW, NOW]
    assert {instant.tzinfo for instant in noted} == {UTC}


@pytest.mark.parametrize("wrong", [None, datetime(2026, 1, 1), 5, "now"])
def test_a_clock_that_gives_no_aware_datetime_is_told_so(wrong):
    state = State.new("r1", "Order", NOW)
    with pytest.raises(StateError, match="run 'r1': what the clock given as now returned must be an aware datetime"):
        resume(Order(), state, now=lambda: wrong)


def test_what_a_clock_raises_passes_as_it_is():
    def broken() -> datetime:
        raise ConnectionError("no answer from the time server")

    with pytest.raises(ConnectionError, match="no answer from the time server"):
        resume(Order(), State.new("r1", "Order", NOW), now=broken)


@dataclass
class Beside:
    """A timer of one thread, while a concurrent step of another is under way."""

    def definition(self) -> Statement:
        return S(
            Go("asking", Step("ask", self.ask, concurrent=True)),
            Sleep("a moment", timedelta(hours=1)),
            Step("go on", self.go_on),
            Join("all", "asking"),
            Return("asked"),
        )

    async def ask(self) -> None:
        EVENTS["asked"].set()
        await EVENTS["answered"].wait()

    def go_on(self) -> None:
        EVENTS["answered"].set()


@pytest.fixture(autouse=True)
def _nobody_has_asked() -> None:
    # New ones: an event belongs to the loop in which it was first awaited.
    EVENTS.update(asked=asyncio.Event(), answered=asyncio.Event())


EVENTS: dict[str, asyncio.Event] = {}


def test_timers_beside_concurrent_steps_wait_by_a_given_clock():
    state = State.new("r1", "Beside", NOW)

    def clock() -> datetime:
        # An hour passes once nothing but time can move the run on.
        asking = any(thread.position == "ask" for thread in state.threads)
        return NOW + timedelta(hours=1) if asking else NOW

    assert asyncio.run(resume_async(Beside(), state, now=clock, concurrency=2)) == "Finished"
    assert state.result == "asked"


def test_under_a_given_instant_no_time_passes():
    state = State.new("r1", "Beside", NOW)

    async def main() -> str:
        running = asyncio.create_task(resume_async(Beside(), state, now=NOW, concurrency=2))
        await EVENTS["asked"].wait()
        for _ in range(20):
            await asyncio.sleep(0)
        EVENTS["answered"].set()
        return await running

    assert asyncio.run(main()) == "Waiting"
    assert state.wake_at == NOW + timedelta(hours=1)
