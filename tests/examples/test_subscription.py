"""The subscription of the examples: billed once a month whatever happens, and killed at every instant."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from examples.subscription import CANCEL, CARD, CHANGE, Bank, Subscription
from flowstmt import ErrorInfo, RefusedError
from flowstmt.testing import Advance, Callback, Harness, explore
from tests.examples.processes import python

DAY = timedelta(days=1)


def subscribed(bank: Bank) -> Harness[Subscription]:
    harness = Harness(Subscription("eva", "card-1"), deps=bank, round_trip=True)
    harness.run()
    return harness


def test_the_demonstration_runs():
    done = python("examples/subscription.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3] == "charged 9, 29, 29, 29, 29"


def test_years_of_months_leave_a_document_of_the_same_size():
    bank = Bank()
    harness = subscribed(bank)
    harness.advance(365 * DAY)
    size = len(harness.snapshot)
    harness.advance(3650 * DAY)
    assert len(bank.charged) == 4015 // 30
    assert len(harness.snapshot) < size + 20
    assert harness.state.undo == harness.state.notes == []


def test_a_plan_is_changed_at_any_time_and_the_next_bill_knows_of_it():
    bank = Bank(bad={"card-1"})
    harness = subscribed(bank)
    assert harness.callback(CHANGE, "large") == "29 a month from the next one on"
    with pytest.raises(RefusedError, match="the plan is large already"):
        harness.callback(CHANGE, "large")
    harness.advance(31 * DAY)
    assert harness.state.threads[0].attempt == 3  # dunning has begun
    harness.callback(CHANGE, "small")
    harness.callback(CARD, "card-2")
    harness.advance(10 * DAY)
    assert list(bank.charged.values()) == [9]
    assert list(bank.letters.values()) == ["your plan is large now", "your plan is small now"]


def test_a_customer_who_cancels_while_dunning_is_not_charged_any_more():
    bank = Bank(bad={"card-1"})
    harness = subscribed(bank)
    harness.advance(31 * DAY)
    assert harness.callback(CANCEL) == date(2030, 2, 1)
    bank.bad.clear()
    harness.advance(20 * DAY)
    assert (harness.status, harness.result, bank.charged) == ("Finished", "cancelled", {})


def test_a_card_that_stays_empty_loses_the_subscription_after_the_last_chance():
    bank = Bank(bad={"card-1", "card-2"})
    harness = subscribed(bank)
    harness.advance((30 + 1 + 3 + 9) * DAY)
    assert harness.state.threads[0].position == "rescue"
    harness.callback(CARD, "card-2")
    assert (harness.status, harness.result) == ("Finished", "lost")


@pytest.mark.parametrize("bad", [set(), {"card-1"}], ids=["a good card", "a card that runs out"])
def test_a_crash_at_any_instant_makes_no_difference(bad: set[str]):
    banks: list[Bank] = []

    def bank() -> Bank:
        banks.append(Bank(bad=set(bad)))
        return banks[-1]

    script: list[Callback | Advance] = [
        Advance(31 * DAY),
        Callback(CHANGE, "large"),
        Callback(CARD, "card-2"),
        Advance(31 * DAY),
        Callback(CANCEL),
        Advance(20 * DAY),
    ]
    found = explore(lambda: Subscription("eva", "card-1"), script, deps=bank)
    assert found.undisturbed.result == "cancelled"
    assert len(found.points) > 30
    assert {tuple(each.charged.values()) for each in banks} == {(29, 29) if bad else (9, 29)}


def test_a_bank_that_can_not_be_reached_for_two_weeks_fails_the_run():
    class Broken(Bank):
        def charge(self, key: str, card: str, amount: int) -> None:
            raise OSError("no line")

    harness = subscribed(Broken())
    harness.advance(44 * DAY)
    assert harness.status == "Failed"
    assert harness.state.error == ErrorInfo("OSError", "no line", step="charge", attempts=4)
