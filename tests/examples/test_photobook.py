"""Photo books over real HTTP: a web process that moves nothing, workers that get killed, webhooks, progress as it happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx
import pytest

from examples.photobook import Book, Payment, signature, webhook
from flowstmt import validate
from flowstmt.testing import Advance, Callback, explore
from tests.examples.processes import ROOT, python

SECRET = "whsec-books"
ORDER = {"customer": "Ann", "photos": ["sea", "dunes", "gulls"]}
T = TypeVar("T")


@contextmanager
def process(*arguments: str, until: str, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """A process that has said on its standard error that it is there."""
    log: list[str] = []
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stderr is not None
        try:
            for line in started.stderr:
                log.append(line)
                if found := re.search(until, line):
                    break
            else:
                raise AssertionError("".join(log))
            reader = Thread(target=log.extend, args=[started.stderr])
            reader.start()
            yield started, found
        finally:
            started.kill()
            started.wait(20)
            reader.join()
        assert "Traceback" not in "".join(log), "".join(log)


class Shop:
    """The web server, and its database."""

    def __init__(self, folder: Path, stack: ExitStack, database: str = "", **env: str) -> None:
        self.folder = folder
        self.env = {
            "BOOKS_DB": database or str(folder / "books.db"),
            "BOOKS_SECRET": SECRET,
            "BOOKS_PRESS": str(folder / "press"),
            **env,
        }
        command = ["-m", "uvicorn", "--factory", "examples.photobook:create_app", "--port", "0", "--no-access-log"]
        _, found = stack.enter_context(process(*command, until=r"running on (http://\S+)", env=self.env))
        self.http = stack.enter_context(httpx.Client(base_url=found[1], timeout=30))

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        command = ["-m", "flowstmt", "worker", "tests.examples.photobook_process:make_engine"]
        with process(*command, until="moves runs of Book", env=self.env) as (started, _):
            yield started

    def order(self, body: Any = ORDER, **headers: str) -> str:
        answer = self.http.post("/books", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def call(self, book_id: str, event: str, body: Any = None) -> httpx.Response:
        if body is None:
            return self.http.post(f"/books/{book_id}/events/{event}")
        return self.http.post(f"/books/{book_id}/events/{event}", json=body)

    def pay(self, book_id: str, payment: str = "pay-1") -> httpx.Response:
        headers, body = webhook(book_id, SECRET, Payment(payment, 1050))
        return self.http.post("/webhooks/payment", headers=headers, content=body)

    def see(self, book_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/books/{book_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def over(self, book_id: str) -> dict[str, Any]:
        return eventually(lambda: found if (found := self.see(book_id))["status"] == "Finished" else None)

    def progress(self, book_id: str, *, last_event_id: int | None = None) -> Generator[ServerSent]:
        """The stream of a book, up to its end."""
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        with self.http.stream("GET", f"/books/{book_id}/progress", headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                else:
                    number = int(fields["id"]) if "id" in fields else None
                    yield ServerSent(fields["event"], number, json.loads(fields["data"]))
                    fields = {}


@dataclass
class ServerSent:
    event: str
    id: int | None
    data: dict[str, Any]


def eventually(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 60
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def pages(of: int, first: int = 1) -> list[dict[str, int]]:
    return [{"printed": number, "of": of} for number in range(first, of + 1)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A web process, and one worker, for all tests that don't kill it."""
    with ExitStack() as stack:
        shop = Shop(tmp_path_factory.mktemp("books"), stack)
        stack.enter_context(shop.worker())
        yield shop


def test_a_book_is_approved_paid_printed_and_sent_and_its_progress_is_told_meanwhile(shop: Shop) -> None:
    book_id = shop.order()
    stream = shop.progress(book_id)
    assert next(stream).event == "status"
    assert shop.call(book_id, "retaken", ["sea", "dunes"]).json() == {"answer": "2 pages"}
    assert shop.call(book_id, "approved").json() == {"answer": "1000 cents, please"}
    assert shop.pay(book_id).json() == {"payment": "taken"}
    told = list(stream)
    published = [each for each in told if each.event == "published"]
    assert [each.data["body"] for each in published] == pages(2)
    assert [each.id for each in published] == [1, 2]
    assert told[-1].data["status"] == "Finished"
    found = shop.see(book_id)
    assert (found["result"], found["book"]["parcel"], found["book"]["payment"]["id"]) == ("sent", "parcel for Ann", "pay-1")
    assert [each.data["body"] for each in shop.progress(book_id, last_event_id=1) if each.id] == pages(2, first=2)


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/books", {"customer": "Ann", "photos": []}, 422, "at least 1 item"),
        ("/books/nobody/events/approved", None, 404, "run 'nobody': the store has no such run"),
        ("/books/{new}/events/explode", None, 404, "there is no event 'explode' for you"),
        ("/books/{new}/events/paid", {"id": "mine", "cents": 1}, 404, "there is no event 'paid' for you"),
        ("/books/{new}/events/retaken", {"photos": "sea"}, 422, "Input should be a valid array"),
        ("/books/{new}/events/approved", "yes", 422, "the event takes no payload"),
        ("/books/{approved}/events/approved", None, 409, "nobody waits for event 'approved'"),
        ("/books/{over}/events/approved", None, 409, "the run is Finished and takes no more callbacks"),
    ],
)
def test_what_is_refused_has_a_status_and_a_reason(shop: Shop, path: str, body: Any, status: int, detail: str) -> None:
    books = {name: shop.order(**{"Idempotency-Key": name}) for name in ("new", "approved", "over")}
    for name in ("approved", "over"):
        if f"{{{name}}}" in path:
            assert shop.call(books[name], "approved").status_code == 200
    if "{over}" in path:
        shop.pay(books["over"])
        shop.over(books["over"])
    answer = shop.http.post(path.format(**books), **({} if body is None else {"json": body}))
    assert answer.status_code == status
    assert detail in json.dumps(answer.json()["detail"])
    assert eventually(lambda: shop.see(books["new"])["position"] or None) == "approval"


def test_nobody_sees_a_book_that_is_not_there(shop: Shop) -> None:
    assert shop.http.get("/books/nobody").status_code == shop.http.get("/books/nobody/progress").status_code == 404


def test_ordering_twice_with_one_key_is_ordering_once(shop: Shop) -> None:
    key = {"Idempotency-Key": "twice"}
    assert shop.order(**key) == shop.order(**key)
    other = shop.http.post("/books", json={**ORDER, "customer": "Bob"}, headers=key)
    assert other.status_code == 409
    assert "customer" in other.json()["detail"]


def test_a_webhook_that_comes_too_early_and_twice_is_kept_and_taken_once(shop: Shop) -> None:
    book_id = shop.order()
    assert [shop.pay(book_id).json()["payment"] for _ in range(2)] == ["taken", "taken before"]
    assert shop.call(book_id, "approved").status_code == 200
    assert shop.over(book_id)["book"]["payment"] == {"id": "pay-1", "cents": 1050}
    assert shop.pay(book_id, "pay-2").json() == {"payment": "goes back"}


def test_a_webhook_without_the_right_signature_changes_nothing(shop: Shop) -> None:
    book_id = shop.order()
    shop.call(book_id, "approved")
    headers, body = webhook(book_id, SECRET, Payment("pay-1", 1050))
    sent_at, _, hexdigest = headers["X-Signature"].partition(",")
    old = f"t={int(time.time()) - 301},{hexdigest}"
    forged = webhook(book_id, "another secret", Payment("pay-1", 1050))[0]["X-Signature"]
    for signed in ("", sent_at, old, forged):
        answer = shop.http.post("/webhooks/payment", headers={"X-Signature": signed}, content=body)
        assert answer.status_code == 401
    cheaper = shop.http.post("/webhooks/payment", headers=headers, content=body.replace(b"1050", b"1"))
    assert cheaper.status_code == 401
    assert shop.see(book_id)["book"]["payment"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b'{"book": "nobody", "payment": {"id": "pay-1", "cents": 0}}', 422),
        (b'{"book": "nobody", "payment": {"id": "pay-1", "cents": 1}}', 404),
    ],
)
def test_a_webhook_that_makes_no_sense_is_not_taken_even_if_it_is_signed(shop: Shop, body: bytes, status: int) -> None:
    now = int(time.time())
    headers = {"X-Signature": f"t={now},v1={signature(SECRET, now, body)}"}
    assert shop.http.post("/webhooks/payment", headers=headers, content=body).status_code == status


def test_it_says_how_it_is(shop: Shop) -> None:
    answer = shop.http.get("/health")
    assert (answer.status_code, answer.json()["is_well"], answer.json()["held"]) == (200, True, 0)


def test_the_webhook_can_be_played_from_a_terminal() -> None:
    done = python("-m", "examples.photobook", "book-1", env={**os.environ, "BOOKS_SECRET": SECRET})
    assert re.match(
        r"curl localhost:8000/webhooks/payment -H 'X-Signature: t=\d+,v1=\w{64}' -d '{\"book\": \"book-1\"", done.stdout
    )


# --- what dies ---


def test_a_worker_that_dies_while_it_prints_is_followed_by_another_one(tmp_path: Path) -> None:
    with ExitStack() as stack:
        shop = Shop(tmp_path, stack)
        first = stack.enter_context(shop.worker())
        book_id = shop.order({"customer": "Ann", "photos": ["sea", "dunes", "wait", "gulls"]})
        shop.call(book_id, "approved")
        shop.pay(book_id)
        stream = shop.progress(book_id)
        seen = next(each.id for each in stream if each.data["body"] == {"printed": 2, "of": 4})
        stream.close()
        first.send_signal(signal.SIGKILL)
        (tmp_path / "go").touch()
        with shop.worker():
            told = [each.data["body"] for each in shop.progress(book_id, last_event_id=seen) if each.event == "published"]
        assert told == pages(4), "from where the browser had got to; the step began again"
        assert shop.see(book_id)["result"] == "sent"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert (len(asked) >= 3 + 4, len(set(asked))) == (True, 4), "asked again with the same keys"
    assert sorted(page.read_text() for page in (tmp_path / "press").iterdir()) == ["dunes", "gulls", "sea", "wait"]


def test_a_book_that_was_ordered_is_there_after_the_web_process_was_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        book_id = Shop(tmp_path, stack).order()
    with ExitStack() as stack:
        shop = Shop(tmp_path, stack, BOOKS_WORKER="1")
        eventually(lambda: shop.see(book_id)["status"] == "Waiting" or None)
        assert shop.pay(book_id).json() == {"payment": "taken"}
        assert shop.call(book_id, "approved").status_code == 200
        assert shop.over(book_id)["result"] == "sent", "a web process that is a worker too needs no other one"


def test_in_postgresql_it_is_the_same(tmp_path: Path, postgres: Callable[[str], str]) -> None:
    with ExitStack() as stack:
        shop = Shop(tmp_path, stack, postgres("books"))
        stack.enter_context(shop.worker())
        book_id = shop.order()
        shop.pay(book_id)
        shop.call(book_id, "approved")
        assert [each.data["body"] for each in shop.progress(book_id) if each.event == "published"] == pages(3)
        assert shop.see(book_id)["result"] == "sent"


# --- the workflow by itself ---


def test_the_definition_is_sound() -> None:
    validate(Book("Ann", ["sea"]))


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ([Advance(timedelta(days=14))], "abandoned"),
        ([Callback("retaken", ["sea"]), Callback("approved"), Advance(timedelta(days=7))], "not paid"),
    ],
)
def test_nobody_waits_for_ever(script: list[Callback | Advance], result: str) -> None:
    assert explore(lambda: Book("Ann", ["sea"]), script).undisturbed.result == result
