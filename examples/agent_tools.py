"""What the agent of ``agent.py`` may call: how a model is told of a tool, and whether what it made up can work."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from pydantic import TypeAdapter, ValidationError, validate_call


class ToolError(Exception):
    """Raised by a tool for the model to read. Whatever else a tool raises ends the resume, and the next one tries again."""


@dataclass(frozen=True)
class Tool:
    """``run(key, **arguments)`` may be called twice with one key, if the process dies in between: it works once per key."""

    run: Callable[..., Awaitable[str]]
    dangerous: bool = False

    def description(self) -> str:
        return inspect.getdoc(self.run) or ""

    def schema(self) -> dict[str, Any]:
        """The arguments as JSON Schema: those of ``run``, without the key."""
        run: Any = self.run
        schema = TypeAdapter(run).json_schema()
        key = next(iter(schema["properties"]))
        del schema["properties"][key]
        schema["required"].remove(key)
        return schema

    async def call(self, key: str, arguments: dict[str, Any]) -> str:
        text: str = await validate_call(self.run)(key, **arguments)
        return text


def fault(tools: Mapping[str, Tool], name: str, arguments: dict[str, Any]) -> str:
    """Why a call can't work, for the model to read; empty if it may."""
    if name not in tools:
        return f"there is no tool {name!r}"
    check: Any = validate_call(wraps(tools[name].run)(lambda *_, **__: None))  # the signature, and nothing behind it
    try:
        check("", **arguments)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return f"wrong arguments: {'; '.join(faults)}"
    return ""
