"""A run as one JSON document, and back.

``{"format": 1, "workflow": "Order", "version": 3, "data": {...}, "state": {...}}``: compact, and the same run gives the
same bytes, so that documents can be compared and stored twice without harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import orjson
from pydantic_core import from_json, to_json

from flowstmt.codec import Codec
from flowstmt.core.state import State
from flowstmt.core.state_json import read_state, write_state
from flowstmt.errors import StateError, a_kind_of, quoted, said
from flowstmt.fields import fields_of

__all__ = ["FORMAT", "dump", "load", "version_of"]

W = TypeVar("W")

FORMAT = 1
_KEYS = ("format", "workflow", "version", "data", "state")
_BLOBS = (bytes, bytearray, memoryview, str, dict)
_codec = Codec()


def dump(workflow: Any, state: State) -> bytes:
    """A snapshot of a run: its data and its state as one JSON document.

    The same data and state give the same bytes. Changes nothing. Raises ``StateError`` that names the field (or arg or
    item) which can't be turned into JSON.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Order:
    ...     sku: str = "tea"
    ...
    ...     def definition(self): ...
    >>> dump(Order(), State.new("order-1", "Order"))[:60]
    b'{"format":1,"workflow":"Order","version":1,"data":{"sku":"te'
    """
    if not isinstance(state, State):
        raise StateError(f"expected a State, not {a_kind_of(state)}: dump takes the workflow first, then its state")
    try:
        return _dumped(workflow, state)
    except StateError as error:
        raise StateError(f"run {state.run_id!r}: {error}") from error.__cause__


def _dumped(workflow: Any, state: State) -> bytes:
    fields = fields_of(type(workflow))
    data: Any = fields.plain(workflow)
    if data is None:
        data = orjson.Fragment(fields.to_json(workflow))
    try:
        document = write_state(state, _encode)
        if state.result is not None:
            document["result"] = _encode(state.result, "$.state.result")
        version = _version(type(workflow), fields.namespaces)
        try:
            return _enclosed(state.workflow, version, data, document)
        except TypeError:
            # Whose fault is it? If it is that of the data, they say so, or know another way.
            return _enclosed(state.workflow, version, orjson.Fragment(fields.to_json(workflow)), document)
    except TypeError as error:
        raise StateError(f"$.state can't be turned into JSON: {error}") from error


def _enclosed(name: str, version: int, data: Any, state: dict[str, Any]) -> bytes:
    # Of its own, so that the test suite can hold every document that is made against the published schema.
    document = {"format": FORMAT, "workflow": name, "version": version, "data": data, "state": state}
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def load(cls: type[W], blob: bytes | bytearray | memoryview | str | dict[str, Any]) -> tuple[W, State]:
    """The workflow object and the state that ``dump`` wrote.

    A dict is the document parsed already, as drivers hand out columns of the type ``jsonb``; it is not changed.

    Data of an older ``version`` goes through the class's ``migrate(data, version)`` first. ``__init__`` runs, then every
    saved field gets its saved value. Raises ``StateError`` with the JSON path of what is wrong.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Order:
    ...     sku: str = "tea"
    ...
    ...     def definition(self): ...
    >>> load(Order, dump(Order("milk"), State.new("order-1", "Order")))[0]
    Order(sku='milk')
    """
    if not isinstance(cls, type):
        raise StateError(f"expected the class of the workflow, not {a_kind_of(cls)}: load takes it first, then the snapshot")
    document = _document(blob)
    try:
        state = read_state(document["state"])
    except StateError as error:
        raise StateError(
            f"{_run_of(document)}{error}. This version of flowstmt writes no such state: undo what changed the snapshot"
        ) from error
    try:
        if state.workflow != document["workflow"]:
            raise StateError(
                f"$.workflow is {quoted(document['workflow'])}, but $.state.workflow is {quoted(state.workflow)}: both "
                "are what State.new was given"
            )
        data = _current_data(cls, document["data"], document["version"])
        return fields_of(cls).from_json(_as_json(cls, data), data), state
    except StateError as error:
        raise StateError(f"{_run_of(document)}{error}") from error.__cause__


def _run_of(document: dict[str, Any]) -> str:
    """For messages: the run, if the document can tell it."""
    state = document["state"]
    run_id = state.get("run_id") if isinstance(state, dict) else None
    return f"run {quoted(run_id)}: " if isinstance(run_id, str) else ""


def _document(blob: Any) -> dict[str, Any]:
    if not isinstance(blob, _BLOBS):
        raise StateError(f"a snapshot is bytes, a text or a dict, not {a_kind_of(blob)}")
    try:
        if isinstance(blob, dict):
            blob = to_json(blob)  # a copy, and of nothing but what JSON can hold
        document = from_json(bytes(blob) if isinstance(blob, memoryview) else blob)
    except (ValueError, TypeError) as error:  # a TypeError: a text with lone surrogates
        raise StateError(f"the snapshot is no JSON: {error}. Was it cut off, or is it another column?") from error
    if not isinstance(document, dict):
        raise StateError("$: a snapshot is a JSON object, as dump writes it")
    # First: what a newer format holds is not for this version to judge.
    written = document.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise StateError(
            f"$.format: the snapshot has format {written}, written by a newer flowstmt; this one reads {FORMAT}: update it here"
        )
    if written != FORMAT or isinstance(written, bool):
        raise StateError(f"$.format: expected {FORMAT}, not {quoted(written)}: is this a snapshot that dump wrote?")
    if document.keys() != set(_KEYS):
        missing = [key for key in _KEYS if key not in document]
        unknown = [key for key in document if key not in _KEYS]
        raise StateError(f"$: a snapshot has the keys {', '.join(_KEYS)}; missing: {missing}, unknown: {unknown}")
    if not isinstance(document["data"], dict):
        raise StateError(f"{_run_of(document)}$.data: expected an object, not {a_kind_of(document['data'])}")
    return document


def _current_data(cls: type[Any], data: dict[str, Any], written: Any) -> dict[str, Any]:
    version = version_of(cls)
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise StateError(f"$.version: expected a whole number from 1, not {quoted(written)}")
    if written > version:
        raise StateError(
            f"$.version: the data was saved by version {written} of {cls.__name__}; this is version {version}: load it "
            "with the newer code"
        )
    if written == version:
        return data
    migrate = getattr(cls, "migrate", None)
    if not callable(migrate):
        raise StateError(
            f"$.version: the data was saved by version {written} of {cls.__name__}, this is version {version}: give it a "
            "class method migrate(data, version) that returns the data of this version"
        )
    try:
        migrated = migrate(data, written)
    except Exception as error:
        raise StateError(
            f"{cls.__name__}.migrate raised {said(error)}, on data of version {written}. Nothing was changed"
        ) from error
    if not isinstance(migrated, dict):
        raise StateError(f"{cls.__name__}.migrate must return the data as a dict, not {a_kind_of(migrated)}")
    return migrated


def _as_json(cls: type[Any], data: dict[str, Any]) -> bytes:
    try:
        return to_json(data, bytes_mode="base64", inf_nan_mode="strings")
    except ValueError as error:
        raise StateError(f"what {cls.__name__}.migrate returned can't be turned into JSON: {error}") from error


def version_of(cls: type[Any]) -> int:
    """The version of a workflow's class. Raises ``StateError``."""
    return _version(cls, [base.__dict__ for base in cls.__mro__])


def _version(cls: type[Any], namespaces: Iterable[Mapping[str, Any]]) -> int:
    # Not getattr: of a class without the attribute, which is the usual one, that takes longer than the dump of a small run.
    version: Any = 1
    for namespace in namespaces:
        if "version" in namespace:
            version = namespace["version"]
            break
    else:
        return 1
    if "version" in fields_of(cls).declared:
        return 1  # a field of that name is data
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StateError(f"{cls.__name__}.version must be a whole number from 1, not {quoted(version)}")
    return version


def _encode(value: Any, path: str) -> Any:
    try:
        return _codec.encode(value)
    except ValueError as error:
        raise StateError(f"{path}: {error}") from error
