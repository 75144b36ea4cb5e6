"""A text where the answer to an Approval is expected."""

from __future__ import annotations

from flowstmt import APPROVE, Approval, State, Statement, handle_callback
from tests.typing.shop import Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Approval("release", ["ann"])


def approve(order: Order, state: State) -> None:
    handle_callback(APPROVE, order, state, "ann")
