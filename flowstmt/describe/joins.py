"""When a Parallel, a Map or an Approval goes on, as JSON and as words."""

from __future__ import annotations

from typing import Any

from flowstmt.core.fanout import ANY, AtLeast, JoinRule, Map, Parallel, Percent
from flowstmt.describe.wording import into

__all__ = ["at_once", "join_details", "join_rules", "said_rule", "told_rule", "unusual_rules"]


def join_details(statement: Parallel | Map) -> dict[str, Any]:
    """When it goes on, as JSON."""
    join, tolerate = statement.join, statement.tolerate
    return {
        "join": told_rule(join),
        "tolerate": {"percent": tolerate.share} if isinstance(tolerate, Percent) else tolerate,
        "fail_fast": statement.fail_fast,
        "into": into(statement.into),
    }


def told_rule(rule: JoinRule) -> str | dict[str, int]:
    """How many are needed, as JSON."""
    return {"at_least": rule.count} if isinstance(rule, AtLeast) else "ALL"


def said_rule(rule: JoinRule) -> str:
    """How many are needed, as words."""
    if not isinstance(rule, AtLeast):
        return "all"
    return "any" if rule == ANY else f"at least {rule.count}"


def join_rules(statement: Parallel | Map) -> list[str]:
    """When it goes on, as words."""
    join, tolerate = statement.join, statement.tolerate
    share = f"{tolerate.share:g} %" if isinstance(tolerate, Percent) else str(tolerate or "")
    if isinstance(join, AtLeast):
        rule = f"{said_rule(join)}, {share} may fail" if share else said_rule(join)
    else:
        rule = f"all but {share}" if share else "all"
    return [rule] if statement.fail_fast else [rule, "fails when all have ended"]


def unusual_rules(statement: Parallel | Map) -> list[str]:
    """The same, but for what one would expect: when all have succeeded."""
    return [rule for rule in join_rules(statement) if rule != "all"]


def at_once(statement: Map) -> str | None:
    """How many branches there are at once."""
    return None if statement.max_concurrency is None else f"at most {statement.max_concurrency} at once"
