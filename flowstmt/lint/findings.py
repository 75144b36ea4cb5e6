"""What lint finds, and the table of all that it can find.

Rules:

1. A code is for ever: it stands in comments and in the settings of other people. One that is given up is not used again.
2. A finding says where, what happens, and what to do about it. It never quotes data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CODES", "Finding", "Span"]

CODES: Mapping[str, str] = {
    "FS001": "an ignore comment that silences nothing",
    "FS002": "a fault: the definition can't be linked",
    "FS101": "a wait without a way out in time",
    "FS102": "a WaitFor that no other thread can end",
    "FS103": "a Timeout that falls through into the path of success",
    "FS201": "a way out of a Saga that leaves its effects",
    "FS202": "a step in a Saga without compensation",
    "FS203": "a failure that nobody takes",
    "FS301": "a field that threads overwrite for each other",
    "FS302": "a step of a branch that has to wait for its turn",
    "FS303": "a concurrent action that changes data",
    "FS401": "a statement that nothing leads to",
    "FS402": "a catch that another one hides",
    "FS501": "chance or the clock in a definition",
    "FS502": "a captured loop variable",
    "FS503": "a condition that is a method and not its answer",
}
"""Every code, and what it means in a few words; ``docs/lint.md`` has an example and the cure of each."""


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of a file in which a comment is about a finding."""

    file: str
    lines: frozenset[int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that will probably not do what was meant.

    Attributes:
        code: One of ``CODES``.
        workflow: The name of the class, or "definition" for a tree without one.
        place: The statement, from the inside out; "definition()" for what belongs to none.
        message: What happens.
        cure: What to do about it.
        file: The file with the statement, or the expression; None where the source is not known.
        line: Its line there.
    """

    code: str
    workflow: str
    place: str
    message: str
    cure: str
    file: str | None = None
    line: int | None = None
    spans: tuple[Span, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file is not None else ""
        return f"{where}{self.code} {self.workflow}: {self.place}: {self.message}. {self.cure}"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        keys = ("code", "workflow", "place", "message", "cure", "file", "line")
        return {key: getattr(self, key) for key in keys}
