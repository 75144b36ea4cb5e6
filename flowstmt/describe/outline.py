"""A definition as an indented tree, for terminals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.state import State
from flowstmt.core.statements import Go, S
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.marks import Standing, standing, who
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.describe.wording import printable, shown

__all__ = ["to_text"]


def to_text(subject: Any, state: State | None = None) -> str:
    """A definition as an indented tree; with a state, the positions of its live threads are marked.

    Raises ``DefinitionError`` if the subject has none that can be used, ``PositionError`` if the state does not fit it.

    >>> from flowstmt import Break, For, S, Step
    >>> print(to_text(S(For("tries", Step("try", print), Break()))))
    definition
    └─ For tries: until Break
       ├─ Step try: print
       └─ Break
    """
    found = subject_of(subject)
    marks = standing(found, state)
    lines = [(0, printable(_head(found, state)) + _mark(marks, -1))]
    lines += [(depth, text) for depth, text in _lines(found, _flat(found.root), marks)]
    return "\n".join(_drawn(lines))


def _head(subject: Subject, state: State | None) -> str:
    if state is None:
        return subject.name
    result = "" if state.result is None else f", result {shown(state.result)}"
    return f"{subject.name}, run {state.run_id}: {state.status}{result}"


def _lines(subject: Subject, nodes: list[Node], marks: Standing) -> Iterator[tuple[int, str]]:
    stack = [(1, node) for node in reversed(nodes)]
    while stack:
        depth, node = stack.pop()
        kind = DESCRIBED[node.kind]
        note = ", not begun" if node.kind is Go else ""
        yield depth, printable(kind.line(node, subject.values[node.index])) + _mark(marks, node.index, note)
        inside = [inner for child in node.children for inner in _flat(child)]
        stack.extend((depth + 1, child) for child in reversed(inside))


def _flat(node: Node) -> list[Node]:
    """A statement; instead of an S, which has no name, what is in it."""
    return [inner for child in node.children for inner in _flat(child)] if node.kind is S else [node]


def _mark(marks: Standing, index: int, note: str = "") -> str:
    threads = marks.get(index)
    if not threads:
        return ""
    statuses = ", ".join(dict.fromkeys(status for _, status in threads))
    return f"  <- {printable(who(threads))} ({statuses}{note})"


def _drawn(lines: list[tuple[int, str]]) -> Iterator[str]:
    """The lines with the branches of the tree before them."""
    # From below: whether a branch goes on is known by the lines that follow.
    goes_on: list[bool] = []
    drawn: list[str] = []
    for depth, text in reversed(lines):
        if depth:
            del goes_on[depth:]
            goes_on += [False] * (depth - len(goes_on))
            branches = "".join("│  " if on else "   " for on in goes_on[: depth - 1])
            drawn.append(f"{branches}{'├─' if goes_on[depth - 1] else '└─'} {text}")
            goes_on[depth - 1] = True
        else:
            drawn.append(text)
    return reversed(drawn)
