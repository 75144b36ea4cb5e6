"""An event that has something outside, which knows the event by its name."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Call, Noting


class Page:
    """A payment page: it has to be taken down by the name under which it was put up."""

    def setup(self, request: CallbackRequest) -> str:
        return f"page of {request.name}"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        if request.setup_data != f"page of {request.name}":
            raise LookupError(request.setup_data)


@dataclass
class Order(Noting):
    def definition(self) -> Statement:
        return S(
            Wait(
                "payment",
                On("paid", self.note("paid"), via=Page()),
                On("cancelled", self.note("cancelled")),
            ),
            Step("send", self.note("send")),
        )


CALLS: list[Call] = [(CallbackRequest("paid"), None)]
