"""What events take and give, as JSON Schemas.

Rules:

1. A payload's schema says what ``handle_callback`` accepts as JSON; an output's, what pydantic would write of what the
   handler returns.
2. A payload type that ``handle_callback`` can't validate is a ``DefinitionError`` here as well. Any other type for which
   there is no schema gets one that accepts everything, and says in its ``$comment`` why.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from flowstmt.codec import adapter_for
from flowstmt.core.approvals import Approval, ApprovalResult
from flowstmt.core.calls import annotation, parameters
from flowstmt.core.nodes import WAITS, Node
from flowstmt.core.statements import Event, On
from flowstmt.describe.manners import shown_children
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.errors import DefinitionError
from flowstmt.handlers import NoPayload, payload_type

__all__ = ["EventSchemas", "event_schemas", "schemas_of"]

Schema: TypeAlias = dict[str, Any] | bool
Mode: TypeAlias = Literal["validation", "serialization"]

_NOTHING: dict[str, Any] = {"type": "null"}
_schemas: dict[tuple[Any, str, Mode], Schema] = {}


@dataclass(frozen=True, slots=True)
class EventSchemas:
    """The schemas of one event; ``required``: whether a callback without a payload is refused."""

    payload: Schema
    output: Schema
    required: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON; the caller's own."""
        return deepcopy({"payload": self.payload, "payload_required": self.required, "output": self.output})


class _Generator(GenerateJsonSchema):
    def bytes_schema(self, schema: core_schema.BytesSchema) -> dict[str, Any]:
        # As flowstmt reads them, wherever they stand; lengths would be those of the bytes, not of the text.
        return {"type": "string", "format": "base64url"}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that is no JSON is left out: whoever asks for a schema could do nothing about it."""


def event_schemas(subject: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """The JSON Schemas (draft 2020-12) of all events that can be called: by the name of the Wait, then by that of the event.

    An ``Approval`` is a Wait of the events ``approve`` and ``reject``. Each event has ``payload``, ``output``, and
    ``payload_required``: whether a callback without a payload is refused. A type without a JSON Schema gets one that accepts
    everything and says why in its ``$comment``; a payload type that could not be validated at all is a ``DefinitionError``. A
    tree of statements does not say what its handlers are called with: pass the workflow.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, Wait
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return Wait("payment", On("paid", into="paid"))
    >>> event_schemas(Order)
    {'payment': {'paid': {'payload': {'type': 'integer'}, 'payload_required': True, 'output': {'type': 'null'}}}}
    """
    found = subject_of(subject)
    if found.cls is None:
        raise DefinitionError(
            "a tree of statements does not say what its handlers are called with, so it has no schemas: pass a workflow object "
            "or class"
        )
    schemas: dict[str, dict[str, dict[str, Any]]] = {}
    for node in found.program.nodes:
        if node.kind in WAITS:
            events = {event.name: schemas_of(found, event) for event in shown_children(node) if event.kind is On}
            schemas[node.name] = {name: each.to_json() for name, each in events.items()}
    return {wait: events for wait, events in schemas.items() if events}


def schemas_of(subject: Subject, node: Node) -> EventSchemas:
    """The schemas of one event of a workflow class. Raises ``DefinitionError``."""
    on: On = subject.values[node.index]
    assert subject.cls is not None  # only of a class is it known what handlers are called with
    base = int(subject.program.class_style)
    wanted = payload_type(on, subject.cls, base)
    try:
        return EventSchemas(_payload(on, wanted), _output(on, node), _required(on, wanted, base))
    except ValueError as error:
        what = "payload type" if on.schema is None else "schema"
        raise DefinitionError(f"{node.place}: its {what} can't be used: {error}") from error


def _payload(on: On, wanted: Any) -> Schema:
    """The schema of what a callback may hand in. Raises ``ValueError`` if nothing could be validated."""
    if on.schema is not None:
        return on.schema
    if wanted is NoPayload:
        return _NOTHING
    if wanted is Any:
        return {}
    adapter_for(wanted)
    return _schema(wanted, "validation")


def _required(on: On, wanted: Any, base: int) -> bool:
    """Whether a callback without a payload is refused."""
    handler = on.handler
    if callable(handler):
        found = parameters(handler)
        if found.most > base and found.required <= base:
            return False
    elif handler is not None and on.into is None and on.schema is None:
        return False
    # Without a default, a payload that is left out is None, and validated like any other value.
    if on.schema is not None:
        from flowstmt.schemas import schema_validator  # noqa: PLC0415 jsonschema is slow to load, and rarely needed

        return not schema_validator(on.schema).is_valid(None)
    if wanted is Any or wanted is NoPayload:
        return False
    try:
        adapter_for(wanted).validator.validate_python(None)
    except Exception:  # noqa: BLE001 a validator of the user's may raise anything: it does not take None
        return True
    return False


def _output(on: On, node: Node) -> Schema:
    """The schema of what a callback's caller gets: what the handler says that it returns, else what the event's token says."""
    if on.handler is None:
        is_answer = node.parent is not None and node.parent.kind is Approval
        return _schema(ApprovalResult, "serialization") if is_answer else _NOTHING
    call = on.handler if callable(on.handler) else on.handler.handle
    try:
        wanted = annotation(call, "return")
    except Exception as error:  # noqa: BLE001 evaluating the user's annotation may raise anything; the schema says so
        return _anything("the return annotation", error)
    if wanted is Any and isinstance(on.event, Event) and on.event.output is not None:
        wanted = on.event.output
    return {} if wanted is Any else _schema(wanted, "serialization")


def _schema(wanted: Any, mode: Mode) -> Schema:
    key = (wanted, repr(wanted), mode)  # equal types can have other schemas: int | str and str | int
    try:
        known = _schemas.get(key)
    except TypeError:  # Annotated[...] with something unhashable in it
        return _generate(wanted, mode)
    if known is None:
        known = _schemas[key] = _generate(wanted, mode)
    return known


def _generate(wanted: Any, mode: Mode) -> Schema:
    try:
        return _Generator().generate(TypeAdapter(wanted).core_schema, mode)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError) as error:
        return _anything(repr(wanted), error)


def _anything(what: str, error: Exception) -> Schema:
    lines = str(error).splitlines() or [type(error).__name__]
    return {"$comment": f"{what} has no JSON Schema: {lines[0]}"}
