"""JSON Schemas of payloads: whether a schema can be used, and what is wrong with a value.

Rules:

1. Nothing is fetched: a ``$ref`` that the schema itself can't answer is a fault of the schema.
2. What is said about a value holds its paths and what the schema says, never the value: it may be secret, and error messages
   end up in logs. jsonschema's own messages quote it.

Only loaded once a schema is met: jsonschema takes long to import. ``referencing`` and the registry of dialects are parts of
its interface, and come with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import nsmallest
from itertools import pairwise
from re import search
from typing import Any, TypeAlias

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    SchemaError,
    ValidationError,
)
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped] # jsonschema's own, without types
from pydantic_core import from_json
from referencing import Specification
from referencing.exceptions import Unresolvable
from referencing.jsonschema import SchemaResource, specification_with

__all__ = ["schema_faults", "schema_validator"]


def _unique_items(validator: Validator, unique: Any, items: Any, _: Any) -> Iterator[ValidationError]:
    if unique and validator.is_type(items, "array") and len({_mark(item) for item in items}) != len(items):
        yield ValidationError("has an item twice")


def _mark(value: Any) -> Any:
    """Something hashable that is equal for values that are equal in JSON, where true is not 1."""
    if isinstance(value, dict):
        return "object", frozenset([(key, _mark(inner)) for key, inner in value.items()])
    if isinstance(value, list):
        return "array", tuple([_mark(inner) for inner in value])
    return ("boolean", value) if isinstance(value, bool) else value


# jsonschema compares every object of an array with every other: two thousand of them take it ten seconds.
_DIALECTS: Mapping[str, type[Any]] = {
    uri: extend(cls, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call] # by its stubs
    for uri, cls in (
        ("https://json-schema.org/draft/2020-12/schema", Draft202012Validator),
        ("https://json-schema.org/draft/2019-09/schema", Draft201909Validator),
        ("http://json-schema.org/draft-07/schema", Draft7Validator),
        ("http://json-schema.org/draft-06/schema", Draft6Validator),
        ("http://json-schema.org/draft-04/schema", Draft4Validator),
    )
}
_DEFAULT = next(iter(_DIALECTS))
_NOTHING: dict[str, Any] = {"not": {}}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

MOST = 20
"""So many faults are told one by one."""

_Error: TypeAlias = Any
"""A ``ValidationError``. Its types say that its parts may be unset, which they are not once it was found."""

_Line: TypeAlias = tuple[list[tuple[bool, Any]], str]
"""A fault, after what it is sorted by: its path."""


def schema_validator(schema: Any) -> Validator:
    """What checks values against a schema: made once for all schemas that are the same JSON. Raises ``ValueError``."""
    try:
        # Instance-style definitions make their schemas anew at each build: the same text is the same schema.
        written = json.dumps(schema, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    try:
        return _validator(written)
    except RecursionError as error:
        raise ValueError("its references go round in circles, or it is nested too deeply") from error


@lru_cache(maxsize=256)
def _validator(written: str) -> Validator:
    try:
        schema = from_json(written)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    dialect = schema.get("$schema", _DEFAULT) if isinstance(schema, dict) else _DEFAULT
    cls = _DIALECTS.get(dialect.removesuffix("#")) if isinstance(dialect, str) else None
    if cls is None:
        raise ValueError(f"$.$schema: {_shown(dialect)} is not known; known are {', '.join(_DIALECTS)}")
    _check(cls, schema, "$")
    if isinstance(schema, dict):
        # Or jsonschema would look the dialect up by itself wherever a reference leads back here.
        schema.pop("$schema", None)
        specification = specification_with(dialect)
        root = specification.create_resource(schema)
        _check_references(cls, specification, root)
        _spell_out(root)
    validator: Validator = cls(schema, registry=REGISTRY)
    # References that lead back to themselves do so whatever the value is.
    validator.is_valid(None)
    return validator


def _check(cls: type[Any], schema: Any, place: str) -> None:
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{place}{error.json_path[1:]}: {_cut(error.message, 200)}") from error


def _check_references(cls: type[Any], specification: Specification[Any], root: SchemaResource) -> None:
    """See that every reference leads to a schema: jsonschema finds out only once a value takes it there."""
    todo = [(root, REGISTRY.resolver_with_root(root))]
    seen = {id(root.contents)}
    while todo:
        resource, resolver = todo.pop()
        contents = resource.contents
        for keyword in _REFERENCES:
            if keyword not in cls.VALIDATORS or not isinstance(contents, dict) or keyword not in contents:
                continue
            target = contents[keyword]
            try:
                found = resolver.lookup(target)
            except (Unresolvable, ValueError, TypeError) as error:
                raise ValueError(f"{keyword} {_shown(target)} leads nowhere; nothing is fetched") from error
            if not isinstance(found.contents, dict | bool):
                raise ValueError(f"{keyword} {_shown(target)} does not lead to a schema")
            if id(found.contents) not in seen:
                seen.add(id(found.contents))
                # It may stand where the check of the whole schema expects none.
                _check(cls, found.contents, f"{target}: $")
                todo.append((specification.create_resource(found.contents), found.resolver))
        todo.extend((inner, resolver.in_subresource(inner)) for inner in resource.subresources())


def _spell_out(resource: SchemaResource) -> None:
    """``False`` as a schema that means the same: of what ``False`` refuses, jsonschema forgets the path."""
    contents: Any = resource.contents
    if isinstance(contents, dict):
        for keyword in ("properties", "patternProperties"):
            for key, inner in contents.get(keyword, {}).items():
                if inner is False:
                    contents[keyword][key] = _NOTHING
        for keyword in ("prefixItems", "items"):
            if isinstance(contents.get(keyword), list):
                contents[keyword] = [_NOTHING if inner is False else inner for inner in contents[keyword]]
    for inner in resource.subresources():
        _spell_out(inner)


def schema_faults(value: Any, validator: Validator) -> list[str]:
    """What is wrong with a JSON value: a line per fault, by path, and how many more there are."""
    count = 0

    def lines() -> Iterator[_Line]:
        nonlocal count
        for line in _lines(validator.iter_errors(value)):
            count += 1
            yield line

    try:
        # Each error holds its part of the value as a text: none is kept.
        found = [line for _, line in nsmallest(MOST, lines())]
    except (RecursionError, OverflowError, ValueError):
        # The error itself may quote the value.
        return ["it is nested too deeply, or holds a number too large, to be checked"]
    return [*found, f"and {count - MOST} more"] if count > MOST else found


def _lines(errors: Iterator[_Error]) -> Iterator[_Line]:
    before: tuple[Any, ...] = (None, None, None)
    for error in errors:
        instance, path, schema_path = error.instance, error.absolute_path, error.absolute_schema_path
        if instance is before[0] and (path, schema_path) == before[1:]:
            continue  # one for each missing key: those are all told with the first
        before = (instance, path, schema_path)
        order = [(isinstance(part, str), part) for part in path]
        shown = _cut(".".join(_name(part) for part in path), 200)
        # For a fault of a key, the path is that of the object that has the key.
        key = f"key {_key(instance)} " if _is_about_a_key(schema_path) else ""
        for what in _said(error):
            yield order, f"{shown}: {key}{what}" if shown else f"{key}{what}"


def _is_about_a_key(schema_path: Iterable[str | int]) -> bool:
    return any(step == "propertyNames" and before != "properties" for before, step in pairwise(["", *schema_path]))


def _said(error: _Error) -> list[str]:
    """What is wrong, in words of ours."""
    keyword, given = error.validator, error.validator_value
    if keyword in _SEVERAL:
        return _SEVERAL[keyword](error)
    if keyword in _COUNTED:
        return [_COUNTED[keyword].format(given, "" if given == 1 else "s")]
    return [_SENTENCES.get(keyword, f"breaks {keyword!r}").format(_shown(given))]


def _types(error: _Error) -> list[str]:
    given = error.validator_value
    return [f"must be of type {' or '.join(given) if isinstance(given, list) else given}"]


def _values(error: _Error) -> list[str]:
    return [f"must be one of {_cut(', '.join(_shown(value) for value in error.validator_value), 200)}"]


def _missing(error: _Error) -> list[str]:
    return [f"required: {_key(key)} is missing" for key in error.validator_value if key not in error.instance]


def _missing_beside(error: _Error) -> list[str]:
    return [
        f"required: {_key(key)} is missing beside {_key(present)}"
        for present, keys in error.validator_value.items()
        if present in error.instance and isinstance(keys, list)
        for key in keys
        if key not in error.instance
    ]


def _unknown(error: _Error) -> list[str]:
    known, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties", {})
    return [
        f"unknown: {_key(key)}"
        for key in error.instance
        if key not in known and not any(search(pattern, key) for pattern in patterns)
    ]


def _alternatives(error: _Error) -> list[str]:
    # oneOf has no context where more than one fits.
    count = len(error.validator_value)
    none = error.validator == "anyOf" or bool(error.context)
    return [f"fits none of {count} alternatives" if none else f"fits more than one of {count} alternatives, not exactly one"]


def _forbidden(error: _Error) -> list[str]:
    return ["is not allowed" if error.schema == _NOTHING else "fits what 'not' forbids"]


def _bound(least: str, more: str, exclusive: str) -> Callable[[_Error], list[str]]:
    """In draft 4 a flag beside the bound says that it is not part of the range."""

    def said(error: _Error) -> list[str]:
        return [f"must be {more if error.schema.get(exclusive) is True else least} {_shown(error.validator_value)}"]

    return said


_SEVERAL: Mapping[str, Callable[[_Error], list[str]]] = {
    "type": _types,
    "enum": _values,
    "required": _missing,
    "dependentRequired": _missing_beside,
    "dependencies": _missing_beside,
    "additionalProperties": _unknown,
    "anyOf": _alternatives,
    "oneOf": _alternatives,
    "not": _forbidden,
    "minimum": _bound("at least", "greater than", "exclusiveMinimum"),
    "maximum": _bound("at most", "less than", "exclusiveMaximum"),
}
_COUNTED: Mapping[str, str] = {
    "minLength": "must have at least {} character{}",
    "maxLength": "must have at most {} character{}",
    "minItems": "must have at least {} item{}",
    "maxItems": "must have at most {} item{}",
    "minProperties": "must have at least {} key{}",
    "maxProperties": "must have at most {} key{}",
    "minContains": "must have at least {} item{} that fit 'contains'",
    "maxContains": "must have at most {} item{} that fit 'contains'",
}
_SENTENCES: Mapping[str | None, str] = {
    None: "is not allowed",  # the schema is False
    "const": "must be {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "pattern": "must match the pattern {}",
    "uniqueItems": "has an item twice",
    "contains": "has no item that fits 'contains'",
    "items": "has items past those that are allowed",
    "additionalItems": "has items past those that are allowed",
    "unevaluatedItems": "has items past those that are allowed",
    "unevaluatedProperties": "has keys past those that are allowed",
}


def _name(part: str | int) -> str:
    """A part of a path: a key of the payload is not ours, and may be long or hold line breaks."""
    return _cut(repr(part)[1:-1], 40) if isinstance(part, str) else str(part)


def _key(key: str) -> str:
    return f"'{_name(key)}'"


def _shown(value: Any) -> str:
    """A part of the schema."""
    return _cut(json.dumps(value, ensure_ascii=False), 60)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
