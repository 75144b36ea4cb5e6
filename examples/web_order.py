"""The workflow of the shop in ``web.py``: half is paid in advance, half when the parcel is ready, handed over for a code.

It is in instance style, which reads like plain Python: an order lives for days and has few steps, and what it costs to build
a tree of this size after each of them (microseconds) does not show beside the write to the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal, Protocol

from pydantic import Field

from flowstmt import CallbackRequest, On, RefusedError, Return, S, Statement, Step, Timeout, Wait, current

PRICES = {"tea": 450, "rice": 300, "silk": 9900}


@dataclass
class Line:
    sku: Literal["tea", "rice", "silk"]
    count: Annotated[int, Field(ge=1, le=100)] = 1


@dataclass
class Payment:
    """What the provider says. The ``id`` is the same whenever it says it again, and another one for a second payment."""

    id: str
    cents: Annotated[int, Field(gt=0)]


@dataclass
class Delivery:
    code: str
    signed_by: Annotated[str, Field(min_length=1)]


class WrongCodeError(RefusedError):
    """Not a matter of time, as other refusals are: the caller may not do this."""


class Services(Protocol):
    """The world outside. A step may run twice, with the same key: each of these does its work once per key."""

    def open_checkout(self, key: str, request: CallbackRequest, cents: int) -> str: ...
    def close_checkout(self, url: str | None) -> None: ...
    def refund(self, key: str, payment_id: str) -> None: ...
    def book_courier(self, key: str, customer: str) -> str: ...


@dataclass
class Checkout:
    """The provider's page: open for as long as the order waits to be paid.

    The provider gets the request, and sends it back in its webhook. It names this very stop of this run (``birth``, ``pc``):
    what was paid on the page for the deposit can't be taken for the rest, though that is another ``paid`` of as much.
    """

    cents: int

    def setup(self, request: CallbackRequest) -> str:
        services: Services = current().deps
        return services.open_checkout(current().idempotency_key, request, self.cents)

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        services: Services = current().deps
        services.close_checkout(request.setup_data)


@dataclass
class Order:
    customer: str
    lines: list[Line]
    code: str  # the customer has it, and tells the courier
    payments: list[Payment] = field(default_factory=list)
    parcel: str = ""
    signed_by: str = ""

    def definition(self) -> Statement:
        return S(
            # Whichever of its events fires, the order goes on behind a Wait. One that should not let it (a note from the
            # customer, say) needs a For around the Wait, and a Break in those that should.
            Wait(
                "deposit",
                On("paid", self.take_payment, via=Checkout(self.due())),
                On("cancel", Return("cancelled")),
                Timeout("not paid", timedelta(hours=1), Return("expired")),
            ),
            Step("book courier", self.book_courier, into="parcel"),
            Wait(
                "rest",
                On(
                    "paid",
                    self.take_payment,
                    # flowstmt: ignore[FS101] the courier is on the way, and calls from wherever that leads
                    Wait("delivery", On("delivered", self.hand_over, Return("delivered")), On("cancel")),
                    via=Checkout(self.due()),
                ),
                On("cancel"),
                Timeout("not paid in full", timedelta(days=14)),  # flowstmt: ignore[FS103] what follows is the refund
            ),
            Step("refund", self.refund),
            Return("refunded"),
        )

    def take_payment(self, payment: Payment) -> None:
        if payment.id in [taken.id for taken in self.payments]:
            raise RefusedError(f"{payment.id} was taken before")
        if payment.cents != self.due():
            raise RefusedError(f"{payment.cents} paid, but {self.due()} is due")
        self.payments.append(payment)

    def hand_over(self, delivery: Delivery) -> str:
        if delivery.code != self.code:
            raise WrongCodeError("this is not the customer's code")
        self.signed_by = delivery.signed_by
        return f"{self.parcel} handed over to {self.signed_by}"

    def book_courier(self) -> str:
        services: Services = current().deps
        return services.book_courier(current().idempotency_key, self.customer)

    def refund(self) -> None:
        services: Services = current().deps
        for payment in self.payments:
            services.refund(f"refund {payment.id}", payment.id)

    def due(self) -> int:
        deposit = self.total() // 2
        return self.total() - deposit if self.payments else deposit

    def total(self) -> int:
        return sum(PRICES[line.sku] * line.count for line in self.lines)
