"""A subscription: a free month, then a bill every month for as long as it lives, with upgrades and an end at any time.

Copy what you need: ``Subscription`` is the workflow. It waits for ever at one ``Wait``; each month is a case of that which
stays, and so are upgrades. A run that has billed for ten years costs what one that was born today costs: one small document.
``python examples/subscription.py`` plays half a year on a virtual clock. A real program hands in its own ``Billing``, keeps
the run in its database, and resumes it at ``wake_at``.

Dunning is a policy: a charge that is declined is tried again after one day, three and nine days, and if that does not help the
customer has a week to bring another card. Meanwhile he may change plans, and cancel: a callback that comes while a body of the
Wait runs is taken at once. The next attempt at the charge knows of it, since the data are the run's, not the attempt's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal, Protocol

from flowstmt import (
    Event,
    Every,
    On,
    RefusedError,
    Retry,
    Return,
    S,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
    current,
)
from flowstmt.testing import Harness

Plan = Literal["small", "large"]

CHANGE: Event[Plan, str] = Event("change plan", Plan, str)
CARD: Event[str, None] = Event("new card", str)
CANCEL: Event[None, date] = Event("cancel", output=date)

PRICES: dict[Plan, int] = {"small": 9, "large": 29}
MONTH = timedelta(days=30)
DUNNING = Retry(max_attempts=4, initial=timedelta(days=1), multiplier=3, max_delay=timedelta(days=9))


class DeclinedError(Exception):
    """The bank says no, for now."""


class Billing(Protocol):
    """The world outside. Every call may come twice, with the same key: it charges once per key."""

    def charge(self, key: str, card: str, amount: int) -> None: ...
    def tell(self, key: str, customer: str, text: str) -> None: ...


@dataclass
class Subscription:
    customer: str
    card: str
    plan: Plan = "small"
    paid_months: int = 0
    cancelled: date | None = None

    def definition(self) -> Statement:
        return Wait(
            "subscribed",
            Every(
                "month", MONTH, Try("billing", Step("charge", self.charge, retry=DUNNING)).catch(DeclinedError, self.rescue())
            ),
            On(CHANGE, self.change, Step("confirm", self.confirm), stay=True),
            On(CARD, stay=True, into="card"),
            On(CANCEL, self.cancel, Step("say goodbye", self.say_goodbye), Return("cancelled")),
        )

    def rescue(self) -> Statement:
        """The last chance, when four attempts at a charge have failed."""
        return S(
            Step("warn", self.warn),
            Wait("rescue", On(CARD, into="card"), Timeout("too late", timedelta(days=7), Return("lost"))),
            Try("last try", Step("charge again", self.charge, retry=Retry(max_attempts=1))).catch(
                DeclinedError, Return("lost")
            ),
        )

    # Handlers: what they return is the answer to whoever called.

    def change(self, plan: Plan) -> str:
        if plan == self.plan:
            raise RefusedError(f"the plan is {plan} already")
        self.plan = plan
        return f"{PRICES[plan]} a month from the next one on"

    def cancel(self) -> date:
        self.cancelled = current().now.date()
        return self.cancelled

    # Actions: may run twice if the process dies, so what they do outside carries a key.

    def charge(self) -> None:
        if self.cancelled is not None:
            return  # while this charge waited for its next attempt
        billing: Billing = current().deps
        billing.charge(current().idempotency_key, self.card, PRICES[self.plan])
        self.paid_months += 1

    def confirm(self) -> None:
        self._tell(f"your plan is {self.plan} now")

    def warn(self) -> None:
        self._tell("we could not charge your card: please give us another one within a week")

    def say_goodbye(self) -> None:
        self._tell(f"goodbye, and thank you for {self.paid_months} months")

    def _tell(self, text: str) -> None:
        billing: Billing = current().deps
        billing.tell(current().idempotency_key, self.customer, text)


@dataclass
class Bank:
    """A bank for a demonstration and for tests: cards that decline, and what was done, by the keys of its callers."""

    bad: set[str] = field(default_factory=set)
    charged: dict[str, int] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)

    def charge(self, key: str, card: str, amount: int) -> None:
        if card in self.bad:
            raise DeclinedError("no money on it")
        self.charged.setdefault(key, amount)

    def tell(self, key: str, customer: str, text: str) -> None:
        self.letters.setdefault(key, text)


def main() -> None:
    """Half a year: an upgrade, a card that runs out and is replaced in the middle of dunning, and the end."""
    bank = Bank()
    harness = Harness(Subscription("eva", "card-1"), deps=bank)
    harness.run()
    harness.advance(timedelta(days=40))
    print(f"day 40, change plan: {harness.callback(CHANGE, 'large')}")
    bank.bad.add("card-1")
    harness.advance(timedelta(days=22))
    [main_thread] = harness.state.threads
    print(f"day 62: attempt {main_thread.attempt} at {main_thread.position!r} is due at {main_thread.due_at:%d %B}")
    harness.callback(CARD, "card-2")
    harness.advance(timedelta(days=88))
    print(f"day 150: {len(harness.snapshot)} bytes, all of the run")
    print(f"day 150, cancel: {harness.callback(CANCEL)}; {harness.result}")
    print(f"charged {', '.join(map(str, bank.charged.values()))}")
    for letter in bank.letters.values():
        print(f"letter: {letter}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
