"""What can go wrong with child runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowstmt import Call, CallbackRequest, S, State, Statement, Step, cancel, handle_callback, resume, validate
from tests.messages.definitions import wrong
from tests.messages.rows import Table

CALLS = Table("Runs: children")
TABLES = [CALLS]

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class Invoice:
    def definition(self) -> Statement:
        return Step("send", print)


@dataclass
class Order:
    total: int = 0

    def definition(self) -> Statement:
        return Call("invoice", Invoice(), into="total")


def begun(order: Any) -> State:
    """An order that waits for its invoice."""
    state = State.new("order-1", "Order", NOW)
    resume(order, state, now=NOW, invoke=lambda current, call: None)
    return state


def told(payload: Any, **pins: Any) -> None:
    order = Order()
    state = begun(order)
    pins = {"pc": 1, "birth": state.threads[0].birth, **pins}
    handle_callback(CallbackRequest("child:ended", **pins), order, state, payload, now=NOW)
    resume(order, state, now=NOW)


@CALLS.row
def children_that_nobody_could_start() -> None:
    async def later() -> Invoice:
        return Invoice()

    @dataclass
    class Odd:
        def definition(self) -> Statement:
            return S(
                Call("a class", wrong(Invoice), into="totl"),
                Call("a number", wrong(7)),
                Call("a statement", wrong(Step("send", print))),
                Call("too much", wrong(lambda order: Invoice())),
                Call("later", wrong(later)),
            )

    validate(Odd())


@CALLS.row
def a_child_without_an_engine() -> None:
    resume(Order(), State.new("order-1", "Order", NOW), now=NOW)


@CALLS.row
def a_child_that_is_to_be_cancelled_without_an_engine() -> None:
    order = Order()
    state = begun(order)
    cancel(order, state, "sold out", now=NOW)
    resume(order, state, now=NOW)


@CALLS.row
def what_makes_no_workflow() -> None:
    @dataclass
    class Odd:
        def definition(self) -> Statement:
            return Call("invoice", wrong(lambda: 5))

    resume(Odd(), State.new("order-1", "Odd", NOW), now=NOW, invoke=lambda current, call: None)


@CALLS.row
def the_end_of_a_child_from_who_does_not_know_it() -> None:
    told({"status": "Finished"}, pc=None)


@CALLS.row
def the_end_of_a_child_for_which_nobody_waits_any_more() -> None:
    told({"status": "Finished"}, pc=7)


@CALLS.row
def the_end_of_a_child_that_is_none() -> None:
    told({"status": "Waiting"})


@CALLS.row
def a_result_that_does_not_fit() -> None:
    told({"status": "Finished", "result": "five"})
