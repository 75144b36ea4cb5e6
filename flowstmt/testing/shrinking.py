"""The shortest script that still shows a failure.

Steps are left out, many at once first, then one by one, as long as what is left fails in the same way. Which callbacks are
refused may be another matter without the steps before them, so that is found out anew each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstmt.testing.plays import Advance, Callback, Failure, NotDeterministicError, Scenario, Script, examine, resolve

__all__ = ["fails_alike", "shrink"]

_PLAYS = 2_000
"""After so many plays the shortest script that was found by then is good enough."""


def shrink(scenario: Scenario[Any], failure: Failure) -> Failure:
    """The failure with the shortest script and the earliest point that could be found for it."""
    last = scenario.plays + _PLAYS
    shorter = True
    while shorter:
        shorter = False
        for script in _shorter(failure.script):
            if scenario.plays > last:
                break
            found = fails_alike(scenario, script, failure)
            if found is not None:
                failure, shorter = found, True
                break
    if failure.point is None:
        return failure
    # They were looked for at the likely points first: here from the beginning.
    earliest = examine(scenario, failure.script, like=failure, in_order=True)
    return earliest if isinstance(earliest, Failure) else failure


def fails_alike(scenario: Scenario[Any], script: Script, like: Failure, *, only_near: bool = False) -> Failure | None:
    """How a script fails, if it does so in the same way (with ``only_near``: if killed at a point that is like that one)."""
    try:
        resolved = resolve(scenario, script)
        if not isinstance(resolved, Failure) and like.point is not None:
            found = examine(scenario, resolved, like=like, only_near=only_near)
            return found if isinstance(found, Failure) else None
    except NotDeterministicError:
        return None
    return resolved if isinstance(resolved, Failure) and resolved.kind == like.kind else None


def _shorter(script: list[Callback | Advance]) -> Iterator[list[Callback | Advance]]:
    size = len(script)
    while size:
        for start in range(len(script) - size, -1, -1):
            yield script[:start] + script[start + size :]
        size //= 2
