"""The JSON Schemas of events: what a callback takes, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from flowstmt import (
    DefinitionError,
    Event,
    InvalidPayloadError,
    On,
    S,
    State,
    StateError,
    Step,
    Timeout,
    Wait,
    describe,
    handle_callback,
    resume,
)

if TYPE_CHECKING:
    from decimal import Context as Hidden


@dataclass
class Payment:
    amount: Annotated[int, Field(gt=0)]
    token: bytes = b""


class Receipt(BaseModel):
    number: Annotated[int, Field(alias="no")]
    at: datetime | None = None


class Part(TypedDict):
    blob: Annotated[bytes, Field(max_length=3)]


PAID: Event[Payment, Receipt] = Event("paid", Payment, Receipt)
NAMED: Event[Any, Any] = Event("named")


class Desk:
    def setup(self, request): ...
    def handle(self, request, payload) -> str:
        return "done"


class Untyped:
    def handle(self, request, payload): ...


def made(on: On, style: str = "instance") -> type[Any]:
    """A workflow class that waits for this event."""

    @dataclass
    class Data:
        field: int = 0
        cost: Decimal = Decimal(0)

        def take(self, payment: Payment) -> Decimal: ...  # type: ignore[empty-body]

    @dataclass
    class Instance(Data):
        def definition(self):
            return Wait("w", on)

    @dataclass
    class Class(Data):
        @classmethod
        def definition(cls):
            return Wait("w", on)

    return Instance if style == "instance" else Class


def schemas(on: On, style: str = "instance") -> dict[str, Any]:
    [event] = describe.event_schemas(made(on, style))["w"].values()
    for key in ("payload", "output"):
        Draft202012Validator.check_schema(event[key])
    return event


def typed(payload: Any = None, output: Any = None) -> Callable[..., Any]:
    def handler(given): ...

    handler.__annotations__ = {key: kind for key, kind in (("given", payload), ("return", output)) if kind is not None}
    return handler


def counting(count: int = 3) -> None: ...


NOTHING = {"type": "null"}


@pytest.mark.parametrize(
    ("on", "payload", "required"),
    [
        (On("e"), NOTHING, False),
        (On("e", into="field"), {"type": "integer"}, True),
        (On("e", into=lambda value: None), {}, False),
        (On("e", typed(int)), {"type": "integer"}, True),
        (On("e", typed(int | None)), {"anyOf": [{"type": "integer"}, {"type": "null"}]}, False),
        (On("e", counting), {"type": "integer"}, False),
        (On("e", typed()), {}, False),
        (On("e", lambda: None), NOTHING, False),
        (On("e", lambda: None, into="field"), {"type": "integer"}, True),
        (On("e", Desk()), {}, False),
        (On("e", Desk(), into="field"), {}, False),
        (On("e", typed(int), schema={"type": "string"}), {"type": "string"}, True),
        (On("e", typed(int), schema={"type": ["string", "null"]}), {"type": ["string", "null"]}, False),
        (On("e", schema=True), True, False),
        (On("e", typed(bytes)), {"type": "string", "format": "base64url"}, True),
        (On("e", typed(Literal["a", "b"])), {"type": "string", "enum": ["a", "b"]}, True),
        (On(NAMED, into="field"), {"type": "integer"}, True),
        (On(NAMED), NOTHING, False),
        (On(NAMED, typed(int)), {"type": "integer"}, True),
    ],
    ids=repr,
)
def test_a_payload_has_the_schema_of_who_takes_it(on, payload, required):
    found = schemas(on)
    assert (found["payload"], found["payload_required"]) == (payload, required)


@pytest.mark.parametrize(
    ("on", "output"),
    [
        (On("e"), NOTHING),
        (On("e", into="field"), NOTHING),
        (On("e", typed(output=type(None))), NOTHING),
        (On("e", typed(output=str)), {"type": "string"}),
        (On("e", typed()), {}),
        (On("e", Desk()), {"type": "string"}),
        (On("e", Untyped()), {}),
        (On(NAMED, typed()), {}),
    ],
    ids=repr,
)
def test_an_output_has_the_schema_of_what_the_handler_returns(on, output):
    assert schemas(on)["output"] == output


def test_a_token_says_what_its_handler_does_not():
    for on in (On(PAID, typed()), On(PAID, lambda payload: None)):
        found = schemas(on)
        assert found["payload"]["required"] == ["amount"]
        assert found["output"]["properties"]["no"] == {"title": "No", "type": "integer"}
    assert schemas(On(PAID, typed(int, str)))["payload"] == {"type": "integer"}
    assert schemas(On(PAID, typed(int, str)))["output"] == {"type": "string"}
    assert schemas(On(PAID))["payload"]["title"] == "Payment"
    assert schemas(On(PAID))["output"] == NOTHING


def test_payloads_are_input_and_outputs_are_output():
    found = schemas(On("e", typed(Decimal, Decimal)))
    assert {"type": "number"} in found["payload"]["anyOf"]
    assert found["output"]["type"] == "string"


def test_bytes_are_base64_wherever_they_stand():
    assert schemas(On("e", typed(Payment)))["payload"]["properties"]["token"]["format"] == "base64url"
    assert schemas(On("e", typed(Part)))["payload"]["properties"]["blob"] == {
        "title": "Blob",
        "type": "string",
        "format": "base64url",
    }
    cls = made(On("e", typed(Part), into=lambda value: None))
    run, state = cls(), State.new("r", "R")
    resume(run, state)
    handle_callback("e", run, state, b'{"blob": "AAEC"}')


def test_class_style_handlers_take_the_workflow_first():
    def take(workflow: Any, payment: Payment) -> str: ...  # type: ignore[empty-body]

    found = schemas(On("e", take), "class")
    assert found["payload"]["title"] == "Payment"
    assert found["output"] == {"type": "string"}
    assert schemas(On("e", lambda workflow: None), "class")["payload"] == NOTHING
    assert schemas(On("e", into="cost"), "class")["payload_required"] is True


def test_what_is_required_is_what_a_callback_can_not_leave_out():
    for on in (
        On("e", into="field"),
        On("e", counting),
        On("e", typed(int | None)),
        On("e", schema={"type": "string"}),
    ):
        cls = made(on)
        run, state = cls(), State.new("r", "R")
        resume(run, state)
        if schemas(on)["payload_required"]:
            with pytest.raises(InvalidPayloadError):
                handle_callback("e", run, state)
        else:
            handle_callback("e", run, state)


def test_a_validator_that_does_not_take_none_makes_the_payload_required():
    from pydantic import BeforeValidator

    def shout(value: Any) -> Any:
        return value.upper()

    assert schemas(On("e", typed(Annotated[str, BeforeValidator(shout)])))["payload_required"] is True


def test_a_type_without_a_schema_accepts_everything_and_says_why():
    payload = schemas(On("e", typed(Callable[[], int])))["payload"]
    assert set(payload) == {"$comment"}
    assert "has no JSON Schema" in payload["$comment"]
    assert "has no JSON Schema" in schemas(On("e", typed(output=object())))["output"]["$comment"]
    assert (
        "the return annotation has no JSON Schema: name 'Hidden'"
        in schemas(On("e", typed(output="Hidden")))["output"]["$comment"]
    )


def test_a_payload_type_that_can_not_be_validated_is_a_fault():
    class Strange:
        pass

    with pytest.raises(DefinitionError, match="On 'e' in Wait 'w': its payload type can't be used: Strange can't be turned"):
        schemas(On("e", typed(Strange)))
    with pytest.raises(DefinitionError, match=r"On 'e' in Wait 'w': its schema can't be used: \$\.type"):
        schemas(On("e", schema={"type": "nonsense"}))


def test_a_default_that_is_no_json_is_left_out():
    @dataclass
    class Odd:
        what: Any = print

    assert schemas(On("e", typed(Odd)))["payload"]["properties"] == {"what": {"title": "What"}}


def test_an_unhashable_annotation_is_no_obstacle():
    assert schemas(On("e", typed(Annotated[int, Field(json_schema_extra={"x": 1}), []])))["payload"] == {
        "type": "integer",
        "x": 1,
    }


def test_events_are_told_by_their_waits():
    @dataclass
    class Two:
        def definition(self):
            return S(Wait("a", On("e", typed(int))), Wait("b", On("e", typed(str))), Wait("c", Timeout("t", lambda: None)))

    found = describe.event_schemas(Two)
    assert {wait: {name: event["payload"] for name, event in events.items()} for wait, events in found.items()} == {
        "a": {"e": {"type": "integer"}},
        "b": {"e": {"type": "string"}},
    }


def test_what_is_handed_out_is_the_callers_own():
    on = On("e", typed(Payment), schema={"type": "object"})
    cls = made(on)
    describe.event_schemas(cls)["w"]["e"]["payload"]["spoilt"] = True
    assert on.schema == {"type": "object"}
    cls = made(On("e", typed(Payment)))
    describe.event_schemas(cls)["w"]["e"]["payload"].clear()
    assert describe.event_schemas(cls)["w"]["e"]["payload"]["title"] == "Payment"


def test_a_tree_has_no_schemas():
    with pytest.raises(DefinitionError, match="pass a workflow object or class"):
        describe.event_schemas(Wait("w", On("e")))


def test_a_field_whose_type_can_not_be_resolved_is_told_by_its_name():
    @dataclass
    class Lost:
        field: Hidden = None  # type: ignore[assignment]

        def definition(self):
            return S(Wait("w", On("e", into="field")), Step("s", print))

    with pytest.raises(StateError, match="Lost: the annotations of its fields can't be resolved"):
        describe.event_schemas(Lost)
