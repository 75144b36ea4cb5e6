"""A copy of the data for an action that runs beside others.

Theory: such an action may be under way while others change the data and save them. If it read the data themselves, it
could find half of a change; if it changed them, a snapshot could hold half of its own. So it gets a copy: what it reads is
the data as they were when it began, and what it changes would be lost. That must not happen in silence: the copy is
compared afterwards.

Transient fields are not data: they hold clients, locks and the like, and are shared.
"""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

import orjson
from pydantic_core import from_json

from flowstmt.backup import MISSING, copied_data
from flowstmt.codec import Codec
from flowstmt.core.state import Thread
from flowstmt.errors import StateError, a_kind_of, said
from flowstmt.fields import fields_of

__all__ = ["Twin"]

_codec = Codec()


class Twin:
    """``workflow`` and ``thread``: copies that share nothing which could be saved. Raises ``StateError``."""

    __slots__ = ("_before", "thread", "workflow")

    def __init__(self, workflow: Any, thread: Thread) -> None:
        memo: dict[int, Any] = {}
        values = copied_data(workflow, memo, "a concurrent step can't have a copy of the data")
        try:
            twin = copy(workflow)
        except Exception as error:
            raise StateError(
                f"copying {a_kind_of(workflow)} for a concurrent step raised {said(error)}: let its class be copied, or leave "
                "out concurrent=True"
            ) from error
        for name, value in values.items():
            if value is not MISSING:
                object.__setattr__(twin, name, value)
        self.workflow = twin
        self.thread = copy(thread)
        self.thread.arg = deepcopy(thread.arg, memo)
        self.thread.frames = deepcopy(thread.frames, memo)
        self._before = self._saved()

    def changed(self) -> list[str]:
        """The names of what the action changed in its copy: fields, "its arg", "its item". Raises ``StateError``."""
        after = self._saved()
        if after == self._before:
            return []
        data, data_before = from_json(after[0]), from_json(self._before[0])
        # By what they look like: 1, 1.0 and True are equal, and so are dicts whose keys stand in another order.
        names = [f"field {name!r}" for name in data if repr(data[name]) != repr(data_before.get(name))]
        names += ["its arg"] if after[1] != self._before[1] else []
        return names + (["its item"] if after[2:] != self._before[2:] else [])

    def _saved(self) -> list[bytes]:
        """What a snapshot would hold of the copies."""
        values = [self.thread.arg, *(frame.item for frame in self.thread.frames)]
        try:
            return [fields_of(type(self.workflow)).to_json(self.workflow), *(orjson.dumps(_codec.encode(v)) for v in values)]
        except ValueError as error:
            raise StateError(f"its arg or item can't be saved: {error}") from error
