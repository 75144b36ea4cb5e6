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

from pydantic_core import from_json

from flowstmt.core.state import Thread
from flowstmt.errors import StateError, said
from flowstmt.fields import fields_of

__all__ = ["MISSING", "Backup", "Dumped", "copied_data"]

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


class Dumped:
    """The data of a workflow, and the arg and items of one of its threads, as a snapshot would hold them.

    For attempts that may fail: nearly all succeed, and to write data down takes a fraction of what copying them takes. What is
    put back is what a reload would give. Raises ``ValueError`` for data that can't be saved.
    """

    __slots__ = ("_arg", "_blob", "_items", "_thread", "_workflow")

    def __init__(self, workflow: Any, thread: Thread) -> None:
        self._workflow = workflow
        self._thread = thread
        self._blob = fields_of(type(workflow)).to_json(workflow)
        arg = thread.arg
        self._arg = arg if type(arg) in _UNCHANGING else deepcopy(arg)
        self._items = [deepcopy(frame.item) for frame in thread.frames] if thread.frames else ()

    def put_back(self) -> None:
        """Make the data what it was."""
        fields = fields_of(type(self._workflow))
        before = fields.from_json(self._blob, from_json(self._blob))
        for name in fields.names:
            object.__setattr__(self._workflow, name, getattr(before, name))
        self._thread.arg = self._arg
        for frame, item in zip(self._thread.frames, self._items, strict=True):
            frame.item = item
