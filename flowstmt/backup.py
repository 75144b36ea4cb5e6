"""Data as it was before a call that may have to be undone.

Values that nobody can change are kept as they are, all others are copied. Transient fields are not data: they hold
clients and the like, and stay.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowstmt.core.state import Thread
from flowstmt.errors import StateError, said
from flowstmt.fields import fields_of

__all__ = ["MISSING", "Backup", "copied_data"]

_UNCHANGING = frozenset(
    (int, str, bool, float, type(None), bytes, complex, Decimal, datetime, date, time, timedelta, UUID, range, object)
)
MISSING: Any = object()
"""The value of a field that has none."""


def copied_data(workflow: Any, memo: dict[int, Any], otherwise: str) -> dict[str, Any]:
    """The saved fields of a workflow, as values of their own; ``MISSING`` for a field that has none.

    One ``memo`` for all that is copied together: what two fields share they share afterwards, too. Raises ``StateError``,
    which says that ``otherwise`` is what a field that can't be copied leads to.
    """
    values: dict[str, Any] = {}
    name = ""
    try:
        for name in fields_of(type(workflow)).names:
            value = getattr(workflow, name, MISSING)
            values[name] = value if type(value) in _UNCHANGING else deepcopy(value, memo)
    except Exception as error:
        raise StateError(
            f"{type(workflow).__name__}.{name} can't be copied ({said(error)}), so {otherwise}: keep it out of the data with "
            'field(metadata={"transient": True})'
        ) from error
    return values


class Backup:
    """The data of a workflow, and the arg and items of one of its threads, as they are now."""

    __slots__ = ("_arg", "_items", "_thread", "_values", "_workflow")

    def __init__(self, workflow: Any, thread: Thread) -> None:
        self._workflow = workflow
        self._thread = thread
        memo: dict[int, Any] = {}
        self._values = copied_data(workflow, memo, "a call that fails could not be undone")
        self._arg = None if thread.arg is None else deepcopy(thread.arg, memo)
        self._items = [(frame, deepcopy(frame.item, memo)) for frame in thread.frames] if thread.frames else ()

    def put_back(self) -> None:
        """Make the data what it was."""
        for name, value in self._values.items():
            if value is not MISSING:
                object.__setattr__(self._workflow, name, value)
            elif hasattr(self._workflow, name):
                object.__delattr__(self._workflow, name)
        self._thread.arg = self._arg
        for frame, item in self._items:
            frame.item = item
