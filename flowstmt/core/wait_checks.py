"""The faults of what stands in a Wait; for ``checks.py``, whose rules hold here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowstmt.core.nodes import Node
from flowstmt.core.statements import Statement
from flowstmt.core.waits import Every, When
from flowstmt.errors import quoted

if TYPE_CHECKING:
    from flowstmt.core.checks import Checker

__all__ = ["check_every", "check_stay", "check_when"]


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
