"""The faults of Waits and of what stands in them; for ``checks.py``, whose rules hold here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import Approval
from flowstmt.core.calls import is_async, parameters
from flowstmt.core.children import Call
from flowstmt.core.fanout import ALL, AtLeast
from flowstmt.core.nodes import Node
from flowstmt.core.statements import On, Statement, Timeout, Wait
from flowstmt.core.waits import Every, When
from flowstmt.errors import a_kind_of, quoted

if TYPE_CHECKING:
    from flowstmt.core.checks import Checker

__all__ = ["check_approval", "check_call", "check_every", "check_on", "check_timeout", "check_wait", "check_when"]


def check_wait(checker: Checker, node: Node, statement: Wait) -> None:
    """That something can end it."""
    if not statement.body:
        checker.fault(node, "has no event: it could never end; give it an On or a Timeout")


def check_on(checker: Checker, node: Node, statement: On) -> None:
    """What takes its payload, and what it has outside."""
    _handler(checker, node, statement.handler, typed=statement.schema is None)
    checker.into(node, statement.into)
    if not isinstance(statement.stay, bool):
        checker.fault(node, f"stay must be True or False, not {quoted(statement.stay)}")  # it is a part of the tree's shape
    if statement.schema is not None and not isinstance(statement.schema, dict | bool):
        checker.fault(node, f"schema must be a JSON Schema, a dict or a bool, not {quoted(statement.schema)}")
    if statement.via is not None:
        _via(checker, node, statement.via)
        if not callable(statement.handler) and hasattr(statement.handler, "handle"):
            checker.fault(node, "has both a via and a handler object that is one itself: give one of them")


def _handler(checker: Checker, node: Node, handler: Any, *, typed: bool) -> None:
    if handler is None:
        return
    if not callable(handler) and hasattr(handler, "handle"):
        _via(checker, node, handler, needed=False)
        if callable(handler.handle):
            checker.note_async(node, "handler", handler.handle)
        else:
            checker.fault(node, f"'handle' of {quoted(handler)} is no method")
    elif not callable(handler):
        checker.fault(node, f"handler must be a callable or an object with 'handle', not {quoted(handler)}")
    else:
        checker.call(node, "handler", handler, optional=1)
        if typed:
            _payload(checker, node, handler)
        checker.note_async(node, "handler", handler)


def _payload(checker: Checker, node: Node, handler: Any) -> None:
    names = parameters(handler).names
    if checker.base is not None and len(names) > checker.base:
        checker.annotation(node, "handler", handler, names[checker.base])


def _via(checker: Checker, node: Node, via: Any, *, needed: bool = True) -> None:
    parts = [part for part in ("setup", "teardown") if getattr(via, part, None) is not None]
    if needed and not parts:
        checker.fault(node, f"via must be an object with 'setup' or 'teardown', not {quoted(via)}")
    if parts and str(getattr(via, "type", None) or type(via).__name__) == When.__name__:
        checker.fault(
            node, "the type of its via is 'When', by which the state knows the cases of that name: give it another one"
        )
    for part in parts:
        if not callable(getattr(via, part)):
            checker.fault(node, f"{part!r} of {quoted(via)} is no method")
        else:
            checker.note_async(node, part, getattr(via, part))


def check_timeout(checker: Checker, node: Node, statement: Timeout) -> None:
    """When it fires."""
    checker.instant(node, "after", statement.after)


def check_every(checker: Checker, node: Node, statement: Every) -> None:
    """Its period: time has to pass between two of its rounds."""
    period = statement.period
    if isinstance(period, Statement):
        checker.fault(node, f"its period is a statement ({period!r}): was the period left out?")
    elif callable(period):
        checker.call(node, "period", period)
    elif not isinstance(period, timedelta):
        checker.fault(node, f"period must be a timedelta or a callable that returns one, not {quoted(period)}")
    elif period <= timedelta(0):
        checker.fault(node, f"period must be longer than nothing, not {quoted(period)}")


def check_when(checker: Checker, node: Node, statement: When) -> None:
    """What it waits for."""
    checker.condition(node, statement.cond)


def check_approval(checker: Checker, node: Node, statement: Approval) -> None:
    """Who decides, and what else it was given."""
    _approvers(checker, node, statement.approvers)
    need = statement.need
    if isinstance(need, AtLeast):
        checker.count(node, "need: AtLeast takes", need.count, 1)
    elif need is not ALL:
        checker.fault(node, f"need must be ALL, ANY or AtLeast(n), not {quoted(need)}")
    if statement.remind is not None and not isinstance(statement.remind, Every):
        checker.fault(node, f"remind must be an Every(name, period, *body), not {quoted(statement.remind)}")
    for word, bodies in (("rejected", statement.if_rejected), ("expired", statement.if_expired)):
        if len(bodies) > 1:
            checker.fault(node, f"has more than one {word}: put all of it into one")
    if statement.if_expired and statement.timeout is None:
        checker.fault(node, "says what to do when it has expired, but has no timeout: give it one, or leave expired(...) out")
    checker.into(node, statement.into)


def check_call(checker: Checker, node: Node, statement: Call) -> None:
    """What it starts, and what takes the result."""
    workflow = statement.workflow
    if isinstance(workflow, Statement):
        checker.fault(node, f"its workflow is a statement ({workflow!r}): was the workflow left out?")
    elif isinstance(workflow, type):
        checker.fault(
            node, f"its workflow is the class {workflow.__name__}: give an object of it, or a function that makes one"
        )
    elif not callable(getattr(type(workflow), "definition", None)):
        if not callable(workflow):
            checker.fault(
                node,
                f"workflow must be a workflow object or a callable that makes one, not {a_kind_of(workflow)}: it has no "
                "definition()",
            )
        elif is_async(workflow):
            checker.fault(node, f"workflow {getattr(workflow, '__qualname__', workflow)} is async: nothing awaits it")
        else:
            checker.call(node, "workflow", workflow)
    checker.into(node, statement.into)


def _approvers(checker: Checker, node: Node, approvers: Any) -> None:
    if isinstance(approvers, Statement):
        checker.fault(node, f"its approvers are a statement ({approvers!r}): were the approvers left out?")
    elif callable(approvers):
        checker.call(node, "approvers", approvers)
    elif isinstance(approvers, str):
        checker.fault(node, "approvers must be a list of texts, not one text: put it into a list")
    elif not isinstance(approvers, Sequence):
        checker.fault(node, f"approvers must be a list of texts or a callable that returns one, not {a_kind_of(approvers)}")
