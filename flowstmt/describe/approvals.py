"""Who decides an Approval, and what is a failure of it, as JSON and as words."""

from __future__ import annotations

from typing import Any

from flowstmt.core.approvals import EXPIRED, REJECT, Approval
from flowstmt.core.nodes import Node
from flowstmt.describe.joins import said_rule, told_rule
from flowstmt.describe.wording import called, into, told

__all__ = ["approval_details", "approval_words", "failing_cases"]


def approval_details(node: Node, statement: Approval) -> dict[str, Any]:
    """Its keys in JSON."""
    return {
        "approvers": told(statement.approvers),
        "need": told_rule(statement.need),
        "into": into(statement.into),
        "fails": [case.name for case in failing_cases(node, statement)],
    }


def approval_words(node: Node, statement: Approval) -> list[str]:
    """What its line of text says."""
    who = f" of {called(statement.approvers)}" if callable(statement.approvers) else ""
    words = [f"{said_rule(statement.need)}{who}"]
    if statement.into is not None:
        words.append(f"into {into(statement.into)}")
    fails = [case.name for case in failing_cases(node, statement)]
    if fails:
        words.append(f"{' and '.join(fails)} {'is a failure' if len(fails) == 1 else 'are failures'}")
    return words


def failing_cases(node: Node, statement: Approval) -> list[Node]:
    """The cases for which nobody has said what to do instead."""
    instead = {REJECT.name: statement.if_rejected, EXPIRED: statement.if_expired}
    return [case for case in node.children if instead.get(case.name, True) == ()]
