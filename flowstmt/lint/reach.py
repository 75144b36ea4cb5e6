"""Statements that nothing leads to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from flowstmt.core.fanout import Parallel
from flowstmt.core.nodes import Node
from flowstmt.core.recovery import Catch, Fail, Finally, Try
from flowstmt.core.statements import Break, Continue, For, Return, S
from flowstmt.lint.findings import Finding
from flowstmt.lint.flow import Way, has_cases, is_choice, ways
from flowstmt.lint.subjects import Subject

__all__ = ["check_reach"]


def check_reach(subject: Subject) -> Iterator[Finding]:
    """The first statement of each row that nothing leads to, and catches that others hide."""
    for node in subject.nodes:
        if not is_choice(node) and node.kind is not Parallel:
            yield from _behind(subject, [child for child in node.children if child.kind not in (Catch, Finally)])
        if node.kind is Try:
            yield from _hidden(subject, [child for child in node.children if child.kind is Catch])


def _behind(subject: Subject, row: list[Node]) -> Iterator[Finding]:
    for node, following in pairwise(row):
        if Way.END in ways(node, subject.statement):
            continue
        first = _first(following)
        if first is not None:
            yield subject.finding(
                "FS401",
                first,
                f"nothing leads to it: {_why(node)}",
                "Take it out, or let a way lead there: a Break, a branch without Return, an else_",
            )
        return


def _first(node: Node) -> Node | None:
    """The first statement in a row; None for an empty one."""
    if node.kind is not S:
        return node
    return next((found for child in node.children if (found := _first(child)) is not None), None)


def _why(node: Node) -> str:
    if node.kind is S:
        return _why(next(child for child in reversed(node.children) if child.kind is not S or child.children))
    if node.kind is For:
        return f"{node.label} before it has no condition and no Break"
    if node.kind in (Return, Break, Continue, Fail):
        return f"{node.label} before it leaves"
    if has_cases(node) and all(event.stays for event in node.children):
        return f"no case of {node.label} before it ends it"
    return f"every way through {node.label} before it leaves"


def _hidden(subject: Subject, catches: list[Node]) -> Iterator[Finding]:
    for place, node in enumerate(catches):
        wanted = _classes(subject.statement(node).errors)
        for earlier in catches[:place]:
            taken = [each for each in _parts(subject.statement(earlier).errors) if isinstance(each, type)]
            if Exception in taken or (wanted and all(any(issubclass(each, cls) for cls in taken) for each in wanted)):
                names = ", ".join(cls.__name__ for cls in wanted) or "all that it is for"
                yield subject.finding(
                    "FS402",
                    node,
                    f"an earlier catch of {node.parent.label if node.parent else 'its Try'} takes {names} before it",
                    "Put the narrower catch first",
                    also=(earlier,),
                )
                break


def _parts(errors: object) -> list[object]:
    return [inner for each in errors for inner in _parts(each)] if isinstance(errors, tuple) else [errors]


def _classes(errors: object) -> list[type]:
    """The classes that a catch is for; none if it is for anything else as well."""
    parts = _parts(errors)
    classes = [each for each in parts if isinstance(each, type)]
    return classes if len(classes) == len(parts) else []
