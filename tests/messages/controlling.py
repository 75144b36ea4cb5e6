"""What can go wrong when somebody controls a run from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flowstmt import (
    Break,
    CallbackRequest,
    For,
    ForEach,
    Go,
    Join,
    Map,
    On,
    Retry,
    S,
    Saga,
    State,
    Statement,
    Step,
    Wait,
    cancel,
    compensation_plan,
    goto,
    handle_callback,
    load,
    pause,
    resume,
    retry_now,
    set_data,
    unpause,
)
from flowstmt.snapshot import dump
from tests.messages.definitions import wrong
from tests.messages.rows import Table

NOW = datetime(2026, 6, 1, tzinfo=UTC)

CONTROL = Table("Control from outside")
TABLES = [CONTROL]


@dataclass
class Order:
    total: int = 0
    due: date | None = None
    client: Any = field(default=None, metadata={"transient": True})

    def __post_init__(self) -> None:
        if self.total > 1000:
            raise ValueError("too much")

    def definition(self) -> Statement:
        return S(
            For("reminders", Step("remind", self.work), Wait("payment", On("paid")), Break(), max_iterations=3),
            Saga("delivery", Step("ship", self.work, compensate=self.fail), Map("parcels", [1, 2], Wait("parcel", On("sent")))),
            Step("thank", self.fail),
        )

    def work(self) -> None: ...

    def fail(self) -> None:
        raise ConnectionError("down")


@dataclass
class Failing(Order):
    def definition(self) -> Statement:
        once = Retry(max_attempts=1)
        return S(Step("ship", self.work, compensate=self.fail), Step("charge", self.fail, retry=once))


@dataclass
class Many(Order):
    def definition(self) -> Statement:
        each = ForEach("parcels", range(25), Go("parcel", Wait("sent", On("sent")), id=lambda n: n))
        return S(each, Join("all", "parcel"))


def started(until: int = 1, cls: type[Order] = Order) -> tuple[Order, State]:
    """An order that waits for its payment (1), or for its parcels (2), or is over (3)."""
    order, state = cls(), State.new("order-1", "Order", NOW)
    resume(order, state, now=NOW)
    if until > 1:
        handle_callback("paid", order, state, now=NOW)
        resume(order, state, now=NOW)
    if until > 2:
        cancel(order, state, "out of stock", now=NOW)
        for hours in range(3):
            resume(order, state, now=NOW + timedelta(hours=hours))
    return order, state


def new() -> tuple[Order, State]:
    return Order(), State.new("order-1", "Order", NOW)


def paused(order: Order, state: State) -> tuple[Order, State]:
    pause(order, state, now=NOW)
    return order, state


def cancelled(order: Order, state: State) -> tuple[Order, State]:
    cancel(order, state, "out of stock", now=NOW)
    return order, state


def shorter() -> tuple[Order, State]:
    """An order whose definition has lost what undoes a step."""

    @dataclass
    class Shorter(Order):
        def definition(self) -> Statement:
            return S(
                Saga("delivery", Step("ship", self.work), Map("parcels", [1, 2], Wait("parcel", On("sent")))),
            )

    return load(Shorter, dump(*started(2)))


for _title, _act in dict[str, Callable[[], Any]](
    {
        "a state that is none": lambda: pause(Order(), wrong({})),
        "a reason that is no text": lambda: cancel(*started(), wrong(7)),
        "an instant without a time zone": lambda: pause(*started(), now=datetime(2026, 6, 1)),
        "a run that is paused twice": lambda: pause(*paused(*started())),
        "a run that is not paused": lambda: unpause(*started()),
        "a run that is over": lambda: cancel(*started(3), "once more"),
        "a run that is cancelled twice": lambda: cancel(*cancelled(*started()), "once more"),
        "a run that has failed": lambda: cancel(*started(cls=Failing), "too late"),
        "a thread that does not live": lambda: goto(*started(), "ship", "thank"),
        "a thread that does not live, of many": lambda: goto(*started(cls=Many), "ship", "thank"),
        "a thread that was told to end before it began": lambda: goto(*cancelled(*new()), "main", "thank"),
        "a thread that is no text": lambda: goto(*started(), wrong(None), "thank"),
        "a thread that has been told to end": lambda: goto(*cancelled(*started()), "main", "thank"),
        "a thread that undoes something": lambda: goto(*started(cls=Failing), "main", "ship"),
        "a thread whose branches live": lambda: goto(*started(2), "main", "thank"),
        "a position that is no text": lambda: goto(*started(), "main", wrong(7)),
        "a position that does not exist": lambda: goto(*started(), "main", "thanks"),
        "a position at which nobody stands": lambda: goto(*started(), "main", "delivery"),
        "a position of another thread": lambda: goto(*started(), "main", "parcel"),
        "a position inside of something else": lambda: goto(*started(), "main", "ship"),
        "nothing to be tried again": lambda: retry_now(*started()),
        "nothing of a thread to be tried again": lambda: retry_now(*started(), "main"),
        "no changes": lambda: set_data(*started(), {}),
        "changes that are none": lambda: set_data(*started(), wrong([("total", 1)])),
        "changes of fields that there are not": lambda: set_data(*started(), {"totl": 1, "client": 2}),
        "changes that do not fit": lambda: set_data(*started(), {"total": "secret", "due": 3.5}),
        "changes that the class refuses": lambda: set_data(*started(), {"total": 1001}),
        "a plan for a step that can not be undone any more": lambda: compensation_plan(*shorter()),
    }
).items():
    CONTROL.add(_title, _act)


@CONTROL.row
def a_callback_of_a_paused_run() -> None:
    order, state = started()
    pause(order, state)
    handle_callback(CallbackRequest("paid", thread_id="main"), order, state)
