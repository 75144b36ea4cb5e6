"""Which fields of the workflow an action reads and writes, as far as its source says.

Followed are calls of the workflow's own methods. Nothing is said of what other functions do with what they are handed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import getattr_static
from types import FunctionType
from typing import Any

from flowstmt.lint.sources import Library, Source

__all__ = ["Effects", "effects", "getter_of", "method_of", "own_attribute"]

_MUTATORS = frozenset(
    [
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "insert", "intersection_update"),
        *("pop", "popitem", "popleft", "remove", "reverse", "setdefault", "sort", "symmetric_difference_update", "update"),
    ]
)


@dataclass(slots=True)
class Effects:
    """The fields that a function ``reads``, ``sets`` to something else, and ``changes`` in place; of each the first place."""

    reads: set[str] = field(default_factory=set)
    sets: dict[str, tuple[Source, ast.AST]] = field(default_factory=dict)
    changes: dict[str, tuple[Source, ast.AST]] = field(default_factory=dict)

    @property
    def writes(self) -> dict[str, tuple[Source, ast.AST]]:
        """All fields that are written in any way."""
        return {**self.changes, **self.sets}

    def blind(self, name: str) -> bool:
        """Whether the field is overwritten without a look at what was in it."""
        return name in self.sets and name not in self.reads


def effects(function: FunctionType, names: frozenset[str], cls: type[Any] | None, library: Library) -> Effects:
    """What a function does to the workflow that it calls by one of these names."""
    found = Effects()
    seen = set()
    stack = [(function, names)]
    while stack:
        function, names = stack.pop()
        source = library.source(function.__code__) if names else None
        if source is None or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        for node in ast.walk(source.node):
            _note(node, names, source, found)
            if isinstance(node, ast.Call) and own_attribute(node.func, names) is not None:
                called = method_of(cls, own_attribute(node.func, names))
                if called is not None and called.__code__.co_argcount:
                    stack.append((called, frozenset(called.__code__.co_varnames[:1])))
    return found


def _note(node: ast.AST, names: frozenset[str], source: Source, found: Effects) -> None:
    if isinstance(node, ast.AugAssign):
        _written(node.target, names, source, found, whole=False)
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            _written(target, names, source, found)
    elif isinstance(node, ast.For | ast.AsyncFor | ast.AnnAssign) and getattr(node, "value", node) is not None:
        _written(node.target, names, source, found)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            _written(target, names, source, found)
    elif isinstance(node, ast.Call):
        _called(node, names, source, found)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and own_attribute(node, names):
        found.reads.add(node.attr)


def _called(node: ast.Call, names: frozenset[str], source: Source, found: Effects) -> None:
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in _MUTATORS:
        _written(function.value, names, source, found, whole=False)
    if isinstance(function, ast.Name) and function.id == "setattr" and len(node.args) == 3:
        target, name = node.args[:2]
        if isinstance(target, ast.Name) and target.id in names and isinstance(name, ast.Constant):
            found.sets.setdefault(str(name.value), (source, node))


def _written(target: ast.expr, names: frozenset[str], source: Source, found: Effects, *, whole: bool = True) -> None:
    for part, all_of_it in _targets(target):
        name = own_attribute(part, names)
        if name is not None:
            (found.sets if whole and all_of_it else found.changes).setdefault(name, (source, target))


def _targets(target: ast.expr) -> Iterator[tuple[ast.expr, bool]]:
    """What is written to: ``self.x`` of ``self.x[0].y = 1``, and whether all of it."""
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from _targets(part)
        return
    whole = True
    if isinstance(target, ast.Starred):
        target = target.value
    while isinstance(target, ast.Subscript) or (isinstance(target, ast.Attribute) and not isinstance(target.value, ast.Name)):
        target, whole = target.value, False
    yield target, whole


def own_attribute(node: ast.AST, names: frozenset[str]) -> str | None:
    """The attribute of the workflow that an expression names."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
        return node.attr
    return None


def getter_of(cls: type[Any] | None, name: str) -> FunctionType | None:
    """The function behind a property of this name."""
    found = getattr_static(cls, name, None)
    function = found.fget if isinstance(found, property) else getattr(found, "func", None)  # of a cached_property
    return function if isinstance(function, FunctionType) else None


def method_of(cls: type[Any] | None, name: str | None) -> FunctionType | None:
    """The method of this name, unless it is a property or anything else that is no method."""
    found = getattr_static(cls, name, None) if cls is not None and name is not None else None
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    return found if isinstance(found, FunctionType) else None
