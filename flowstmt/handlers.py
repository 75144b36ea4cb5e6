"""A typed function as the handler of an event.

What a handler's payload parameter annotates is what a payload must be: pydantic validates it. Where the handler says
nothing, the ``Event`` token does; where there is no handler, the field or setter that keeps the payload. An event with a
``schema`` asks none of them: its payload is checked against that, and is plain JSON values for all who get it.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from flowstmt.codec import Codec, adapter_for, faults_of
from flowstmt.core.calls import annotation, parameters
from flowstmt.core.statements import Event, On
from flowstmt.errors import DefinitionError, InvalidPayloadError, a_kind_of
from flowstmt.fields import fields_of

__all__ = ["LEFT_OUT", "NoPayload", "kept_payload", "payload_type", "taken_payload", "validate_payload"]

_codec = Codec()


LEFT_OUT: Any = object()
"""What ``into`` gets if a payload that has a default was not given: nothing."""


class NoPayload:
    """The payload type of an event that takes none."""


def taken_payload(payload: Any, on: On, workflow: Any, base: int, run_id: str) -> tuple[tuple[Any, ...], Any]:
    """What the handler of an event gets of a payload, and what ``into`` keeps. Raises ``InvalidPayloadError``.

    ``base`` is how many arguments every callable gets before its own.
    """
    takes = False
    if callable(on.handler):
        found = parameters(on.handler)
        takes = found.most > base
        if payload is None or _is_empty(payload):
            if takes and found.required <= base:
                return (), LEFT_OUT  # its parameter has a default
            if not takes and on.into is None and on.schema is None and isinstance(on.event, str):
                return (), None  # nobody takes one, and none was given
    elif on.handler is not None and on.into is None and on.schema is None:
        return (), None  # an object's handle gets it as it came, which need not be JSON
    if on.schema is None:
        value = validate_payload(payload, payload_type(on, type(workflow), base), on.name, run_id)
    else:
        value = _fitting(payload, on.schema, on.name, run_id)
    return ((value,) if takes else ()), value


def payload_type(on: On, cls: type[Any], base: int) -> Any:
    """What the payload of an event of this workflow class must be: a type, ``Any``, or ``NoPayload``."""
    if on.schema is not None:
        return Any
    token = on.event.payload if isinstance(on.event, Event) else None
    handler = on.handler
    if callable(handler):
        names = parameters(handler).names
        if parameters(handler).most > base:
            found = annotation(handler, names[base]) if len(names) > base else Any
            return token if found is Any and token is not None else found
        # The handler does not look at it, but it may still be kept.
    elif handler is not None:
        return Any
    if token is not None:
        return token
    if isinstance(on.into, str):
        return fields_of(cls).types.get(on.into, Any)
    if on.into is not None:
        names = parameters(on.into).names
        return annotation(on.into, names[base]) if len(names) > base else Any
    return NoPayload


def validate_payload(payload: Any, wanted: Any, event: str, run_id: str) -> Any:
    """The payload as the type ``wanted``. Bytes are JSON, anything else is a value. Raises ``InvalidPayloadError``."""
    is_json = isinstance(payload, bytes | bytearray | memoryview)
    if wanted is NoPayload and (payload is None or _is_empty(payload) or (is_json and bytes(payload) == b"null")):
        return None
    refused = f"run {run_id!r}: the payload for event {event!r} does not fit"
    if wanted is NoPayload:
        raise InvalidPayloadError(f"{refused}:", [f"the event takes no payload, but got {a_kind_of(payload)}"])
    try:
        if wanted is Any:
            return from_json(bytes(payload)) if is_json else payload
        try:
            validator = adapter_for(wanted).validator
        except ValueError as error:
            # Not the caller's fault, whatever the payload is.
            raise DefinitionError(f"run {run_id!r}: the payload type of event {event!r}: {error}") from error
        return validator.validate_json(bytes(payload)) if is_json else validator.validate_python(payload)
    except ValidationError as error:
        # Not as its cause: pydantic's message quotes the payload, and tracebacks end up in logs as well.
        hint = (
            " (none was given)"
            if payload is None
            else " (a text is a value: JSON is bytes)"
            if isinstance(payload, str)
            else ""
        )
        raise InvalidPayloadError(f"{refused}{hint}:", faults_of(error)) from None
    except (ValueError, RecursionError) as error:
        raise InvalidPayloadError(f"{refused}:", [f"it is no JSON: {error}" if is_json else str(error)]) from error


def _is_empty(payload: Any) -> bool:
    """Whether it is the body of a request that has none: as good as no payload for whoever needs none."""
    return isinstance(payload, bytes | bytearray | memoryview) and not bytes(payload)


def _fitting(payload: Any, schema: Any, event: str, run_id: str) -> Any:
    """The payload as JSON values that fit a JSON Schema. Raises ``InvalidPayloadError``."""
    from flowstmt.schemas import schema_faults, schema_validator  # noqa: PLC0415 jsonschema is slow to load, and rarely needed

    try:
        validator = schema_validator(schema)
    except ValueError as error:
        # Not the caller's fault, whatever the payload is.
        raise DefinitionError(f"run {run_id!r}: the schema of event {event!r} can't be used: {error}") from error
    refused = f"run {run_id!r}: the payload for event {event!r} does not fit its schema:"
    try:
        if isinstance(payload, bytes | bytearray | memoryview):
            try:
                value = from_json(bytes(payload), allow_inf_nan=False)
            except ValueError as error:
                raise ValueError(f"it is no JSON: {error}") from error
        else:
            value = _codec.adapt(payload, Any)
    except (ValueError, RecursionError) as error:
        raise InvalidPayloadError(refused, [str(error)]) from error
    faults = schema_faults(value, validator)
    if faults:
        raise InvalidPayloadError(refused, faults)
    return value


def kept_payload(payload: Any, on: On, workflow: Any, run_id: str) -> Any:
    """What ``into`` keeps of a payload: the value that a reload of its field would give. Raises ``InvalidPayloadError``."""
    if not isinstance(on.into, str):
        return payload
    try:
        return _codec.adapt(payload, fields_of(type(workflow)).types[on.into])
    except ValueError as error:
        raise InvalidPayloadError(
            f"run {run_id!r}: the payload for event {on.name!r} can't be kept in {on.into!r}:", [str(error)]
        ) from error
