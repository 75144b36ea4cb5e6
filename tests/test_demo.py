"""The demo: it ends well whatever is killed, it says what happened, and its workflow passes the crash explorer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from examples.pizza import Line, Order, Orders
from flowstmt import CallbackRequest, CheckpointType, ConflictError, RefusedError, State, validate
from flowstmt.testing import Advance, Callback, explore
from tests.examples.processes import python

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def acts() -> list[str]:
    """What ``make demo`` prints: the order in a table of its own, and the order on the engine."""
    done = python("examples/pizza.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    both = re.split(r"(?=\n--- The same order on the engine)", done.stdout)
    assert len(both) == 2
    return both


@pytest.fixture(scope="module")
def printed() -> list[str]:
    return acts()


@pytest.fixture
def output(printed: list[str]) -> str:
    """The act with the table of its own."""
    return printed[0]


@pytest.fixture
def on_the_engine(printed: list[str]) -> str:
    return printed[1]


def said(output: str) -> str:
    """The output in one line, as folding is not the point."""
    return re.sub(r"\s+", " ", output)


def test_processes_are_killed_at_six_different_points_and_new_ones_go_on(output):
    kills = re.findall(r"KILLED +by SIGKILL, exit status -9, ([^:]+):", output)
    assert kills == [
        "before saving callback",
        "after saving callback",
        "after setup card",
        "after action bake",
        "outside charge",
        "after saving afterStep",
    ]
    pids = re.findall(r"started, pid (\d+)", output)
    assert len(pids) == len(set(pids)) == 8


@pytest.mark.parametrize(
    "reason",
    [
        "InvalidPayloadError: run 'order-1': the payload for event 'add' does not fit: - pizza: Input should be 'margherita'",
        "UnknownEventError: run 'order-1': Order has no event 'deliver'",
        "RefusedError: the cart is empty",
        "NotWaitingError: run 'order-1': nobody waits for event 'confirm'",
        "StaleCallbackError: run 'order-1': event 'pay' with birth",
        "WorkflowFinishedError: run 'order-1': event 'delivered' refused",
    ],
)
def test_what_is_refused_is_refused_with_its_reason(output, reason):
    assert f"refused {reason}" in said(output)


def test_an_order_that_can_not_be_read_keeps_nobody_from_the_others(tmp_path, caplog):
    orders = Orders(tmp_path / "orders.db", Town())
    orders.db.execute("INSERT INTO orders VALUES ('order-0', 0, 0, x'7B7D')")
    orders.start("order-1", Order("Ada"), NOON)
    assert orders.wake(NOON + timedelta(hours=1)) == ["order-0", "order-1"]
    assert "order-0 needs somebody to look at it" in caplog.text
    assert orders.load("order-1")[1].result == "abandoned"
    with pytest.raises(LookupError, match="there is no order 'order-2'"):
        orders.load("order-2")
    orders.db.close()


def test_the_slower_of_two_writers_is_told_so(output):
    assert "failed ConflictError: order-1 was moved by somebody else since revision 5" in said(output)


def test_every_revision_of_an_order_is_saved_once(output):
    for order, last in (("order-1", 33), ("order-2", 4)):
        found = [int(n) for n in re.findall(rf"checkpoint +{order} revision (\d+),", output)]
        assert found == list(range(1, last + 1))


def test_what_ran_twice_was_done_once(output):
    assert "seen before, not done again, answered 'payment-2'" in said(output)
    assert re.search(r"asked 2x +done once: charge 36.50 to \.\.\.4242 -> payment-2", output)
    assert "1 payment in the book; 6 processes were killed" in output


def test_the_forgotten_cart_times_out(output):
    assert re.search(r"order-2 +Finished, revision 4: 'abandoned'", output)


def test_it_ends_with_the_receipt(output):
    lines = [line.split() for line in output.splitlines()]
    assert lines[-6:] == [
        ["2", "x", "margherita", "17.00"],
        ["1", "x", "diavola", "10.00"],
        ["1", "x", "funghi", "9.50"],
        ["total", "36.50"],
        ["paid", "payment-2"],
        ["brought", "by", "Rosa"],
    ]


def test_two_runs_of_the_show_differ_in_nothing_but_the_process_ids(output):
    again = acts()[0]
    assert re.sub(r"pid \d+", "pid", again) == re.sub(r"pid \d+", "pid", output)


def test_there_is_no_colour_where_nobody_sees_it(printed):
    assert "\033" not in "".join(printed)


# --- the act on the engine ---


def test_of_two_workers_the_one_that_moves_the_run_is_killed_and_the_other_one_takes_over(on_the_engine):
    workers = re.findall(r"\[(\w)\] process +flowstmt worker, pid (\d+)", on_the_engine)
    assert [name for name, _ in workers] == ["A", "B"]
    assert len({pid for _, pid in workers}) == 2
    killed = re.findall(r"\[(\w)\] KILLED +by SIGKILL, exit status -9, while it moved order-3", on_the_engine)
    assert killed in (["A"], ["B"])
    [left] = {"A", "B"} - set(killed)
    baked = f"[{left}] outside bake 2 x margherita, key {{}}: seen before, not done again, answered 'in the oven'"
    [key] = set(re.findall(r"bake 2 x margherita, key (\S+:action)", on_the_engine))
    assert baked.format(key) in said(on_the_engine)
    assert f"[{left}] outside courier to Cleo" in said(on_the_engine)
    assert re.findall(r"\[(\w)\] process +told to go by SIGTERM, exit status 0", on_the_engine) == [left]


def test_the_progress_is_seen_live_whichever_worker_makes_it(on_the_engine):
    before, after = re.split(r"KILLED", on_the_engine)
    seen = [re.findall(r"progress +(\w+) +#* +(\d+) %", part) for part in (before, after)]
    assert seen[0] == [("margherita", percent) for percent in ("0", "25", "50")]
    assert seen[1][-7:] == [("margherita", "75"), ("margherita", "100")] + [
        ("funghi", percent) for percent in ("0", "25", "50", "75", "100")
    ]
    rests = re.findall(r"progress +(Waiting|Finished)(?:: main at '(\w+)')?", on_the_engine)
    assert [position for _, position in rests] == ["cart", "cart", "cart", "manager", "oven", "oven", "delivery", ""]


def test_callbacks_are_refused_and_signals_taken_once_from_another_process(on_the_engine):
    assert "refused InvalidPayloadError: run 'order-3': the payload for event 'add' does not fit" in said(on_the_engine)
    assert "refused WorkflowFinishedError: run 'order-3'" in said(on_the_engine)
    assert said(on_the_engine).count("kept, until somebody waits for it") == 1
    assert said(on_the_engine).count("it has that one already") == 1


def test_on_the_engine_too_all_was_done_once_and_it_ends_with_the_receipt(on_the_engine):
    assert re.search(r"asked \dx +done once: bake 2 x margherita", on_the_engine)
    assert re.search(r"asked once +done once: charge 26.50 to \.\.\.4242", on_the_engine)
    assert re.search(r"order-3 +Finished, revision \d+, owner None", on_the_engine)
    lines = [line.split() for line in on_the_engine.splitlines()]
    assert lines[-5:] == [
        ["2", "x", "margherita", "17.00"],
        ["1", "x", "funghi", "9.50"],
        ["total", "26.50"],
        ["paid", "payment-1"],
        ["brought", "by", "Rosa"],
    ]


# --- the workflow by itself ---


@dataclass
class Town:
    """Services that do their work once per key, in memory."""

    book: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, bool] = field(default_factory=dict)

    def open_page(self, key: str, request: CallbackRequest) -> str:
        self.pages.setdefault(f"/pay/{request.pc}", True)
        return f"/pay/{request.pc}"

    def close_page(self, url: str | None) -> None:
        if url is not None:
            self.pages[url] = False

    def charge(self, key: str, card: str, amount: Decimal) -> str | None:
        return self.book.setdefault(key, None if card.endswith("0000") else "payment")

    def bake(self, key: str, line: Line) -> None:
        self.book.setdefault(key, line)

    def send_courier(self, key: str, customer: str) -> str:
        return self.book.setdefault(key, "Rosa")


def two_pizzas() -> list[Callback | Advance]:
    return [
        Callback("add", {"pizza": "margherita", "count": 2}),
        Callback("empty"),
        Callback("add", {"pizza": "margherita"}),
        Advance(timedelta(minutes=14)),
        Callback("add", {"pizza": "funghi"}),
        Callback("submit"),
        Callback("confirm"),
        Callback("baked"),
        Callback("pay", {"number": "4" * 12 + "0000"}),
        Callback("baked"),
        Callback("pay", {"number": "4" * 16}),
        Callback("delivered"),
    ]


def test_the_definition_is_sound():
    validate(Order("Ann"))


def test_the_order_ends_the_same_wherever_it_is_killed():
    towns = []

    def town() -> Town:
        towns.append(Town())
        return towns[-1]

    def never_too_much(order: Order, state: State) -> bool:
        return order.total() == 0 or order.payment is None or order.total() == Decimal("18.00")

    found = explore(lambda: Order("Ann"), two_pizzas(), deps=town, now=NOON, invariant=never_too_much)
    assert found.undisturbed.result["payment"] == "payment"
    assert len(found.points) > 90
    assert len(towns) == len(found.points) + 1
    for killed in towns:
        assert list(killed.book.values()).count("payment") == 1
        assert not any(killed.pages.values()), "every page that was opened is closed"


def test_a_bank_that_ignored_its_keys_would_charge_twice():
    class Forgetful(Town):
        def charge(self, key: str, card: str, amount: Decimal) -> str | None:
            return super().charge(f"{key} {len(self.book)}", card, amount)

    towns: list[Forgetful] = []

    def forgetful() -> Forgetful:
        towns.append(Forgetful())
        return towns[-1]

    explore(lambda: Order("Ann"), two_pizzas(), deps=forgetful)
    assert max(list(town.book.values()).count("payment") for town in towns) == 2


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ([Callback("add", {"pizza": "funghi"}), Advance(timedelta(minutes=15))], "abandoned"),
        ([Callback("add", {"pizza": "funghi"}), Callback("submit"), Callback("decline")], "declined"),
    ],
)
def test_the_other_ends_are_as_safe(script, result):
    assert explore(lambda: Order("Ann"), script, deps=Town).undisturbed.result == result


# --- the file by itself ---


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Orders]:
    orders = Orders(tmp_path / "orders.db", Town())
    yield orders
    orders.db.close()


def test_of_two_writers_the_one_who_is_late_changes_nothing(orders):
    orders.start("order-1", Order("Ann"), NOON)
    order, state = orders.load("order-1")
    save = orders.saver(order, state)
    orders.callback("order-1", "add", b'{"pizza": "funghi"}', NOON)
    order.customer = "somebody else"
    with pytest.raises(ConflictError, match="order-1 was moved by somebody else since revision 1"):
        save(CheckpointType.afterStep)
    assert orders.load("order-1")[0].customer == "Ann"


def test_a_refused_callback_leaves_the_row_as_it_was(orders):
    orders.start("order-1", Order("Ann"), NOON)
    before = orders.db.execute("SELECT * FROM orders").fetchall()
    with pytest.raises(RefusedError):
        orders.callback("order-1", "submit", None, NOON)
    assert orders.db.execute("SELECT * FROM orders").fetchall() == before


def test_an_order_that_fails_disturbs_neither_its_caller_nor_the_others(orders, caplog):
    for order_id in ("order-1", "order-2"):
        orders.start(order_id, Order("Ann"), NOON)
        orders.callback(order_id, "add", b'{"pizza": "funghi"}', NOON)
        orders.callback(order_id, "submit", None, NOON)
    orders.services.bake = None  # the kitchen is out of order
    orders.callback("order-1", "confirm", None, NOON)
    assert "order-1 can't go on now" in caplog.text
    del orders.services.bake
    assert orders.wake(NOON) == ["order-1"]
    assert [thread.position for thread in orders.load("order-1")[1].threads] == ["oven", "card"]


def test_waking_moves_only_orders_that_have_something_to_do(orders):
    orders.start("order-1", Order("Ann"), NOON)
    orders.start("order-2", Order("Bob"), NOON + timedelta(minutes=5))
    assert orders.wake(NOON + timedelta(minutes=14)) == []
    assert orders.wake(NOON + timedelta(minutes=15)) == ["order-1"]
    assert orders.load("order-1")[1].result == "abandoned"
    assert orders.wake(NOON + timedelta(minutes=30)) == ["order-2"]
    assert orders.wake(NOON + timedelta(days=1)) == []
