"""Where the statements of a definition were made: file, line, and the call in the syntax tree.

The interpreter knows, so nothing is guessed from names: while the definition is built, a profile function looks at each
constructor that is entered, and at the frame that called it. This holds for statements that come from loops, from functions
and from modules, and it costs nothing to those who don't lint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_stack
from types import CodeType, FrameType, FunctionType
from typing import Any

from flowstmt.core.nodes import KINDS
from flowstmt.core.statements import Statement

__all__ = ["Site", "Sites", "watched"]

_CONSTRUCTORS = frozenset(kind.__init__.__code__ for kind in KINDS if isinstance(kind.__init__, FunctionType))
_HERE = frozenset(code.co_filename for code in _CONSTRUCTORS)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a statement was made.

    ``codes`` are the function and, if that is a lambda or a comprehension, those that called it, up to one with a name: one
    of them is around the other. ``workflow_names`` is what the last one calls the workflow or its class.
    """

    codes: tuple[CodeType, ...]
    line: int
    end: tuple[int, int] | None
    scope: dict[str, Any]
    workflow_names: frozenset[str]


class Sites:
    """The sites of the statements that were made while somebody watched."""

    def __init__(self, workflow: Any) -> None:
        self._known = (workflow, workflow if isinstance(workflow, type) else type(workflow))
        # With the statements themselves: another one could come to the same id.
        self._made: dict[int, tuple[Any, Site]] = {}
        self._positions: dict[CodeType, list[tuple[int | None, int | None, int | None, int | None]]] = {}

    def of(self, statement: Any) -> Site | None:
        """Where this statement was made; None if nobody watched, or it has no constructor of its own."""
        found = self._made.get(id(statement))
        return found[1] if found is not None else None

    def note(self, frame: FrameType, event: str, value: Any) -> None:
        """What the interpreter calls."""
        code = frame.f_code
        if event == "call" and code in _CONSTRUCTORS:
            self._made_by(frame, frame.f_locals["self"])
        elif event == "return" and isinstance(value, Statement) and code.co_filename in _HERE:
            # If.else_ and the like give a longer statement, which no constructor has made.
            shorter = self._made.get(id(frame.f_locals.get("self")))
            if shorter is not None and id(value) not in self._made:
                self._made[id(value)] = (value, shorter[1])

    def _made_by(self, frame: FrameType, statement: Any) -> None:
        # The constructor of a subclass is passed over, and an If that makes its Case.
        callers = (found for found, _ in walk_stack(frame.f_back) if found.f_code.co_filename not in _HERE)
        caller = next(found for found in callers if found.f_locals.get("self") is not statement)
        if caller.f_code not in self._positions:
            self._positions[caller.f_code] = list(caller.f_code.co_positions())
        _, end_line, _, end_column = self._positions[caller.f_code][caller.f_lasti // 2]
        end = None if end_line is None or end_column is None else (end_line, end_column)
        function, codes = caller, [caller.f_code]
        while function.f_code.co_name.startswith("<") and function.f_back is not None and _same_file(function.f_back, caller):
            function = function.f_back
            codes.append(function.f_code)
        # Parameters alone: Python 3.13.0 dies when it is asked for all variables of a frame in a comprehension.
        code, variables = function.f_code, function.f_locals
        mine = (*code.co_varnames[: code.co_argcount], *code.co_freevars)
        names = {name for name in mine if any(variables.get(name) is known for known in self._known)}
        site = Site(tuple(codes), caller.f_lineno, end, function.f_globals, frozenset(names))
        self._made[id(statement)] = (statement, site)


def _same_file(frame: FrameType, other: FrameType) -> bool:
    return frame.f_code.co_filename == other.f_code.co_filename


@contextmanager
def watched(workflow: Any) -> Iterator[Sites]:
    """Look at all statements that are made meanwhile in this thread."""
    sites = Sites(workflow)
    before = sys.getprofile()
    sys.setprofile(sites.note)
    try:
        yield sites
    finally:
        sys.setprofile(before if callable(before) else None)
        if before is not None and not callable(before):
            before.enable()  # cProfile, which is no function and can't be put back as one
