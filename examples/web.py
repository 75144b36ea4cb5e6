"""A shop with webhooks: runs of a workflow behind FastAPI, stored in SQLite, callbacks over HTTP.

Copy what you need: the workflow is ``web_order.py``, its storage ``web_store.py``; this file is the HTTP around them.
From the folder above, with ``pip install fastapi uvicorn httpx``::

    export SHOP_SECRET=guess-me    # in both terminals: what the provider signs with
    uvicorn --factory examples.web:create_app
    curl localhost:8000/orders -H 'Content-Type: application/json' -d '{"customer": "Ann", "lines": [{"sku": "tea"}]}'
    python -m examples.web_town localhost:8000 <id>    # the payment provider: sends its webhook, twice; once more for the rest
    curl localhost:8000/orders/<id>
    curl localhost:8000/orders/<id>/events/delivered -d '{"code": "<code>", "signed_by": "Ann"}'

Kill the server with -9 wherever you like and start it again. ``/docs`` has all endpoints. Left out: who may see which order.

The endpoints are ``def``, not ``async def``: sqlite3, ``resume`` and the workflow's actions block, and FastAPI calls plain
functions in its thread pool. Only reading the body is async. (An app with an async database driver and async actions would use
``resume_async`` and ``handle_callback_async`` in ``async def`` endpoints.) An answer is sent once the callback is saved; what
follows from it is done after the answer, and if the process dies before, by ``wake``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from fastapi import BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field, TypeAdapter, ValidationError

from examples.web_order import Line, Order, Payment, WrongCodeError
from examples.web_store import NotFoundError, NotYetError, Shop
from examples.web_town import Town
from flowstmt import CallbackError, CallbackRequest, InvalidPayloadError, State, ThreadStatus, UnknownEventError

log = logging.getLogger("shop")

WAKE_EVERY = 1  # second
PUBLIC = {"cancel", "delivered"}  # not `paid`: that is the provider's word alone


@dataclass
class Notice:
    """The provider's webhook: a payment, and what it was given when the checkout was opened."""

    payment: Payment
    reference: CallbackRequest


NOTICE = TypeAdapter(Notice)


async def raw_body(request: Request) -> bytes:
    return await request.body()


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
    """What the sender of a callback gets. The messages name events and threads, and no data."""
    if isinstance(error, InvalidPayloadError):
        return JSONResponse({"detail": error.faults}, 422)
    if isinstance(error, UnknownEventError):
        return JSONResponse({"detail": str(error)}, 404)
    if isinstance(error, WrongCodeError):
        return JSONResponse({"detail": str(error)}, 403)
    return JSONResponse({"detail": str(error)}, 409)  # not waiting, stale, over, refused by the handler


def not_found(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


def not_yet(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})


def view(order: Order, state: State) -> dict[str, Any]:
    """What the customer sees: the order, what may be called now, and until when."""
    waiting = [thread for thread in state.threads if thread.status is ThreadStatus.WaitingEvent]
    # Those of an earlier stop are here until they are torn down.
    events = [event for thread in waiting for event in thread.events if event.request.pc == thread.pc]
    return {
        "id": state.run_id,
        "status": state.status,
        "result": state.result,
        "order": order,
        "total": order.total(),
        "takes": [event.name for event in events if event.name in PUBLIC],
        "until": min((event.due_at for event in events if event.type == "Timeout" and event.due_at), default=None),
        "checkout": next((event.request.setup_data for event in events if event.name == "paid"), None),
    }


def take_payment(shop: Shop, order_id: str, notice: Notice) -> str:
    """Hand a payment to its order; one that it does not take goes back. What was done with it, for the provider."""
    try:
        shop.call(order_id, replace(notice.reference, name="paid"), notice.payment)
    except CallbackError as error:
        order, _ = shop.load(order_id)
        if notice.payment.id in [payment.id for payment in order.payments]:
            return "taken before"  # a replay: the provider had no answer, or sends everything twice
        # Paid twice, too late or too little. The provider asks again until it hears a 200, so this is its end too.
        log.warning("payment %s of order %s goes back: %s", notice.payment.id, order_id, error)
        shop.services.refund(f"refund {notice.payment.id}", notice.payment.id)
        return "refunded"
    return "taken"


async def keep_waking(shop: Shop, grace: timedelta) -> None:
    left_alone = timedelta(0)  # on start nobody is at any order (if somebody is, the keys and the revision see to it)
    while True:
        try:
            await run_in_threadpool(shop.wake, left_alone)
        except Exception:
            # Whatever it is (the disk is full): the next round may work, and a dead loop would wake nobody for ever.
            log.exception("waking failed")
        left_alone = grace
        await asyncio.sleep(WAKE_EVERY)


def create_app() -> FastAPI:
    secret = os.environ["SHOP_SECRET"]  # no default, and none that is empty: with it anybody could sign
    if not secret:
        raise ValueError("SHOP_SECRET is empty: set it to what the payment provider signs with")
    shop = Shop(os.environ.get("SHOP_DB", "shop.db"), Town(os.environ.get("TOWN_DB", "town.db")))
    return make_app(shop, secret, grace=timedelta(seconds=5))


def make_app(shop: Shop, secret: str, *, grace: timedelta) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        waking = asyncio.create_task(keep_waking(shop, grace))
        yield
        waking.cancel()
        with suppress(asyncio.CancelledError):
            await waking

    app = FastAPI(title="A shop", lifespan=lifespan)
    app.add_exception_handler(CallbackError, refused)
    app.add_exception_handler(NotFoundError, not_found)
    app.add_exception_handler(NotYetError, not_yet)

    @app.post("/orders", status_code=201)
    def create_order(
        customer: Annotated[str, Body(min_length=1)],
        lines: Annotated[list[Line], Body(), Field(min_length=1)],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> dict[str, Any]:
        order_id = str(uuid5(NAMESPACE_URL, idempotency_key) if idempotency_key else uuid4())
        shop.start(order_id, Order(customer, lines, code=f"{secrets.randbelow(10**6):06}"))
        shop.go_on(order_id)  # at once: the answer has the page where to pay
        order, state = shop.load(order_id)
        if (order.customer, order.lines) != (customer, lines):
            raise HTTPException(409, "another order was made with this Idempotency-Key")
        return view(order, state)

    @app.get("/orders/{order_id}")
    def show_order(order_id: str) -> dict[str, Any]:
        return view(*shop.load(order_id))

    @app.post("/orders/{order_id}/events/{event}")
    def call(order_id: str, event: str, body: RawBody, then: BackgroundTasks) -> dict[str, Any]:
        if event not in PUBLIC:
            raise HTTPException(404, f"there is no event {event!r} for you")
        # Bytes are JSON, and validated against what the handler takes; an empty body is no payload.
        answer = shop.call(order_id, event, body or None)
        then.add_task(shop.go_on, order_id)
        return {"answer": answer}

    @app.post("/webhooks/payment")
    def payment(body: RawBody, then: BackgroundTasks, x_signature: Annotated[str, Header()] = "") -> dict[str, str]:
        check_signature(secret, x_signature, body)
        try:
            notice = NOTICE.validate_json(body)
        except ValidationError as error:
            raise HTTPException(422, error.errors(include_input=False, include_url=False, include_context=False)) from None
        order_id = notice.reference.run_id or ""
        done = take_payment(shop, order_id, notice)
        if done == "taken":
            then.add_task(shop.go_on, order_id)
        return {"payment": done}

    return app
