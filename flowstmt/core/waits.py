"""The cases of a Wait that time and conditions fire, beside ``Timeout``.

The rules of ``statements.py`` hold here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowstmt.core.statements import Statement

__all__ = ["Every", "When"]


class Every(Statement):
    """A reminder: a case of a ``Wait`` that runs its body again and again, and leaves the thread at the Wait.

    It fires a ``period`` after the thread got to the Wait, and then at each multiple of it. Those that were missed, because
    nobody resumed the run or the body took longer, are made up for by one. ``period`` is a ``timedelta`` or a callable that
    returns one, which is asked when the thread gets to the Wait and each time that it fires.
    """

    __slots__ = ("body", "name", "period", "was")
    scoped = False

    def __init__(
        self,
        name: str,
        period: timedelta | Callable[..., Any],
        *body: Statement,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.period = period
        self.body = body
        self.was = was


class When(Statement):
    """A case of a ``Wait`` that fires as soon as ``cond`` holds.

    ``cond`` is asked after each outcome of the run, and by each ``resume``, as that of a ``WaitFor`` is. A timer of the same
    Wait that is due comes first.
    """

    __slots__ = ("body", "cond", "name", "was")
    scoped = False

    def __init__(self, name: str, cond: Any, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.cond = cond
        self.body = body
        self.was = was
