"""A definition as JSON: every statement, in the order of the source; and a run of it."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_jsonable_python

from flowstmt.core.exits import Exit
from flowstmt.core.nodes import Node
from flowstmt.core.state import State
from flowstmt.core.statements import On
from flowstmt.core.undoing import Record
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.manners import shown_children
from flowstmt.describe.marks import Mark, standing
from flowstmt.describe.payloads import schemas_of
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.describe.wording import told_retry

__all__ = ["to_json"]

FORMAT = 1


def to_json(subject: Any, state: State | None = None) -> dict[str, Any]:
    """A definition as JSON: what a user interface draws, and what two versions of a definition are compared by.

    Every statement has ``type``, ``name`` (with its scopes; "" if it has none), ``was`` (all names under which older runs may
    hold it), what belongs to its type, and ``children``. Keys and statements have a fixed order. Callables are told by their
    names as ``{"function": ...}``, constants as ``{"value": ...}``, other values by their types as ``{"type": ...}``. An event
    has its ``payload`` and ``output`` as JSON Schemas, as in ``event_schemas``, unless the subject is a tree. ``retry`` is the
    policy of the class.

    With a state there is a ``run`` as well: its status and error, where each live thread stands and what it is about there
    (``attempt``, ``error``, ``next_attempt_at``, ``leaving``, ``undoing``, ``branches``, ``missing``, ``taken``), what would be
    undone or could not be, and its notes.

    Raises ``DefinitionError``, and ``PositionError`` if the state does not fit the definition.

    >>> from flowstmt import Step
    >>> to_json(Step("ship", print))["definition"]["action"]
    {'function': 'print'}
    """
    found = subject_of(subject)
    described = {
        "format": FORMAT,
        "workflow": None if found.cls is None else found.cls.__name__,
        "style": found.style,
        "retry": told_retry(found.program.retry),
        "definition": _statement(found, found.root),
    }
    return described if state is None else {**described, "run": _run(found, state)}


def _statement(subject: Subject, node: Node) -> dict[str, Any]:
    statement = subject.values[node.index]
    details = DESCRIBED[node.kind].details(node, statement)
    if node.kind is On and subject.cls is not None:
        details |= schemas_of(subject, node).to_json()
    return {
        "type": node.kind.__name__,
        "name": node.name,
        "was": list(node.old_names),
        **details,
        "children": [_statement(subject, child) for child in shown_children(node)],
    }


def _run(subject: Subject, state: State) -> dict[str, Any]:
    marks = standing(subject, state).marks
    run = {
        "id": state.run_id,
        "status": state.status,
        "revision": state.revision,
        "wake_at": state.wake_at,
        "result": state.result,
        "error": state.error,
        "threads": [_thread(mark) for mark in marks],
        "undo": [_record(record) for record in reversed(state.undo)],
        "notes": state.notes,
    }
    found: dict[str, Any] = to_jsonable_python(run)
    return found


def _thread(mark: Mark) -> dict[str, Any]:
    return {
        "id": mark.thread_id,
        "status": mark.status,
        "position": mark.position,
        "event": mark.event,
        "due_at": mark.due_at,
        "attempt": mark.attempt,
        "max_attempts": mark.max_attempts,
        "error": mark.error,
        "next_attempt_at": mark.next_at,
        "undoing": mark.undoing,
        "leaving": None if mark.exit is None else _leaving(mark.exit, mark.finally_of),
        "branches": mark.branches,
        "missing": list(mark.missing),
        "taken": list(mark.taken),
    }


def _leaving(exit_: Exit, finally_of: str | None) -> dict[str, Any]:
    """What a thread is on its way out for, and the Try whose finally holds it up."""
    return {"exit": exit_["exit"], "error": exit_.get("error"), "finally_of": finally_of}


def _record(record: Record) -> dict[str, Any]:
    """A step that would be undone, or could not be: then there is an error."""
    return {key: record.get(key) for key in ("step", "thread", "error")}
