"""A business trip: flight, hotel and car are booked at once, a manager agrees, and it is paid; or nothing stays booked.

Copy what you need: ``Trip`` is the workflow. How each step is tried again and undone stands at its method, so that
``definition`` reads as the process. ``python examples/trip.py`` plays four trips on a virtual clock: one that goes well, one
whose hotel is full, one that nobody approves and one that is rejected. A real program hands in its own ``Agency``, keeps the
run in its database (``stored_in_sqlalchemy.py``, ``web_store.py``), and resumes it at ``wake_at``.

Whatever happens, a crash at any instant above all: in the end a trip is booked as a whole and paid once, or nothing of it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Literal, Protocol

from flowstmt import (
    ANY,
    APPROVE,
    REJECT,
    Answer,
    Approval,
    ApprovalResult,
    Branch,
    ErrorInfo,
    Every,
    Fail,
    FinalError,
    Parallel,
    Retry,
    Return,
    S,
    Saga,
    Statement,
    Step,
    Try,
    current,
    step,
)
from flowstmt.testing import Harness

Kind = Literal["flight", "hotel", "car"]


class BusyError(Exception):
    """The agency can't say now: ask again."""


class FullError(FinalError):
    """There is none left: asking again would not help."""


class Agency(Protocol):
    """The world outside. Every call may come twice, with the same key: what it does it does once per key."""

    def book(self, key: str, kind: Kind, traveller: str) -> Booking: ...
    def release(self, key: str, booking: Booking) -> None: ...
    def charge(self, key: str, traveller: str, amount: int) -> str: ...
    def tell(self, key: str, person: str, text: str) -> None: ...


@dataclass
class Booking:
    kind: Kind
    number: str
    price: int


@dataclass
class Trip:
    traveller: str
    managers: list[str]
    bookings: list[Booking] = field(default_factory=list)
    approval: ApprovalResult | None = None
    error: ErrorInfo | None = None
    receipt: str = ""

    # For every step that has no policy of its own.
    retry: ClassVar[Retry] = Retry(max_attempts=6, initial=timedelta(seconds=5), max_delay=timedelta(minutes=10))

    def definition(self) -> Statement:
        return S(
            Try(
                "trip",
                Saga(
                    "all or nothing",
                    Parallel(
                        "book",
                        Branch("flight", Step("book flight", self.book_flight)),
                        Branch("car", Step("book car", self.book_car)),
                        Branch("hotel", Step("book hotel", self.book_hotel)),
                        into="bookings",
                    ),
                    Approval(
                        "agreed",
                        self.managers,
                        Step("pay", self.pay),  # flowstmt: ignore[FS202] comes last: nothing can fail behind it
                        need=ANY,
                        timeout=timedelta(days=3),
                        # flowstmt: ignore[FS202] mail that was sent stays sent
                        remind=Every("each day", timedelta(days=1), Step("remind", self.remind)),
                        into="approval",
                    ).expired(Fail("nobody agreed", "no manager has answered for three days")),
                ),
            ).catch(Exception, Step("apologise", self.apologise), Return("not booked"), into="error"),
            Step("congratulate", self.congratulate),
            Return("booked"),
        )

    # --- what the steps do, how often, and how it is undone ---

    def release(self, booking: Booking) -> None:
        self._agency.release(self._key, booking)

    @step(compensate="release", timeout=timedelta(seconds=30), concurrent=True)
    def book_flight(self) -> Booking:
        return self._agency.book(self._key, "flight", self.traveller)

    @step(compensate="release", timeout=timedelta(seconds=30), concurrent=True)
    def book_hotel(self) -> Booking:
        return self._agency.book(self._key, "hotel", self.traveller)

    @step(compensate="release", timeout=timedelta(seconds=30), concurrent=True)
    def book_car(self) -> Booking:
        return self._agency.book(self._key, "car", self.traveller)

    @step(into="receipt")
    def pay(self) -> str:
        return self._agency.charge(self._key, self.traveller, sum(booking.price for booking in self.bookings))

    def remind(self) -> None:
        for manager in self.managers:
            self._agency.tell(f"{self._key}:{manager}", manager, f"please decide on the trip of {self.traveller}")

    def apologise(self) -> None:
        assert self.error is not None  # the catch has kept it
        self._agency.tell(self._key, self.traveller, f"no trip: {self.error.message}")

    def congratulate(self) -> None:
        self._agency.tell(self._key, self.traveller, f"have a good trip! ({self.receipt})")

    @property
    def _agency(self) -> Agency:
        agency: Agency = current().deps
        return agency

    @property
    def _key(self) -> str:
        return current().idempotency_key


@dataclass
class Village:
    """An agency for a demonstration and for tests: it remembers what it did by the keys of its callers."""

    full: frozenset[Kind] = frozenset()
    booked: dict[str, Booking] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)
    charged: dict[str, int] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)

    def book(self, key: str, kind: Kind, traveller: str) -> Booking:
        if kind in self.full:
            raise FullError(f"no {kind} left")
        if kind == "flight" and current().attempt == 1:
            raise BusyError("try again in a moment")
        prices: dict[Kind, int] = {"flight": 320, "hotel": 240, "car": 90}
        return self.booked.setdefault(key, Booking(kind, f"{kind}-{len(self.booked) + 1}", prices[kind]))

    def release(self, key: str, booking: Booking) -> None:
        self.released.setdefault(key, booking.number)

    def charge(self, key: str, traveller: str, amount: int) -> str:
        self.charged.setdefault(key, amount)
        return f"{amount} paid by {traveller}"

    def tell(self, key: str, person: str, text: str) -> None:
        self.letters.setdefault(key, f"to {person}: {text}")

    @property
    def held(self) -> list[str]:
        """The bookings that stand."""
        return sorted(booking.number for booking in self.booked.values() if booking.number not in self.released.values())


def show(title: str, village: Village, answer: Answer | None, agree: bool = True) -> None:
    """Play one trip and print what became of it."""
    harness = Harness(Trip("eva", ["mia", "tom"]), deps=village)
    harness.run()
    harness.advance(timedelta(days=1))
    if answer is not None:
        harness.callback(APPROVE if agree else REJECT, answer)
    harness.advance(timedelta(days=3))
    print(f"{title}: {harness.state.status}, {harness.result}")
    print(f"  stands: {', '.join(village.held) or 'nothing'}; released: {', '.join(village.released.values()) or 'nothing'}")
    for letter in village.letters.values():
        print(f"  letter {letter}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    show("all goes well", Village(), Answer("mia", "enjoy"))
    show("the hotel is full", Village(full=frozenset({"hotel"})), None)
    show("nobody answers", Village(), None)
    show("a manager rejects", Village(), Answer("tom", "not this year"), agree=False)
