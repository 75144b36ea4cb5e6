"""A pizza order that survives being killed, and the few lines that keep it in a SQLite file.

Copy what you need: ``Order`` is the workflow, ``Orders.saver`` its persistence, ``Orders.callback`` what a web
handler calls, ``Orders.wake`` what a timer calls. ``python examples/pizza.py`` (``make demo``) shows them at work in
processes that get killed; the show itself is in ``pizza_show.py``. Then ``pizza_engine_show.py`` plays the same ``Order`` on
the engine, which needs nothing of the rest.
"""

from __future__ import annotations

import logging
import runpy
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from flowstmt import (
    Break,
    CallbackRequest,
    CheckpointType,
    ConflictError,
    FlowstmtError,
    For,
    ForEach,
    Go,
    On,
    RefusedError,
    Return,
    S,
    State,
    Statement,
    Step,
    Timeout,
    Wait,
    WaitFor,
    current,
    dump,
    handle_callback,
    load,
    resume,
)

log = logging.getLogger("pizza")

MENU = {"margherita": Decimal("8.50"), "funghi": Decimal("9.50"), "diavola": Decimal("10.00")}


@dataclass
class Line:
    """A line of the cart; as a payload it is validated against these annotations."""

    pizza: Literal["margherita", "funghi", "diavola"]
    count: Annotated[int, Field(ge=1, le=20)] = 1


@dataclass
class Card:
    number: Annotated[str, Field(pattern=r"^\d{16}$")]


class Services(Protocol):
    """The world outside. A step may run twice, with the same key: each of these does its work once per key."""

    def open_page(self, key: str, request: CallbackRequest) -> str: ...
    def close_page(self, url: str | None) -> None: ...
    def charge(self, key: str, card: str, amount: Decimal) -> str | None: ...
    def bake(self, key: str, line: Line) -> None: ...
    def send_courier(self, key: str, customer: str) -> str: ...


class CardPage:
    """Where the customer types the card: open for as long as the order waits for ``pay``, and not a moment longer."""

    def setup(self, request: CallbackRequest) -> str:
        services: Services = current().deps
        return services.open_page(current().idempotency_key, request)

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        services: Services = current().deps
        services.close_page(request.setup_data)


@dataclass
class Order:
    customer: str
    cart: list[Line] = field(default_factory=list)
    card: str = ""
    payment: str | None = None
    courier: str = ""

    def definition(self) -> Statement:
        return S(
            For(
                "shopping",
                Wait(
                    "cart",
                    On("add", self.add),
                    On("empty", self.empty),
                    On("submit", self.submit, Break()),
                    Timeout("cart timeout", timedelta(minutes=15), Return("abandoned")),
                ),
            ),
            Wait("manager", On("confirm"), On("decline", Return("declined"))),  # flowstmt: ignore[FS101] stands beside the oven
            Go(
                "payment",
                For(
                    "paying",
                    self.payment is None,
                    Wait("card", On("pay", self.take_card, via=CardPage())),
                    Step("charge", self.charge, into="payment"),
                ),
            ),
            ForEach(
                "kitchen",
                self.cart,
                Step("bake", self.bake),
                Wait("oven", On("baked")),  # flowstmt: ignore[FS101] it is done when it is done
            ),
            WaitFor("payment arrives", self.payment is not None),
            Step("hand to courier", self.hand_to_courier, into="courier"),
            Wait("delivery", On("delivered")),  # flowstmt: ignore[FS101] the courier has it, nothing else could be done
            Return(self.receipt),
        )

    # Handlers: what they return is the answer to whoever called.

    def add(self, line: Line) -> str:
        self.cart.append(line)
        return f"{sum(line.count for line in self.cart)} in the cart, {self.total()}"

    def empty(self) -> None:
        self.cart.clear()

    def submit(self) -> Decimal:
        if not self.cart:
            raise RefusedError("the cart is empty")
        return self.total()

    def take_card(self, card: Card) -> str:
        self.card = card.number
        return f"charging {self.total()} to card ...{card.number[-4:]}"

    # Actions: may run twice if the process dies, so what they do outside carries a key.

    def charge(self) -> str | None:
        services: Services = current().deps
        return services.charge(current().idempotency_key, self.card, self.total())

    def bake(self, line: Line) -> None:
        services: Services = current().deps
        services.bake(current().idempotency_key, line)

    def hand_to_courier(self) -> str:
        services: Services = current().deps
        return services.send_courier(current().idempotency_key, self.customer)

    def total(self) -> Decimal:
        return sum((MENU[line.pizza] * line.count for line in self.cart), Decimal(0))

    def receipt(self) -> dict[str, Any]:
        lines = [[line.count, line.pizza, str(MENU[line.pizza] * line.count)] for line in self.cart]
        return {"lines": lines, "total": str(self.total()), "payment": self.payment, "courier": self.courier}


class Orders:
    """Orders in a SQLite file, one row each."""

    invoke: Callable[..., Any] | None = None
    """Wraps every action, handler, setup and teardown; the show watches, and kills, through it."""

    def __init__(self, path: str | Path, services: Services) -> None:
        self.services = services
        self.db = sqlite3.connect(path, isolation_level=None)  # every statement commits by itself
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, revision INTEGER, wake_at REAL, snapshot BLOB) STRICT"
        )

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        """What ``resume`` calls at each checkpoint: write the run, unless somebody else has since it was loaded."""
        loaded = state.revision

        def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            row = (state.revision, wake_at, dump(order, state), state.run_id, loaded)
            done = self.db.execute(
                "UPDATE orders SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?", row
            )
            if done.rowcount == 0:
                raise ConflictError(f"{state.run_id} was moved by somebody else since revision {loaded}: load it again")
            loaded = state.revision

        return save

    def start(self, order_id: str, order: Order, now: datetime | None = None) -> None:
        state = State.new(order_id, "Order", now)
        # wake_at 0: should this process die now, `wake` finds the order.
        self.db.execute("INSERT INTO orders VALUES (?, 0, 0, ?)", (order_id, dump(order, state)))
        self.go_on(order, state, self.saver(order, state), now)

    def load(self, order_id: str) -> tuple[Order, State]:
        row = self.db.execute("SELECT snapshot FROM orders WHERE id = ?", (order_id,)).fetchone()
        if row is None:
            raise LookupError(f"there is no order {order_id!r}")
        return load(Order, row[0])

    def callback(
        self, order_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None
    ) -> Any:
        order, state = self.load(order_id)
        save = self.saver(order, state)
        answer = handle_callback(request, order, state, payload, now=now, deps=self.services, invoke=self.invoke)
        save()  # from here on the callback is taken, whatever happens to this process
        self.go_on(order, state, save, now)
        return answer

    def go_on(self, order: Order, state: State, save: Callable[..., None], now: datetime | None) -> None:
        try:
            resume(order, state, save, now=now, deps=self.services, invoke=self.invoke)
        except FlowstmtError:
            # All is saved up to the last checkpoint, and `wake` tries again: neither who called nor other orders suffer.
            log.exception("%s can't go on now", state.run_id)

    def wake(self, now: datetime) -> list[str]:
        """Move on every order that can do something by itself: one whose process died, one whose time has come."""
        due = self.db.execute("SELECT id FROM orders WHERE wake_at <= ? ORDER BY id", (now.timestamp(),)).fetchall()
        for (order_id,) in due:
            try:
                order, state = self.load(order_id)
                self.go_on(order, state, self.saver(order, state), now)
            except FlowstmtError:
                # Its snapshot can't be read any more, say. Those behind it can.
                log.exception("%s needs somebody to look at it", order_id)
        return [order_id for (order_id,) in due]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    for act in ("pizza_show", "pizza_engine_show"):
        runpy.run_module(f"examples.{act}", run_name="__main__")
