"""The names of a tree: what a statement is called, and what it was called before.

Rules:

1. Names are unique over the whole definition, names of events within their Wait. A Scope is part of the names inside.
2. So are old names, and none is the present name of something else: what is saved under a name can mean one thing only.

What this module must not know: what is saved under names, and how it is renamed (``renames.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from flowstmt.core.children import Call
from flowstmt.core.nodes import EVENTS, WAITS, Node
from flowstmt.core.renames import Renames
from flowstmt.core.state import MAIN
from flowstmt.core.statements import Case, If, Scope, Statement

__all__ = ["Names", "full_name", "in_scope", "renames_of"]


def full_name(kind: type[Statement[Any, Any, Any]], name: Any, parent: Node | None) -> str:
    """The name of a statement with the scopes that it stands in before it. Callers share the names of events: these stay."""
    if not isinstance(name, str):
        return ""
    if not name or parent is None or kind in EVENTS:
        return name
    return f"{parent.name}/{name}" if parent.kind is Scope else parent.scope + name


def in_scope(scope: str, name: Any, known: Container[str]) -> str | None:
    """Which of the known full names is meant by ``name`` inside a scope: that of the scope itself first, then outward."""
    while isinstance(name, str):
        if scope + name in known:
            return scope + name
        if not scope:
            break
        scope = scope[: scope.rfind("/", 0, -1) + 1]
    return None


class Names:
    """The names of one tree, and their faults."""

    def __init__(self, fault: Callable[[Node, str], None]) -> None:
        self._fault = fault
        self._taken: dict[str, Node] = {}

    def add(self, node: Node, statement: Any) -> None:
        """Check the name and the old names of a statement, and keep them."""
        if "name" not in dir(type(statement)) or type(statement).name == "":
            return
        name = statement.name
        if not isinstance(name, str) or not name:
            self._fault(node, f"the name must be a text that is not empty, not {name!r}")
            return
        if node.parent is not None and node.parent.kind is Call:
            return  # the one event that it has, whose name nobody else can give
        if "/" in name or ":" in name:
            self._fault(node, f"the name {name!r} holds '/' or ':', which separate parts of names")
        elif name == MAIN:
            self._fault(node, "the name 'main' is reserved for the first thread")
        elif name.encode("utf-8", "ignore").decode() != name:
            self._fault(node, f"the name {name!r} can't be written as UTF-8")
        # The first branch of an If bears the If's own name.
        if node.kind is Case and node.parent is not None and node.parent.kind is If and node is node.parent.children[0]:
            return
        node.old_names = self._old_names(node, name, getattr(statement, "was", ()))
        if node.kind in EVENTS:
            siblings = node.parent.children[:-1] if node.parent is not None else []
            if any(sibling.name == name for sibling in siblings):
                self._fault(node, f"the event {name!r} stands twice in its Wait")
            return
        first = self._taken.setdefault(node.name, node)
        if first is not node:
            self._fault(node, f"the name {node.name!r} is taken by {first.place}")

    def _old_names(self, node: Node, name: str, was: Any) -> tuple[str, ...]:
        """All names that a statement had: its own, in the scope as it is and as it was, and those from outside of it."""
        if not isinstance(was, tuple):
            hint = f": write was=({was!r},)" if isinstance(was, str) else ""
            self._fault(node, f"was must be a tuple of old names, not {was!r}{hint}")
            was = ()
        found: dict[str, None] = {}
        for old in was:
            if not isinstance(old, str) or not old:
                self._fault(node, f"was: an old name must be a text that is not empty, not {old!r}")
            elif ":" in old or ("/" in old if node.kind in EVENTS else not all(old.removeprefix("/").split("/"))):
                self._fault(node, f"was: {old!r} can't have been a name: '/' and ':' separate parts of names")
            elif old.removeprefix("/") == MAIN:
                self._fault(node, "was: the name 'main' is reserved for the first thread")
            elif node.kind in EVENTS:
                found[old] = None
            elif old.startswith("/"):
                found[old[1:]] = None
            else:
                found |= dict.fromkeys(scope + old for scope in (node.scope, *node.old_scopes))
        if node.kind not in EVENTS:
            found |= dict.fromkeys(scope + name for scope in node.old_scopes)
        if node.name in found:
            self._fault(node, f"was: {node.name!r} is its present name")
            del found[node.name]
        return tuple(found)

    def check_old_names(self, nodes: Iterable[Node]) -> None:
        """Find the old names that could mean two things. To be called when all names are known."""
        claimed: dict[str, Node] = {}
        for node in nodes:
            if node.kind in WAITS:
                own: dict[str, Node] = {}
                for event in node.children:
                    self._unambiguous(event, {child.name: child for child in node.children}, own)
            if node.kind not in EVENTS:
                self._unambiguous(node, self._taken, claimed)

    def _unambiguous(self, node: Node, present: dict[str, Node], claimed: dict[str, Node]) -> None:
        for old in node.old_names:
            if old in present:
                self._fault(node, f"was: {old!r} is the present name of {present[old].place}: a saved {old!r} could be either")
            elif claimed.setdefault(old, node) is not node:
                self._fault(node, f"was: {old!r} was the name of {claimed[old].place} as well: a saved {old!r} could be either")


def renames_of(nodes: Iterable[Node]) -> Renames | None:
    """All old names of a definition without faults, or None if it has none."""
    statements: dict[str, str] = {}
    events: dict[str, dict[str, str]] = {}
    for node in nodes:
        for old in node.old_names:
            if node.kind in EVENTS and node.parent is not None:
                events.setdefault(node.parent.name, {})[old] = node.name
            else:
                statements[old] = node.name
    return Renames(statements, events) if statements or events else None
