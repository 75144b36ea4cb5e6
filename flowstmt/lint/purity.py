"""Chance and the clock where decisions are made: in definitions, and in the callables that decide.

Names are looked up in the globals of the function, so an alias does not hide a clock; an object in a local variable does.
Followed are the workflow's own methods and properties, and functions of its module.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.lint.callables import DECIDING
from flowstmt.lint.effects import getter_of, method_of, own_attribute
from flowstmt.lint.findings import Finding
from flowstmt.lint.sources import Source, own_nodes
from flowstmt.lint.subjects import Subject

__all__ = ["check_purity", "impure"]

_MODULES = frozenset(("random", "secrets"))
"""Modules of which every function is impure."""

_FUNCTIONS = frozenset(
    [f"uuid.uuid{version}" for version in (1, 4, 6, 7, 8)]
    + [f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "localtime", "gmtime")]
    + [f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")]
    + ["datetime.date.today", "os.urandom", "os.getenv", "os.getpid"]
)


def check_purity(subject: Subject) -> Iterator[Finding]:
    """Impure calls in the functions that make the statements, and in those that decide."""
    seen: set[tuple[str, int, int]] = set()
    for source, scope, names in subject.sources():
        for found, call, what in _calls(subject, source, _acting(subject, source), scope, names):
            if _is_new(seen, found, call):
                yield _finding(subject, subject.around(found, call), found, call, what)
    for node in subject.nodes:
        for role in DECIDING:
            named = impure(_bare(getattr(subject.statement(node), role, None)))
            if named is not None:
                yield _finding(subject, node, None, None, named)
        for each in subject.held(node):
            if impure(each.function) is not None:
                continue
            own = None if each.acts else subject.library.source(each.function.__code__)
            if own is None:
                continue
            for found, call, what in _calls(subject, own, frozenset(), each.function.__globals__, each.names):
                if _is_new(seen, found, call):
                    yield _finding(subject, node, found, call, what)


def _is_new(seen: set[tuple[str, int, int]], source: Source, call: ast.expr) -> bool:
    key = (source.file, call.lineno, call.col_offset)
    if key in seen:
        return False
    seen.add(key)
    return True


def _bare(call: Any) -> Any:
    while isinstance(call, partial):
        call = call.func
    return call


def _finding(subject: Subject, node: Node | None, source: Source | None, call: ast.AST | None, what: str) -> Finding:
    return subject.finding(
        "FS501",
        node,
        f"{what} is called where a decision is made: it answers differently after a crash, and each time it is asked",
        "Let a step call it, and keep the answer in a field with into=; for time, take Sleep or Timeout with a timedelta",
        source=source,
        expression=call,
    )


def _acting(subject: Subject, source: Source) -> frozenset[ast.AST]:
    """The functions inside of a source that act, and do not decide."""
    codes = {each.function.__code__: each.acts for node in subject.nodes for each in subject.held(node)}
    return frozenset(node for code, acts in codes.items() if acts and (node := source.inner(code)) is not None)


def _calls(
    subject: Subject, source: Source, without: frozenset[ast.AST], scope: dict[str, Any], names: frozenset[str]
) -> Iterator[tuple[Source, ast.Call, str]]:
    """The impure calls in a function and in those that it calls."""
    seen = {id(source.node)}
    stack = [(source, without, scope, names)]
    while stack:
        source, without, scope, names = stack.pop()
        local = {**scope, **_imported(source)}
        for node in own_nodes(source.node, without):
            if isinstance(node, ast.Call) and (what := impure(_looked_up(node.func, local))) is not None:
                yield source, node, what
            called = _followed(subject, node, local, names)
            inner = subject.library.source(called.__code__) if called is not None else None
            if called is not None and inner is not None and id(inner.node) not in seen:
                seen.add(id(inner.node))
                of_the_workflow = not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
                own = called.__code__.co_varnames[:1] if of_the_workflow else ()
                stack.append((inner, frozenset(), called.__globals__, frozenset(own)))


def _followed(subject: Subject, node: ast.AST, scope: dict[str, Any], names: frozenset[str]) -> FunctionType | None:
    """The function whose answer an expression uses: a method or a property of the workflow, a function of its module."""
    if (name := own_attribute(node, names)) is not None:
        return getter_of(subject.cls, name)
    if not isinstance(node, ast.Call):
        return None
    if (name := own_attribute(node.func, names)) is not None:
        return method_of(subject.cls, name)
    found = _looked_up(node.func, scope) if isinstance(node.func, ast.Name) else None
    of_the_same = isinstance(found, FunctionType) and subject.cls is not None and found.__module__ == subject.cls.__module__
    return found if of_the_same else None


def _looked_up(node: ast.expr, scope: dict[str, Any]) -> Any:
    """What a dotted name means; None if that can't be said without running anything."""
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _looked_up(node.value, scope)
        if isinstance(owner, ModuleType | type):
            return getattr(owner, node.attr, None)
    return None


def _imported(source: Source) -> dict[str, Any]:
    """What a function imports itself, as far as it is loaded."""
    found: dict[str, Any] = {}
    for node in own_nodes(source.node):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.split(".")[0]
                found[alias.asname or name] = sys.modules.get(name)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module in sys.modules:
            module = sys.modules[node.module]
            found |= {alias.asname or alias.name: getattr(module, alias.name, None) for alias in node.names}
    return found


def impure(found: Any) -> str | None:
    """The name of a function whose answers are chance or time; None for any other.

    >>> from uuid import uuid4 as fresh, uuid5
    >>> impure(fresh), impure(uuid5)
    ('uuid.uuid4', None)
    """
    owner = getattr(found, "__self__", None)
    if isinstance(owner, type):
        # A subclass of datetime tells the time as well.
        names = [f"{base.__module__}.{base.__qualname__}.{getattr(found, '__name__', '')}" for base in owner.__mro__]
        return next((name for name in names if name in _FUNCTIONS), None)
    module = getattr(found, "__module__", None)
    if module is None and owner is not None:
        module = type(owner).__module__  # random.random is a method of a hidden object
    name = f"{module}.{getattr(found, '__name__', '')}"
    if name in _FUNCTIONS:
        return name
    return name if callable(found) and module in _MODULES else None
