"""Conditions that see a method where its answer is meant: ``not self.is_paid`` is never true.

Python evaluates ``not``, ``and``, ``or`` and comparisons before anybody else sees them, so only the source can tell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flowstmt.core.nodes import Node
from flowstmt.lint.effects import method_of, own_attribute
from flowstmt.lint.findings import Finding
from flowstmt.lint.sources import Source, Written, body_of
from flowstmt.lint.subjects import Subject

__all__ = ["check_methods"]


def check_methods(subject: Subject) -> Iterator[Finding]:
    """Methods that are asked for their truth, or compared, instead of called."""
    seen: set[tuple[str, int, int]] = set()
    for source, found, node in _found(subject):
        key = (source.file, found.lineno, found.col_offset)
        if key not in seen:
            seen.add(key)
            written = ast.unparse(found)
            yield subject.finding(
                "FS503",
                node or subject.around(source, found),
                f"{written} is a method, and was not called: it is always true, whatever it would answer",
                f"Write {written}()",
                source=source,
                expression=found,
            )


def _found(subject: Subject) -> Iterator[tuple[Source, ast.Attribute, Node | None]]:
    for source, _, names in subject.sources():
        yield from ((source, found, None) for found in _uncalled(subject, source.node, names))
    for node in subject.nodes:
        for each in subject.held(node):
            source_of = None if each.acts else subject.library.source(each.function.__code__)
            if source_of is None:
                continue
            yield from ((source_of, found, node) for found in _uncalled(subject, source_of.node, each.names))
            if each.role == "cond" and isinstance(source_of.node, ast.Lambda):
                # A condition that answers with the method itself; a DefinitionError when it is asked.
                answer = source_of.node.body
                if _is_method(subject, answer, each.names):
                    assert isinstance(answer, ast.Attribute)  # as it names a method of the workflow
                    yield source_of, answer, node


def _uncalled(subject: Subject, function: Written, names: frozenset[str]) -> Iterator[ast.Attribute]:
    for part in body_of(function):
        for node in ast.walk(part):
            for operand in _asked(node):
                if isinstance(operand, ast.Attribute) and _is_method(subject, operand, names):
                    yield operand


def _asked(node: ast.AST) -> list[ast.expr]:
    """The expressions of which only the truth, or a comparison, matters."""
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [node.operand]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
        return [node.test]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "bool":
        return node.args
    return []


def _is_method(subject: Subject, node: ast.expr, names: frozenset[str]) -> bool:
    return method_of(subject.cls, own_attribute(node, names)) is not None
