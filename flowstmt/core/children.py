"""The statement that starts another run and waits for its end.

The rules of ``statements.py`` hold here as well.

A Call is a Wait whose one case is given: the end of the child. Setting it up is starting the child, tearing it down is
cancelling it; so that both are tried again after a failure or a crash is what is known of every event.

What this module must not know: who starts runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flowstmt.core.state import CallbackRequest, ErrorInfo
from flowstmt.core.statements import Event, On, Statement
from flowstmt.errors import FlowstmtError

__all__ = ["CHILD_ENDED", "Call", "ChildEnd", "child_of", "child_run_id", "parent_of"]


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child run has ended: the payload of the event ``CHILD_ENDED``.

    Attributes:
        status: The status of the child.
        result: What its ``main`` returned, as plain JSON values.
        error: Why it failed, or was cancelled.
    """

    status: Literal["Finished", "Failed", "Cancelled"]
    result: Any = None
    error: ErrorInfo | None = None


class _Child:
    """What is outside: nobody, unless an ``invoke`` hook does this instead."""

    type = "Call"

    def setup(self, request: CallbackRequest) -> str:
        raise FlowstmtError(
            f"run {request.run_id!r}: nobody starts the child run {child_of(request)!r}: let an Engine move the run, or hand "
            "the drivers an invoke= that starts current.child as current.child_run_id instead of calling this"
        )

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        raise FlowstmtError(
            f"run {request.run_id!r}: nobody cancels the child run {child_of(request)!r}: let an Engine move the run, or hand "
            "the drivers an invoke= that cancels current.child_run_id instead of calling this"
        )


CHILD_ENDED: Event[ChildEnd, None] = Event("child:ended", ChildEnd)
"""By a name that no event of a user's can have."""

_BIRTH = re.compile("[0-9a-f]{16}")

_CASE = On(CHILD_ENDED, via=_Child())


class Call(Statement):
    """Start another run, a child, and park until it is over; its result goes into the field (or setter) ``into``.

    ``workflow`` is the child's workflow object, or a callable that makes it, which is asked when the child is to be started.
    It is started once, under an id that is made of the run's own (``current().child_run_id``), whatever crashes in between.

    A child that fails or is cancelled is a failure of the ``Call`` that is final: a ``ChildError``, which a ``Try`` may catch
    by that class, or by the name of the child's error or ``"Cancelled"``. A child for which nobody waits any more, because
    the thread or the run was cancelled or has failed, is cancelled. Starting and cancelling take an ``Engine``.
    """

    __slots__ = ("body", "into", "name", "was", "workflow")
    opaque = True

    def __init__(
        self,
        name: str,
        workflow: Any,
        into: str | Callable[..., Any] | None = None,
        *,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.workflow = workflow
        self.into = into
        self.was = was
        self.body: tuple[Statement, ...] = (_CASE,)


def child_run_id(run_id: str, birth: str, pc: int) -> str:
    """The id of the child that is started at a stop: the same after a crash, another one for every other stop."""
    return f"{run_id}:{birth}:{pc}"


def parent_of(run_id: str) -> tuple[str, str, int] | None:
    """Of a child's run id that of its parent, and the birth and pc of the stop at which it was started; None of any other."""
    parent, _, stop = run_id.rpartition(":")
    parent, _, birth = parent.rpartition(":")
    if not parent or _BIRTH.fullmatch(birth) is None or not (stop.isascii() and stop.isdigit()):
        return None
    return parent, birth, int(stop)


def child_of(request: CallbackRequest) -> str:
    """The id of the child whose end a request stands for."""
    return child_run_id(request.run_id or "", request.birth or "", request.pc or 0)
