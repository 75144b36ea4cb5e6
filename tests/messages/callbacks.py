"""Callbacks that are refused, and payloads that don't fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from flowstmt import (
    CallbackRequest,
    ConflictError,
    FinalError,
    ForEach,
    Go,
    Join,
    On,
    RefusedError,
    S,
    State,
    Statement,
    Step,
    Timeout,
    Wait,
    handle_callback,
    resume,
)
from tests.messages.definitions import HOUR, Client, wrong
from tests.messages.rows import Table
from tests.messages.runs import NOW, order

REFUSALS = Table("Callbacks: refusals")
PAYLOADS = Table("Callbacks: payloads")
SCHEMAS = Table("Callbacks: payloads with a JSON Schema")
OWN = Table("Errors that only your own code raises")
TABLES = [REFUSALS, PAYLOADS, SCHEMAS, OWN]


@dataclass
class Payment:
    amount: int
    currency: str = "EUR"


@dataclass
class Order:
    paid: int = 0

    def definition(self) -> Statement:
        return S(
            Wait("payment", On("paid", self.take), On("cancelled"), Timeout("late", HOUR), was=("money",)),
            Step("ship", lambda: None),
            Wait("parcel", On("returned", was=("sent back",))),
        )

    def take(self, payment: Payment) -> None:
        if payment.amount < 5:
            raise RefusedError("5 EUR expected")
        self.paid = payment.amount


def call(request: Any, payload: Any = None, *, until: int = 1) -> None:
    """A callback for an order that was resumed, or not (0), or is over (2)."""
    workflow, state = Order(), State.new("order-1", "Order", NOW)
    if until:
        resume(workflow, state, now=NOW)
    if until > 1:
        handle_callback("paid", workflow, state, Payment(5), now=NOW)
        resume(workflow, state, now=NOW)
        handle_callback("returned", workflow, state, now=NOW)
        resume(workflow, state, now=NOW)
    handle_callback(request, workflow, state, payload, now=NOW)


def called(tree: Callable[[Any], Statement], request: Any, payload: Any = None) -> None:
    """A callback for an order with a definition of the row's own."""
    workflow, state = order(tree), State.new("order-1", "Order", NOW)
    resume(workflow, state, now=NOW)
    handle_callback(request, workflow, state, payload, now=NOW)


for _title, _request, _until in list[tuple[str, Any, int]](
    [
        ("no request", 5, 1),
        ("a name that is no text", CallbackRequest(wrong(5)), 1),
        ("a thread that is no text", CallbackRequest("paid", thread_id=wrong(5)), 1),
        ("a pc that is no number", CallbackRequest("paid", pc=wrong("1")), 1),
        ("a request for another run", CallbackRequest("paid", run_id="order-2"), 1),
        ("an event that does not exist", "payed", 1),
        ("a Timeout that is called", "late", 1),
        ("an event that comes too early", "returned", 1),
        ("an event by its old name that comes too early", "sent back", 1),
        ("an event before the run was resumed", "paid", 0),
        ("an event of a thread that does not live", CallbackRequest("paid", thread_id="ship"), 1),
        ("an event of a stop that has passed", CallbackRequest("paid", pc=7, birth="0123456789abcdef"), 1),
        ("an event of a run that is over", "paid", 2),
    ]
):
    REFUSALS.add(_title, lambda request=_request, until=_until: call(request, until=until))


@REFUSALS.row
def an_event_that_has_fired_already() -> None:
    workflow, state = Order(), State.new("order-1", "Order", NOW)
    resume(workflow, state, now=NOW)
    for _ in range(2):
        handle_callback("paid", workflow, state, Payment(5), now=NOW)


@REFUSALS.row
def an_event_that_several_threads_wait_for() -> None:
    called(
        lambda w: S(
            ForEach("lines", ["tea", "milk"], Go("ship", Wait("parcel", On("fetched")), id=lambda line: line)),
            Join("all", "ship"),
        ),
        "fetched",
    )


@REFUSALS.row
def a_run_that_waits_for_nothing() -> None:
    called(lambda w: S(Wait("payment", Timeout("late", HOUR)), Wait("parcel", On("fetched"))), "fetched")


@REFUSALS.row
def a_definition_without_events() -> None:
    called(lambda w: Wait("payment", Timeout("late", HOUR)), "paid")


# --- payloads ---

PAYLOADS.add("a payload of another shape", lambda: call("paid", b'{"amount": "secret", "currency": 978}'))
PAYLOADS.add("a value that does not fit", lambda: call("paid", {"currency": "secret"}))
PAYLOADS.add("a payload that is no JSON", lambda: call("paid", b"amount=5"))
PAYLOADS.add("no payload", lambda: call("paid"))
PAYLOADS.add("a payload that nobody takes", lambda: call("cancelled", b'"secret"'))


@PAYLOADS.row
def a_payload_of_any_type_that_is_no_json() -> None:
    called(lambda w: Wait("payment", On("paid", lambda payment: None)), "paid", b"amount=5")


@PAYLOADS.row
def a_payload_that_can_not_be_kept() -> None:
    called(lambda w: Wait("payment", On("paid", lambda payment: None, into="paid")), "paid", Client())


@PAYLOADS.row
def data_that_can_not_be_put_back() -> None:
    workflow, state = order(lambda w: Wait("payment", On("paid"))), State.new("order-1", "Order", NOW)
    resume(workflow, state, now=NOW)
    workflow.paid = Lock()
    handle_callback("paid", workflow, state, now=NOW)


# --- schemas ---


def _fits(title: str, schema: Any, payload: Any) -> None:
    def provoke() -> None:
        called(lambda w: Wait("payment", On("paid", lambda payment: None, schema=schema)), "paid", payload)

    SCHEMAS.add(title, provoke)


_DRAFT_4 = "http://json-schema.org/draft-04/schema#"
_fits("a schema that is no JSON", {"enum": [Client()]}, b"5")
_fits("a schema with a text that is none", {"const": "\ud800"}, b"5")
_fits("a schema of an unknown dialect", {"$schema": "https://example.com/schema"}, b"5")
_fits("a schema that is wrong", {"properties": {"amount": {"type": "money"}}}, b"5")
_fits("a schema that refers to nothing", {"$ref": "#/$defs/money"}, b"5")
_fits("a schema that refers to what is no schema", {"$ref": "#/title", "title": "Money"}, b"5")
_fits("a schema that refers to what is wrong", {"$ref": "#/x-money", "x-money": {"type": "money"}}, b"5")
_fits("a schema that goes round in circles", {"$ref": "#"}, b"5")
_fits("a payload that is no JSON", {"type": "object"}, b"amount=5")
_fits("a payload that has no JSON", {"type": "object"}, Client())
_fits("a payload with a number that is too large", {"multipleOf": 0.5}, b"1" + b"0" * 400)
_fits("a payload that fits nothing", False, b'"secret"')
_fits("too many faults", {"items": {"type": "integer"}}, b"[" + b'"secret",' * 24 + b'"secret"]')
_fits(
    "a payload with one fault of each kind",
    {
        "type": "object",
        "required": ["amount", "currency"],
        "dependentRequired": {"card": ["expires"]},
        "additionalProperties": False,
        "minProperties": 50,
        "propertyNames": {"maxLength": 12},
        "properties": {
            "card": {"type": "string", "minLength": 9, "pattern": "^[0-9]+$"},
            "short": {"maxLength": 1},
            "colour": {"enum": ["red", "green"]},
            "unit": {"const": "kg"},
            "least": {"minimum": 5},
            "most": {"maximum": 5},
            "over": {"exclusiveMinimum": 5},
            "under": {"exclusiveMaximum": 5},
            "dozens": {"multipleOf": 12},
            "few": {"minItems": 3, "uniqueItems": True},
            "many": {"maxItems": 1, "contains": {"type": "integer"}},
            "pair": {"prefixItems": [{}], "items": False},
        },
    },
    b'{"card": "secret", "short": "secret", "colour": "secret", "unit": "secret", "least": 1, "most": 9, "over": 5,'
    b' "under": 5, "dozens": 7, "few": ["secret", "secret"], "many": ["secret", "secret"], "pair": [1, "secret"],'
    b' "unknown secret key": 1}',
)
_fits(
    "a payload with faults of other kinds",
    {
        "maxProperties": 1,
        "properties": {
            "way": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "both": {"oneOf": [{"minLength": 1}, {"maxLength": 99}]},
            "never": False,
            "other": {"not": {"type": "string"}},
            "some": {"contains": {"type": "integer"}, "minContains": 2},
            "less": {"contains": {"type": "integer"}, "maxContains": 1},
            "rest": {"prefixItems": [{}], "unevaluatedItems": False},
            "keys": {"unevaluatedProperties": False},
            "if": {"if": {"type": "string"}, "then": {"format": "x", "$ref": "#/$defs/no"}},
        },
        "$defs": {"no": {"not": {}}},
    },
    b'{"way": "secret", "both": "secret", "never": "secret", "other": "secret", "some": [1], "less": [1, 2],'
    b' "rest": [1, "secret"], "keys": {"secret": 1}, "if": "secret"}',
)
_fits(
    "a payload with faults of an older draft",
    {
        "$schema": _DRAFT_4,
        "properties": {
            "over": {"minimum": 5, "exclusiveMinimum": True},
            "under": {"maximum": 5, "exclusiveMaximum": True},
            "pair": {"items": [{}], "additionalItems": False},
        },
    },
    b'{"over": 5, "under": 5, "pair": [1, "secret"]}',
)


# --- what flowstmt never raises by itself ---


@OWN.row
def a_handler_that_refuses() -> None:
    call("paid", Payment(1))


@OWN.row
def a_save_that_finds_another_revision() -> None:
    def save(kind: Any) -> None:
        raise ConflictError("somebody else moved this order: load it again")

    resume(Order(), State.new("order-1", "Order"), save)


@OWN.row
def an_action_whose_failure_is_final() -> None:
    def charge() -> None:
        raise FinalError("card stolen")

    resume(order(lambda w: Step("charge", charge)), State.new("order-1", "Order"))
