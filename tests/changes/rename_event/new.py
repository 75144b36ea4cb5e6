"""Callers use the old name still; what was put up is taken down under it."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait
from tests.changes.record import Noting


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
                On("settled", self.note("paid"), via=Page(), was=("paid",)),
                On("cancelled", self.note("cancelled")),
            ),
            Step("send", self.note("send")),
        )


ENDS = dict.fromkeys(
    ("1-payment", "2-payment", "3-payment-paid", "4-send", "5-send", "6-end"),
    ("paid", "send"),
)
"""What is in the log at the end, by the snapshot that the run went on from."""
