"""Functions in loops that all see the last value of the loop's variable."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flowstmt.core.nodes import Node
from flowstmt.lint.callables import Held
from flowstmt.lint.findings import Finding
from flowstmt.lint.sources import Function, Source, Written
from flowstmt.lint.subjects import Subject

__all__ = ["check_captures"]


def check_captures(subject: Subject) -> Iterator[Finding]:
    """Callables of statements that were made in a Python loop, and use its variable when they are called."""
    seen: set[ast.AST] = set()
    held = [(node, each) for node in subject.nodes for each in subject.held(node)]
    for source, _, _ in subject.sources():
        loops = _loops(source.node)
        for node, each in held:
            function = _inside(source, each)
            if function is None or function in seen:
                continue
            captured = set(each.function.__code__.co_freevars) & {
                name for loop, names in loops for name in names if _holds(loop, function)
            }
            if captured:
                seen.add(function)
                yield _finding(subject, node, each, source, function, min(captured))


def _finding(subject: Subject, node: Node, held: Held, source: Source, function: Function, name: str) -> Finding:
    return subject.finding(
        "FS502",
        node,
        f"its {held.role} uses the loop variable {name!r} when it is called: it has its last value then, for all of them",
        f"Bind it where the function is made (a last parameter {name}={name}), or let ForEach hand over items",
        source=source,
        expression=function,
    )


def _inside(source: Source, held: Held) -> Function | None:
    code = held.function.__code__
    return source.inner(code) if code.co_freevars else None


def _loops(function: Written) -> list[tuple[ast.AST, set[str]]]:
    """The loops and comprehensions in a function, and the variables of each."""
    found: list[tuple[ast.AST, set[str]]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.For):
            found.append((node, _stored(node.target)))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            found.append((node, {name for part in node.generators for name in _stored(part.target)}))
    return found


def _stored(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def _holds(loop: ast.AST, function: Function) -> bool:
    return any(node is function for node in ast.walk(loop))
