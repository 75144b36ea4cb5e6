"""The fields of a workflow class: which are saved, of which types, and how an object is made from saved values."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypeAlias, TypeGuard, Union, get_args, get_origin, get_type_hints

import orjson
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from flowstmt.codec import Adapter, Codec, adapter_for, faults_of
from flowstmt.errors import StateError, said

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["FieldCodec", "Fields", "fields_of"]

_KEPT_AS = "__flowstmt_fields__"
_MISSING: Any = object()
_PLAIN = (int, str, bool, float, NoneType)

Read: TypeAlias = Callable[[Any], dict[str, Any] | None]
"""Reads the fields of an object; None if there is more to them than that."""


class Fields:
    """The saved fields of one class (``names``, ``types``) and those that are not (``transient``).

    ``namespaces`` are the attributes of the class and of its bases, as they are at any time.
    """

    # Types are resolved, and the way to JSON is made, when they are first needed: a run that is never dumped may hold
    # whatever it likes.
    __slots__ = (
        "_adapter",
        "_defaults",
        "_init",
        "_is_model",
        "_read",
        "_types",
        "cls",
        "declared",
        "names",
        "namespaces",
        "transient",
    )

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self._is_model = issubclass(cls, BaseModel)  # pydantic takes its time to say so
        self.namespaces = tuple([base.__dict__ for base in cls.__mro__])
        self._defaults: dict[str, Callable[[], Any]] = {}
        self._init: set[str] = set()
        self.transient: list[str] = []
        self._types: dict[str, Any] | None = None
        self._adapter: Adapter | None = None
        self._read: Read | None = None
        self.declared = self._dataclass_fields() if dataclasses.is_dataclass(cls) else self._model_fields()
        self.names = [name for name in self.declared if name not in self.transient]

    @property
    def types(self) -> dict[str, Any]:
        """The type of each field. Raises ``StateError`` if an annotation can't be resolved."""
        if self._types is None:
            hints = self._hints()
            self._types = {name: hints.get(name, Any) for name in self.declared}
        return self._types

    def _hints(self) -> dict[str, Any]:
        model = self._is_model
        try:
            if not model or not self.cls.__pydantic_generic_metadata__["args"]:
                return get_type_hints(self.cls, include_extras=True)
        except Exception as error:
            if not model or not self.cls.__pydantic_complete__:
                raise StateError(
                    f"{self.cls.__name__}: the annotations of its fields can't be resolved: {error}. Classes that they "
                    "name must be importable from the module"
                ) from error
        # pydantic has put in what a T stands for, and has seen the classes of the function that defines the model.
        fields: dict[str, FieldInfo] = self.cls.model_fields
        return {
            name: Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            for name, field in fields.items()
        }

    def _dataclass_fields(self) -> list[str]:
        declared = dataclasses.fields(self.cls)
        for field in declared:
            if field.metadata.get("transient"):
                self.transient.append(field.name)
            if field.init:
                self._init.add(field.name)
            if _is_pydantic_field(field.default):  # pydantic's dataclasses take Field(...) as well
                self._pydantic_field(field.name, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                self._defaults[field.name] = field.default_factory
            elif field.default is not dataclasses.MISSING:
                self._defaults[field.name] = lambda default=field.default: default  # type: ignore[misc] # binds now
        return [field.name for field in declared]

    def _model_fields(self) -> list[str]:
        if not self._is_model:
            raise StateError(
                f"{self.cls.__name__} is neither a dataclass nor a pydantic model: its data is not known; decorate "
                "it with @dataclass"
            )
        for name, field in self.cls.model_fields.items():
            self._pydantic_field(name, field)
        return list(self.cls.model_fields)

    def _pydantic_field(self, name: str, field: FieldInfo) -> None:
        if field.exclude:
            self.transient.append(name)
        if not field.is_required():
            self._defaults[name] = lambda: field.get_default(call_default_factory=True, validated_data={})

    def _make_adapter(self) -> Adapter:
        wanted: dict[str, Any] = {}
        for name in self.names:
            try:
                adapter_for(self.types[name])
            except ValueError as error:
                raise StateError(
                    f"{self.cls.__name__}.{name}: {error}. Give it a type that can, or keep it out of snapshots with "
                    'field(metadata={"transient": True})'
                ) from error
            wanted[name] = NotRequired[self.types[name]] if name in self._defaults else self.types[name]
        self._check_init()
        self._adapter = Adapter(TypedDict(self.cls.__name__, wanted))  # type: ignore[operator] # made at run time
        return self._adapter

    def _check_init(self) -> None:
        """What can't be made again from its saved fields is refused by the first dump, not by the first load."""
        if self._is_model:
            required = [name for name in self.transient if self.cls.model_fields[name].is_required()]
            found = f"field {required[0]!r} is required" if required else ""
        else:
            try:
                inspect.signature(self.cls).bind(**dict.fromkeys(self._init.difference(self.transient)))
                found = ""
            except TypeError as error:
                found = str(error)
        if found:
            raise StateError(
                f"{self.cls.__name__} could not be made again from its saved fields: {found}. Give transient fields and "
                "InitVars a default"
            )

    def to_json(self, workflow: Any) -> bytes:
        """The saved fields as JSON. Raises ``StateError`` naming the field that can't be."""
        plain = self.plain(workflow)
        if plain is not None:
            try:
                return orjson.dumps(plain)
            except TypeError:
                pass  # a whole number past 64 bits, a text that is no UTF-8: the long way knows, or says why not
        try:
            values = {name: getattr(workflow, name) for name in self.names}
            blob = (self._adapter or self._make_adapter()).to_json(values)
        except (ValueError, AttributeError) as error:
            raise StateError(self._culprit(workflow) or f"{self.cls.__name__}: {error}") from error
        if getattr(workflow, "__pydantic_extra__", None):
            raise StateError(
                f"{self.cls.__name__}.{next(iter(workflow.__pydantic_extra__))} is no declared field, and would not be "
                "saved: declare it"
            )
        return blob

    def plain(self, workflow: Any) -> dict[str, Any] | None:
        """The saved fields, of objects of which orjson writes what ``to_json`` gives, or refuses it; None for all others.

        They hold nothing but numbers and texts.
        """
        if self._read is None:
            self._read = self._make_reader()
        try:
            return self._read(workflow)
        except AttributeError:
            return None  # one has no value: the long way says which

    def _make_reader(self) -> Read:
        if self._adapter is None:
            self._make_adapter()  # which finds out whether the class can be saved at all
        # A model may have serializers of its own, or hold others than its fields.
        if self._is_model:
            return _not_plain
        return _reader({name: _exact_types(self.types[name]) for name in self.names})

    def _culprit(self, workflow: Any) -> str:
        for name in self.names:
            value = getattr(workflow, name, _MISSING)
            if value is _MISSING:
                return f"{self.cls.__name__}.{name} has no value: give it a default"
            try:
                adapter_for(self.types[name]).to_json(value)
            except ValueError as error:
                return (
                    f"{self.cls.__name__}.{name} can't be saved: {error}. "
                    "Annotate what it holds, or let it hold what it annotates"
                )
        return ""

    def from_json(self, blob: bytes, known: dict[str, Any]) -> Any:
        """The object whose saved fields ``blob`` holds; ``known`` is the same, parsed. Raises ``StateError``."""
        unknown = [name for name in known if name not in self.names]
        if unknown:
            raise StateError(
                f"$.data.{unknown[0]}: {self.cls.__name__} saves no field of this name; if the class has changed, raise "
                "its version and turn old data into new with a class method migrate(data, version)"
            )
        try:
            values: dict[str, Any] = (self._adapter or self._make_adapter()).from_json(blob)
        except ValidationError as error:
            faults = "; ".join(f"$.data.{fault}" for fault in faults_of(error))
            raise StateError(
                f"{faults}. If {self.cls.__name__} has changed, give new fields a default, or raise its version and turn "
                "old data into new with a class method migrate(data, version)"
            ) from None
        try:
            return self._make(values)
        except Exception as error:
            raise StateError(
                f"{self.cls.__name__} can't be made from its saved data: its __init__ or __post_init__ raised {said(error)}"
            ) from error

    def _make(self, values: dict[str, Any]) -> Any:
        """An object with these values, and defaults for the rest.

        ``__init__`` and ``__post_init__`` run, so that transient fields are there; then every saved field is set once more,
        so that what they do to saved fields is not done twice.
        """
        for name in self.names:
            if name not in values:
                values[name] = self._defaults[name]()
        if self._is_model:
            workflow: Any = self.cls.model_construct(_fields_set=set(values), **values)
        else:
            workflow = self.cls(**{name: value for name, value in values.items() if name in self._init})
        for name, value in values.items():
            object.__setattr__(workflow, name, value)
        return workflow


class FieldCodec(Codec):
    """A codec that knows the types of fields."""

    def for_field(self, value: Any, workflow: Any, field: str) -> Any:
        """``value`` as a reload would give it in that field of the workflow. Raises ``ValueError``."""
        return self.adapt(value, fields_of(type(workflow)).types.get(field, Any))


def _is_pydantic_field(default: Any) -> TypeGuard[FieldInfo]:
    # Whoever made one has loaded the module. Loaded here, it would take a tenth of ``import flowstmt``.
    loaded = sys.modules.get("pydantic.fields")
    return loaded is not None and isinstance(default, loaded.FieldInfo)


def fields_of(cls: type[Any]) -> Fields:
    """The fields of a class, found out once and kept on it. Raises ``StateError``."""
    # Not by ``cls.__dict__``, which takes three times as long. A subclass sees that of its base.
    known: Fields | None = getattr(cls, _KEPT_AS, None)
    if known is None or known.cls is not cls:
        known = Fields(cls)
        setattr(cls, _KEPT_AS, known)
    return known


def _exact_types(wanted: Any) -> tuple[type[Any], ...]:
    """The types whose values are a field's type already, and plain JSON; none if the type is anything but such types."""
    parts = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    return tuple(parts) if all(part in _PLAIN for part in parts) else ()


def _not_plain(_: Any) -> None:
    """Reads the fields of a class of which orjson can't write all."""


def _reader(exact: dict[str, tuple[type[Any], ...]]) -> Read:
    """Reads fields that have these types."""
    if not exact or not all(exact.values()):
        return _not_plain
    fields = tuple(exact.items())

    def read(workflow: Any) -> dict[str, Any] | None:
        values = {}
        for name, kinds in fields:
            value = values[name] = getattr(workflow, name)
            kind = type(value)
            if kind not in kinds or (kind is float and not isfinite(value)):
                return None
        return values

    return read
