"""Waits: whether time ends them, and where a thread goes when it does."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flowstmt.core.children import Call
from flowstmt.core.nodes import STARTERS, Node
from flowstmt.core.recovery import Fail
from flowstmt.core.statements import Break, Continue, For, Go, If, Join, On, Return, Switch, Timeout, Wait, WaitFor
from flowstmt.core.waits import Every, When
from flowstmt.lint.findings import Finding
from flowstmt.lint.flow import Way, followers, has_cases, in_thread, same_thread, ways
from flowstmt.lint.subjects import Subject

__all__ = ["check_waits"]

_ASKS = (If, Switch, WaitFor)
_JUMPS = (Break, Continue, Return, Fail)


def check_waits(subject: Subject) -> Iterator[Finding]:
    """Waits without a way out in time, and Timeouts that fall through."""
    joined = {name for node in subject.nodes if node.kind is Join for name in node.go_names.values()}
    alone = not any(node.kind in STARTERS for node in subject.nodes)
    for node in subject.nodes:
        # A child run ends by itself, or its own definition is what has no way out in time.
        waits = has_cases(node) and node.kind is not Call and _holds_up(node, joined)
        if waits and not any(_by_time(subject, event) for event in node.children):
            yield _endless(subject, node)
        if node.kind is Wait:
            yield from _fallen_through(subject, node)
        elif node.kind is WaitFor and alone:
            yield subject.finding(
                "FS102",
                node,
                "no other thread of this definition could make its condition true, and what changes outside wakes nobody",
                "Wait for an event with On, for time with Sleep or Timeout, or start what changes the data with Go before it",
            )


def _endless(subject: Subject, node: Node) -> Finding:
    cure = f"Give it a {'Timeout that says what happens then' if node.kind is Wait else 'timeout='}"
    return subject.finding("FS101", node, "nothing but somebody outside ends it: if nobody does, the run waits for ever", cure)


def _holds_up(node: Node, joined: set[str]) -> bool:
    """Whether the run waits for the thread that waits here: one that nobody joins ends with ``main``."""
    inner: Node | None = node
    while inner is not None:
        if inner.kind is Go and inner is not node and inner.name not in joined:
            return False
        inner = inner.parent
    return True


def _by_time(subject: Subject, event: Node) -> bool:
    if event.kind is Timeout:
        return True
    return event.kind is Every and bool(ways(event, subject.statement) - {Way.END})


def _fallen_through(subject: Subject, wait: Node) -> Iterator[Finding]:
    # Somebody's answer has to lead there as well, and be no matter of course: an event that is left by a jump of its own
    # says what it leads to.
    answered = any(event.kind in (On, When) and not event.stays and not _jumps(event) for event in wait.children)
    following = next(followers(wait), None)
    if not answered or following is None or not _goes_on_regardless(subject, following):
        return
    if following in same_thread(wait):
        return  # once more around: a reminder
    for event in wait.children:
        if event.kind is Timeout and Way.END in ways(event, subject.statement) and not _asks(event):
            yield subject.finding(
                "FS103",
                event,
                f"when it fires, the thread goes on to {following.label}, as if an event had been called in time",
                "End its body with Return, Break, Continue or Fail, or ask with an If behind the Wait what has happened",
            )


def _jumps(event: Node) -> bool:
    return any(inner.kind in _JUMPS for inner in in_thread(event))


def _asks(event: Node) -> bool:
    """Whether the body of an event goes different ways by itself."""
    return any(inner.kind in (*_ASKS, *_JUMPS) for inner in in_thread(event))


def _goes_on_regardless(subject: Subject, node: Node) -> bool:
    """Whether a statement does its work without a look at the data."""
    if node.kind in (*_ASKS, Break, Continue, Fail):
        return False
    if node.kind is For:
        return bool(subject.statement(node).forever)
    return node.kind is not Return or _is_constant(subject, node)


def _is_constant(subject: Subject, node: Node) -> bool:
    """Whether a Return gives the same for every run."""
    value = subject.statement(node).value
    if value is None or callable(value):
        return False
    place = subject.place(node)
    if place is None or place.call is None:
        return subject.class_style
    return all(isinstance(each, ast.Constant) for each in (*place.call.args, *(word.value for word in place.call.keywords)))
