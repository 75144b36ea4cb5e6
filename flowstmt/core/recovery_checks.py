"""The faults of the statements of failure and fan-out; for ``checks.py``, whose rules hold here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowstmt.core.fanout import ALL, AtLeast, Map, Parallel, Percent
from flowstmt.core.nodes import Node
from flowstmt.core.policies import Retry, filter_faults
from flowstmt.core.recovery import Catch, Fail, Finally, Try
from flowstmt.core.statements import Statement
from flowstmt.errors import quoted

if TYPE_CHECKING:
    from flowstmt.core.checks import Checker

__all__ = ["check_catch", "check_fail", "check_map", "check_parallel", "check_retry", "check_try"]


def check_retry(checker: Checker, node: Node, policy: Retry) -> None:
    """A policy whose numbers make no sense."""
    for fault in policy.faults():
        checker.fault(node, f"retry: {fault}")


def check_try(checker: Checker, node: Node, statement: Try) -> None:
    """Its parts: one Finally at most, and nothing after the catches but that."""
    kinds = [type(part) for part in statement.body]
    if Catch not in kinds and Finally not in kinds:
        checker.fault(node, "neither catches anything nor has a finally_: add one, or leave the Try out")
    if kinds.count(Finally) > 1:
        checker.fault(node, "has more than one finally_: put all of it into one")
    elif Finally in kinds and kinds[-1] is not Finally:
        checker.fault(node, "its finally_ must come last")


def check_catch(checker: Checker, node: Node, statement: Catch) -> None:
    """What it catches, and where it keeps it."""
    if isinstance(statement.errors, Statement):
        checker.fault(node, f"its errors are a statement ({statement.errors!r}): were the errors left out?")
    elif statement.errors == ():
        checker.fault(node, "catches nothing: give it an error, or leave it out")
    else:
        for fault in filter_faults(statement.errors):
            checker.fault(node, f"errors: {fault}")
    checker.into(node, statement.into)


def check_fail(checker: Checker, node: Node, statement: Fail) -> None:
    """Its message is for people."""
    if not isinstance(statement.message, str) and not callable(statement.message):
        checker.fault(node, f"message must be a text or a callable that returns one, not {quoted(statement.message)}")
    checker.value(node, "message", statement.message)


def check_parallel(checker: Checker, node: Node, statement: Parallel) -> None:
    """Its join, and that it can be met at all."""
    if not statement.body:
        checker.fault(node, "has no branch: give it a Branch, or leave it out")
    _join(checker, node, statement, len(statement.body))


def check_map(checker: Checker, node: Node, statement: Map) -> None:
    """Its join, its items and what goes with them."""
    checker.items(node, statement.items)
    if statement.key is not None:
        if callable(statement.key):
            checker.call(node, "key", statement.key, given=1)
        else:
            checker.fault(node, f"key must be a callable that takes the item, not {quoted(statement.key)}")
    if statement.max_concurrency is not None:
        checker.count(node, "max_concurrency must be", statement.max_concurrency, 1)
    _join(checker, node, statement, None)


def _join(checker: Checker, node: Node, statement: Parallel | Map, branches: int | None) -> None:
    join, tolerate = statement.join, statement.tolerate
    if isinstance(join, AtLeast):
        if checker.count(node, "join: AtLeast takes", join.count, 1) and branches is not None and join.count > branches > 0:
            checker.fault(node, f"join: {join.count} of {branches} branches can never succeed")
    elif join is not ALL:
        checker.fault(node, f"join must be ALL, ANY or AtLeast(n), not {quoted(join)}")
    if isinstance(tolerate, Percent):
        share = tolerate.share
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 100:
            checker.fault(node, f"tolerate: Percent takes a number from 0 to 100, not {quoted(share)}")
    elif tolerate is not None:
        checker.count(node, "tolerate must be", tolerate, 0, " or a Percent")
    if not isinstance(statement.fail_fast, bool):
        checker.fault(node, f"fail_fast must be True or False, not {quoted(statement.fail_fast)}")
    checker.into(node, statement.into)
