"""A statement made ready for the machine: what it is, what follows it, and what surrounds it.

Nodes are made once per class. The statement's own values (conditions, actions ...) are not in here: they are bound
anew at every build of an instance-style definition, and looked up by ``index``.
"""

from __future__ import annotations

from typing import Any

from flowstmt.core.statements import (
    Break,
    Case,
    Continue,
    Default,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Scope,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)

__all__ = ["EVENTS", "KINDS", "LOOPS", "STOPS", "End", "ItemScope", "Leave", "Node"]


class End(Statement):
    """What follows the last statement of a thread."""

    __slots__ = ()


class Leave(Statement):
    """Where a Break out of a ForEach goes: the frame is dropped, then the loop's successor follows."""

    __slots__ = ()


KINDS: tuple[type[Statement[Any, Any, Any]], ...] = (
    Step,
    S,
    Scope,
    If,
    Switch,
    Case,
    Default,
    For,
    ForEach,
    Break,
    Continue,
    Return,
    Go,
    Join,
    Wait,
    On,
    Timeout,
    WaitFor,
    Sleep,
)
"""Every kind of statement that a definition may hold."""

STOPS = frozenset((Step, Wait, WaitFor, Sleep, Join))
"""The kinds at which a thread stands."""

LOOPS = frozenset((For, ForEach))
EVENTS = frozenset((On, Timeout))


class ItemScope:
    """One item and all callables that take it: they must agree on its type."""

    __slots__ = ("type", "typed_by")

    def __init__(self) -> None:
        self.type: Any = Any
        self.typed_by = ""


class Node:
    """A statement, linked.

    ``next`` follows it; ``entry`` begins its body. ``frames`` names the ForEach loops around it, outermost first, as far
    as its own thread goes; ``go`` is the Go that its thread was started by (None in ``main``). ``name`` is the full name,
    with the ``scope`` that it stands in ("" or "outer/inner/") before it; events bear their own name alone.
    """

    __slots__ = (
        "by_event",
        "children",
        "concurrent",
        "entry",
        "frames",
        "go",
        "go_names",
        "index",
        "item",
        "item_in_frame",
        "kind",
        "label",
        "last",
        "leave",
        "loop",
        "name",
        "next",
        "old_names",
        "old_scopes",
        "own_item",
        "parent",
        "scope",
        "thread_name",
    )

    def __init__(self, kind: type[Statement[Any, Any, Any]], name: str, index: int, parent: Node | None) -> None:
        self.kind = kind
        self.name = name
        self.index = index
        self.last = index  # the index of the last statement inside
        self.label = f"{kind.__name__} {name!r}" if name else kind.__name__
        self.old_names: tuple[str, ...] = ()
        self.scope = ""
        self.old_scopes: tuple[str, ...] = ()
        self.go_names: dict[str, str] = {}  # of a Join: full names, by those that it was given
        self.children: list[Node] = []
        self.by_event: dict[str, Node] = {}  # of a Wait
        self.next: Node = self
        self.entry: Node = self
        self.leave: Node | None = None
        self.parent = parent
        self.concurrent = False  # of a Step
        # What surrounds the callables of this statement.
        self.frames: tuple[str, ...] = ()
        self.go: Node | None = None
        # The name of the threads that can stand here.
        self.thread_name = "main"
        self.loop: Node | None = None
        self.item: ItemScope | None = None
        self.item_in_frame = False
        # The item that this statement (a ForEach, a Go) gives to its body.
        self.own_item: ItemScope | None = None

    @property
    def place(self) -> str:
        """Where the statement stands, from the outside in."""
        labels = [self.label]
        node = self.parent
        while node is not None:
            if node.kind is not S:
                labels.append(node.label)
            node = node.parent
        return " in ".join(labels)

    def __repr__(self) -> str:
        return f"<{self.place}>"
