"""How values, callables and types of a definition are told: as JSON that two versions can be compared by, and as words.

Rules:

1. A callable is told by its name; a lambda by where it stands. Without file and line: those change with every edit.
2. A plain condition of an instance-style definition is data, not definition: only its type is told.
3. Nothing that a terminal or a browser would obey gets through: what can't be printed is spelt out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from math import isfinite
from typing import Any

from pydantic_core import to_jsonable_python

from flowstmt.core.policies import Retry
from flowstmt.errors import quoted

__all__ = [
    "called",
    "into",
    "kind_of",
    "printable",
    "said_errors",
    "said_retry",
    "said_type",
    "shown",
    "span",
    "told",
    "told_condition",
    "told_errors",
    "told_retry",
]

_JOINER = "\u200d"
"""Part of many emoji, and the one invisible character that does no harm."""

_UNITS: Mapping[str, int] = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}


def called(call: Any) -> str:
    """The name of a callable."""
    if isinstance(call, partial):
        return f"partial of {called(call.func)}"
    name = getattr(call, "__qualname__", None)
    if not isinstance(name, str):
        return f"{kind_of(call)} object"
    *around, own = name.split(".<locals>.")
    if own == "<lambda>":
        return f"lambda in {around[-1]}" if around else "lambda"
    return own.replace("<lambda>", "lambda")


def kind_of(value: Any) -> str:
    """The name of a value's type."""
    return type(value).__name__


def told(value: Any) -> dict[str, Any] | None:
    """A value or callable of a statement as JSON; None for None."""
    if value is None:
        return None
    if callable(value):
        return {"function": called(value)}
    if isinstance(value, timedelta | datetime):
        return {"value": to_jsonable_python(value)}
    if type(value) in (bool, int, str) or (type(value) is float and isfinite(value)):
        return {"value": value}
    return {"type": kind_of(value)}


def told_condition(value: Any) -> dict[str, Any]:
    """A condition as JSON: what a plain one is now is not told."""
    return {"function": called(value)} if callable(value) else {"type": kind_of(value)}


def shown(value: Any) -> str:
    """A value or callable of a statement as words."""
    if callable(value):
        return called(value)
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if value is None or isinstance(value, bool | int | float | str):
        return quoted(value)
    return kind_of(value)


def span(duration: timedelta) -> str:
    """A duration as words.

    >>> span(timedelta(days=1, minutes=90)), span(timedelta(milliseconds=1500)), span(-timedelta(hours=2))
    ('1 day 1 hour 30 minutes', '1.5 seconds', '-2 hours')
    """
    left = abs(duration) // timedelta(microseconds=1)
    parts = []
    for unit, length in _UNITS.items():
        count: float
        count, left = (left / length, 0) if unit == "second" else divmod(left, length)
        if count:
            parts.append(f"{count:.10g} {unit}{'' if count == 1 else 's'}")
    return f"{'-' * (duration < timedelta())}{' '.join(parts)}" if parts else "no time"


def into(target: Any) -> str | None:
    """The field, or the setter, that keeps a result or a payload."""
    return target if target is None or isinstance(target, str) else called(target)


def said_type(wanted: Any) -> str | None:
    """A type as words; None for ``Any``."""
    if wanted is Any:
        return None
    return wanted.__name__ if isinstance(wanted, type) else repr(wanted)


def told_errors(errors: Any) -> list[Any]:
    """Which errors are meant, as JSON: classes by their names, which mean the same; predicates as callables."""
    return [{"function": called(each)} if callable(each) else each for each in _errors(errors)]


def said_errors(errors: Any, name: Callable[[Any], str] = called) -> str:
    """Which errors are meant, as words; ``name`` is what a predicate is called."""
    return ", ".join(name(each) if callable(each) else each for each in _errors(errors))


def _errors(errors: Any) -> Iterator[Any]:
    if isinstance(errors, tuple):
        for each in errors:
            yield from _errors(each)
    else:
        yield errors.__name__ if isinstance(errors, type) else errors


def said_retry(policy: Retry) -> str:
    """A retry policy as words."""
    return f"up to {policy.max_attempts} {'attempt' if policy.max_attempts == 1 else 'attempts'}"


def told_retry(policy: Retry | None) -> dict[str, Any] | None:
    """A retry policy as JSON."""
    if policy is None:
        return None
    found = {field.name: getattr(policy, field.name) for field in fields(policy)}
    found |= {"on": told_errors(policy.on), "unless": told_errors(policy.unless), "when": told(policy.when)}
    return {key: to_jsonable_python(value) for key, value in found.items()}


def printable(text: str) -> str:
    """A text in one line, in which everything can be seen."""
    return "".join([each if each.isprintable() or each == _JOINER else _spelt(each) for each in text])


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode()
