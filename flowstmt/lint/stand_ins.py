"""An object of a workflow class, made up: what the definition of a class can be looked at with when nobody hands in data.

Fields without a default get the emptiest value of their type. The shape of a definition does not depend on data, so any will
do, unless the definition computes with it; then a workflow object has to be handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from flowstmt.errors import DefinitionError, said

__all__ = ["made_up", "stand_in"]

_MADE: Mapping[Any, Callable[[], Any]] = {
    Any: lambda: None,
    object: lambda: None,
    datetime: lambda: datetime(2000, 1, 1, tzinfo=UTC),
    date: lambda: date(2000, 1, 1),
    time: time,
    UUID: lambda: UUID(int=0),
    Path: Path,
}


def made_up(cls: type[Any]) -> Any:
    """An object of an instance-style workflow class. Raises ``DefinitionError`` if the class refuses it."""
    try:
        hints = get_type_hints(cls, include_extras=True)
        if is_dataclass(cls):
            needed = [field.name for field in fields(cls) if field.init and field.default is field.default_factory is MISSING]
            return cls(**{name: stand_in(hints.get(name, Any)) for name in needed})
        models = getattr(cls, "__pydantic_fields__", {})
        needed = [name for name, field in models.items() if field.is_required()]
        made = {name: stand_in(hints.get(name, Any)) for name in needed}
        return cls.model_construct(**made) if models else cls()
    except Exception as error:
        raise DefinitionError(
            f"{cls.__name__}: its definition() needs an object, and none could be made up: {said(error)}. Lint an object of "
            "it, or a function that returns one"
        ) from error


def stand_in(wanted: Any) -> Any:
    """The emptiest value of a type.

    >>> stand_in(int), stand_in(list[str]), stand_in(str | None), stand_in(Literal["a", "b"])
    (0, [], None, 'a')
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return stand_in(arguments[0])
    if origin in (Union, UnionType):
        return None if NoneType in arguments else stand_in(arguments[0])
    if origin is Literal:
        return arguments[0]
    kind = origin or wanted
    if kind in _MADE:
        return _MADE[kind]()
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind), None)
    if isinstance(kind, type) and is_dataclass(kind):
        return made_up(kind)
    for abstract in (list, tuple, dict, set):
        # Sequence, Mapping and the like can't be made themselves.
        if isinstance(kind, type) and getattr(kind, "__abstractmethods__", None) and issubclass(abstract, kind):
            return abstract()
    if not isinstance(kind, type):
        return None  # a type variable, say, or an annotation of a kind that is not known yet
    try:
        return kind()
    except Exception:  # noqa: BLE001 a class of the user's may need anything; a definition seldom looks into it
        return None
