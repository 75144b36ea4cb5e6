"""``core`` is pure: its imports and its calls are read from its source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowstmt

CORE = Path(flowstmt.__file__).parent / "core"
MODULES = [*sorted(CORE.glob("*.py")), CORE.parent / "errors.py"]

IMPURE = set(
    """
    asyncio atexit concurrent contextvars ctypes fcntl getpass glob http importlib io logging mmap multiprocessing os
    pathlib pickle platform queue random sched secrets select selectors shelve shutil signal site socket sqlite3 ssl
    subprocess tempfile threading time urllib warnings weakref _thread
    """.split()
)
"""Of the standard library: clocks, randomness, I/O, processes, threads, event loops, logs."""

IMPURE_CALLS = {"now", "utcnow", "today", "fromtimestamp", "uuid1", "uuid3", "uuid4", "uuid5", "getenv"}
IMPURE_NAMES = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def problems(source: str) -> Iterator[str]:
    """What is impure in a module's source, a line each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from import_problem(node, alias.name)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"{node.lineno}: a relative import"
            yield from import_problem(node, node.module or "")
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{node.lineno}: async"
        elif isinstance(node, ast.Attribute) and node.attr in IMPURE_CALLS:
            yield f"{node.lineno}: .{node.attr}"
        elif isinstance(node, ast.Name) and node.id in IMPURE_NAMES:
            yield f"{node.lineno}: {node.id}"


def import_problem(node: ast.stmt, name: str) -> Iterator[str]:
    top = name.split(".", maxsplit=1)[0]
    if top == "flowstmt":
        if not name.startswith("flowstmt.core.") and name != "flowstmt.errors":
            yield f"{node.lineno}: imports {name}"
    elif top not in sys.stdlib_module_names or top in IMPURE:
        yield f"{node.lineno}: imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_of_core_imports_and_calls_nothing_impure(path: Path) -> None:
    assert list(problems(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import time", "1: imports time"),
        ("import os.path", "1: imports os.path"),
        ("def f():\n    from random import choice", "2: imports random"),
        ("from pydantic import BaseModel", "1: imports pydantic"),
        ("import flowstmt", "1: imports flowstmt"),
        ("from flowstmt.codec import Codec", "1: imports flowstmt.codec"),
        ("from . import state", "1: a relative import"),
        ("async def f(): ...", "1: async"),
        ("x = datetime.now(UTC)", "1: .now"),
        ("clock = datetime.utcnow", "1: .utcnow"),
        ("print(1)", "1: print"),
        ("import inspect, logging", "1: imports logging"),
    ],
)
def test_the_check_finds_what_is_impure(source: str, problem: str) -> None:
    assert problem in list(problems(source))


def test_the_check_lets_pass_what_is_pure() -> None:
    source = "import inspect\nfrom datetime import UTC, datetime\nfrom flowstmt.core.state import State\nx = datetime.min"
    assert list(problems(source)) == []


def test_core_has_modules_to_check() -> None:
    names = {path.stem for path in MODULES}
    assert {"machine", "program", "state", "statements", "checks", "errors"} <= names


def test_core_can_be_imported_without_any_dependency() -> None:
    """The dependencies are made unimportable; ``flowstmt/__init__.py`` is passed by."""
    import subprocess

    script = f"""
import importlib, sys, types
for name in ("pydantic", "pydantic_core", "orjson", "jsonschema", "asyncio", "logging", "typing_extensions"):
    sys.modules[name] = None
package = types.ModuleType("flowstmt")
package.__path__ = [{str(CORE.parent)!r}]
sys.modules["flowstmt"] = package
for name in {[path.stem for path in MODULES if path.parent == CORE and path.stem != "__init__"]!r}:
    importlib.import_module("flowstmt.core." + name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
