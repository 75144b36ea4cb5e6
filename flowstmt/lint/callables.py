"""The callables that statements hold: which of them decide, which act, and what they call the workflow.

What decides (conditions, items, ids, instants) is asked whenever a thread gets there, and has to answer from the data alone.
What acts (actions, handlers, setters) is called once, its outcome is saved, and it may do what it likes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from flowstmt.core.statements import Statement

__all__ = ["ACTING", "DECIDING", "Held", "held", "plain_function"]

DECIDING = (
    *("cond", "items", "id", "arg", "key", "value", "message"),
    *("after", "duration", "period", "timeout", "remind", "approvers", "workflow"),
)
ACTING = ("action", "handler", "into", "compensate", "via")


@dataclass(frozen=True, slots=True)
class Held:
    """A function that a statement holds as ``role``; ``names`` are what it calls the workflow."""

    role: str
    function: FunctionType
    names: frozenset[str]

    @property
    def acts(self) -> bool:
        """Whether it does something, and does not decide."""
        return self.role in ACTING


def held(statement: Statement[Any, Any, Any], workflow: Any, class_style: bool) -> Iterator[Held]:
    """The functions of the user's that a statement holds. ``workflow`` is an object, or the class in class style."""
    for role in (*DECIDING, *ACTING):
        value = getattr(statement, role, None)
        parts = [value] if callable(value) else [getattr(value, name, None) for name in ("handle", "setup", "teardown")]
        for part in parts:
            function = plain_function(part)
            if function is not None:
                names = _names(function, part, workflow, class_style and callable(value))
                yield Held(role, function, names)


def plain_function(call: Any) -> FunctionType | None:
    """The function behind methods, partials, decorators and objects with ``__call__``; None for builtins and classes."""
    while True:
        call = inspect.unwrap(call)
        if isinstance(call, partial):
            call = call.func
        elif isinstance(call, MethodType):
            call = call.__func__
        else:
            break
    if not isinstance(call, FunctionType) and not isinstance(call, type):
        call = getattr(type(call), "__call__", None)  # noqa: B004 the function itself is wanted
    return call if isinstance(call, FunctionType) else None


def _names(function: FunctionType, call: Any, workflow: Any, first_is_workflow: bool) -> frozenset[str]:
    code = function.__code__
    known = (workflow, workflow if isinstance(workflow, type) else type(workflow))
    names = set()
    parameters = list(code.co_varnames[: code.co_argcount])
    if isinstance(call, MethodType) and parameters:
        own = parameters.pop(0)
        if any(call.__self__ is each for each in known):
            names.add(own)
    if first_is_workflow and parameters and not isinstance(call, partial):
        names.add(parameters[0])
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            if any(cell.cell_contents is each for each in known):
                names.add(name)
        except ValueError:  # not bound yet: a function that names itself, say
            continue
    return frozenset(names)
