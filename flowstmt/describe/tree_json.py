"""A definition as JSON: every statement, in the order of the source."""

from __future__ import annotations

from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.statements import On
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.payloads import schemas_of
from flowstmt.describe.subjects import Subject, subject_of

__all__ = ["to_json"]

FORMAT = 1


def to_json(subject: Any) -> dict[str, Any]:
    """A definition as JSON: what a user interface draws, and what two versions of a definition are compared by.

    Every statement has ``type``, ``name`` (with its scopes; "" if it has none), ``was`` (all names under which older runs may
    hold it), what belongs to its type, and ``children``. Keys and statements have a fixed order. Callables are told by their
    names as ``{"function": ...}``, constants as ``{"value": ...}``, other values by their types as ``{"type": ...}``. An event
    has its ``payload`` and ``output`` as JSON Schemas, as in ``event_schemas``, unless the subject is a tree.

    Raises ``DefinitionError``.

    >>> from flowstmt import Step
    >>> to_json(Step("ship", print))["definition"]["action"]
    {'function': 'print'}
    """
    found = subject_of(subject)
    return {
        "format": FORMAT,
        "workflow": None if found.cls is None else found.cls.__name__,
        "style": found.style,
        "definition": _statement(found, found.root),
    }


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
        "children": [_statement(subject, child) for child in node.children],
    }
