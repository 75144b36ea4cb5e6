"""What ``legal`` answers: records, which are JSON as well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from flowstmt.core.state import CallbackRequest, ErrorInfo
from flowstmt.describe.payloads import Schema

__all__ = [
    "Legal",
    "LegalAction",
    "LegalCallback",
    "LegalCondition",
    "LegalMove",
    "LegalOutside",
    "LegalTimer",
]


@dataclass(frozen=True, slots=True)
class LegalCallback:
    """A callback that would be taken; ``request`` names this very stop, ready for ``handle_callback``.

    A thread in the body of a case that stays takes those of its Wait, too, and acts upon them when it is back. ``setup_data``
    is what the event's ``setup`` returned.
    """

    event: str
    wait: str
    thread_id: str
    pc: int
    birth: str
    payload: Schema
    payload_required: bool
    output: Schema
    request: CallbackRequest


@dataclass(frozen=True, slots=True)
class LegalTimer:
    """An instant that a thread waits for: ``type`` is Timeout, Every, Sleep, or Retry for the next attempt at what has failed.

    ``due_at`` is None for a case that the Wait has gained since the thread got there: its time begins at the next resume.
    A Retry says which ``attempt`` will be made, and the ``error`` of the last one.
    """

    type: str
    name: str
    wait: str | None
    thread_id: str
    due_at: datetime | None
    is_due: bool
    attempt: int | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class LegalCondition:
    """What a thread waits for: a ``condition``, by its name, at a WaitFor or a When; else the end of ``threads`` that live.

    For threads it waits at a ``Join``, a ``Parallel`` or a ``Map``, at a ``Saga`` whose threads end before it is undone, or, as
    ``main``, at the end of the run (``type`` is End).
    """

    type: str
    name: str
    thread_id: str
    condition: str | None
    threads: tuple[str, ...]
    wait: str | None = None


@dataclass(frozen=True, slots=True)
class LegalAction:
    """An action, the handler of a WaitFor, or what undoes a step (``type`` is Compensation), that ``resume`` would run."""

    type: str
    name: str
    thread_id: str
    action: str
    concurrent: bool
    pc: int
    birth: str
    attempt: int


@dataclass(frozen=True, slots=True)
class LegalMove:
    """A thread that ``resume`` would let go on: from the beginning, past ``position``, or by way of ``event``.

    ``leaving`` says that it does not go on, but out: for a failure, a cancellation ...
    """

    thread_id: str
    position: str
    event: str | None
    leaving: str | None = None


@dataclass(frozen=True, slots=True)
class LegalOutside:
    """A setup or teardown that ``resume`` would call."""

    type: str
    event: str
    wait: str
    thread_id: str
    due_at: datetime | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class Legal:
    """What may happen to a run at the instant ``now``.

    ``callbacks`` are those that would be taken, whatever their handlers and payloads say. ``timers`` and ``conditions`` are
    what parked threads wait for. ``actions`` (whose turn is next first), ``moves`` and ``outside`` are what ``resume`` would
    do by itself. Of a run that is over, nothing but teardowns can be left; of one that is paused, nothing but what its threads
    wait for is told.

    ``controls`` are the functions of ``flowstmt.control`` that would not be refused now: ``goto`` if there is a thread that it
    may move, whatever it is moved to.
    """

    run_id: str
    status: str
    revision: int
    now: datetime
    wake_at: datetime | None
    callbacks: tuple[LegalCallback, ...] = ()
    timers: tuple[LegalTimer, ...] = ()
    conditions: tuple[LegalCondition, ...] = ()
    actions: tuple[LegalAction, ...] = ()
    moves: tuple[LegalMove, ...] = ()
    outside: tuple[LegalOutside, ...] = ()
    controls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON: instants are texts, requests what ``CallbackRequest(**...)`` takes."""
        found: dict[str, Any] = to_jsonable_python(self)
        return found
