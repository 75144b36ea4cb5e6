"""The trip of the examples: booked as a whole and paid once, or nothing stays booked; wherever it is killed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from examples.trip import Agency, Booking, Kind, Trip, Village
from flowstmt import APPROVE, REJECT, Answer, RefusedError, State, cancel, compensation_plan, current, dump, load, resume
from flowstmt.testing import Advance, Callback, Harness, explore
from tests.examples.processes import python

DAY = timedelta(days=1)

ENDS: list[Any] = [
    pytest.param("", [Advance(DAY), Callback(APPROVE, Answer("mia", "enjoy"))], "booked", id="approved"),
    pytest.param("", [Advance(DAY), Callback(REJECT, Answer("tom"))], "not booked", id="rejected"),
    pytest.param("", [Advance(5 * DAY)], "not booked", id="nobody answers"),
    pytest.param("hotel", [Advance(DAY)], "not booked", id="the hotel is full"),
    pytest.param("flight", [Advance(DAY)], "not booked", id="the flight is full"),
]


def all_or_nothing(village: Village, trip: Trip, state: State) -> None:
    if state.status == "Finished":
        paid = [320 + 240 + 90] if state.result == "booked" else []
        assert list(village.charged.values()) == paid
        assert len(village.held) == 3 * len(paid)


def test_the_demonstration_runs():
    done = python("examples/trip.py")
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1] for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        "Finished, booked",
        "Finished, not booked",
        "Finished, not booked",
        "Finished, not booked",
    ]


@pytest.mark.parametrize(("full", "script", "result"), ENDS)
def test_a_crash_at_any_instant_makes_no_difference(full: Kind, script: Sequence[Callback | Advance], result: str):
    villages: list[Village] = []

    def village() -> Village:
        villages.append(Village(full=frozenset({full})))
        return villages[-1]

    found = explore(
        lambda: Trip("eva", ["mia", "tom"]),
        script,
        deps=village,
        invariant=lambda trip, state: all_or_nothing(villages[-1], trip, state),
    )
    assert found.undisturbed.result == result
    assert len(found.points) >= 10
    for each in villages:
        assert len(each.held) == (3 if result == "booked" else 0)
        assert len(each.charged) == (1 if result == "booked" else 0)


def test_reservations_are_made_side_by_side_and_a_crash_makes_no_difference_there_either():
    villages: list[Village] = []

    def village() -> Village:
        villages.append(Village())
        return villages[-1]

    found = explore(lambda: Trip("eva", ["mia"]), [Advance(DAY), Callback(APPROVE, Answer("mia"))], deps=village, concurrency=3)
    assert found.undisturbed.result == "booked"
    assert {len(each.held) for each in villages} == {3}


def test_only_managers_decide_and_reminders_go_on_until_they_do():
    village = Village()
    harness = Harness(Trip("eva", ["mia", "tom"]), deps=village, round_trip=True)
    harness.run()
    harness.advance(2 * DAY + timedelta(hours=1))
    assert len(village.letters) == 4
    with pytest.raises(RefusedError, match="eva"):
        harness.callback(APPROVE, Answer("eva"))
    harness.callback(APPROVE, Answer("tom"))
    assert harness.result == "booked"
    assert harness.workflow.approval is not None
    assert [answer.who for answer in harness.workflow.approval.answers] == ["tom"]


def test_a_trip_that_is_cancelled_while_it_waits_releases_what_its_plan_says():
    village = Village()
    harness = Harness(Trip("eva", ["mia", "tom"]), deps=village)
    harness.run()
    harness.advance(DAY)
    trip, state = load(Trip, harness.snapshot)
    plan = compensation_plan(trip, state)
    assert {undo.step for undo in plan} == {"book flight", "book car", "book hotel"}
    cancel(trip, state, "eva is ill", by="mia", now=harness.now)
    assert resume(*load(Trip, dump(trip, state)), now=harness.now, deps=village) == "Cancelled"
    assert village.held == []
    assert list(village.released.values()) == [Booking(**undo.result).number for undo in plan]


def test_an_agency_that_can_not_release_leaves_the_record_in_the_run():
    class Stubborn(Village):
        def release(self, key: str, booking: Booking) -> None:
            if booking.kind == "car":
                raise OSError(f"attempt {current().attempt}")
            super().release(key, booking)

    village: Agency = Stubborn()
    harness = Harness(Trip("eva", ["mia"]), deps=village)
    harness.run()
    harness.advance(DAY)
    harness.callback(REJECT, Answer("mia"))
    harness.advance(DAY)
    assert harness.result == "not booked"
    assert [note["note"] for note in harness.state.notes] == ["not undone"]
