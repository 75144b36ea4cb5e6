"""The database's clock as workers keep it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from flowstmt.engine import clock as clocks
from flowstmt.engine.clock import StoreClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Local:
    def __init__(self) -> None:
        self.now = NOON + timedelta(minutes=7)

    def __call__(self) -> datetime:
        return self.now


def test_it_says_what_the_database_said_and_goes_on_from_there() -> None:
    local = Local()
    clock = StoreClock(local)
    clock.align(NOON)
    assert clock() == NOON
    local.now += timedelta(seconds=3)
    assert clock() == NOON + timedelta(seconds=3)


def test_it_does_not_run_backwards_when_the_clock_of_the_machine_does() -> None:
    local = Local()
    clock = StoreClock(local)
    clock.align(NOON)
    local.now -= timedelta(hours=1)
    assert clock() == NOON


def test_it_is_in_utc_wherever_the_database_is() -> None:
    clock = StoreClock()
    clock.align(NOON.astimezone(timezone(timedelta(hours=5))))
    assert clock().tzinfo is UTC
    assert timedelta(0) <= clock() - NOON < timedelta(minutes=1)


def test_before_the_database_has_said_anything_it_is_that_of_the_machine() -> None:
    assert abs(StoreClock()() - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that this machine has been up, to be set."""
    seconds = [100.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: seconds[0])
    return seconds


def test_it_goes_on_by_ticks_of_a_millisecond(passed: list[float]) -> None:
    clock = StoreClock()
    clock.align(NOON)
    told = []
    for seconds in (100.0, 100.0004, 100.0009, 100.0011, 100.0012, 103.0):
        passed[0] = seconds
        told.append(clock() - NOON)
    assert told == [timedelta(0)] * 3 + [timedelta(microseconds=1100)] * 2 + [timedelta(seconds=3)]


@pytest.mark.usefixtures("passed")
def test_what_the_database_says_counts_at_once() -> None:
    clock = StoreClock()
    clock.align(NOON)
    assert clock() == NOON
    clock.align(NOON + timedelta(seconds=5))
    assert clock() == NOON + timedelta(seconds=5)
