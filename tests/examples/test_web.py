"""The shop over real HTTP: what it answers, webhooks that come twice, at once or too late, and servers that get killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import strategies as st

from examples.web import signature
from examples.web_order import Delivery, Line, Order, Payment, WrongCodeError
from examples.web_store import NotYetError, Shop
from examples.web_town import Town
from flowstmt import CallbackRequest, ConflictError, RefusedError, StaleCallbackError, State, WorkflowFinishedError, validate
from flowstmt.testing import Advance, Callback, explore
from flowstmt.testing.hunt import hunt
from tests.examples.processes import ROOT, python
from tests.examples.web_process import SECRET

TEA = {"customer": "Ann", "lines": [{"sku": "tea", "count": 2}]}
T = TypeVar("T")


class Server:
    """A shop in a process of its own, on a port that the system chooses, and anew whenever it has died."""

    def __init__(self, folder: Path, die_at: int = 0, app: str = "tests.examples.web_process:create_app") -> None:
        self.app = app
        self.die_at = die_at
        self.town = Town(folder / "town.db")
        self.env = {**os.environ, "SHOP_DB": str(folder / "shop.db"), "TOWN_DB": str(folder / "town.db"), "SHOP_SECRET": SECRET}
        self.starts = 0
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "--factory", self.app, "--port", "0"]
        env = {**self.env, "DIE_AT": str(self.die_at)}
        self.process = subprocess.Popen(
            [*command, "--no-access-log"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.starts += 1
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                self.http = httpx.Client(base_url=found[1], timeout=20)
                break
        else:
            self.process.wait()
            self.process.stderr.close()
            if self.process.returncode == -signal.SIGKILL:
                return self.start()  # it died of the waking on start, before it took any request
            raise AssertionError("".join(self.log))
        self.reader = Thread(target=self.log.extend, args=[self.process.stderr])
        self.reader.start()
        return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def buried(self) -> None:
        assert self.process.wait(20) == -signal.SIGKILL, "".join(self.log)
        self.reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.http.close()

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask until there is an answer, as a client does that has none."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = self.http.request(method, path, **arguments)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "".join(self.log)
                self.buried()
                self.start()
            else:
                if answer.status_code != 503:
                    return answer
                assert time.monotonic() < deadline, answer.text

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.ask("POST", path, json=body, headers=headers) if body is not None else self.ask("POST", path)

    def order(self, key: str) -> str:
        answer = self.ask("POST", "/orders", json=TEA, headers={"Idempotency-Key": key})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def see(self, order_id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def opened(self, order_id: str, payment: str = "deposit") -> dict[str, Any]:
        """The order, once there is a page where to pay."""

        def look() -> dict[str, Any] | None:
            found = self.see(order_id)
            paid = len(found["order"]["payments"])
            return found if paid > (payment == "rest") or (found["checkout"] and paid == (payment == "rest")) else None

        return eventually(look)

    def pay(self, order_id: str, payment: str = "pay-1", cents: int | None = None) -> httpx.Response:
        headers, body = self.town.webhook(order_id, payment, SECRET, cents)
        return self.ask("POST", "/webhooks/payment", headers=headers, content=body)

    def pay_both(self, order_id: str) -> dict[str, Any]:
        """The order, once all of it is paid."""
        for payment in ("deposit", "rest"):
            self.opened(order_id, payment)
            assert self.pay(order_id, f"{payment} of {order_id}").json()["payment"] in ("taken", "taken before")
        return eventually(lambda: found if "delivered" in (found := self.see(order_id))["takes"] else None)

    def deliver(self, order_id: str, code: str) -> httpx.Response:
        return self.post(f"/orders/{order_id}/events/delivered", {"code": code, "signed_by": "Ann"})

    def over(self, order_id: str) -> dict[str, Any]:
        return eventually(lambda: found if (found := self.see(order_id))["status"] == "Finished" else None)

    def book(self) -> dict[str, int]:
        """What was done outside, and how often it was asked for."""
        db = sqlite3.connect(self.town.path)
        try:
            return dict(db.execute("SELECT what || ' ' || key, asked FROM book").fetchall())
        finally:
            db.close()


def eventually(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 30
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
    return found


def stopped(server: Server) -> None:
    if server.process.poll() is None:
        server.kill()
    if not server.http.is_closed:
        server.buried()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that don't kill it."""
    server = Server(tmp_path_factory.mktemp("shop"))
    yield server
    assert server.starts == 1
    stopped(server)


# --- what it answers ---


def test_an_order_is_paid_sent_and_handed_over(server):
    answer = server.post("/orders", TEA)
    made = answer.json()
    assert (answer.status_code, made["total"]) == (201, 900)
    made = server.opened(made["id"])
    assert (made["status"], made["takes"]) == ("Waiting", ["cancel"])
    assert made["checkout"].startswith("https://pay.example/")
    assert datetime.fromisoformat(made["until"]) > datetime.now(UTC) + timedelta(minutes=55)
    assert server.pay(made["id"]).json() == {"payment": "taken"}
    ready = server.opened(made["id"], "rest")
    assert (ready["takes"], ready["order"]["payments"]) == (["cancel"], [{"id": "pay-1", "cents": 450}])
    assert server.pay(made["id"], "pay-2").json() == {"payment": "taken"}
    sent = eventually(lambda: found if "delivered" in (found := server.see(made["id"]))["takes"] else None)
    assert (sent["takes"], sent["checkout"], sent["until"]) == (["delivered", "cancel"], None, None)
    answer = server.deliver(made["id"], made["order"]["code"])
    assert (answer.status_code, answer.json()) == (200, {"answer": f"{sent['order']['parcel']} handed over to Ann"})
    assert server.over(made["id"])["result"] == "delivered"


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/orders", {"customer": "Ann", "lines": [{"sku": "gold"}]}, 422, "Input should be 'tea', 'rice' or 'silk'"),
        ("/orders", {"customer": "Ann", "lines": []}, 422, "at least 1 item"),
        ("/orders/nobody/events/cancel", None, 404, "there is no order 'nobody'"),
        ("/orders/{paid}/events/explode", None, 404, "there is no event 'explode' for you"),
        ("/orders/{new}/events/paid", {"id": "mine", "cents": 450}, 404, "there is no event 'paid' for you"),
        ("/orders/{new}/events/delivered", {"code": "1", "signed_by": "Ann"}, 409, "nobody waits for event 'delivered'"),
        ("/orders/{new}/events/cancel", {"why": "so"}, 422, "the event takes no payload"),
        ("/orders/{paid}/events/delivered", {"code": "1", "signed_by": ""}, 422, "signed_by: String should have at least 1"),
        ("/orders/{paid}/events/delivered", None, 422, "Input should be a dictionary or an instance of Delivery"),
        ("/orders/{paid}/events/delivered", {"code": "1", "signed_by": "Bob"}, 403, "this is not the customer's code"),
        ("/orders/{over}/events/cancel", None, 409, "the run is Finished and takes no more callbacks"),
    ],
)
def test_what_is_refused_has_a_status_and_a_reason(server, path, body, status, detail):
    orders = {name: server.order(name) for name in ("new", "paid", "over")}
    if "{paid}" in path:
        server.pay_both(orders["paid"])
    if "{over}" in path:
        server.post(f"/orders/{orders['over']}/events/cancel")
        server.over(orders["over"])
    before = server.see(orders["new"])
    answer = server.post(path.format(**orders), body)
    assert answer.status_code == status
    assert detail in json.dumps(answer.json()["detail"])
    assert server.see(orders["new"]) == before


def test_nobody_sees_an_order_that_is_not_there(server):
    assert server.ask("GET", "/orders/nobody").status_code == 404


def test_ordering_twice_with_one_key_is_ordering_once(server):
    assert server.order("twice") == server.order("twice")
    other = server.post("/orders", {"customer": "Bob", "lines": [{"sku": "tea"}]}, **{"Idempotency-Key": "twice"})
    assert (other.status_code, other.json()["detail"]) == (409, "another order was made with this Idempotency-Key")


def test_what_comes_before_its_wait_is_asked_to_come_again(server):
    made = server.post("/orders", {**TEA, "customer": "Nemo"}).json()
    path = f"/orders/{made['id']}/events/cancel"
    assert server.pay(made["id"], "pay-nemo").json() == {"payment": "taken"}
    early = server.http.post(path)
    assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
    Path(server.town.path).with_name("courier").touch()
    assert server.http.post(path).status_code == 200, "resumed first, then taken"
    assert server.over(made["id"])["result"] == "refunded"
    assert [what for what in server.book() if "pay-nemo" in what] == ["refund of pay-nemo refund pay-nemo"]


# --- the provider's webhook ---


def test_a_webhook_without_the_right_signature_changes_nothing(server):
    order_id = server.order("signed")
    headers, body = server.town.webhook(order_id, "pay-1", SECRET)
    sent_at, _, hexdigest = headers["X-Signature"].partition(",")
    old = f"t={int(time.time()) - 301},{hexdigest}"
    forged = server.town.webhook(order_id, "pay-1", "another secret")[0]["X-Signature"]
    for signed in ("", sent_at, old, forged, "t=²,v1=²".encode(), f"t={'9' * 5000},{hexdigest}"):
        answer = server.ask("POST", "/webhooks/payment", headers={"X-Signature": signed}, content=body)
        assert answer.status_code == 401
    cheaper = server.ask("POST", "/webhooks/payment", headers=headers, content=body.replace(b"450", b"1"))
    assert cheaper.status_code == 401
    assert server.see(order_id)["takes"] == ["cancel"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b'{"payment": {"id": "pay-1", "cents": 0}, "reference": {"name": "paid"}}', 422),
        (b'{"payment": {"id": "pay-1", "cents": 450}, "reference": {"name": "paid", "run_id": "nobody"}}', 404),
        (b'{"payment": {"id": "pay-1", "cents": 450}, "reference": {"name": "paid"}}', 404),
    ],
)
def test_a_webhook_that_makes_no_sense_is_not_taken_even_if_it_is_signed(server, body, status):
    now = int(time.time())
    headers = {"X-Signature": f"t={now},v1={signature(SECRET, now, body)}"}
    assert server.ask("POST", "/webhooks/payment", headers=headers, content=body).status_code == status


def test_a_webhook_that_comes_twice_is_taken_once_and_answered_200_both_times(server):
    order_id = server.order("replayed")
    deposit = server.opened(order_id) and server.town.webhook(order_id, "pay-1", SECRET)

    def send(headers: dict[str, str], body: bytes) -> tuple[int, str]:
        answer = server.ask("POST", "/webhooks/payment", headers=headers, content=body)
        return answer.status_code, answer.json()["payment"]

    assert [send(*deposit), send(*deposit)] == [(200, "taken"), (200, "taken before")]
    server.opened(order_id, "rest")
    assert send(*deposit) == (200, "taken before"), "and not for the rest, which is as much"
    assert server.see(order_id)["order"]["payments"] == [{"id": "pay-1", "cents": 450}]
    server.post(f"/orders/{order_id}/events/cancel")
    server.over(order_id)
    assert send(*deposit) == (200, "taken before"), "also when the order is over"


def test_the_payment_that_is_named_for_both_is_taken_for_one(server):
    order_id = server.order("one for both")
    server.opened(order_id)
    assert server.pay(order_id, "pay-1").json() == {"payment": "taken"}
    server.opened(order_id, "rest")
    assert server.pay(order_id, "pay-1").json() == {"payment": "taken before"}
    assert len(server.see(order_id)["order"]["payments"]) == 1


def test_a_second_payment_for_what_is_paid_is_not_taken_for_the_rest(server):
    order_id = server.order("two tabs")
    server.opened(order_id)
    first, second = (server.town.webhook(order_id, f"tab {n}", SECRET) for n in (1, 2))
    for (headers, body), said in ((first, "taken"), (second, "refunded")):
        if said == "refunded":
            server.opened(order_id, "rest")
        answer = server.ask("POST", "/webhooks/payment", headers=headers, content=body)
        assert (answer.status_code, answer.json()) == (200, {"payment": said})
    assert "refund of tab 2 refund tab 2" in server.book()


def test_a_webhook_that_comes_at_once_from_many_is_taken_once(server):
    order_id = server.order("at once")
    headers, body = server.town.webhook(order_id, "pay-at-once", SECRET)
    barrier = Barrier(8)

    def send() -> tuple[int, str]:
        barrier.wait(20)
        answer = httpx.post(f"{server.http.base_url}/webhooks/payment", headers=headers, content=body, timeout=20)
        return answer.status_code, answer.json().get("payment")

    with ThreadPoolExecutor(8) as threads:
        answers = sorted(f.result() for f in [threads.submit(send) for _ in range(8)])
    assert answers == [(200, "taken")] + 7 * [(200, "taken before")]
    server.opened(order_id, "rest")
    assert len([what for what in server.book() if what.startswith("courier") and order_id in what]) == 1
    assert not [what for what in server.book() if "pay-at-once" in what]


@pytest.mark.parametrize("when", ["after a cancellation", "too little"])
def test_money_that_can_not_be_taken_goes_back(server, when):
    order_id = server.order(when)
    if when == "after a cancellation":
        server.post(f"/orders/{order_id}/events/cancel")
    for _ in range(2):
        answer = server.pay(order_id, f"pay {when}", cents=100 if when == "too little" else None)
        assert (answer.status_code, answer.json()) == (200, {"payment": "refunded"})
    refunds = [what for what in server.book() if what.startswith("refund") and when in what]
    assert refunds == [f"refund of pay {when} refund pay {when}"]


def test_of_a_payment_and_a_cancellation_at_once_nothing_is_lost(server):
    for n in range(4):
        order_id = server.order(f"race {n}")
        headers, body = server.town.webhook(order_id, f"race-{n}", SECRET)
        barrier = Barrier(2)

        def send(path: str, barrier: Barrier = barrier, **arguments: Any) -> httpx.Response:
            barrier.wait(20)
            while (answer := httpx.post(f"{server.http.base_url}{path}", timeout=20, **arguments)).status_code == 503:
                pass
            return answer

        with ThreadPoolExecutor(2) as threads:
            paid = threads.submit(send, "/webhooks/payment", headers=headers, content=body)
            cancelled = threads.submit(send, f"/orders/{order_id}/events/cancel")
        assert (paid.result().status_code, cancelled.result().status_code) == (200, 200)
        result = server.over(order_id)["result"]
        assert result == ("refunded" if paid.result().json() == {"payment": "taken"} else "cancelled")
        assert len([what for what in server.book() if what.startswith(f"refund of race-{n}")]) == 1


# --- servers that die ---


def test_a_server_killed_before_each_request_loses_and_doubles_nothing(tmp_path):
    server = Server(tmp_path)
    try:
        server.kill()
        order_id = server.order("one")
        server.kill()
        headers, body = server.town.webhook(order_id, f"deposit of {order_id}", SECRET)
        for answer in ("taken", "taken before"):
            webhook = server.ask("POST", "/webhooks/payment", headers=headers, content=body)
            assert webhook.json() == {"payment": answer}
            server.kill()
        server.opened(order_id, "rest")
        server.kill()
        code = server.pay_both(order_id)["order"]["code"]
        server.kill()
        assert server.deliver(order_id, code).status_code == 200
        server.kill()
        assert server.over(order_id)["result"] == "delivered"
        assert len(server.book()) == 1
        assert server.starts == 8
    finally:
        stopped(server)


@pytest.mark.parametrize("die_at", [6])
def test_servers_killed_again_and_again_within_requests_lose_and_double_nothing(tmp_path, die_at):
    server = Server(tmp_path, die_at)
    try:
        order_id = server.order("one")
        code = server.pay_both(order_id)["order"]["code"]
        assert server.deliver(order_id, code).status_code in (200, 409)  # 409: the answer to the first try was lost
        over = server.over(order_id)
        assert (over["result"], over["order"]["signed_by"]) == ("delivered", "Ann")
        assert [what.partition(" ")[0] for what in server.book()] == ["courier"]
        assert server.starts >= 3
    finally:
        stopped(server)


def test_what_a_dead_server_left_goes_on_by_itself(tmp_path):
    shop = Shop(tmp_path / "shop.db", Town(tmp_path / "town.db"))
    shop.start("order-1", order())  # and here it dies
    server = Server(tmp_path)
    try:
        assert eventually(lambda: server.see("order-1")["checkout"])
    finally:
        stopped(server)


def test_what_the_docstring_says_works(tmp_path):
    """The app as it is, and the provider that one plays by hand."""
    server = Server(tmp_path, app="examples.web:create_app")
    try:
        order_id = server.order("by hand")
        server.opened(order_id)
        address = server.http.base_url.netloc.decode()
        done = python("-m", "examples.web_town", address, order_id, env=server.env)
        assert done.stdout == '200 {"payment":"taken"}\n200 {"payment":"taken before"}\n'
    finally:
        stopped(server)


# --- one process: what is down, what is late ---


class Broken(Town):
    broken = True

    def book_courier(self, key: str, customer: str) -> str:
        if self.broken:
            raise OSError("no courier today")
        return super().book_courier(key, customer)


def order() -> Order:
    return Order("Ann", [Line("tea", 2)], code="1234")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop.db", Broken(tmp_path / "town.db"))


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_an_order_that_fails_is_left_alone_for_a_while_and_the_others_go_on(shop, caplog):
    for order_id in ("order-1", "order-2"):
        shop.start(order_id, order(), NOW)
        shop.go_on(order_id, NOW)
    shop.call("order-1", "paid", Payment("pay-1", 450), NOW)
    shop.wake(timedelta(0), NOW)
    shop.wake(timedelta(0), NOW + timedelta(seconds=9))
    assert caplog.text.count("order order-1 can't go on now") == 1
    shop.services.broken = False
    shop.wake(timedelta(0), NOW + timedelta(hours=1))
    assert shop.load("order-1")[0].parcel.startswith("parcel-")
    assert shop.load("order-2")[1].result == "expired"


def test_an_order_that_fits_the_workflow_no_more_does_not_stand_in_the_way(shop, caplog):
    for order_id in ("order-1", "order-2"):
        shop.start(order_id, order(), NOW)
        shop.go_on(order_id, NOW)
    renamed = """CAST(replace(CAST(snapshot AS TEXT), '"deposit"', '"money"') AS BLOB)"""
    with closing(sqlite3.connect(shop.path)) as db, db:
        db.execute(f"UPDATE orders SET snapshot = {renamed}, wake_at = 0 WHERE id = 'order-1'")
    shop.wake(timedelta(0), NOW + timedelta(hours=1))
    assert "order order-1 needs somebody to look at it" in caplog.text
    assert shop.load("order-2")[1].result == "expired"


def test_an_order_in_the_hands_of_a_request_is_not_woken(shop):
    shop.start("order-1", order(), NOW)
    shop.wake(timedelta(seconds=5), NOW + timedelta(seconds=4))
    assert shop.load("order-1")[1].revision == 0
    shop.wake(timedelta(seconds=5), NOW + timedelta(seconds=5))
    assert shop.load("order-1")[1].revision > 0


def test_the_slower_of_two_writers_changes_nothing(shop):
    shop.start("order-1", order(), NOW)
    shop.go_on("order-1", NOW)
    slow, state = shop.load("order-1")
    save = shop.saver(slow, state)
    shop.call("order-1", "cancel", None, NOW)
    with pytest.raises(ConflictError, match="order-1 was moved by somebody else"):
        save()
    shop.start("order-2", order(), NOW)
    shop.go_on("order-2", NOW)
    with pytest.raises(NotYetError, match="too many at once"):
        Overtaken(shop).call("order-2", "cancel", None, NOW)


class Overtaken(Shop):
    """Somebody else is faster, always."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.path, shop.services)

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        def save(kind: object = None) -> None:
            raise ConflictError("too slow")

        return save


# --- the workflow ---


@dataclass
class Memory:
    """Services that do their work once per key, and mind: nothing is refunded twice, and nothing sent that was refunded."""

    done: dict[str, str] = field(default_factory=dict)
    pages: dict[str, bool] = field(default_factory=dict)

    def open_checkout(self, key: str, request: CallbackRequest, cents: int) -> str:
        self.pages.setdefault(key, True)
        return key

    def close_checkout(self, url: str | None) -> None:
        if url is not None:
            self.pages[url] = False

    def refund(self, key: str, payment_id: str) -> None:
        self.done.setdefault(key, "refund")

    def book_courier(self, key: str, customer: str) -> str:
        assert "refund" not in self.done.values()
        return self.done.setdefault(key, "parcel")


PAID = Callback(CallbackRequest("paid", thread_id="main", pc=1), Payment("pay-1", 450))
REST = Callback(CallbackRequest("paid", thread_id="main", pc=3), Payment("pay-2", 450))
REPLAY = Callback(PAID.request, PAID.payload, refused=StaleCallbackError)
WAYS: dict[str, list[Callback | Advance]] = {
    "delivered": [
        PAID,
        REPLAY,
        REST,
        REPLAY,
        Callback("delivered", Delivery("0", "Bob"), refused=WrongCodeError),
        Callback("delivered", Delivery("1234", "Ann")),
        Callback(PAID.request, PAID.payload, refused=WorkflowFinishedError),
    ],
    "refunded": [PAID, REST, Callback("cancel"), Advance(timedelta(days=1))],
    "refunded, for want of the rest": [PAID, Advance(timedelta(days=14)), Callback("cancel", refused=WorkflowFinishedError)],
    "cancelled": [Callback("paid", Payment("pay-1", 100), refused=RefusedError), Callback("cancel")],
    "expired": [Advance(timedelta(hours=1)), Callback(PAID.request, PAID.payload, refused=WorkflowFinishedError)],
}


def test_the_definition_is_sound():
    validate(order())


def nothing_without_its_payment(found: Order, state: State) -> bool:
    paid = sum(payment.cents for payment in found.payments)
    return (found.parcel == "" or paid >= 450) and (found.signed_by == "" or paid == found.total())


@pytest.mark.parametrize("result", WAYS)
def test_it_ends_the_same_wherever_it_is_killed(result):
    memories: list[Memory] = []

    def memory() -> Memory:
        memories.append(Memory())
        return memories[-1]

    found = explore(order, WAYS[result], deps=memory, invariant=nothing_without_its_payment)
    assert found.undisturbed.result == result.partition(",")[0]
    assert len(memories) == len(found.points) + 1
    assert all(killed.done == memories[0].done for killed in memories)
    assert not any(is_open for killed in memories for is_open in killed.pages.values()), "no page is left open"


def test_no_script_hands_over_what_was_not_paid():
    # Mostly what leads somewhere: what is refused shows little.
    paid = [Callback("paid", Payment(payment, 450)) for payment in ("pay-1", "pay-2", "pay-1", "pay-2")]
    delivered = [Callback("delivered", Delivery(code, "Ann")) for code in ("1234", "1234", "0")]
    calls = st.sampled_from([*paid, Callback("paid", Payment("pay-3", 100)), *delivered, Callback("cancel")])
    found = hunt(order, calls, deps=Memory, invariant=nothing_without_its_payment, examples=10, length=4)
    assert set(found.accepted) == set(found.refused) == {"paid", "delivered", "cancel"}
