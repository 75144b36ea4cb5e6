"""Photo books, made to order: a web service on the engine, with FastAPI, and workers in processes of their own.

From the folder above, with ``pip install fastapi uvicorn``; each line in a terminal of its own::

    export BOOKS_DB=books.db BOOKS_SECRET=guess-me    # in all of them; BOOKS_DB may be the URL of a PostgreSQL database
    uvicorn --factory examples.photobook:create_app --timeout-graceful-shutdown 5
    flowstmt worker examples.photobook:make_engine    # as many as you like; or none, and BOOKS_WORKER=1 for the first line
    curl localhost:8000/books -H 'Content-Type: application/json' -d '{"customer": "Ann", "photos": ["sea", "dunes"]}'
    curl -N localhost:8000/books/<id>/progress        # what happens to it, as it happens: server-sent events
    curl localhost:8000/books/<id>/events/approved -X POST
    python -m examples.photobook <id>                 # the payment provider's webhook, as a curl command that is signed

Kill any of these with -9 wherever you like and start it again. An event of the customer is a callback: the answer is what the
workflow says to it, whichever process moves the run. The provider's webhook is a signal: it is stored and answered at once,
also if the run does not wait for it yet, and what comes twice is taken once. Left out: who may see which book.

A stream of events stays open until its book is sent, days perhaps: hence the limit for uvicorn's shutdown.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, TypeAdapter, ValidationError

from flowstmt import (
    CallbackError,
    ConflictError,
    Engine,
    Event,
    FlowstmtError,
    InvalidPayloadError,
    NotFoundError,
    On,
    PostgresStore,
    Return,
    S,
    SQLiteStore,
    Statement,
    Step,
    Timeout,
    UnknownEventError,
    Wait,
    WorkflowFinishedError,
    current,
    load,
)
from flowstmt.engine import Change

# --- the workflow --------------------------------------------------------------------------------------------------


@dataclass
class Payment:
    id: Annotated[str, Field(min_length=1)]
    cents: Annotated[int, Field(gt=0)]


APPROVED = Event("approved", None, str)
RETAKEN = Event("retaken", list[str], str)
PAID = Event("paid", Payment)


class Press:
    """What makes pages: a folder here. It may be asked for one twice, with the same key, and makes it once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, key: str, photo: str) -> None:
        with (self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]).open("w") as page:
            page.write(photo)


@dataclass
class Book:
    customer: str
    photos: Annotated[list[str], Field(min_length=1, max_length=200)]
    payment: Payment | None = field(default=None)
    parcel: str = ""

    def definition(self) -> Statement:
        return S(
            Wait(
                "approval",
                On(APPROVED, self.approve),
                On(RETAKEN, self.retake, stay=True),
                Timeout("nobody looked", timedelta(days=14), Return("abandoned")),
            ),
            Wait("payment", On(PAID, into="payment"), Timeout("nobody paid", timedelta(days=7), Return("not paid"))),
            Step("print", self.print_pages),
            Step("send", self.send, into="parcel"),
            Return("sent"),
        )

    def approve(self) -> str:
        return f"{self.price()} cents, please"

    def retake(self, photos: list[str]) -> str:
        self.photos = photos
        return f"{len(photos)} pages"

    def price(self) -> int:
        return 900 + 50 * len(self.photos)

    def print_pages(self) -> None:
        """An ordinary function: the engine runs it in a thread. If the process dies, it begins again, with the same keys."""
        press: Press = current().deps
        for number, photo in enumerate(self.photos, 1):
            press.make(f"{current().idempotency_key} {number}", photo)
            current().publish({"printed": number, "of": len(self.photos)})

    def send(self) -> str:
        return f"parcel for {self.customer}"


# --- the engine ----------------------------------------------------------------------------------------------------


def make_engine(*, press: type[Press] = Press, **settings: Any) -> Engine:
    """For workers; the web server has one that moves nothing, unless it is told to."""
    database = os.environ["BOOKS_DB"]
    return Engine(
        PostgresStore(database) if database.startswith("postgres") else SQLiteStore(database),
        workflows=[Book],
        deps=press(Path(os.environ.get("BOOKS_PRESS", "press"))),
        **settings,
    )


# --- the web -------------------------------------------------------------------------------------------------------


@dataclass
class Ordered:
    """What a customer sends."""

    customer: Annotated[str, Field(min_length=1)]
    photos: Annotated[list[str], Field(min_length=1, max_length=200)]


@dataclass
class Notice:
    """What the payment provider sends."""

    book: str
    payment: Payment


NOTICE = TypeAdapter(Notice)
PUBLIC = {"approved", "retaken"}  # not `paid`: that is the provider's word alone


async def engine_of(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def raw_body(request: Request) -> bytes:
    return await request.body()


TheEngine = Annotated[Engine, Depends(engine_of)]
RawBody = Annotated[bytes, Depends(raw_body)]


def signature(secret: str, sent_at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()


def check_signature(secret: str, header: str, body: bytes) -> None:
    """``t=<seconds>,v1=<hex>``. The time is signed as well, so that a recorded webhook is of no use later."""
    found = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", header)
    if found is None or abs(time.time() - int(found[1])) > 300:
        raise HTTPException(401, "the signature is missing or too old")
    if not hmac.compare_digest(signature(secret, int(found[1]), body), found[2]):
        raise HTTPException(401, "the signature is wrong")


def refused(_: Request, error: Exception) -> JSONResponse:
    """What who called gets. The messages name events and runs, and no data."""
    if isinstance(error, InvalidPayloadError):
        return JSONResponse({"detail": error.faults}, 422)
    if isinstance(error, UnknownEventError | NotFoundError):
        return JSONResponse({"detail": str(error)}, 404)
    if isinstance(error, CallbackError | ConflictError):  # not waiting, over, another book with this key
        return JSONResponse({"detail": str(error)}, 409)
    raise error


def not_in_time(_: Request, error: Exception) -> JSONResponse:
    """Whether it was taken nobody knows; to ask again does no harm, as an event that was taken is refused."""
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})


async def server_sent(changes: AsyncGenerator[Change]) -> AsyncIterator[str]:
    """Changes as a browser's ``EventSource`` reads them. One that comes again tells the last id that it has seen."""
    async with aclosing(changes):
        async for change in changes:
            seen = [] if change.number is None else [f"id: {change.number}"]
            told = {"status": change.status, "positions": change.positions, "body": change.body}
            yield "\n".join([f"event: {change.kind}", *seen, f"data: {json.dumps(told)}", "", ""])


def create_app() -> FastAPI:
    secret = os.environ["BOOKS_SECRET"]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with make_engine(worker=os.environ.get("BOOKS_WORKER") == "1") as app.state.engine:
            yield

    app = FastAPI(title="Photo books", lifespan=lifespan)
    app.add_exception_handler(FlowstmtError, refused)
    app.add_exception_handler(TimeoutError, not_in_time)

    @app.post("/books", status_code=201)
    async def order(ordered: Ordered, engine: TheEngine, idempotency_key: Annotated[str | None, Header()] = None) -> Any:
        """Order a book. With an ``Idempotency-Key`` the same order, sent twice, is one."""
        book_id = str(uuid4() if idempotency_key is None else uuid5(NAMESPACE_URL, f"book:{idempotency_key}"))
        book = Book(ordered.customer, ordered.photos)
        await engine.start(book, run_id=book_id, labels={"customer": ordered.customer})
        return {"id": book_id, "price": book.price()}

    @app.get("/books/{book_id}")
    async def see(book_id: str, engine: TheEngine) -> Any:
        run = await engine.get(book_id)
        assert run.snapshot is not None  # it is in lists that they are left out
        book, state = load(Book, run.snapshot)
        return {"id": book_id, "status": run.status, "position": run.position, "book": book, "result": state.result}

    @app.post("/books/{book_id}/events/{event}")
    async def call(book_id: str, event: str, body: RawBody, engine: TheEngine) -> Any:
        """Fire an event; the answer is what its handler says to it, once it is saved."""
        if event not in PUBLIC:
            raise HTTPException(404, f"there is no event {event!r} for you")
        return {"answer": await engine.callback(book_id, event, body or None, timeout=timedelta(seconds=20))}

    @app.post("/webhooks/payment")
    async def paid(body: RawBody, engine: TheEngine, x_signature: Annotated[str, Header()] = "") -> Any:
        """From the provider, who sends it again until there is a 200: it is stored before it is answered."""
        check_signature(secret, x_signature, body)
        try:
            notice = NOTICE.validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, error.errors(include_input=False, include_url=False)) from None
        try:
            new = await engine.signal(notice.book, PAID, notice.payment, key=notice.payment.id)
        except WorkflowFinishedError:
            return {"payment": "goes back"}  # too late, or once too often; the refund itself is left out
        return {"payment": "taken" if new else "taken before"}

    @app.get("/books/{book_id}/progress")
    async def progress(book_id: str, engine: TheEngine, last_event_id: Annotated[int, Header(ge=0)] = 0) -> Response:
        """Each checkpoint and each page, as it comes, until the book is sent."""
        await engine.get(book_id)  # while it still can be a 404
        changes = engine.watch(book_id, published_after=last_event_id)
        return StreamingResponse(server_sent(changes), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/health")
    async def health(engine: TheEngine, response: Response) -> Any:
        found = await engine.health()
        response.status_code = 200 if found.is_well else 503
        return found.to_json()

    return app


def webhook(book_id: str, secret: str, payment: Payment) -> tuple[dict[str, str], bytes]:
    """What the provider sends: headers and body."""
    body = json.dumps({"book": book_id, "payment": {"id": payment.id, "cents": payment.cents}}).encode()
    sent_at = int(time.time())
    return {"X-Signature": f"t={sent_at},v1={signature(secret, sent_at, body)}"}, body


if __name__ == "__main__":
    headers, sent = webhook(sys.argv[1], os.environ["BOOKS_SECRET"], Payment(f"pay-{secrets.token_hex(4)}", 1000))
    print(f"curl localhost:8000/webhooks/payment -H 'X-Signature: {headers['X-Signature']}' -d '{sent.decode()}'")
