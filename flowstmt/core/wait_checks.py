"""The faults of what stands in a Wait; for ``checks.py``, whose rules hold here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import Approval
from flowstmt.core.fanout import ALL, AtLeast
from flowstmt.core.nodes import Node
from flowstmt.core.statements import Statement
from flowstmt.core.waits import Every, When
from flowstmt.errors import a_kind_of, quoted

if TYPE_CHECKING:
    from flowstmt.core.checks import Checker

__all__ = ["check_approval", "check_every", "check_stay", "check_when"]


def check_stay(checker: Checker, node: Node, statement: Any) -> None:
    """Whether an event ends its Wait is a part of the tree's shape."""
    if not isinstance(statement.stay, bool):
        checker.fault(node, f"stay must be True or False, not {quoted(statement.stay)}")


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
        if not isinstance(need.count, int) or isinstance(need.count, bool) or need.count < 1:
            checker.fault(node, f"need: AtLeast takes a whole number from 1, not {quoted(need.count)}")
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


def _approvers(checker: Checker, node: Node, approvers: Any) -> None:
    if isinstance(approvers, Statement):
        checker.fault(node, f"its approvers are a statement ({approvers!r}): were the approvers left out?")
    elif callable(approvers):
        checker.call(node, "approvers", approvers)
    elif isinstance(approvers, str):
        checker.fault(node, "approvers must be a list of texts, not one text: put it into a list")
    elif not isinstance(approvers, Sequence):
        checker.fault(node, f"approvers must be a list of texts or a callable that returns one, not {a_kind_of(approvers)}")
