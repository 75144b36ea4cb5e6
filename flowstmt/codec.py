"""Typed values to JSON and back.

pydantic knows how; what it leaves open is settled here, once, for everything that is saved: bytes are base64, sets are
written in a fixed order, NaN and the infinities survive, and what has no JSON form is refused instead of being guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator, from_json, to_json

__all__ = ["Adapter", "Codec", "adapter_for", "faults_of"]

_CONFIG: Any = {"ser_json_bytes": "base64", "val_json_bytes": "base64", "ser_json_inf_nan": "strings"}
_ATOMS = frozenset((str, bool, type(None)))
_SMALL = 2**53
"""Whole numbers up to here are the same in every JSON reader."""


class Adapter:
    """A type's way to JSON and back. Raises ``ValueError`` where it has none."""

    __slots__ = ("serializer", "validator")

    def __init__(self, wanted: Any) -> None:
        try:
            schema = TypeAdapter(wanted).core_schema
        except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
            raise ValueError(f"{_name(wanted)} can't be turned into JSON: {str(error).splitlines()[0]}") from error
        settled = _settle(schema)
        self.serializer = SchemaSerializer(settled, _CONFIG)
        self.validator = SchemaValidator(settled, _CONFIG)

    def to_plain(self, value: Any) -> Any:
        """``value`` as JSON values (dicts, lists, texts ...)."""
        try:
            return self.serializer.to_python(value, mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise ValueError(_one_line(error)) from error

    def to_json(self, value: Any) -> bytes:
        """``value`` as JSON."""
        try:
            return self.serializer.to_json(value, warnings="error")
        except PydanticSerializationError as error:
            raise ValueError(_one_line(error)) from error

    def from_json(self, blob: bytes) -> Any:
        """The value that JSON stands for. Raises ``pydantic.ValidationError``, a ``ValueError``."""
        return self.validator.validate_json(blob)


_adapters: dict[Any, Adapter] = {}


def adapter_for(wanted: Any) -> Adapter:
    """The adapter of a type, made once."""
    try:
        known = _adapters.get(wanted)
    except TypeError:  # Annotated[...] with something unhashable in it
        return Adapter(wanted)
    if known is None:
        known = _adapters[wanted] = Adapter(wanted)
    return known


class Codec:
    """The values of a state that are the user's: args, items, results."""

    def adapt(self, value: Any, wanted: Any) -> Any:
        """``value`` as a reload would give it to a consumer that annotates ``wanted``. Raises ``ValueError``."""
        kind = type(value)
        if (kind in _ATOMS or (kind is int and -_SMALL <= value <= _SMALL)) and (wanted is Any or wanted is kind):
            return value
        try:
            blob = orjson.dumps(self.encode(value))
        except TypeError as error:
            raise ValueError(f"{_short(value)}: {error}") from error
        return self.decode(blob, wanted)

    def restore(self, plain: Any, wanted: Any) -> Any:
        """The value of type ``wanted`` that JSON values stand for. Raises ``ValueError``."""
        return self.decode(to_json(plain), wanted)

    def encode(self, value: Any) -> Any:
        """``value`` as JSON values."""
        kind = type(value)
        if kind in _ATOMS or kind is int:
            return value
        return adapter_for(kind).to_plain(value)

    def decode(self, blob: bytes, wanted: Any) -> Any:
        """The value that JSON stands for, as the type ``wanted``."""
        if wanted is Any:
            return from_json(blob)
        try:
            return adapter_for(wanted).from_json(blob)
        except ValidationError as error:
            raise ValueError(f"not a {_name(wanted)}: {'; '.join(faults_of(error))}") from error


def faults_of(error: ValidationError) -> list[str]:
    """One line per fault. Without the values: they may be secret, and error messages end up in logs."""
    return [
        ": ".join(part for part in (".".join(map(str, fault["loc"])), fault["msg"]) if part)
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _settle(schema: Any) -> Any:
    """The schema with sets in a fixed order, and one way to write bytes and floats in all that it holds."""
    if isinstance(schema, list):
        return [_settle(part) for part in schema]
    if isinstance(schema, tuple):
        return tuple(_settle(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    settled = {key: _settle(part) for key, part in schema.items()}
    kind = settled.get("type")
    if kind in ("set", "frozenset") and "serialization" not in settled:
        settled["serialization"] = {"type": "function-wrap", "function": _in_order, "when_used": "json"}
    elif kind in ("dataclass", "typed-dict", "model"):
        settled["config"] = {**_CONFIG, **(settled.get("config") or {})}
    return settled


def _in_order(value: Any, serialize: Callable[[Any], list[Any]]) -> list[Any]:
    return sorted(serialize(value), key=orjson.dumps)


def _name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
