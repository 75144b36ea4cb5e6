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
from flowstmt.errors import StateError
from flowstmt.fields import fields_of

__all__ = ["UNCHANGING", "Backup"]

UNCHANGING = frozenset(
    (int, str, bool, float, type(None), bytes, complex, Decimal, datetime, date, time, timedelta, UUID, range, object)
)
"""Types whose values nobody can change."""
_MISSING: Any = object()
"""The value of a field that has none."""


class Backup:
    """The data of a workflow, and the arg and items of one of its threads, as they are now."""

    __slots__ = ("_arg", "_items", "_thread", "_values", "_workflow")

    def __init__(self, workflow: Any, thread: Thread) -> None:
        self._workflow = workflow
        self._thread = thread
        # One memo for all: what two fields share they share afterwards, too.
        memo: dict[int, Any] = {}
        values: dict[str, Any] = {}
        self._values = values
        name = ""
        try:
            for name in fields_of(type(workflow)).names:
                value = getattr(workflow, name, _MISSING)
                values[name] = value if type(value) in UNCHANGING else deepcopy(value, memo)
        except Exception as error:
            raise StateError(
                f"{type(workflow).__name__}.{name} can't be copied ({error}), so a call that fails could not be undone: keep "
                'it out of the data with field(metadata={"transient": True})'
            ) from error
        self._arg = None if thread.arg is None else deepcopy(thread.arg, memo)
        self._items = [(frame, deepcopy(frame.item, memo)) for frame in thread.frames] if thread.frames else ()

    def put_back(self) -> None:
        """Make the data what it was."""
        for name, value in self._values.items():
            if value is not _MISSING:
                object.__setattr__(self._workflow, name, value)
            elif hasattr(self._workflow, name):
                object.__delattr__(self._workflow, name)
        self._thread.arg = self._arg
        for frame, item in self._items:
            frame.item = item
