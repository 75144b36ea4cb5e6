"""Sagas and failures: what is left undone, and what nobody would take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstmt.core.fanout import Map, Parallel
from flowstmt.core.nodes import LOOPS, Node
from flowstmt.core.recovery import Catch, Finally, Saga
from flowstmt.core.statements import Break, Continue, Return, S, Scope, Step, WaitFor
from flowstmt.lint.findings import Finding
from flowstmt.lint.flow import same_thread
from flowstmt.lint.subjects import Subject

__all__ = ["check_sagas"]


def check_sagas(subject: Subject) -> Iterator[Finding]:
    """Ways out that leave effects, steps that can't be undone, failures that nobody takes."""
    for node in subject.nodes:
        if node.kind in (Return, Break, Continue):
            yield from _left(subject, node)
        elif node.kind is Step:
            yield from _for_good(subject, node)
            yield from _untaken(subject, node, "action")
        elif node.kind is WaitFor and subject.statement(node).handler is not None:
            yield from _untaken(subject, node, "handler")


def _left(subject: Subject, jump: Node) -> Iterator[Finding]:
    for saga in same_thread(jump):
        if saga.kind in LOOPS and jump.kind is not Return:
            return  # it stays inside
        if saga.kind is Saga and not _last_of(jump, saga) and _undoable_before(subject, jump, saga):
            yield subject.finding(
                "FS201",
                jump,
                f"it leaves {saga.label} as if all was well: what its steps have done stays done",
                "If it should be undone, end with Fail(name, message) instead; if not, let the Return stand behind the Saga"
                if jump.kind is Return
                else "If it should be undone, end with Fail(name, message), and catch that outside of the Saga",
            )
            return


def _last_of(jump: Node, saga: Node) -> bool:
    """Whether a jump stands at the very end of a Saga, where everything is done."""
    node = jump
    while node is not saga:
        parent = node.parent
        if parent is None or parent.children[-1] is not node or parent.kind not in (S, Scope, Saga):
            return False
        node = parent
    return True


def _undoable_before(subject: Subject, jump: Node, saga: Node) -> bool:
    loops = [around for around in same_thread(jump) if around.kind in LOOPS and saga.index < around.index]
    last = loops[-1].last if loops else jump.index
    return any(node.compensation is not None for node in subject.nodes[saga.index + 1 : last + 1])


def _for_good(subject: Subject, step: Node) -> Iterator[Finding]:
    saga = _around(step, Saga)
    if saga is not None and step.compensation is None and _cleaning(step, saga) is None:
        yield subject.finding(
            "FS202",
            step,
            f"when {saga.label} fails later, what this step has done stays done",
            "Give it compensate=; if there is nothing to undo, say so in a comment: # flowstmt: ignore[FS202] ...",
        )


def _around(node: Node, kind: type[Any]) -> Node | None:
    """The innermost statement of a kind around this one, that of the threads around its own too."""
    inner = node.parent
    while inner is not None and inner.kind is not kind:
        inner = inner.parent
    return inner


def _cleaning(node: Node, until: Node) -> Node | None:
    """The catch or finally in which a statement stands: what is done there answers a failure."""
    inner = node.parent
    while inner is not None and inner is not until:
        if inner.kind in (Catch, Finally):
            return inner
        inner = inner.parent
    return None


def _untaken(subject: Subject, step: Node, role: str) -> Iterator[Finding]:
    around = _around(step, Saga) or _around(step, Parallel) or _around(step, Map)
    if around is None or step.may_fail:
        return
    what = f"nothing of {around.label} is undone" if around.kind is Saga else f"{around.label} never learns of it"
    yield subject.finding(
        "FS203",
        step,
        f"when its {role} raises, resume raises a StepError: nobody takes the failure, and {what}",
        f"{'Give the step retry=Retry(...), or' if role == 'action' else 'Give'} the class a retry: ClassVar[Retry]; or put it "
        "into a Try with a catch",
    )
