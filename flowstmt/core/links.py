"""What follows each statement: found once, when a class is linked.

Rules:

1. The body of a loop ends at its loop; a Break is the loop's successor (where there is a frame: by way of dropping it); a
   Continue is the loop itself. S, Scope and the jumps are gone after linking.
2. A jump on whose way there is a frame that has to be asked is no link: the thread unwinds (``unwinding.py``).
"""

from __future__ import annotations

from flowstmt.core.fanout import Parallel
from flowstmt.core.nodes import LOOPS, STARTERS, WAITS, Back, Compensation, End, FinallyEnd, Leave, Node, Unwind
from flowstmt.core.recovery import Catch, Finally, Saga, Try
from flowstmt.core.statements import Break, Continue, If, S, Scope, Switch

__all__ = ["compensation_of", "link"]


def link(node: Node, following: Node) -> Node:
    """Link ``node`` to what follows; return where to go to get to it."""
    kind = node.kind
    if kind is S or kind is Scope:
        return _link_body(node.children, following)
    if kind is Break or kind is Continue:
        return _jump(node)
    node.next = following
    if kind in LOOPS:
        if node.inside != node.frames:
            _leave(node, following)
        node.entry = _link_body(node.children, node)
    elif kind is Saga:
        node.entry = _link_body(node.children, _leave(node, following))
    elif kind is Try:
        _link_try(node, following)
    elif kind in STARTERS:
        node.entry = _link_body(node.children, Node(End, "", -1, node))
    elif kind is Parallel:
        for child in node.children:
            link(child, following)
    elif kind is Switch or kind is If or kind in WAITS:
        back = Node(Back, node.name, -1, node)
        back.next = node
        for child in node.children:
            child.next = back if child.stays else following
            child.entry = _link_body(child.children, child.next)
    return node


def _leave(node: Node, following: Node) -> Node:
    """Where a thread leaves a statement that has a frame."""
    node.leave = Node(Leave, node.name, -1, node)
    node.leave.next = following
    return node.leave


def _jump(node: Node) -> Node:
    """Where a Break or a Continue goes: at once, unless a frame on the way has to be asked."""
    loop = node.loop
    assert loop is not None  # the checks found no jump outside of a loop
    if node.frames != loop.inside:
        return Node(Unwind, "break" if node.kind is Break else "continue", -1, node)
    return loop if node.kind is Continue else loop.leave or loop.next


def _link_try(node: Node, following: Node) -> None:
    node.catches = [child for child in node.children if child.kind is Catch]
    node.final = next((child for child in node.children if child.kind is Finally), None)
    if node.final is None:
        after = _leave(node, following)
    else:
        end = Node(FinallyEnd, node.name, -1, node)
        end.next = following
        after = node.final.entry = _link_body(node.final.children, end)
    for catch in node.catches:
        catch.entry = _link_body(catch.children, after)
    node.entry = _link_body([child for child in node.children if child.kind not in (Catch, Finally)], after)


def compensation_of(step: Node) -> Node:
    """Where a thread stands that undoes a step; its values are those of the step."""
    node = Node(Compensation, f"{step.name}:compensate", step.index, step.parent)
    node.item, node.scope, node.transactional = step.item, step.scope, step.transactional
    node.may_fail = True
    step.compensation = node
    return node


def _link_body(nodes: list[Node], following: Node) -> Node:
    for node in reversed(nodes):
        following = link(node, following)
    return following
