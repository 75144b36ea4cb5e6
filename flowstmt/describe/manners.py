"""What there is to say about a kind of statement, and the manners in which ``charts.py`` can draw one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from flowstmt.core.children import Call
from flowstmt.core.nodes import Node

__all__ = ["Drawn", "Kind", "shown_children"]


class Drawn(Enum):
    """Manners in which statements are drawn."""

    ACTION = auto()
    """A box, then what follows."""
    CONCURRENT = auto()
    """The same for work that runs beside other work: a box with double sides."""
    STOP = auto()
    """The same for a statement at which time passes: rounded."""
    CHOICE = auto()
    """A diamond with an arrow for each branch."""
    JOIN = auto()
    """The same, with a dotted arrow from where the threads end that it waits for."""
    LOOP = auto()
    """A hexagon with an arrow into the body, and one that leaves."""
    SPAWN = auto()
    """A box with double sides, and a dotted arrow to the thread, which is drawn apart."""
    WAIT = auto()
    """A rounded box with a dotted arrow to each of its events."""
    EVENT = auto()
    """A flag, then the event's body."""
    TIMER = auto()
    """A slanted box, then the body."""
    GUARD = auto()
    """A trapezoid, and a frame around it and the body; a dotted arrow to each of its catches, and to its finally."""
    CATCH = auto()
    """Words at the dotted arrow that leads into its body."""
    FINALLY = auto()
    """A trapezoid on its head, then the body; then a diamond, if the section is also left by jumps."""
    FORK = auto()
    """A box with double sides, a dotted arrow to each of its threads, and a rounded box at which they meet again."""
    BRANCH = auto()
    """One of these threads."""
    END = auto()
    """An end of its thread."""
    FAILURE = auto()
    """A failure, which is an end as well if nothing around takes it."""
    FRAME = auto()
    """A frame around its body."""
    ARROW = auto()
    """A word at an arrow."""
    NOTHING = auto()
    """What is inside is drawn, or what is around it says it."""


def shown_children(node: Node) -> list[Node]:
    """What is told of the inside of a statement: the end of a child run, which a Call waits for, goes without saying."""
    return [] if node.kind is Call else node.children


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of statement is described."""

    details: Callable[[Node, Any], dict[str, Any]]
    line: Callable[[Node, Any], str]
    drawn: Callable[[Any], Drawn] | Drawn
    label: Callable[[Node, Any], list[str]] = lambda node, statement: []
    inside: Callable[[Node, Any], str] = lambda node, statement: ""
    """The word at the arrow that leads into its body."""
    past: Callable[[Node, Any], str | None] = lambda node, statement: ""
    """The word at the arrow that passes its body by; None if there is no such way."""
    fails: Callable[[Node, Any], list[Node]] = lambda node, statement: []
    """Those of its cases that are failures."""
    thread: Callable[[Node, Any], str] = lambda node, statement: f"thread {node.name}"
    """What the box says in which the thread begins that it starts."""
    join: Callable[[Node, Any], list[str]] = lambda node, statement: []
    """What the box says at which the threads that it starts meet again."""

    def manner(self, statement: Any) -> Drawn:
        """How a statement of this kind is drawn."""
        return self.drawn if isinstance(self.drawn, Drawn) else self.drawn(statement)
