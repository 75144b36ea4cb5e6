"""From ``module:engine`` to an engine: what a target may be, and what is said of each that can't be used.

A target is an ``Engine`` or ``SyncEngine`` that a module has under a name, or a function without parameters that gives one:
a plain one, an async one, or one with ``@asynccontextmanager``, which can also put away what it has made for the engine.
"""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from flowstmt.engine import Engine, SyncEngine
from flowstmt.errors import a_kind_of, did_you_mean, said

__all__ = ["AnyEngine", "TargetError", "made", "told", "value_of"]

AnyEngine: TypeAlias = Engine | SyncEngine


class TargetError(Exception):
    """A target that gives no engine; what it was that the user's own code raised is the cause."""


def value_of(target: str) -> Any:
    """What a target names; the result, if it is a function. Raises ``TargetError``."""
    name, _, path = target.partition(":")
    if name.endswith(".py") or "/" in name or os.sep in name:
        dotted = ".".join(Path(name).with_suffix("").parts).strip("./")
        raise TargetError(f"name the module as Python imports it, as in {dotted}:{path or 'engine'}")
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise TargetError("name a module as Python imports it, and its engine, as in shop.orders:engine")
    module = _module(name)
    if not path:
        engines = [each for each, value in vars(module).items() if isinstance(value, AnyEngine)]
        raise TargetError(f"name the engine too, as in {name}:{engines[0] if engines else 'engine'}")
    value = module
    for part in path.split("."):
        if not hasattr(value, part):
            where = getattr(value, "__name__", a_kind_of(value))
            raise TargetError(f"{where} has no {part!r}{did_you_mean(part, dir(value))}")
        value = getattr(value, part)
    return value if isinstance(value, AnyEngine) or not callable(value) else _called(value)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise TargetError(f"there is no module {error.name!r}: it was looked for here, in {os.getcwd()}, too") from None
        raise TargetError(f"can't import {name!r}: {said(error)}") from error
    except Exception as error:
        raise TargetError(f"can't import {name!r}: {said(error)}") from error


def _called(function: Any) -> Any:
    if isinstance(function, type):
        raise TargetError(f"is {a_kind_of(function)}, not an engine, nor a function that gives one")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise TargetError(f"is a function that can't be called without arguments: {error}") from None
    except ValueError:
        pass  # it does not say what it takes
    try:
        return function()
    except Exception as error:
        raise TargetError(f"calling it to get an engine raised {said(error)}") from error


@asynccontextmanager
async def made(value: Any) -> AsyncIterator[AnyEngine]:
    """The engine of what a target named, as long as it is wanted. Raises ``TargetError``."""
    async with AsyncExitStack() as stack:
        try:
            if inspect.isawaitable(value):
                value = await value
            if isinstance(value, AbstractAsyncContextManager) and not isinstance(value, Engine):
                value = await stack.enter_async_context(value)
        except Exception as error:
            raise TargetError(f"waiting for it to get an engine raised {said(error)}") from error
        if not isinstance(value, AnyEngine):
            raise TargetError(f"is {a_kind_of(value)}, not an engine, nor a function that gives one")
        yield value


def told(command: str, target: str, error: TargetError) -> str:
    """What is written of a target that can't be used; with the traceback, if it was the user's code that raised."""
    raised = "" if error.__cause__ is None else "".join(traceback.format_exception(error.__cause__))
    return f"{raised}flowstmt {command}: {target}: {error}\n"
