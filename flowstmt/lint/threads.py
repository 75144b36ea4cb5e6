"""Threads that live at the same time: what they overwrite for each other, and whether they wait for each other.

Actions have the data to themselves, one after the other, so nothing is lost where something is added to a list or a counter.
What is lost is what one thread has put into a field when another one, which has not looked, puts something else there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from flowstmt.core.fanout import Branch, Map, Parallel
from flowstmt.core.nodes import LOOPS, STARTERS, Node
from flowstmt.core.statements import Go, Join, S, Scope, Step
from flowstmt.lint.effects import Effects, effects
from flowstmt.lint.findings import Finding
from flowstmt.lint.flow import is_choice
from flowstmt.lint.subjects import Subject

__all__ = ["at_once", "check_threads"]

Writes = dict[str, bool]
"""The fields that a statement writes, and whether it does so blindly."""


def check_threads(subject: Subject) -> Iterator[Finding]:
    """Fields that are overwritten, steps that have to wait, copies that are changed."""
    writes = {node: _writes(subject, node) for node in subject.nodes}
    yield from _overwritten(subject, {node: found for node, found in writes.items() if found})
    for node in subject.nodes:
        if node.kind is Step:
            yield from _one_by_one(subject, node)
            yield from _in_a_copy(subject, node)


# --- what lives at the same time ---


def at_once(nodes: list[Node], has_id: dict[Node, bool]) -> Iterator[tuple[set[Node], set[Node]]]:
    """Pairs of groups of statements: any of the one may run while any of the other does."""
    for node in nodes:
        if node.kind is Go:
            later = set(_meanwhile(node))
            if not has_id[node]:
                later -= set(_all_in(node))  # a second one of the same id can't be started while the first lives
            yield set(_all_in(node)), later
        elif node.kind is Parallel:
            for first, second in pairwise(node.children):
                rest = node.children[node.children.index(second) :]
                yield set(_all_in(first)), {inner for branch in rest for inner in _all_in(branch)}
        elif node.kind is Map:
            inside = {inner for child in node.children for inner in _all_in(child)}
            yield inside, inside


def _all_in(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all_in(child)


def _meanwhile(go: Node) -> Iterator[Node]:
    """What a thread, and those that it starts, may come to while the thread of a Go lives: up to the Join, if there is one."""
    node = go
    while node.parent is not None and node.kind is not Branch:
        parent = node.parent
        if node.stays or not is_choice(parent):
            place = parent.children.index(node)
            later = parent.children[place + 1 :]
            if node.stays or parent.kind in LOOPS:
                later = [*later, *parent.children[: place + 1]]
            for each in later:
                if _joins(each, go):
                    return
                yield from _all_in(each)
        if parent.kind in STARTERS:
            return
        node = parent


def _joins(node: Node, go: Node) -> bool:
    """Whether whoever gets past this statement has waited for the threads of the Go."""
    if node.kind is Join:
        return go.name in node.go_names.values()
    return node.kind in (S, Scope) and any(_joins(child, go) for child in node.children)


# --- what they write ---


def _writes(subject: Subject, node: Node) -> Writes:
    done = Effects()
    for each in subject.held(node):
        if each.role == "action" and node.concurrent:
            continue  # it reads what was there when it began, and writes into a copy: another finding
        if each.role in ("action", "handler", "into"):
            one = effects(each.function, each.names, subject.cls, subject.library)
            done.reads |= one.reads
            done.sets |= one.sets
            done.changes |= one.changes
    found = {name: done.blind(name) for name in done.writes}
    if isinstance(into := getattr(subject.statement(node), "into", None), str):
        found[into] = into not in done.reads
    return found


def _overwritten(subject: Subject, writes: dict[Node, Writes]) -> Iterator[Finding]:
    seen = set()
    has_id = {node: node.kind is Go and subject.statement(node).id is not None for node in subject.nodes}
    for some, others in at_once(subject.nodes, has_id):
        first: dict[tuple[str, bool], Node] = {}
        for node, fields in writes.items():
            for name, blind in fields.items() if node in some else ():
                first.setdefault((name, False), node)
                if blind:
                    first.setdefault((name, True), node)
        for node, fields in writes.items():
            for name, blind in fields.items() if node in others else ():
                # Of two writers, one that has not looked is enough.
                other = first.get((name, not blind))
                if other is not None and (name, node) not in seen:
                    seen |= {(name, node), (name, other)}
                    yield _overwrites(subject, name, node, other)


def _overwrites(subject: Subject, name: str, node: Node, other: Node) -> Finding:
    who = "another thread of the same kind" if node is other else f"{other.place}, in a thread that may run at the same time,"
    return subject.finding(
        "FS301",
        node,
        f"it writes field {name!r}, and so does {who} without a look at what is there: what came first is lost",
        "Give each its own field or key (a setter for into= can do that), Join before the second, or look before writing",
        also=(other,),
    )


# --- what waits for its turn ---


def _one_by_one(subject: Subject, step: Node) -> Iterator[Finding]:
    inner = step.parent
    while inner is not None and not _has_company(subject, inner, step):
        inner = inner.parent
    if inner is None or subject.statement(step).concurrent is not None or step.transactional:
        return  # it is, or is meant not to be, or can't be
    if any(found.writes for found in _of_action(subject, step)):
        return  # it changes data, and has to have them to itself
    yield subject.finding(
        "FS302",
        step,
        f"the branches of {inner.label} take turns in it: an action has the data to itself unless its step is concurrent",
        "Give it concurrent=True if it works outside and hands back its result, or concurrent=False if turns are meant",
    )


def _has_company(subject: Subject, node: Node, step: Node) -> bool:
    """Whether steps of other branches may want to run beside this one: branches that only wait take no turns."""
    if node.kind is Map:
        return bool(subject.statement(node).max_concurrency != 1)
    others = [set(_all_in(branch)) for branch in node.children] if node.kind is Parallel else []
    return any(other.kind is Step for branch in others if step not in branch for other in branch)


def _of_action(subject: Subject, step: Node) -> Iterator[Effects]:
    for each in subject.held(step):
        if each.role == "action":
            yield effects(each.function, each.names, subject.cls, subject.library)


def _in_a_copy(subject: Subject, step: Node) -> Iterator[Finding]:
    for found in _of_action(subject, step) if step.concurrent else ():
        for name, (source, where) in found.writes.items():
            yield subject.finding(
                "FS303",
                step,
                f"its action changes field {name!r}, but a concurrent one works on a copy: that is a StepError when it runs",
                "Let it return what it found, and keep that with into=",
                source=source,
                expression=where,
            )
