"""Typed values to JSON and back.

pydantic knows how; what it leaves open is settled here, once, for everything that is saved: bytes are base64, sets are
written in a fixed order, NaN and the infinities survive, and what has no JSON form is refused instead of being guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import (
    ErrorDetails,
    PydanticSerializationError,
    PydanticSerializationUnexpectedValue,
    SchemaSerializer,
    SchemaValidator,
    from_json,
    to_json,
)

__all__ = ["Adapter", "Codec", "adapter_for", "faults_of"]

_CONFIG: Any = {
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "ser_json_inf_nan": "strings",
    "serialize_by_alias": False,
}
_SMALL = 2**53
"""Whole numbers up to here are the same in every JSON reader."""
_MANY = 180
_AROUND = b"[" * 10 + b"%b" + b"]" * 10
"""JSON readers give up at some 200 levels; a value stands up to ten levels deep in its snapshot."""
_NO_KEYS = frozenset(
    (
        *("none", "nullable", "tuple", "list", "set", "frozenset", "dataclass", "model", "typed-dict", "named-tuple", "call"),
        *("literal", "enum"),  # those that are no texts
    )
)
# Pydantic's warnings quote the value, which may be secret and hold anything: what is wanted stands before, its type last.
_QUOTING = re.compile(
    r"Expected `(?P<wanted>[^`]*)`[^\[]*\[(?:field_name='(?P<field>[^']*)', )?input_value=.*, input_type=(?P<got>[^\],]+)\]",
    re.DOTALL,
)
_UNKNOWN = re.compile(r"\bschema for (<[^>]*>)")
_NO_SCHEMAS = frozenset(("cls", "config", "default", "expected", "members", "metadata"))
"""Keys of a schema under which there is no schema."""


class Adapter:
    """A type's way to JSON and back. Raises ``ValueError`` where it has none."""

    __slots__ = ("_loader", "_schema", "_serializer", "_validator")

    def __init__(self, wanted: Any) -> None:
        try:
            schema = TypeAdapter(wanted).core_schema
            self._schema = schema
            settled = _settle(schema, saved=True)
            # "Prebuilt" would be what a nested model makes for itself, with its own ideas about sets, bytes and aliases.
            self._serializer = SchemaSerializer(settled, _CONFIG, _use_prebuilt=False)
            self._loader = SchemaValidator(settled, _CONFIG, _use_prebuilt=False)
        except PydanticSchemaGenerationError as error:
            # What pydantic advises can't be followed: nobody configures the adapter, and what it lets pass has no JSON.
            culprit = _UNKNOWN.search(str(error))
            what = "it" if culprit is None else culprit[1]
            raise ValueError(
                f"{_name(wanted)} can't be turned into JSON: pydantic does not know {what}; a dataclass, a pydantic model or "
                "plain types would do"
            ) from error
        except (PydanticUserError, NameError, TypeError) as error:
            raise ValueError(f"{_name(wanted)} can't be turned into JSON: {str(error).splitlines()[0]}") from error
        self._validator: SchemaValidator | None = None

    @property
    def validator(self) -> SchemaValidator:
        """Validates what comes from outside: under the names that the type tells the world, which may be aliases."""
        if self._validator is None:
            self._validator = SchemaValidator(_settle(self._schema, saved=False), _CONFIG, _use_prebuilt=False)
        return self._validator

    def to_json(self, value: Any) -> bytes:
        """``value`` as JSON that can be read again.

        It is read again at once. pydantic writes None whatever the type is, and values that the type's own limits forbid;
        without this, only the process that has nothing left but the snapshot would find out.
        """
        try:
            blob = self._serializer.to_json(value, warnings="error")
        except PydanticSerializationError as error:
            raise ValueError(_unquoted(error)) from None
        try:
            self._loader.validate_json(blob)
            if len(blob) > 2 * _MANY and blob.count(b"[") + blob.count(b"{") > _MANY:
                from_json(_AROUND % blob)
        except ValidationError as error:
            raise ValueError(f"it could not be read again: {'; '.join(faults_of(error))}") from None
        except ValueError as error:
            raise ValueError(f"it could not be read again: {error}") from error
        return blob

    def from_json(self, blob: bytes) -> Any:
        """The value that JSON stands for. Raises ``pydantic.ValidationError``, a ``ValueError``."""
        return self._loader.validate_json(blob)


_adapters: dict[Any, Adapter] = {}


def adapter_for(wanted: Any) -> Adapter:
    """The adapter of a type, made once."""
    # int | str equals str | int, but a text that either could have written is read by the first.
    key = wanted if isinstance(wanted, type) else (wanted, repr(wanted))
    try:
        known = _adapters.get(key)
    except TypeError:  # Annotated[...] with something unhashable in it
        return Adapter(wanted)
    if known is None:
        known = _adapters[key] = Adapter(wanted)
    return known


class Codec:
    """The values of a state that are the user's: args, items, results."""

    def adapt(self, value: Any, wanted: Any) -> Any:
        """``value`` as a reload would give it to a consumer that annotates ``wanted``. Raises ``ValueError``."""
        kind = type(value)
        if (wanted is Any or wanted is kind) and _is_json(value, kind):
            return value
        blob = adapter_for(kind).to_json(value)
        if wanted is Any and (b'NaN"' in blob or b'Infinity"' in blob):
            # Either such a text, which is fine, or a number that would come back as a text.
            try:
                from_json(to_json(value, inf_nan_mode="constants", bytes_mode="base64"), allow_inf_nan=False)
            except ValueError as error:
                raise ValueError("JSON has no NaN and no infinity: let its consumers annotate float") from error
        return self.decode(blob, wanted)

    def restore(self, plain: Any, wanted: Any) -> Any:
        """The value of type ``wanted`` that JSON values stand for. Raises ``ValueError``."""
        return self.decode(to_json(plain), wanted)

    def encode(self, value: Any) -> Any:
        """``value`` as something that orjson writes. Raises ``ValueError``."""
        kind = type(value)
        if _is_json(value, kind):
            return value
        return orjson.Fragment(adapter_for(kind).to_json(value))

    def decode(self, blob: bytes, wanted: Any) -> Any:
        """The value that JSON stands for, as the type ``wanted``."""
        if wanted is Any:
            return from_json(blob)
        try:
            return adapter_for(wanted).from_json(blob)
        except ValidationError as error:
            raise ValueError(f"not of type {_name(wanted)}: {'; '.join(faults_of(error))}") from None


def faults_of(error: ValidationError) -> list[str]:
    """One line per fault. Without the values: they may be secret, and error messages end up in logs."""
    return [
        ": ".join(part for part in (".".join(map(str, fault["loc"])), _without_value(fault)) if part)
        for fault in error.errors(include_url=False, include_input=False)
    ]


def _without_value(fault: ErrorDetails) -> str:
    """The reason of a fault. pydantic quotes the tag of a union, and some values for which it asks others (time zones)."""
    reason, context = fault["msg"], fault.get("ctx", {})
    if "tag" in context:
        reason = reason.replace(f"'{context['tag']}' ", "", 1)
    if "value" in context:
        reason = reason.removesuffix(f": {context['value']}")
    return reason


def _settle(schema: Any, *, saved: bool) -> Any:
    """The schema with one way to write bytes and floats in all that it holds, and, if ``saved``, fields and sets too.

    What is saved has sets in a fixed order, every field under its own name, and nothing that is only computed.
    """
    if isinstance(schema, list):
        return [_settle(part, saved=saved) for part in schema]
    if isinstance(schema, tuple):
        return tuple(_settle(part, saved=saved) for part in schema)
    if not isinstance(schema, dict):
        return schema
    settled = {key: part if key in _NO_SCHEMAS else _settle(part, saved=saved) for key, part in schema.items()}
    kind = settled.get("type")
    if kind in ("dataclass", "typed-dict", "model"):
        settled["config"] = {**(settled.get("config") or {}), **_CONFIG}
    if not saved:
        return settled
    if kind in ("set", "frozenset") and "serialization" not in settled:
        settled["serialization"] = {"type": "function-wrap", "function": _in_order, "when_used": "json"}
    elif kind in ("dataclass", "model") and "serialization" not in settled:
        # Of a subclass only the fields of the annotated class would be written.
        settled["serialization"] = {"type": "function-wrap", "function": partial(_of_this_class, settled["cls"])}
    elif kind == "dict" and _bare(settled["keys_schema"]) in _NO_KEYS:
        raise TypeError("the keys of a dict must be of a type that a text stands for: str, int, UUID, an Enum and the like")
    elif kind in ("dataclass-field", "model-field", "typed-dict-field"):
        settled.pop("validation_alias", None)
        settled.pop("init", None)  # field(init=False) is data as well
    settled.pop("computed_fields", None)
    return settled


def _bare(schema: Any) -> Any:
    """What kind of keys a dict has; words that are spelt out are texts."""
    kind = schema["type"]
    words = schema.get("expected") or [member.value for member in schema.get("members", ())]
    return "str" if kind in ("literal", "enum") and all(isinstance(word, str) for word in words) else kind


def _is_json(value: Any, kind: type[Any]) -> bool:
    """Whether a value is the same in JSON, without a closer look: texts may hold lone surrogates."""
    if kind is str:
        return bool(value.isascii())
    return value is None or kind is bool or (kind is int and -_SMALL <= value <= _SMALL)


def _of_this_class(cls: type[Any], value: Any, serialize: Callable[[Any], Any]) -> Any:
    if type(value) is not cls:
        raise PydanticSerializationUnexpectedValue(
            f"expected exactly {cls.__name__}, not {type(value).__name__}, whose fields would be lost"
        )
    return serialize(value)


def _in_order(value: Any, serialize: Callable[[Any], list[Any]]) -> list[Any]:
    return sorted(serialize(value), key=to_json)


def _name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


def _unquoted(error: PydanticSerializationError) -> str:
    """What pydantic could not write, in a line, without the value that it quotes."""
    _, unexpected, line = str(error).partition("PydanticSerializationUnexpectedValue(")
    if not unexpected:
        return str(error).strip().partition("\n")[0]
    line = line.strip().removesuffix(")")
    found = _QUOTING.fullmatch(line)
    if found is None:
        return line.partition("input_value=")[0]
    field = f" in its field {found['field']!r}" if found["field"] else ""
    return f"expected {found['wanted']}, not {found['got']}{field}"
