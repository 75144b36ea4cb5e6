"""The statements that run several bodies at once and go on when enough of them are done.

The rules of ``statements.py`` hold here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flowstmt.core.statements import Statement

__all__ = ["ALL", "ANY", "AtLeast", "Branch", "JoinRule", "Map", "Parallel", "Percent", "Tolerance"]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Go on as soon as so many branches have succeeded."""

    count: int


@dataclass(frozen=True, slots=True)
class Percent:
    """So many of a hundred branches may fail."""

    share: float


class _All:
    """Go on when all branches have succeeded, but for those whose failure is tolerated."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = _All()
"""Go on when all branches have succeeded, but for those whose failure is tolerated."""
ANY: Final = AtLeast(1)
"""Go on as soon as one branch has succeeded."""

JoinRule: TypeAlias = _All | AtLeast
Tolerance: TypeAlias = int | Percent | None


class Branch(Statement):
    """A branch of a ``Parallel``: a thread of its own."""

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body = body
        self.was = was


class Parallel(Statement):
    """Run all branches at once, each in a thread of its own, and go on when the join is met.

    Successes count, failures don't: ``join`` is ``ALL`` (but for those that ``tolerate`` lets fail: a number, or a
    ``Percent``), ``ANY``, or ``AtLeast(n)``. Branches that are not needed any more are cancelled, and what they have to clean
    up is done before the thread goes on. A join that can't be met is a ``ParallelError``, at once, or, without ``fail_fast``,
    when all branches have ended.

    A branch's result is the value of its ``Return``, or else of its last step; ``into`` keeps the list of them, in the order
    of the branches, with an ``ErrorInfo`` for each that failed and None for each that was cancelled. The actions of branches
    run side by side only in steps with ``concurrent=True``.
    """

    __slots__ = ("body", "fail_fast", "into", "join", "name", "tolerate", "was")

    def __init__(
        self,
        name: str,
        *branches: Branch,
        into: str | Callable[..., Any] | None = None,
        join: JoinRule = ALL,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.body: tuple[Statement, ...] = branches
        self.into = into
        self.join = join
        self.tolerate = tolerate
        self.fail_fast = fail_fast
        self.was = was


class Map(Statement):
    """Run the body for each item of a Sequence, each in a thread of its own, and go on when the join is met.

    The item is the branch's own object: actions may change it, and it is saved with the thread. ``max_concurrency`` is how
    many branches there are at once: the next one starts when one has ended. ``key`` names the branches (``map:key``), by
    default by their index. All else is as in ``Parallel``.
    """

    __slots__ = ("body", "fail_fast", "into", "items", "join", "key", "max_concurrency", "name", "tolerate", "was")

    def __init__(
        self,
        name: str,
        items: Any,
        *body: Statement,
        key: Callable[..., Any] | None = None,
        into: str | Callable[..., Any] | None = None,
        max_concurrency: int | None = None,
        join: JoinRule = ALL,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.items = items
        self.body = body
        self.key = key
        self.into = into
        self.max_concurrency = max_concurrency
        self.join = join
        self.tolerate = tolerate
        self.fail_fast = fail_fast
        self.was = was
