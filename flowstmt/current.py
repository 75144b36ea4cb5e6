"""What the code that a driver calls may know of the run: ``current()``.

An action gets its data from ``self`` and its item as an argument. Everything else it might need, an idempotency key
above all, is here, so that it need not be threaded through every function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal

from flowstmt.core.state import Frame, State
from flowstmt.errors import FlowstmtError

__all__ = ["CURRENT", "Current", "Kind", "current"]

Kind = Literal["action", "handler", "setup", "teardown", "save"]


class Current:
    """The call that is being made: see ``current``."""

    __slots__ = (
        "_arg",
        "_deps",
        "_event",
        "_frames",
        "_go",
        "_now",
        "_state",
        "attempt",
        "birth",
        "kind",
        "pc",
        "position",
        "thread_id",
        "workflow",
    )

    def __init__(
        self,
        workflow: Any,
        state: State,
        kind: Kind,
        now: datetime,
        deps: Any,
        stop: tuple[str, str, str, int],
        attempt: int = 1,
        event: str = "",
        items: tuple[list[Frame], str, Any] | None = None,
    ) -> None:
        self.workflow = workflow
        self.kind = kind
        self.attempt = attempt
        self.thread_id, self.position, self.birth, self.pc = stop
        self._state = state
        self._now = now
        self._deps = deps
        self._event = event
        self._frames: list[Frame]
        self._go: str
        self._arg: Any
        self._frames, self._go, self._arg = items or ([], "", None)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._state.run_id

    @property
    def now(self) -> datetime:
        """The instant (aware, UTC) at which the driver made this call; what was given to it as ``now``."""
        return self._now

    @property
    def idempotency_key(self) -> str:
        """Names this call for ever: the same when it is made again after a crash, another for every other call.

        Hand it to the service that you call, so that it does the work once.
        """
        event = f":{self._event}" if self._event else ""
        return f"{self.run_id}:{self.birth}:{self.pc}:{self.kind}{event}"

    @property
    def deps(self) -> Any:
        """What was given to the driver as ``deps``. Raises ``FlowstmtError`` if nothing was."""
        if self._deps is None:
            raise FlowstmtError(
                f"run {self.run_id!r}: {self.kind} at {self.position!r} asked for deps, but none were given: call the "
                "driver with deps=..."
            )
        return self._deps

    def item(self, name: str | None = None) -> Any:
        """The innermost item, or that of the ForEach or Go called ``name``. Raises ``FlowstmtError`` if there is none."""
        known = dict(self._items())
        if name is None and known:
            return next(reversed(known.values()))
        if name in known:
            return known[name]
        wanted = "an item" if name is None else f"the item of {name!r}"
        raise FlowstmtError(
            f"run {self.run_id!r}: {self.kind} at {self.position!r} asked for {wanted}; it has "
            f"{', '.join(map(repr, known)) or 'none'}"
        )

    def _items(self) -> Iterator[tuple[str, Any]]:
        if self._go:
            yield self._go, self._arg
        for frame in self._frames:
            yield frame.statement, frame.item


CURRENT: ContextVar[Current | None] = ContextVar("flowstmt.current", default=None)


def current() -> Current:
    """The call that is being made, for actions, handlers, setups, teardowns and ``save``.

    It holds ``workflow``, ``run_id``, ``thread_id``, ``kind`` ("action", "handler", "setup", "teardown"; "save" inside
    ``save``), ``position``, ``attempt``, ``idempotency_key``, ``item(name=None)``, ``now`` and ``deps``.
    Raises ``FlowstmtError`` outside of such a call, in conditions too.

    >>> from dataclasses import dataclass
    >>> from flowstmt import State, Step, resume
    >>> @dataclass
    ... class Charge:
    ...     def definition(self):
    ...         return Step("charge", self.charge)
    ...
    ...     def charge(self):
    ...         print(current().position, current().attempt)
    >>> resume(Charge(), State.new("r1", "Charge"))
    charge 1
    <WorkflowStatus.Finished: 'Finished'>
    """
    found = CURRENT.get()
    if found is None:
        raise FlowstmtError(
            "current() is valid inside actions, handlers, setups, teardowns and save, while a driver calls them; "
            "not in conditions, and not in threads or tasks that these leave behind"
        )
    return found
