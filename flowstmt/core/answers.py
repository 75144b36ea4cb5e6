"""What the user's callables answer: conditions, items, ids, instants, values.

Rules:

1. An exception in one of them is a ``StepError`` that names the statement, with the original as its cause.
2. What they return is checked here, once: a condition that returns a function was not called, an awaitable not awaited.
3. A callable that takes one more argument than its style gives gets the innermost item.

What this module must not know: what the answers are for.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from inspect import iscoroutine
from typing import Any, Protocol

from flowstmt.core.agenda import Agenda
from flowstmt.core.calls import parameters
from flowstmt.core.limits import InTime
from flowstmt.core.nodes import Node
from flowstmt.core.program import Program
from flowstmt.core.state import Frame, State, Thread
from flowstmt.errors import StepError, a_kind_of, quoted, said

__all__ = ["Answers", "Values"]


_NONE: AbstractSet[str] = frozenset()

_PLAIN = frozenset((bool, type(None), int, str, float, list, tuple, dict, range, datetime, timedelta))
"""What is no function, and can't be awaited: nobody has to look closer."""


class Values(Protocol):
    """Turns values of the user's into what a reload would give."""

    def adapt(self, value: Any, wanted: Any) -> Any:
        """``value`` as it would be after a trip through JSON to the type ``wanted``. Raises ``ValueError``."""

    def restore(self, plain: Any, wanted: Any) -> Any:
        """The value of type ``wanted`` that the JSON value ``plain`` stands for. Raises ``ValueError``."""

    def for_field(self, value: Any, workflow: Any, field: str) -> Any:
        """``value`` as a reload would give it in that field of the workflow. Raises ``ValueError``."""


class Answers:
    """One run, its program, and the values of the latest build.

    A driver replaces ``values`` after data may have changed.
    """

    __slots__ = ("_adapt", "_agenda", "_base", "_frames", "in_flight", "in_time", "program", "state", "values", "workflow")

    def __init__(self, program: Program, values: list[Any], workflow: Any, state: State, adapt: Values) -> None:
        self.program = program
        self.values = values
        self.workflow = workflow
        self.state = state
        self._adapt = adapt
        self._base: tuple[Any, ...] = (workflow,) if program.class_style else ()
        # Those of the thread that is asked for: replaced, not changed, by whoever enters or leaves a loop.
        self._frames: list[Frame] = []
        # The births of the threads whose actions are under way beside others: whoever starts some puts a set here.
        self.in_flight: AbstractSet[str] = _NONE
        # What keeps the time of actions: whoever runs a program with timeouts puts it here.
        self.in_time: InTime | None = None
        # Which threads a round has to look at; None while nobody knows.
        self._agenda: Agenda | None = None

    def _arguments(self, thread: Thread, node: Node, call: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a callable: those given, and the item if it takes one more."""
        if node.item is not None and parameters(call).required == len(given) + 1:
            return (*given, self._item(thread, node))
        return given

    def arguments(self, thread: Thread, node: Node, call: Callable[..., Any], payload: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a handler."""
        self._frames = thread.frames
        return self._arguments(thread, node, call, (*self._base, *payload))

    def _item(self, thread: Thread, node: Node) -> Any:
        return thread.arg if node.item_frame < 0 else self._frames[node.item_frame].item

    def _value(self, thread: Thread, node: Node, role: str, value: Any) -> Any:
        """What a value or callable of a statement is now; ``role`` is what messages call it."""
        found = value
        if callable(value):
            try:
                found = value(*(self._base if node.item is None else self._arguments(thread, node, value, self._base)))
            except Exception as error:
                raise self._failed(thread, node, f"its {role} raised {said(error)}") from error
        if type(found) in _PLAIN:
            return found
        return self._answer(thread, node, found, role, callable(value))

    def _answer(self, thread: Thread, node: Node, found: Any, role: str, asked: bool) -> Any:
        if callable(found) or hasattr(type(found), "__await__"):
            if iscoroutine(found):
                found.close()
            what = f"its {role} returned" if asked else f"for its {role} it was given"
            raise self._failed(thread, node, f"{what} {a_kind_of(found)}: was a call or an await forgotten?")
        return found

    def _truth(self, thread: Thread, node: Node, cond: Any) -> bool:
        if node.item is None and callable(cond):
            try:
                found = cond(*self._base)
            except Exception as error:
                raise self._failed(thread, node, f"its condition raised {said(error)}") from error
            if found is True or found is False:
                return found
            found = self._answer(thread, node, found, "condition", True)
        elif cond is True or cond is False:  # as most are in instance style
            return cond
        else:
            found = self._value(thread, node, "condition", cond)
        if found is True or found is False:
            return found
        try:
            return bool(found)
        except Exception as error:
            raise self._failed(thread, node, f"its condition raised {said(error)}") from error

    def _instant(self, thread: Thread, node: Node, role: str, value: Any, now: datetime) -> datetime:
        found = self._value(thread, node, role, value)
        try:
            if isinstance(found, timedelta):
                return (thread.since or now) + found
            if isinstance(found, datetime) and found.utcoffset() is not None:
                return found.astimezone(UTC)
        except OverflowError as error:
            raise self._failed(thread, node, f"{role} {found!r} is past the end of the calendar") from error
        hint = ", which has no time zone" if isinstance(found, datetime) else ""
        raise self._failed(thread, node, f"{role} must be a timedelta or an aware datetime, not {quoted(found)}{hint}")

    def _adapted(self, thread: Thread, node: Node, what: str, value: Any) -> Any:
        """An item or arg as a reload would give it to those who take it."""
        return self._kept(thread, node, what, value, Any if node.own_item is None else node.own_item.type)

    def _plain(self, thread: Thread, node: Node, what: str, value: Any) -> Any:
        """A value as plain JSON."""
        return self._kept(thread, node, what, value, Any)

    def _kept(self, thread: Thread, node: Node, what: str, value: Any, wanted: Any) -> Any:
        try:
            return self._adapt.adapt(value, wanted)
        except ValueError as error:
            raise self._failed(thread, node, f"{what} can't be kept: {error}") from error

    def _failed(self, thread: Thread, node: Node, what: str) -> StepError:
        run_id = self.state.run_id
        # A Return has no name: its place tells it from others.
        return StepError(
            f"{self._where(thread)}: {node.label if node.name else node.place}: {what}{'' if what.endswith('?') else '.'} "
            "Mend that, load the run again and resume it: it goes on from its last checkpoint",
            step=node.name or node.label,
            run_id=run_id,
            thread_id=thread.id,
        )

    def _where(self, thread: Thread) -> str:
        return f"run {self.state.run_id!r}, thread {thread.id!r}"
