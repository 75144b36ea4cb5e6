"""A definition as an indented tree, for terminals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.state import State
from flowstmt.core.statements import S
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.manners import shown_children
from flowstmt.describe.marks import FEW, Mark, Standing, said_error, said_place, standing, who
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.describe.wording import printable, said_retry, shown

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
    lines = [(0, printable(_head(found, state)) + _marked([*marks.beginning(-1), *marks.at(-1)]))]
    lines += [(depth, text) for depth, text in _lines(found, _flat(found.root), marks)]
    return "\n".join(_drawn(lines))


def _head(subject: Subject, state: State | None) -> str:
    policy = subject.program.retry
    name = subject.name if policy is None else f"{subject.name} (steps: {said_retry(policy)})"
    if state is None:
        return name
    result = "" if state.result is None else f", result {shown(state.result)}"
    error = [] if state.error is None else [said_error(state.error), said_place(state.error)]
    return ", ".join(filter(None, [f"{name}, run {state.run_id}: {state.status}{result}", *error]))


def _lines(subject: Subject, nodes: list[Node], marks: Standing) -> Iterator[tuple[int, str]]:
    stack = [(1, node) for node in reversed(nodes)]
    while stack:
        depth, node = stack.pop()
        kind = DESCRIBED[node.kind]
        lost = "".join(
            f"  <- not undone: {printable(said_error(record['error']))}" for record in marks.not_undone.get(node.index, ())
        )
        marked = _marked(marks.at(node.index)) + _marked(marks.beginning(node.index), "not begun")
        yield depth, printable(kind.line(node, subject.values[node.index])) + marked + lost
        inside = [inner for child in shown_children(node) for inner in _flat(child)]
        stack.extend((depth + 1, child) for child in reversed(inside))


def _flat(node: Node) -> list[Node]:
    """A statement; instead of an S, which has no name, what is in it."""
    return [inner for child in node.children for inner in _flat(child)] if node.kind is S else [node]


def _marked(marks: list[Mark], *notes: str) -> str:
    """The threads at one place, and what they are about: said once where that is the same, and briefly where they are many."""
    said: dict[str, list[Mark]] = {}
    if len(marks) > FEW:
        said[", ".join([*dict.fromkeys(mark.status for mark in marks), *notes])] = marks
    else:
        for mark in marks:
            said.setdefault(", ".join([mark.status, *notes, *mark.phrases()]), []).append(mark)
    return "".join(f"  <- {printable(who(group))} ({printable(words)})" for words, group in said.items())


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
