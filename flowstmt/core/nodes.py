"""A statement made ready for the machine: what it is, what follows it, and what surrounds it.

Nodes are made once per class. The statement's own values (conditions, actions ...) are not in here: they are bound
anew at every build of an instance-style definition, and looked up by ``index``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstmt.core.approvals import Approval
from flowstmt.core.children import Call
from flowstmt.core.fanout import Branch, Map, Parallel
from flowstmt.core.recovery import Catch, Fail, Finally, Saga, Try
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
from flowstmt.core.waits import Every, When

__all__ = [
    "EVENTS",
    "FANOUT",
    "KINDS",
    "LOOPS",
    "STARTERS",
    "STOPS",
    "WAITS",
    "Back",
    "Compensation",
    "End",
    "FinallyEnd",
    "ItemScope",
    "Leave",
    "Node",
    "RunEnd",
    "Unwind",
]


class End(Statement):
    """What follows the last statement of a thread."""

    __slots__ = ()


class Leave(Statement):
    """The end of a body that has a frame, and where a Break out of a ForEach goes: the frame is dropped."""

    __slots__ = ()


class FinallyEnd(Statement):
    """The end of a Finally: the frame of its Try is dropped, and what was pending goes on."""

    __slots__ = ()


class Back(Statement):
    """The end of the body of a case that stays: the thread is back at its Wait."""

    __slots__ = ()


class Unwind(Statement):
    """A Break or Continue on whose way there are frames that have to be asked."""

    __slots__ = ()


class Compensation(Statement):
    """What undoes a Step: a thread stands there while it is undone."""

    __slots__ = ()


class RunEnd(Statement):
    """The end of ``main``, at which it stands until all other threads have ended and all is undone that has to be."""

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
    Every,
    When,
    Approval,
    Call,
    WaitFor,
    Sleep,
    Try,
    Catch,
    Finally,
    Fail,
    Saga,
    Parallel,
    Branch,
    Map,
)
"""Every kind of statement that a definition may hold."""

STOPS = frozenset((Step, Wait, Approval, Call, WaitFor, Sleep, Join, Parallel, Map))
"""The kinds at which a thread stands."""

STARTERS = frozenset((Go, Branch, Map))
"""The kinds whose body is run by a thread of its own."""

FANOUT = frozenset((Parallel, Map))
"""The kinds that start threads and wait for them; a thread that stands there has a frame for it."""

LOOPS = frozenset((For, ForEach))
WAITS = frozenset((Wait, Approval, Call))
"""The kinds whose children are cases: events, times and conditions."""

EVENTS = frozenset((On, Timeout, Every, When))


class ItemScope:
    """One item and all callables that take it: they must agree on its type."""

    __slots__ = ("type", "typed_by")

    def __init__(self) -> None:
        self.type: Any = Any
        self.typed_by = ""


class Node:
    """A statement, linked.

    ``next`` follows it; ``entry`` begins its body. ``frames`` names the frames of a thread that stands here, outermost first:
    one for each ForEach, Try ... around it, as far as its own thread goes; ``inside`` names those of a thread in its body.
    ``go`` is the statement that its thread was started by (None in ``main``). ``name`` is the full name,
    with the ``scope`` that it stands in ("" or "outer/inner/") before it; events bear their own name alone.
    """

    __slots__ = (
        "asks",
        "by_event",
        "catches",
        "children",
        "compensation",
        "concurrent",
        "counts",
        "entry",
        "final",
        "frames",
        "go",
        "go_names",
        "ignores_item",
        "in_saga",
        "index",
        "inline",
        "inside",
        "item",
        "item_frame",
        "join",
        "kind",
        "label",
        "last",
        "leave",
        "leaves_result",
        "loop",
        "may_fail",
        "name",
        "next",
        "old_names",
        "old_scopes",
        "own_item",
        "parent",
        "scope",
        "stays",
        "thread_name",
        "timed",
        "transactional",
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
        self.asks: list[Node] = []  # of a Wait: the cases that a condition fires
        self.stays = False  # of a case of a Wait: it does not end it
        self.next: Node = self
        self.entry: Node = self
        self.leave: Node | None = None
        self.parent = parent
        self.concurrent = False  # of a Step
        self.counts = False  # a For with max_iterations
        self.compensation: Node | None = None  # of a Step that can be undone
        self.join: Node | None = None  # of a Branch its Parallel, of a Map itself: what waits for the threads that it starts
        self.leaves_result = False  # a Step whose result is kept beside the data: for what undoes it, or by a join
        self.may_fail = False  # somebody may take the failure of what stands here
        self.catches: list[Node] = []  # of a Try
        self.final: Node | None = None  # of a Try
        self.in_saga = False
        self.ignores_item = False  # a Step whose action, the same at every build, does not take the item
        self.timed = False  # a Step with a timeout
        self.transactional = False  # of a Step, and of what undoes it
        self.inline = False  # of a Step
        # What surrounds the callables of this statement.
        self.frames: tuple[str, ...] = ()
        self.inside: tuple[str, ...] = ()
        self.go: Node | None = None
        # The name of the threads that can stand here.
        self.thread_name = "main"
        self.loop: Node | None = None
        self.item: ItemScope | None = None
        self.item_frame = -1  # which of the frames holds the item; below 0: the thread's own object is the item
        # The item that this statement (a ForEach, a Map, a Go, a Branch) gives to its body.
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

    def outward(self) -> Iterator[tuple[Node, Node]]:
        """The statements around this one, as far as its own thread goes, from the inside out.

        Each comes after the part of it in which this one stands: the body of a Try, one of its catches ...
        """
        part, around = self, self.parent
        while around is not None and around is not self.go:
            yield part, around
            part, around = around, around.parent

    def __repr__(self) -> str:
        return f"<{self.place}>"
