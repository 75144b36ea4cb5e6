"""How control goes through a tree: where a body can be left, and what follows a statement.

Read off the tree and not the links: what nothing leads to is linked as well, and jumps are gone after linking.

What this module must not know: what is good or bad about any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

from flowstmt.core.fanout import Branch
from flowstmt.core.nodes import EVENTS, LOOPS, STARTERS, Node
from flowstmt.core.recovery import Catch, Fail, Finally, Saga, Try
from flowstmt.core.statements import (
    Break,
    Case,
    Continue,
    Default,
    For,
    If,
    On,
    Return,
    S,
    Scope,
    Switch,
    Timeout,
)
from flowstmt.core.waits import Every, When

__all__ = ["Way", "exits", "followers", "has_cases", "in_thread", "is_choice", "same_thread", "ways"]

Statements = Callable[[Node], Any]


class Way(Enum):
    """How a statement can be left."""

    END = auto()
    BREAK = auto()
    CONTINUE = auto()
    RETURN = auto()
    FAIL = auto()


_JUMPS = {Break: Way.BREAK, Continue: Way.CONTINUE, Return: Way.RETURN, Fail: Way.FAIL}
_ROWS = (S, Scope, Saga, Case, Default, Catch, Finally, On, Timeout, Every, When)


def ways(node: Node, statement: Statements) -> set[Way]:
    """All ways in which a statement can be left. What nobody can know of it is left open."""
    kind = node.kind
    if kind in _JUMPS:
        return {_JUMPS[kind]}
    if kind in _ROWS:
        return exits(node.children, statement)
    if kind in (If, Switch):
        closed = any(child.kind is Default for child in node.children)
        return _all(node.children, statement) | (set() if closed else {Way.END})
    if kind in LOOPS:
        inside = exits(node.children, statement)
        endless = kind is For and statement(node).forever and Way.BREAK not in inside
        return (inside - {Way.END, Way.BREAK, Way.CONTINUE}) | (set() if endless else {Way.END})
    if has_cases(node):
        return {way for event in node.children for way in ways(event, statement) if way is not Way.END or not event.stays}
    if kind is Try:
        return _of_try(node, statement)
    return {Way.END}


def _of_try(node: Node, statement: Statements) -> set[Way]:
    last = [child for child in node.children if child.kind is Finally]
    catches = [child for child in node.children if child.kind is Catch]
    body = [child for child in node.children if child.kind not in (Catch, Finally)]
    found = exits(body, statement) | _all(catches, statement)
    for each in last:
        at_last = ways(each, statement)
        found = (found | at_last - {Way.END}) if Way.END in at_last else at_last
    return found


def _all(nodes: list[Node], statement: Statements) -> set[Way]:
    return {way for node in nodes for way in ways(node, statement)}


def exits(body: list[Node], statement: Statements) -> set[Way]:
    """All ways in which statements in a row can be left."""
    found: set[Way] = set()
    for node in body:
        one = ways(node, statement)
        found |= one - {Way.END}
        if Way.END not in one:
            return found
    return found | {Way.END}


def has_cases(node: Node) -> bool:
    """Whether a thread waits here for one of the events inside: a Wait, or what is made like one."""
    return bool(node.children) and node.children[0].kind in EVENTS


def is_choice(node: Node) -> bool:
    """Whether only one of the bodies inside is run, and not one after the other."""
    return node.kind in (If, Switch) or has_cases(node)


def in_thread(node: Node) -> Iterator[Node]:
    """A statement and all in it that runs in the same thread."""
    yield node
    for child in node.children:
        if child.kind not in STARTERS:
            yield from in_thread(child)


def same_thread(node: Node) -> Iterator[Node]:
    """What surrounds a statement, from the inside out, as far as its own thread goes."""
    while node.kind is not Branch and node.parent is not None and node.parent.kind not in STARTERS:
        node = node.parent
        yield node


def followers(node: Node) -> Iterator[Node]:
    """What comes after a statement in the same thread, one after the other, when each goes on to its end.

    Bodies are left as their end leaves them; that of a loop leads to the loop itself, that of a case that stays to its Wait,
    and there it ends.
    """
    while node.kind is not Branch and node.parent is not None:
        parent = node.parent
        if not is_choice(parent):
            for later in parent.children[parent.children.index(node) + 1 :]:
                if later.kind is not Catch:
                    yield from _entered(later)
        if parent.kind in LOOPS or node.stays:
            yield parent
        if parent.kind in LOOPS | STARTERS or node.stays:
            return
        node = parent


def _entered(node: Node) -> Iterator[Node]:
    """The statements that are come to where a row is."""
    if node.kind in (S, Scope, Saga, Finally):
        for child in node.children:
            yield from _entered(child)
    else:
        yield node
