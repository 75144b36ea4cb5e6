"""Kill a run at every instant at which a process can die, and see whether that makes a difference.

The script runs undisturbed once; then once for each of the instants: the run is killed there, its objects are dropped, the
last snapshot is loaded, and the script goes on. Both runs must agree in data, result, status, in the decisions taken (where
each thread stood at each of its stops), in the set of calls made (an action in flight may run twice, with the same
idempotency key), and in what was torn down.

A script that fails is shrunk to the shortest that does, and told as a test that can be pasted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from flowstmt.core.state import State
from flowstmt.errors import CallbackError
from flowstmt.testing.harness import START
from flowstmt.testing.plays import Exploration, Failure, Scenario, Script, ScriptError, examine
from flowstmt.testing.shrinking import shrink
from flowstmt.testing.source import as_test

__all__ = ["CrashError", "explore", "report"]

W = TypeVar("W")


class CrashError(AssertionError):
    """A crash made a difference, or ``hunt`` found a script that fails without one.

    The message says what differs and where the run was killed; it shows the trace, and ends with a test that fails so.
    """


def explore(
    make: Callable[[], W],
    script: Script = (),
    *,
    invariant: Callable[[W, State], Any] | None = None,
    now: datetime = START,
    deps: Callable[[], Any] | None = None,
    concurrency: int = 1,
    kill_at: str | None = None,
) -> Exploration[W]:
    """Run ``script`` undisturbed, then once for every instant at which the process can die, and compare.

    ``make()`` gives a new workflow object for each run; ``deps()`` what its actions get as ``current().deps``.
    ``invariant(workflow, state)`` is called at every checkpoint of every run; let it raise or return False.
    Callbacks that a crash lost before they were saved are handed in again, as a caller without an answer does.
    With ``concurrency``, actions of concurrent steps are in flight together: keep their results by key, since a crash may
    change the order in which they come in.
    ``kill_at`` is one of the ``points`` of an earlier exploration: the run is killed there only. If it has no such point
    any more, it is killed everywhere.

    Raises ``CrashError`` for a difference, with the shortest script and the earliest point that show it. What the
    undisturbed run raises passes as it is, with a note that holds the shortest script. Raises ``NotDeterministicError`` if
    runs differ before they are killed.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, Step, S, Wait
    >>> from flowstmt.testing import Callback
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...     shipped: bool = False
    ...
    ...     def definition(self):
    ...         return S(Wait("payment", On("paid", into="paid")), Step("ship", lambda: True, into="shipped"))
    >>> len(explore(Order, [Callback("paid", 5)]).points)
    10
    """
    scenario = Scenario(make, invariant, now, deps, concurrency)
    found = examine(scenario, script, kill_at=kill_at)
    if isinstance(found, Exploration):
        return found
    if found.point is not None:
        shortest = shrink(scenario, found)
        raise CrashError(report(scenario, shortest)) from shortest.error
    assert found.error is not None
    # A callback that the script is wrong about is not the workflow's fault: a shorter script would be as wrong.
    if not isinstance(found.error, CallbackError | ScriptError):
        found.error.add_note(f"explore: as a test, with the shortest script:\n\n{as_test(scenario, shrink(scenario, found))}")
    raise found.error


def report(scenario: Scenario[Any], failure: Failure) -> str:
    """All that can be told of a failure."""
    where, which = (f"killed {failure.point}", "killed ") if failure.point is not None else ("without a crash", "")
    trace = "\n".join(f"  {line}" for line in failure.trace)
    return f"{where}: {failure.what}\nThe trace of the {which}run:\n{trace}\nAs a test:\n\n{as_test(scenario, failure)}"
