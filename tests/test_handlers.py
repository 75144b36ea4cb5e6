"""Handlers of events: what a payload must be, who gets it, and that a refused callback changes nothing."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from flowstmt import (
    CallbackError,
    CallbackRequest,
    DefinitionError,
    Event,
    FlowstmtError,
    ForEach,
    Go,
    InvalidPayloadError,
    On,
    RefusedError,
    S,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Wait,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
)
from flowstmt.errors import a_kind_of


@dataclass
class Payment:
    amount: Decimal
    tags: set[str] = field(default_factory=set)


class Card(BaseModel):
    number: int = Field(alias="no")
    raw: bytes = b""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(gt=0)
    lines: list[Payment] = []


class Options(TypedDict, total=False):
    speed: int


@dataclass
class Order:
    """Waits for one event; the tree is made by the test, the handler notes what it gets."""

    tree: Any = field(metadata={"transient": True}, default=None)
    log: list[Any] = field(default_factory=list, metadata={"transient": True})
    payment: Payment | None = None
    anything: Any = None
    count: int = 0
    nested: dict[str, list[set[int]]] = field(default_factory=lambda: {"a": [{1}]})

    def definition(self) -> Statement:
        found: Statement = self.tree(self) if self.tree is not None else Wait("w", On("a"))
        return found


def waiting(tree: Callable[[Order], Statement]) -> tuple[Any, State]:
    # A class of its own: each tree is another shape.
    cls: Any = dataclass(type("Order", (Order,), {"__module__": __name__, "__qualname__": "Order"}))
    order = cls(tree)
    state = State.new("run-1", "Order")
    assert resume(order, state) == "Waiting"
    return order, state


def typed(wanted: Any) -> Callable[[Any], Any]:
    """A handler whose payload is annotated with a type, and that returns what it got."""

    def handler(payload):
        return payload

    handler.__annotations__["payload"] = wanted
    return handler


def call(wanted: Any, payload: Any) -> Any:
    order, state = waiting(lambda _: Wait("w", On("a", typed(wanted))))
    return handle_callback("a", order, state, payload)


ACCEPTED: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (int, b"5", 5),
    (int, "5", 5),
    (str, "5", "5"),
    (str, b'"5"', "5"),
    (str, '"5"', '"5"'),  # a text is a value, not JSON
    (bool, True, True),
    (float, b"1", 1.0),
    (Decimal, b'"1.10"', Decimal("1.10")),
    (datetime, b'"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
    (bytes, b'"_w=="', b"\xff"),
    (list[int], bytearray(b"[1,2]"), [1, 2]),
    (set[int], memoryview(b"[1,2]"), {1, 2}),
    (int | str, b'"x"', "x"),
    (int | None, None, None),
    (None, None, None),
    (Payment, {"amount": "1.5", "tags": ["a"]}, Payment(Decimal("1.5"), {"a"})),
    (Payment, b'{"amount":1}', Payment(Decimal(1))),
    (Payment, Payment(Decimal(2)), Payment(Decimal(2))),
    (Payment | int, b"3", 3),
    (Card, b'{"no":4,"raw":"_w=="}', Card(no=4, raw=b"\xff")),
    (Card, {"no": 4}, Card(no=4)),
    (Options, b'{"speed":1}', {"speed": 1}),
    (list[Strict], [{"number": 1, "lines": [{"amount": 2}]}], [Strict(number=1, lines=[Payment(Decimal(2))])]),
    (Annotated[int, Field(gt=0)], b"1", 1),
    (Any, b'{"a":[1,null]}', {"a": [1, None]}),
    (Any, "text", "text"),
    (Any, None, None),
    (dict, {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("wanted", "payload", "got"), ACCEPTED)
def test_a_payload_becomes_what_the_handler_annotates(wanted: Any, payload: Any, got: Any) -> None:
    assert call(wanted, payload) == got
    assert type(call(wanted, payload)) is type(got)


REFUSED: list[tuple[Any, Any, list[str]]] = [
    (int, None, ["Input should be a valid integer"]),
    (int, "x", ["Input should be a valid integer, unable to parse string as an integer"]),
    (int, b'"x"', ["Input should be a valid integer, unable to parse string as an integer"]),
    (int, b"", ["Invalid JSON: EOF while parsing a value at line 1 column 0"]),
    (int, b"{", ["Invalid JSON: EOF while parsing"]),
    (int, b"\xff", ["Invalid JSON: "]),
    (int, 2.5, ["Input should be a valid integer, got a number with a fractional part"]),
    (str, 5, ["Input should be a valid string"]),
    (None, 5, ["Input should be None"]),
    (Payment, '{"amount":1}', ["Input should be a dictionary or an instance of Payment"]),  # a text is a value
    (Payment, b"{}", ["amount: Field required"]),
    (
        Payment,
        {"amount": "x", "tags": [1, "a"]},
        ["amount: Input should be a valid decimal", "tags.0: Input should be a valid string"],
    ),
    (Card, {"number": 4}, ["no: Field required"]),
    (
        Strict,
        {"number": 0, "more": 1, "lines": [{"amount": 1}, {}]},
        ["number: Input should be greater than 0", "lines.1.amount: Field required", "more: Extra inputs are not permitted"],
    ),
    (Payment | int, "x", ["Payment: Input should be a dictionary", "int: Input should be a valid integer"]),
    (Options, {"speed": "fast"}, ["speed: Input should be a valid integer"]),
    (Any, b"{", ["EOF while parsing"]),
    (Any, b"[" * 1000, ["recursion limit exceeded"]),
    (list[Any], b"[" * 1000, ["recursion limit exceeded"]),
]


@pytest.mark.parametrize(("wanted", "payload", "faults"), REFUSED)
def test_a_payload_that_does_not_fit_is_refused_with_a_line_for_each_fault(
    wanted: Any, payload: Any, faults: list[str]
) -> None:
    order, state = waiting(lambda _: Wait("w", On("a", typed(wanted))))
    before = dump(order, state)
    with pytest.raises(InvalidPayloadError, match=r"run 'run-1': the payload for event 'a' does not fit.*:\n  - ") as caught:
        handle_callback("a", order, state, payload)
    assert len(caught.value.faults) == len(faults), caught.value.faults
    for got, fault in zip(caught.value.faults, faults, strict=True):
        assert fault in got
    assert dump(order, state) == before


def test_a_refused_payload_is_not_quoted_for_it_may_be_secret() -> None:
    order, state = waiting(lambda _: Wait("w", On("a", typed(Payment))))
    with pytest.raises(InvalidPayloadError) as caught:
        handle_callback("a", order, state, {"amount": "hunter2", "tags": "hunter2"})
    assert "hunter2" not in str(caught.value)


@dataclass
class ByCard:
    kind: Literal["card"]


@dataclass
class InCash:
    kind: Literal["cash"]


@pytest.mark.parametrize(
    ("wanted", "payload", "fault"),
    [
        (
            Annotated[ByCard | InCash, Field(discriminator="kind")],
            b'{"kind": "secret"}',
            "Input tag found using 'kind' does not match any of the expected tags: 'card', 'cash'",
        ),
        (ZoneInfo, b'"secret"', "invalid timezone"),
    ],
)
def test_what_pydantic_quotes_of_a_payload_is_left_out(wanted: Any, payload: bytes, fault: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        call(wanted, payload)
    assert caught.value.faults == (fault,)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_payload_type_that_can_not_be_validated_is_the_definitions_fault() -> None:
    order, state = waiting(lambda _: Wait("w", On("a", typed(threading.Event))))
    before = dump(order, state)
    with pytest.raises(DefinitionError, match="run 'run-1': the payload type of event 'a': Event can't be turned into JSON"):
        handle_callback("a", order, state, {})
    assert dump(order, state) == before


# --- which annotation counts ---

PAID: Event[Any, Any] = Event("a", Payment, str)
PLAIN: Event[Any, Any] = Event("a")


def plain(payload):
    return payload


def no_payload():
    return "none"


def variadic(*payload):
    return payload


def defaulted(payload: int = 7) -> int:
    return payload


SOURCES: list[tuple[str, Callable[[Any], On], Any, Any]] = [
    ("the handler's annotation", lambda o: On("a", typed(int)), b"5", 5),
    ("the handler's before the token's", lambda o: On(PAID, typed(dict)), {"amount": 1}, {"amount": 1}),
    ("the token's where the handler says nothing", lambda o: On(PAID, plain), {"amount": 1}, Payment(Decimal(1))),
    ("the token's where the handler says Any", lambda o: On(PAID, typed(Any)), {"amount": 1}, Payment(Decimal(1))),
    ("nobody's", lambda o: On(PLAIN, plain), {"amount": 1}, {"amount": 1}),
    ("the token's, of *args", lambda o: On(PAID, variadic), {"amount": 1}, (Payment(Decimal(1)),)),
    ("none for a handler that takes none", lambda o: On("a", no_payload), None, "none"),
    ("an empty body for a handler that takes none", lambda o: On("a", no_payload), b"", "none"),
    ("null for a handler that takes none", lambda o: On("a", no_payload), b"null", "none"),
    ("the token's, though the handler takes none", lambda o: On(PAID, no_payload), {"amount": 1}, "none"),
    ("a default", lambda o: On("a", defaulted), None, 7),
    ("a default for an empty body", lambda o: On("a", defaulted), b"", 7),
    ("no default", lambda o: On("a", defaulted), b"3", 3),
    ("a builtin", lambda o: On("a", len), [1, 2], 2),
    ("a class", lambda o: On("a", str), 5, "5"),
]


@pytest.mark.parametrize(("on", "payload", "output"), [pytest.param(*case, id=name) for name, *case in SOURCES])
def test_whose_annotation_counts(on: Any, payload: Any, output: Any) -> None:
    order, state = waiting(lambda self: Wait("w", on(self)))
    assert handle_callback(PAID, order, state, payload) == output


@pytest.mark.parametrize("handler", [None, no_payload])
@pytest.mark.parametrize("payload", [5, b"5", "", {}, b" ", False])
def test_an_event_that_takes_no_payload_refuses_one(handler: Any, payload: Any) -> None:
    order, state = waiting(lambda _: Wait("w", On("a", handler)))
    before = dump(order, state)
    with pytest.raises(InvalidPayloadError) as caught:
        handle_callback("a", order, state, payload)
    assert caught.value.faults == (f"the event takes no payload, but got {a_kind_of(payload)}",)
    assert dump(order, state) == before
    assert handle_callback("a", order, state) == (None if handler is None else "none")


# --- into ---

INTO: list[tuple[str, Callable[[Any], On], Any, str, Any]] = [
    ("a field, without a handler", lambda o: On("a", into="payment"), b'{"amount":1}', "payment", Payment(Decimal(1))),
    (
        "a field, with a handler",
        lambda o: On("a", typed(Payment), into="payment"),
        {"amount": 1},
        "payment",
        Payment(Decimal(1)),
    ),
    ("a field, with a handler that takes none", lambda o: On("a", no_payload, into="count"), b"5", "count", 5),
    ("a field of another type than the handler's", lambda o: On("a", typed(int), into="payment"), None, "", None),
    ("a token and a field", lambda o: On(PAID, into="anything"), {"amount": 1}, "anything", {"amount": "1", "tags": []}),
    ("an untyped field", lambda o: On("a", into="anything"), {"a": (1, {2})}, "anything", {"a": [1, [2]]}),
    ("a setter", lambda o: On("a", into=lambda value: setattr(o, "count", value)), 5, "count", 5),
    ("a typed setter", lambda o: On("a", into=o.set_payment), {"amount": 1}, "payment", Payment(Decimal(1))),
    ("a variadic setter", lambda o: On("a", into=lambda *v: setattr(o, "anything", list(v))), 5, "anything", [5]),
    ("a handle-object", lambda o: On("a", Bridge(), into="count"), b"5", "count", 5),
]


class Bridge:
    """Function and ``via`` at once."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def handle(self, request: CallbackRequest, payload: Any) -> Any:
        self.calls.append((request, payload))
        return payload


def set_payment(self: Any, payment: Payment) -> None:
    self.payment = payment


Order.set_payment = set_payment  # type: ignore[attr-defined] # where Payment's name is known


@pytest.mark.parametrize(("on", "payload", "name", "kept"), [pytest.param(*case, id=name) for name, *case in INTO])
def test_into_keeps_the_payload_as_a_reload_would_give_it(on: Any, payload: Any, name: str, kept: Any) -> None:
    order, state = waiting(lambda self: Wait("w", on(self)))
    if not name:
        with pytest.raises(InvalidPayloadError):
            handle_callback("a", order, state, payload)
        return
    handle_callback("a", order, state, payload)
    assert getattr(order, name) == kept
    assert type(getattr(order, name)) is type(kept)
    loaded, again = load(type(order), dump(order, state))
    assert getattr(loaded, name) == kept
    assert again.threads[0].event == "a"


@pytest.mark.parametrize(
    ("on", "payload", "why"),
    [
        (
            lambda: On("a", typed(str), into="count"),
            "x",
            "can't be kept in 'count':\n  - not of type int: Input should be a valid int",
        ),
        (lambda: On("a", typed(Any), into="anything"), object(), "can't be kept in 'anything':\n  - Unable to serialize"),
        (lambda: On("a", into="anything"), float("nan"), "can't be kept in 'anything':\n  - JSON has no NaN"),
        (lambda: On("a", into="anything"), "\ud800", "can't be kept in 'anything':\n  - "),
        (lambda: On("a", defaulted, into="payment"), b"3", "can't be kept in 'payment'"),
    ],
)
def test_what_can_not_be_kept_is_refused_before_the_handler_runs(on: Any, payload: Any, why: str) -> None:
    order, state = waiting(lambda _: Wait("w", on()))
    before = dump(order, state)
    with pytest.raises(InvalidPayloadError, match=f"run 'run-1': the payload for event 'a' {why}"):
        handle_callback("a", order, state, payload)
    assert dump(order, state) == before


def test_into_keeps_nothing_of_a_payload_that_was_left_out() -> None:
    order, state = waiting(lambda _: Wait("w", On("a", defaulted, into="count")))
    order.count = 3
    assert handle_callback("a", order, state) == 7
    assert order.count == 3


def test_the_handler_sees_what_into_kept() -> None:
    order, state = waiting(lambda self: Wait("w", On("a", lambda: self.payment, into="payment")))
    assert handle_callback("a", order, state, {"amount": 3}) == Payment(Decimal(3))


# --- a JSON Schema instead of annotations ---

LINES = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1},
        "lines": {"type": "array", "items": {"required": ["sku", "count"], "properties": {"count": {"minimum": 1}}}},
        "when": {"format": "date-time"},
    },
    "additionalProperties": False,
}


def unresolvable(payload: NoSuchType) -> Any:  # type: ignore[name-defined] # noqa: F821 that is the point
    return payload


FITTING: list[tuple[str, Callable[[Any], On], Any, Any]] = [
    ("bytes are JSON", lambda o: On("a", plain, schema=LINES), b'{"amount":2}', {"amount": 2}),
    ("anything else is a value", lambda o: On("a", plain, schema=LINES), {"amount": 2}, {"amount": 2}),
    ("a text is a value", lambda o: On("a", plain, schema={"type": "string"}), '{"amount":2}', '{"amount":2}'),
    (
        "a value becomes JSON",
        lambda o: On("a", plain, schema={"required": ["amount"]}),
        Payment(Decimal("1.5"), {"b", "a"}),
        {"amount": "1.5", "tags": ["a", "b"]},
    ),
    ("a tuple becomes a list", lambda o: On("a", plain, schema={"type": "array"}), (1, None), [1, None]),
    (
        "a format is not checked",
        lambda o: On("a", plain, schema=LINES),
        {"amount": 1, "when": "now"},
        {"amount": 1, "when": "now"},
    ),
    ("instead of the annotation", lambda o: On("a", typed(Payment), schema=LINES), {"amount": 2}, {"amount": 2}),
    ("instead of one that can't be resolved", lambda o: On("a", unresolvable, schema=LINES), {"amount": 2}, {"amount": 2}),
    ("instead of the token's type", lambda o: On(PAID, plain, schema={"type": "integer"}), 2, 2),
    ("no payload is null", lambda o: On("a", plain, schema={"type": "null"}), None, None),
    ("no payload is the default", lambda o: On("a", defaulted, schema={"type": "integer"}), None, 7),
    ("true takes anything", lambda o: On("a", plain, schema=True), b"[1]", [1]),
    ("an empty schema as well", lambda o: On("a", plain, schema={}), b"[1]", [1]),
    ("a handler that takes none", lambda o: On("a", no_payload, schema=LINES), {"amount": 2}, "none"),
    ("no handler", lambda o: On("a", schema=LINES), {"amount": 2}, None),
    (
        "a reference to what it is made of",
        lambda o: On("a", plain, schema={"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}),
        b"1",
        1,
    ),
    (
        "a reference to a dialect",
        lambda o: On("a", plain, schema={"$ref": "http://json-schema.org/draft-07/schema#"}),
        True,
        True,
    ),
    (
        "another dialect",
        lambda o: On("a", plain, schema={"$schema": "http://json-schema.org/draft-04/schema#", "items": [{"type": "null"}]}),
        [None],
        [None],
    ),
]


@pytest.mark.parametrize(("on", "payload", "output"), [pytest.param(*case, id=name) for name, *case in FITTING])
def test_a_payload_that_fits_its_schema_reaches_the_handler_as_plain_json(on: Any, payload: Any, output: Any) -> None:
    order, state = waiting(lambda self: Wait("w", on(self)))
    got = handle_callback("a", order, state, payload)
    assert got == output
    assert type(got) is type(output)


DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DEEP = "it is nested too deeply, or holds a number too large, to be checked"
RECURSIVE = {"properties": {"a": {"$ref": "#/$defs/self"}}, "$defs": {"self": {"allOf": [{"$ref": "#"}]}}}


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


UNFIT: list[tuple[Any, Any, list[str]]] = [
    (LINES, {"amount": 0}, ["amount: must be at least 1"]),
    (LINES, b'{"amount":"1"}', ["amount: must be of type integer"]),
    (LINES, {}, ["required: 'amount' is missing"]),
    (LINES, None, ["must be of type object"]),
    (LINES, {"amount": 1, "z": 1, "y": 2}, ["unknown: 'y'", "unknown: 'z'"]),
    (LINES, {"amount": 1, "k" * 50 + "\n": 1}, ["unknown: '" + "k" * 37 + "...'"]),
    (LINES, {"amount": 1, "\n": 1}, ["unknown: '\\n'"]),
    (
        LINES,
        {"amount": 0, "lines": [{"count": 0}, {"sku": 1, "count": 1}, {}]},
        [
            "amount: must be at least 1",
            "lines.0: required: 'sku' is missing",
            "lines.0.count: must be at least 1",
            "lines.2: required: 'count' is missing",
            "lines.2: required: 'sku' is missing",
        ],
    ),
    ({"items": {"type": "null"}}, [1] * 20, [f"{i}: must be of type null" for i in range(20)]),
    ({"items": {"type": "null"}}, [1] * 31, [*(f"{i}: must be of type null" for i in range(20)), "and 11 more"]),
    (
        {"properties": {"p" * 90: {"properties": {"q" * 90: False}}}},
        {"p" * 90: {"q" * 90: 1}},
        ["p" * 37 + "...." + "q" * 37 + "...: is not allowed"],
    ),
    (False, 5, ["is not allowed"]),
    ({"prefixItems": [True, False]}, [1, 2], ["1: is not allowed"]),
    ({"$schema": DRAFT_7, "items": [{}, {"patternProperties": {"": False}}]}, [1, {"a": 2}], ["1.a: is not allowed"]),
    ({"properties": {"a": {"$ref": "#/$defs/no"}}, "$defs": {"no": False}}, {"a": 2}, ["a: is not allowed"]),
    ({"type": ["string", "null"]}, 5, ["must be of type string or null"]),
    ({"enum": [1, "a", None]}, 5, ['must be one of 1, "a", null']),
    ({"const": {"a": ["x" * 100]}}, 5, ['must be {"a": ["' + "x" * 49 + "..."]),
    ({"exclusiveMinimum": 5}, 5, ["must be greater than 5"]),
    ({"maximum": 4.5}, 5, ["must be at most 4.5"]),
    ({"exclusiveMaximum": 5}, 5, ["must be less than 5"]),
    ({"$schema": DRAFT_4, "minimum": 5, "exclusiveMinimum": True}, 5, ["must be greater than 5"]),
    ({"$schema": DRAFT_4, "maximum": 5, "exclusiveMaximum": True}, 5, ["must be less than 5"]),
    ({"multipleOf": 2}, 5, ["must be a multiple of 2"]),
    ({"minLength": 2}, "a", ["must have at least 2 characters"]),
    ({"maxLength": 1}, "ab", ["must have at most 1 character"]),
    ({"pattern": "^x"}, "ab", ['must match the pattern "^x"']),
    ({"minItems": 1}, [], ["must have at least 1 item"]),
    ({"maxItems": 1, "uniqueItems": True}, [1, 1], ["has an item twice", "must have at most 1 item"]),
    ({"contains": {"type": "string"}}, [1], ["has no item that fits 'contains'"]),
    ({"contains": {"type": "string"}, "minContains": 2}, ["a"], ["must have at least 2 items that fit 'contains'"]),
    ({"contains": {"type": "string"}, "maxContains": 1}, ["a", "a"], ["must have at most 1 item that fit 'contains'"]),
    ({"minProperties": 1}, {}, ["must have at least 1 key"]),
    ({"maxProperties": 0}, {"a": 1}, ["must have at most 0 keys"]),
    (
        {"dependentRequired": {"a": ["b", "c"], "d": ["e"]}},
        {"a": 1, "c": 1},
        ["required: 'b' is missing beside 'a'"],
    ),
    (
        {"$schema": DRAFT_7, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        {"a": 1, "c": 1},
        ["required: 'b' is missing beside 'a'", "required: 'd' is missing"],
    ),
    (
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
        {"a": 1, "x1": 1, "b": 1},
        ["unknown: 'b'"],
    ),
    ({"propertyNames": {"maxLength": 1}}, {"ab": 1, "c": 1, "de": 1}, ["key 'ab' must have", "key 'de' must have at most 1"]),
    ({"properties": {"propertyNames": False}}, {"propertyNames": 1}, ["propertyNames: is not allowed"]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5, ["fits none of 2 alternatives"]),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 5, ["fits none of 2 alternatives"]),
    ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 5, ["fits more than one of 2 alternatives, not exactly one"]),
    ({"not": {"type": "integer"}}, 5, ["fits what 'not' forbids"]),
    ({"prefixItems": [{}], "items": False}, [1, 2], ["has items past those that are allowed"]),
    ({"$schema": DRAFT_7, "items": [{}], "additionalItems": False}, [1, 2], ["has items past those that are allowed"]),
    ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], ["has items past those that are allowed"]),
    ({"unevaluatedProperties": False}, {"a": 1}, ["has keys past those that are allowed"]),
    ({"type": "integer"}, True, ["must be of type integer"]),
    (True, b"{", ["EOF while parsing"]),
    (True, b"NaN", ["expected value"]),
    (True, float("nan"), ["JSON has no NaN and no infinity"]),
    (True, threading.Lock(), ["lock can't be turned into JSON"]),
    (True, "\ud800", ["surrogates not allowed"]),
    (True, b"[" * 1000, ["recursion limit exceeded"]),
    (RECURSIVE, nested(190), [DEEP]),
    ({"multipleOf": 0.5}, b"1" + b"0" * 400, [DEEP]),
]


@pytest.mark.parametrize(("schema", "payload", "faults"), UNFIT)
def test_a_payload_that_does_not_fit_its_schema_is_refused_with_a_line_for_each_fault(
    schema: Any, payload: Any, faults: list[str]
) -> None:
    order, state = waiting(lambda _: Wait("w", On("a", plain, schema=schema)))
    before = dump(order, state)
    why = "run 'run-1': the payload for event 'a' does not fit its schema:\n  - "
    with pytest.raises(InvalidPayloadError, match=why) as caught:
        handle_callback("a", order, state, payload)
    assert len(caught.value.faults) == len(faults), caught.value.faults
    for got, fault in zip(caught.value.faults, faults, strict=True):
        assert fault in got
    assert dump(order, state) == before


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, True, 0, False, None, "1", [], {}, [1], [True], {"a": 1}, {"a": True}, [[1]], "object"], True),
        ([1, 1.0], False),
        ([{"a": [1, {"b": 2}], "c": 0}, {"c": 0, "a": [1.0, {"b": 2}]}], False),
        ([[1, 2], [2, 1]], True),
        ([{"n": n} for n in range(20_000)], True),
        ([{"n": n} for n in [*range(20_000), 5]], False),
    ],
)
@pytest.mark.parametrize("dialect", [None, DRAFT_4, DRAFT_7])
def test_items_are_told_apart_as_json_does_in_no_time(items: list[Any], unique: bool, dialect: str | None) -> None:
    # By a reference to the whole: there too, nothing compares each item with every other.
    schema = {"uniqueItems": True, "properties": {"more": {"$ref": "#"}}, **({"$schema": dialect} if dialect else {})}
    order, state = waiting(lambda _: Wait("w", On("a", schema=schema)))
    if unique:
        assert handle_callback("a", order, state, {"more": items}) is None
    else:
        with pytest.raises(InvalidPayloadError, match="more: has an item twice"):
            handle_callback("a", order, state, {"more": items})


SECRET = "hunter2"
QUOTED: list[Any] = [
    {"type": "integer"},
    {"enum": [1]},
    {"const": 1},
    {"pattern": "^x"},
    {"maxLength": 1},
    {"anyOf": [{"type": "null"}]},
    {"oneOf": [True, True]},
    {"not": True},
    False,
]


@pytest.mark.parametrize("schema", QUOTED)
def test_a_payload_that_its_schema_refuses_is_not_quoted_anywhere(schema: Any) -> None:
    everywhere = {"items": schema, "additionalProperties": schema, "allOf": [schema]}
    order, state = waiting(lambda _: Wait("w", On("a", schema=everywhere)))
    for payload in (SECRET, [SECRET], {"a": SECRET}):
        with pytest.raises(InvalidPayloadError) as caught:
            handle_callback("a", order, state, payload)
        assert SECRET not in "".join(traceback.format_exception(caught.value))


UNUSABLE: list[tuple[Any, str]] = [
    ({"type": "intger"}, "$.type: 'intger' is not valid"),
    ({"properties": {"a": {"minimum": "x"}}}, "$.properties.a.minimum: 'x' is not of type 'number'"),
    ({"pattern": "["}, "$.pattern: '[' is not a 'regex'"),
    (
        {"$schema": "https://example.com/mine"},
        '$.$schema: "https://example.com/mine" is not known; known are https://json-schema',
    ),
    ({"$schema": 5}, "$.$schema: 5 is not known"),
    ({"$ref": "https://example.com/other"}, '$ref "https://example.com/other" leads nowhere; nothing is fetched'),
    ({"items": {"$ref": "#/$defs/nope"}}, '$ref "#/$defs/nope" leads nowhere'),
    ({"allOf": [{"$dynamicRef": "#nope"}]}, '$dynamicRef "#nope" leads nowhere'),
    ({"$ref": "#/x/a", "x": [1]}, '$ref "#/x/a" leads nowhere'),
    ({"$ref": "#/title", "title": "x"}, '$ref "#/title" does not lead to a schema'),
    ({"$ref": "#/x", "x": {"type": "y"}}, "#/x: $.type: 'y' is not valid"),
    ({"$ref": "#/x", "x": {"$ref": "file:///etc/passwd"}}, '$ref "file:///etc/passwd" leads nowhere'),
    ({"$ref": "#"}, "its references go round in circles, or it is nested too deeply"),
    ({"enum": [{1}]}, "it is no JSON: Object of type set is not JSON serializable"),
    ({"maximum": float("inf")}, "it is no JSON: Out of range float values"),
    ({"const": "\ud800"}, "it is no JSON: "),
]


@pytest.mark.parametrize(("schema", "why"), UNUSABLE)
def test_a_schema_that_can_not_be_used_is_the_definitions_fault(schema: Any, why: str) -> None:
    order, state = waiting(lambda _: Wait("w", On("a", schema=schema)))
    before = dump(order, state)
    for _ in range(2):  # not remembered as one that can
        with pytest.raises(DefinitionError) as caught:
            handle_callback("a", order, state, 5)
        assert f"run 'run-1': the schema of event 'a' can't be used: {why}" in str(caught.value)
    assert dump(order, state) == before


@pytest.mark.parametrize(
    ("on", "payload", "name", "kept"),
    [
        (lambda o: On("a", into="payment", schema=LINES), b'{"amount":1}', "payment", Payment(Decimal(1))),
        (lambda o: On("a", plain, into="count", schema={"type": "integer"}), 1.0, "count", 1),
        (lambda o: On("a", into="anything", schema=True), (1,), "anything", [1]),
        (lambda o: On("a", into=lambda v: setattr(o, "anything", v), schema=True), (1,), "anything", [1]),
        (lambda o: On("a", Bridge(), into="anything", schema={"type": "array"}), b"[1]", "anything", [1]),
    ],
)
def test_into_keeps_what_fits_the_schema_as_the_fields_type(on: Any, payload: Any, name: str, kept: Any) -> None:
    order, state = waiting(lambda self: Wait("w", on(self)))
    handle_callback("a", order, state, payload)
    assert getattr(order, name) == kept
    assert type(getattr(order, name)) is type(kept)


def test_what_fits_the_schema_but_not_the_field_is_refused() -> None:
    order, state = waiting(lambda _: Wait("w", On("a", into="count", schema=True)))
    with pytest.raises(InvalidPayloadError, match="can't be kept in 'count':\n  - not of type int"):
        handle_callback("a", order, state, "x")


def test_a_handle_object_gets_the_payload_unparsed_once_it_fits_the_schema() -> None:
    bridge = Bridge()
    order, state = waiting(lambda _: Wait("w", On("a", bridge, schema={"type": "array"})))
    with pytest.raises(InvalidPayloadError, match="must be of type array"):
        handle_callback("a", order, state, b"5")
    assert bridge.calls == []
    assert handle_callback("a", order, state, b"[5]") == b"[5]"


def test_a_handler_gets_what_fits_the_schema_and_then_the_item() -> None:
    @dataclass
    class Votes:
        log: list[Any] = field(default_factory=list)

        @classmethod
        def definition(cls) -> Statement[Self]:
            return ForEach("each", lambda w: ["ann", "bob"], Wait("w", On("vote", cls.vote, schema={"enum": ["yes", "no"]})))

        def vote(self, vote: int, name: str) -> None:
            self.log.append((name, vote))

    votes, state = Votes(), State.new("run-1", "Votes")
    resume(votes, state)
    handle_callback("vote", votes, state, b'"yes"')
    assert votes.log == [("ann", "yes")]


def test_a_schema_leaves_the_payload_without_a_type_of_its_own() -> None:
    from flowstmt.handlers import payload_type

    assert payload_type(On(PAID, typed(int), into="payment", schema=LINES), Order, 0) is Any


def test_a_schema_is_made_ready_once_for_all_its_builds() -> None:
    from flowstmt.schemas import schema_validator

    first = schema_validator({"type": "object", "required": ["a"]})
    assert schema_validator({"required": ("a",), "type": "object"}) is first
    assert schema_validator({"required": ["b"], "type": "object"}) is not first


def test_an_event_without_a_schema_does_not_load_jsonschema() -> None:
    script = """
import sys
from dataclasses import dataclass
from flowstmt import On, State, Wait, handle_callback, resume

@dataclass
class Order:
    paid: int = 0

    def definition(self):
        return Wait("w", On("paid", into="paid"), On("told", lambda payload: payload, schema={"type": "null"}))

for event, payload in (("paid", 5), ("told", None)):
    order, state = Order(), State.new("run-1", "Order")
    resume(order, state)
    handle_callback(event, order, state, payload)
    print("jsonschema" in sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert told.stdout.split() == ["False", "True"]


# --- objects that are handler and via at once ---


class Full(Bridge):
    type = "Webhook"

    def setup(self, request: CallbackRequest) -> str:
        self.calls.append(request)
        return "token"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self.calls.append((request, handled))


@pytest.mark.parametrize("payload", [b"<xml>", b"\xff", "text", None, {"a": 1}])
def test_a_handle_object_gets_its_request_and_the_payload_unparsed(payload: Any) -> None:
    bridge = Full()
    order, state = waiting(lambda _: Wait("w", On("a", bridge)))
    (asked,) = bridge.calls
    event = state.threads[0].events[0]
    assert (event.type, event.status) == ("Webhook", "Setup")
    assert handle_callback("a", order, state, payload) == payload
    request, given = bridge.calls[1]
    assert given is payload
    assert request.setup_data == "token"
    assert (request.name, request.thread_id, request.pc, request.run_id) == ("a", "main", 1, "run-1")
    assert (request.birth, asked.birth, asked.setup_data) == (state.threads[0].birth, request.birth, None)
    resume(order, state)
    assert bridge.calls[2] == (request, True)
    assert not callable(bridge)


def test_an_object_that_only_handles_needs_no_setup() -> None:
    bridge = Bridge()
    order, state = waiting(lambda _: Wait("w", On("a", bridge)))
    assert [(event.type, event.status) for event in state.threads[0].events] == [("Bridge", "Setup")]
    handle_callback("a", order, state, 1)
    assert resume(order, state) == "Finished"


def test_an_event_that_its_wait_gained_later_is_handled_with_a_fresh_request() -> None:
    bridge = Bridge()

    @dataclass
    class Growing:
        def definition(self) -> Statement:
            return Wait("w", On("b"))

    @dataclass
    class Grown:
        def definition(self) -> Statement:
            return Wait("w", On("b"), On("a", bridge))

    order, state = Growing(), State.new("run-1", "Order")
    resume(order, state)
    grown, state = load(Grown, dump(order, state))
    assert handle_callback("a", grown, state, 5) == 5
    request, _ = bridge.calls[0]
    assert request == CallbackRequest("a", "main", 1, state.threads[0].birth, "run-1")


# --- items ---


@dataclass
class Ship:
    items: list[Payment] = field(default_factory=lambda: [Payment(Decimal(1)), Payment(Decimal(2))])
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            ForEach(
                "each",
                lambda: self.items,
                Wait(
                    "w",
                    On("both", self.both),
                    On("payload", self.payload),
                    On("neither", self.neither),
                    On("setter", into=self.setter),
                ),
            ),
            Go("side", Wait("v", On("arg", self.both)), arg=lambda: self.items[0]),
        )

    def both(self, payload: int, item: Payment) -> str:
        item.tags.add("handled")
        return f"{payload} {type(item).__name__} {item.amount}"

    def payload(self, payload: int) -> str:
        return f"{payload}"

    def neither(self) -> str:
        return "neither"

    def setter(self, payload: int, item: Payment) -> None:
        self.log.append(f"{payload} {item.amount}")


@pytest.mark.parametrize("reload", [False, True])
def test_a_handler_gets_the_payload_and_then_the_item(reload: bool) -> None:
    order, state = Ship(), State.new("run-1", "Ship")
    resume(order, state)
    if reload:
        order, state = load(Ship, dump(order, state))
    assert handle_callback("both", order, state, b"5") == "5 Payment 1"
    assert state.threads[0].frames[0].item == Payment(Decimal(1), {"handled"})
    resume(order, state)
    if reload:
        order, state = load(Ship, dump(order, state))
    handle_callback("setter", order, state, b"6")
    assert order.log == ["6 2"]


@pytest.mark.parametrize(("event", "payload", "output"), [("payload", 5, "5"), ("neither", None, "neither")])
def test_one_parameter_is_the_payload(event: str, payload: Any, output: str) -> None:
    order, state = Ship(), State.new("run-1", "Ship")
    resume(order, state)
    assert handle_callback(event, order, state, payload) == output


# --- whatever is raised leaves everything as it was ---


class Stop(BaseException):
    """Not an Exception."""


ERRORS = [
    RefusedError("not your turn"),
    ValueError("x"),
    KeyError("y"),
    Stop(),
    KeyboardInterrupt(),
    StepError("s", step="x"),
    FlowstmtError("f"),
    StopIteration(3),
]


@dataclass
class Fragile:
    """Everything that a handler can reach, and a handler that changes all of it before it raises."""

    error: Any = field(default=None, metadata={"transient": True})
    lines: list[Payment] = field(default_factory=lambda: [Payment(Decimal(1), {"a"})])
    nested: dict[str, list[set[int]]] = field(default_factory=lambda: {"a": [{1}]})
    count: int = 0
    card: Card = field(default_factory=lambda: Card(no=1))
    shared: list[Payment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared = self.lines

    def definition(self) -> Statement:
        return Go(
            "side",
            ForEach("each", lambda: self.lines, Wait("w", On("a", self.handler, into=self.setter), On("b", via=Full()))),
            arg=lambda: Payment(Decimal(9), {"arg"}),
        )

    def setter(self, payload: int, item: Payment) -> None:
        self.count = payload
        item.tags.add("setter")

    def handler(self, payload: int, item: Payment) -> None:
        from flowstmt import current

        current().item("side").clear()  # JSON: nobody annotates the arg
        item.tags.clear()
        self.nested["a"][0].add(2)
        self.nested["b"] = []
        self.lines[0].tags.add("b")
        self.lines.append(Payment(Decimal(2)))
        self.card.number = 7
        del self.shared
        raise self.error


def by_async(*given: Any) -> Any:
    return asyncio.run(handle_callback_async(*given))


# asyncio itself does not let every exception through as it is.
BY_ASYNC = [error for error in ERRORS if not isinstance(error, StopIteration | KeyboardInterrupt)]


@pytest.mark.parametrize(
    ("callback", "error"),
    [
        *(pytest.param(handle_callback, error, id=f"{type(error).__name__}") for error in ERRORS),
        *(pytest.param(by_async, error, id=f"{type(error).__name__}, async") for error in BY_ASYNC),
    ],
)
def test_whatever_a_handler_raises_reaches_the_caller_and_changes_nothing(callback: Any, error: BaseException) -> None:
    order, state = Fragile(error), State.new("run-1", "Fragile")
    order.definition = lambda: S(Fragile.definition(order), Wait("hold", On("c")))  # type: ignore[method-assign] # main stays
    resume(order, state)
    before = dump(order, state)
    with pytest.raises(type(error)) as caught:
        callback("a", order, state, b"5")
    assert caught.value is error
    assert dump(order, state) == before
    assert order.shared is order.lines  # what was one object is one again


def test_a_handler_that_returns_an_awaitable_to_the_sync_driver_changes_nothing() -> None:
    async def later() -> None: ...

    def handler(order: Any) -> Any:
        order.count = 5
        return later()

    order, state = waiting(lambda self: Wait("w", On("a", lambda: handler(self))))
    before = dump(order, state)
    with pytest.raises(StepError, match=r"handler at 'w' returned a coroutine, which a sync driver can't await"):
        handle_callback("a", order, state)
    assert dump(order, state) == before


def test_a_cancelled_async_handler_changes_nothing() -> None:
    started = asyncio.Event()

    async def handler(order: Any) -> None:
        order.nested["a"].append({5})
        started.set()
        await asyncio.Event().wait()

    order, state = waiting_async(lambda self: Wait("w", On("a", functools.partial(handler, self))))
    before = dump(order, state)

    async def main() -> None:
        task = asyncio.create_task(handle_callback_async("a", order, state))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert dump(order, state) == before


def waiting_async(tree: Callable[[Any], Statement]) -> tuple[Any, State]:
    from flowstmt import resume_async

    cls: Any = dataclass(type("Order", (Order,), {"__module__": __name__, "__qualname__": "Order"}))
    order, state = cls(tree), State.new("run-1", "Order")
    asyncio.run(resume_async(order, state))
    return order, state


def test_an_async_handler_returns_its_output() -> None:
    async def handler(payload: int) -> int:
        await asyncio.sleep(0)
        return payload + 1

    order, state = waiting_async(lambda _: Wait("w", On("a", handler)))
    assert asyncio.run(handle_callback_async("a", order, state, b"5")) == 6
    with pytest.raises(DefinitionError, match="needs resume_async and handle_callback_async"):
        handle_callback("a", order, state, b"5")


def test_data_that_can_not_be_copied_is_named_and_the_handler_does_not_run() -> None:
    order, state = waiting(lambda self: Wait("w", On("a", lambda: self.log.append(1))))
    order.anything = threading.Lock()
    with pytest.raises(StateError, match=r"Order\.anything can't be copied .*transient"):
        handle_callback("a", order, state)
    assert order.log == []


def test_an_attribute_that_a_failed_handler_made_is_gone_again() -> None:
    @dataclass
    class Late:
        later: int = field(init=False)

        def definition(self) -> Statement:
            return Wait("w", On("a", self.handler), On("b", self.fail))

        def handler(self) -> None:
            self.later = 1
            raise RefusedError("no")

        def fail(self) -> None:
            raise RefusedError("no")

    late, state = Late(), State.new("run-1", "Late")
    resume(late, state)
    for event in "ab":
        with pytest.raises(RefusedError, match="no"):
            handle_callback(event, late, state)
        assert not hasattr(late, "later")


# --- requests ---


@pytest.mark.parametrize("request_", ["a", Event("a"), CallbackRequest("a"), CallbackRequest("a", thread_id="main", pc=1)])
def test_an_event_is_named_by_text_token_or_request(request_: Any) -> None:
    order, state = waiting(lambda _: Wait("w", On("a", lambda: "done")))
    assert handle_callback(request_, order, state) == "done"


def test_a_token_shows_its_name() -> None:
    assert repr(Event("paid", int, str)) == "Event('paid')"


def test_a_handler_may_raise_any_callback_error() -> None:
    class NotYourTurnError(RefusedError): ...

    def handler() -> None:
        raise NotYourTurnError("wait for white")

    order, state = waiting(lambda _: Wait("w", On("a", handler)))
    with pytest.raises(NotYourTurnError, match="wait for white") as caught:
        handle_callback("a", order, state)
    assert isinstance(caught.value, CallbackError)


def test_a_huge_payload_is_taken() -> None:
    """Ten megabytes, validated, kept, saved and loaded."""
    lines = [{"amount": str(i), "tags": ["x" * 100]} for i in range(70_000)]
    blob = json.dumps(lines).encode()
    assert len(blob) > 8_000_000
    order, state = waiting(lambda _: Wait("w", On("a", typed(list[Payment]), into="anything")))
    assert len(handle_callback("a", order, state, blob)) == 70_000
    loaded, _ = load(type(order), dump(order, state))
    assert loaded.anything[69_999] == {"amount": "69999", "tags": ["x" * 100]}


def test_a_callback_fires_its_event_once() -> None:
    order, state = waiting(lambda self: S(Wait("w", On("a", into="count")), Step("b", lambda: self.log.append(self.count))))
    handle_callback("a", order, state, 5)
    assert resume(order, state) == "Finished"
    assert order.log == [5]
