"""A failure as the source of a test, to be pasted and run.

What has an importable name is imported. What is no name, but data, is written as the call that makes it, and that is tried
out before it is printed: a ``repr`` that reads well need not run. Where neither works there are three dots, and a comment
that says what to put there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from flowstmt.core.statements import Event
from flowstmt.testing.harness import START
from flowstmt.testing.plays import Advance, Callback, Failure, Scenario

__all__ = ["as_test"]

_PUBLIC = ("flowstmt", "flowstmt.testing")


class _UnprintableError(Exception):
    """There is no source for this value."""


def as_test(scenario: Scenario[Any], failure: Failure) -> str:
    """The source of a test that fails as this did, and passes once that is mended."""
    source = _Source()
    source.imported("flowstmt.testing", "explore")  # by name: it is made of this module
    lines = [f"        {source.step(step)}" for step in failure.script]
    script = ["    [", *lines, "    ],"] if lines else ["    [],"]
    arguments = [f"    {source.argument('make', scenario.make)}", *script]
    if scenario.invariant is not None:
        arguments.append(f"    invariant={source.argument('invariant', scenario.invariant)}")
    if scenario.deps is not None:
        arguments.append(f"    deps={source.argument('deps', scenario.deps)}")
    if scenario.now != START:
        arguments.append(f"    now={source.argument('now', scenario.now)}")
    if scenario.concurrency != 1:
        arguments.append(f"    concurrency={scenario.concurrency},")
    if failure.point is not None:
        arguments.append(f"    kill_at={_text(failure.point)},")
    call = "\n".join(f"    {line}" for line in ["explore(", *arguments, ")"])
    return f"{source.imports()}\n\n\ndef {_title(failure)}():\n{call}\n"


def _title(failure: Failure) -> str:
    if failure.point is None:
        return "test_the_script_runs_through"
    words = re.sub(r"\W+", "_", re.sub(r"\(thread main\)", "", failure.point), flags=re.ASCII)
    return f"test_a_run_killed_{words.strip('_').lower()}"


class _Source:
    """Expressions, and the imports that they need."""

    def __init__(self) -> None:
        self._imports: dict[str, tuple[str, str]] = {}

    def imports(self) -> str:
        groups: dict[int, dict[str, list[str]]] = {}
        for alias, (module, name) in sorted(self._imports.items()):
            if module == "builtins":
                continue
            root = module.partition(".")[0]
            group = 0 if root in sys.stdlib_module_names else 1
            line = name if name == alias else f"{name} as {alias}"
            groups.setdefault(group, {}).setdefault(module, []).append(line)
        return "\n\n".join(
            "\n".join(f"from {module} import {', '.join(names)}" for module, names in sorted(found.items()))
            for _, found in sorted(groups.items())
        )

    # --- lines of the test ---

    def step(self, step: Callback | Advance) -> str:
        if isinstance(step, Advance):
            return f"{self.name(Advance)}({self.value(step.by)}),"
        request, missing = self.tried(step.request.name if isinstance(step.request, Event) else step.request)
        arguments, comments = [request], [missing]
        if step.payload is not None:
            payload, missing = self.tried(step.payload)
            arguments.append(payload)
            comments.append(missing)
        if step.refused is not None:
            # A class of a test's own can't be imported, but what it is a kind of can.
            error = next(cls for cls in step.refused.__mro__ if _path(cls) is not None)
            arguments.append(f"refused={self.name(error)}")
        return f"{self.name(Callback)}({', '.join(arguments)}),{_comment(comments)}"

    def argument(self, name: str, value: Any) -> str:
        if _path(value) is not None:
            return f"{self.name(value)},"
        text, missing = self.tried(value)
        if missing and callable(value):
            missing = f"what you gave as {name}: {_whereabouts(value)}"
        return f"{text},{_comment([missing])}"

    def tried(self, value: Any) -> tuple[str, str]:
        """The source of a value and ""; or three dots and what they stand for."""
        before = dict(self._imports)
        try:
            text = self.value(value)
            again: dict[str, Any] = {}
            exec(f"{self.imports()}\nvalue = {text}", again)  # noqa: S102 our own text: it is what the test will do
            if _Source().value(again["value"]) == _Source().value(value):
                return text, ""
        except Exception:  # noqa: BLE001, S110 constructors and reprs are the user's: then it can't be printed
            pass
        self._imports = before
        return "...", f"put here: {_short(value)}"

    # --- expressions ---

    def name(self, value: Any) -> str:
        path = _path(value)
        if path is None:
            raise _UnprintableError
        module, qualname = path
        root, dot, rest = qualname.partition(".")
        return f"{self.imported(module, root)}{dot}{rest}"

    def imported(self, module: str, name: str) -> str:
        """What ``name`` is called in the test: two modules may have the same name."""
        alias, number = name, 1
        while self._imports.setdefault(alias, (module, name)) != (module, name):
            number += 1
            alias = f"{name}{number}"
        return alias

    def value(self, value: Any) -> str:
        cls = type(value)
        if value is None or value is ... or cls in (bool, int, bytes):
            return repr(value)
        if cls is str:
            return _text(value)
        if isinstance(value, type) or (callable(value) and _path(value) is not None):
            return self.name(value)
        if isinstance(value, Enum):
            return self._enum(value)
        if cls is float:
            return repr(value) if abs(value) < float("inf") else f'float("{value}")'
        if cls in (list, set, frozenset, tuple, dict):
            return self._collection(value)
        if cls in (date, datetime, time, timedelta, timezone):
            return self._instant(value)
        if cls in (Decimal, Fraction, UUID):
            return self._call(cls, [("", str(value))])
        if isinstance(value, PurePath):
            return f"{self.name(PurePath)}({_text(str(value))})"
        if cls is partial:
            return self._call(partial, [("", value.func), *(("", arg) for arg in value.args), *value.keywords.items()])
        if is_dataclass(value):
            return self._call(cls, _given(value))
        if isinstance(value, BaseModel):
            return self._call(cls, ((name, getattr(value, name)) for name in sorted(value.model_fields_set)))
        if not repr(value).startswith(f"{cls.__name__}("):
            raise _UnprintableError
        # Named tuples, attrs ...: their repr is how to make them.
        return self.name(cls) + repr(value)[len(cls.__name__) :]

    def _call(self, function: Any, arguments: Any) -> str:
        parts = [f"{name}={self.value(value)}" if name else self.value(value) for name, value in arguments]
        return f"{self.name(function)}({', '.join(parts)})"

    def _enum(self, value: Enum) -> str:
        known = getattr(type(value), str(value.name), None) is value
        return f"{self.name(type(value))}.{value.name}" if known else self._call(type(value), [("", value.value)])

    def _collection(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.value(key)}: {self.value(item)}" for key, item in value.items()) + "}"
        items = [self.value(item) for item in value]
        if isinstance(value, tuple):
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if isinstance(value, list):
            return f"[{', '.join(items)}]"
        # The order of a set is none: sorted, the test is the same each time.
        return f"{type(value).__name__}([{', '.join(sorted(items))}])"

    def _instant(self, value: Any) -> str:
        if value is UTC:
            return self.imported("datetime", "UTC")
        cls = type(value)
        text = repr(value).removeprefix(f"datetime.{cls.__name__}")
        if cls is timezone:
            return self._call(cls, [("", value.utcoffset(None))])
        if getattr(value, "tzinfo", None) is not None:
            naive = repr(value.replace(tzinfo=None)).removeprefix(f"datetime.{cls.__name__}")
            zone = value.tzinfo
            key = getattr(zone, "key", None)
            made = self.value(zone) if key is None else self._call(type(zone), [("", key)])
            text = f"{naive[:-1]}, tzinfo={made})"
        return f"{self.name(cls)}{text}"


def _given(value: Any) -> Iterator[tuple[str, Any]]:
    """The arguments that make a dataclass, without those that are as by default."""
    for one in fields(value):
        if one.init:
            found = getattr(value, one.name)
            default = one.default_factory() if one.default_factory is not MISSING else one.default
            if type(found) is not type(default) or found != default:
                yield one.name, found


def _path(value: Any) -> tuple[str, str] | None:
    """The module and the name under which something can be imported."""
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return None  # what a script is called when it is imported is not known
    for public in _PUBLIC:
        if module.startswith("flowstmt.") and getattr(sys.modules.get(public), qualname, None) is value:
            return public, qualname
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return (module, qualname) if found is value else None


def _whereabouts(function: Callable[..., Any]) -> str:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    if code is None:
        return str(name)
    return f"{name}, {PurePath(code.co_filename).name}, line {code.co_firstlineno}"


def _text(value: str) -> str:
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 the user's
        text = f"a {type(value).__name__}"
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def _comment(missing: list[str]) -> str:
    found = "; ".join(text for text in missing if text)
    return f"  # {found}" if found else ""
