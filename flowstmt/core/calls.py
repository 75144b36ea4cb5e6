"""How a callable of the user's wants to be called: how many arguments it takes, of which types, and whether it is async.

Closures of an instance-style definition are new at every build, so what is found out is cached by the code object of
the function, which is not.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from inspect import CO_COROUTINE
from types import CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any, get_type_hints

__all__ = ["Parameters", "parameters"]


class Parameters:
    """What a callable takes: ``required`` to ``most`` positional arguments, those in ``keyword`` by name only."""

    __slots__ = ("keyword", "most", "names", "required")

    def __init__(self, call: Callable[..., Any]) -> None:
        self.required = 0
        self.most = 0
        self.names: list[str] = []
        self.keyword: list[str] = []
        try:
            found = inspect.signature(call).parameters.values()
        except (ValueError, TypeError):
            # A builtin without a signature: the caller has to take our word, and its own TypeError.
            self.most = sys.maxsize
            return
        for parameter in found:
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.most = sys.maxsize
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self.names.append(parameter.name)
                self.most += self.most != sys.maxsize
                self.required += parameter.default is parameter.empty
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                self.keyword.append(parameter.name)


# The code object is part of the value so that it lives as long as its id is used as a key.
_cache: dict[tuple[int, bool], tuple[CodeType, Parameters]] = {}
_types: dict[tuple[int, str], tuple[CodeType, Any, Any]] = {}


def parameters(call: Callable[..., Any]) -> Parameters:
    """What ``call`` takes, without ``self`` where it is bound."""
    function = call
    bound = type(call) is MethodType
    if bound:
        function = call.__func__  # type: ignore[attr-defined] # a MethodType, as the line above found out
    if type(function) is not FunctionType or "__wrapped__" in function.__dict__:
        return Parameters(call)
    code = function.__code__
    known = _cache.get((id(code), bound))
    if known is None:
        known = _cache[id(code), bound] = (code, Parameters(call))
    return known[1]


def is_async(call: Callable[..., Any]) -> bool:
    """Whether the signature shows that calling gives an awaitable."""
    function = call.__func__ if type(call) is MethodType else call
    if type(function) is FunctionType:
        # What is found below, too, in a tenth of the time: an ``invoke`` hook asks at every step.
        if function.__code__.co_flags & CO_COROUTINE:
            return True
        if not function.__dict__:
            return False
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 not asking whether it is callable


def annotation(call: Callable[..., Any], name: str) -> Any:
    """The resolved annotation of the parameter ``name``, or ``Any``. Raises whatever resolving it raises."""
    function = _function(call)
    written = Any if function is None else function.__annotations__.get(name, Any)
    if function is None or written is Any or isinstance(written, type):
        return written
    key = (id(function.__code__), name)
    known = _types.get(key)
    # Functions made by one factory share their code, but not always their annotations or what these mean.
    if known is not None and known[1] is written:
        return known[2]
    holder = SimpleNamespace(__annotations__={name: written})
    nonlocals = dict(inspect.getclosurevars(function).nonlocals)
    found = get_type_hints(holder, function.__globals__, nonlocals, include_extras=True)[name]
    if not function.__code__.co_freevars:
        _types[key] = (function.__code__, written, found)
    return found


def _function(call: Any) -> FunctionType | None:
    """The function behind methods, partials, decorators and objects with ``__call__``; None for builtins."""
    call = inspect.unwrap(call)
    while isinstance(call, partial | MethodType):
        call = inspect.unwrap(call.func if isinstance(call, partial) else call.__func__)
    if not isinstance(call, FunctionType):
        call = getattr(type(call), "__call__", None)  # noqa: B004 the function itself is wanted
    return call if isinstance(call, FunctionType) else None
