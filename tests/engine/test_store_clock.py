"""The database's clock as workers keep it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

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
