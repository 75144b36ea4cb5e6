"""From a workflow object to a new run: what is written, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import uuid4

from flowstmt.control import goto
from flowstmt.core.program import program_for
from flowstmt.core.state import State, aware, is_text
from flowstmt.engine.catalogue import Catalogue
from flowstmt.engine.queues import Queue, queue_named
from flowstmt.engine.runs import digest_of, refuse_another, refuse_in_flight
from flowstmt.errors import StateError, a_kind_of, quoted
from flowstmt.snapshot import dump, load
from flowstmt.stores.protocol import NewRun, Started, StoredRun

__all__ = ["Starting", "settled"]


class Starting:
    """Makes new runs for the workflows and queues of an engine."""

    def __init__(self, catalogue: Catalogue, queues: Mapping[str, Queue]) -> None:
        self._catalogue = catalogue
        self._queues = queues

    def new_run(
        self,
        workflow: Any,
        *,
        run_id: str | None,
        labels: Mapping[str, str] | None,
        single_flight: str | None,
        queue: str | None,
        queue_key: str | None,
        priority: int | None,
        start_at: datetime | None,
    ) -> NewRun:
        """The run of a workflow object. Raises ``StateError`` or ``DefinitionError``; nothing is written."""
        if isinstance(workflow, type):
            raise StateError(f"start takes an object of the workflow, not {a_kind_of(workflow)}: it is the data to begin with")
        name = self._catalogue.name_of(type(workflow))
        state = State.new(str(uuid4()) if run_id is None else run_id, name)
        run = f"run {state.run_id!r}"
        # A definition with a fault is refused here: later nobody would be there to be told.
        program_for(workflow, state.run_id)
        snapshot = dump(workflow, state)
        if queue is None and (queue_key is not None or priority is not None):
            raise StateError(f"{run}: queue_key and priority mean something in a queue only: give queue= too")
        if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
            raise StateError(f"{run}: priority must be a whole number, not {quoted(priority)}")
        if queue is not None and priority is None:
            priority = queue_named(self._queues, queue).priority
        elif queue is not None:
            queue_named(self._queues, queue)
        return NewRun(
            state.run_id,
            name,
            self._catalogue.known()[name],
            snapshot,
            digest_of(snapshot),
            start_at=None if start_at is None else aware(start_at, f"{run}: start_at"),
            labels=_labels(labels, run),
            single_flight=_text(single_flight, f"{run}: single_flight"),
            queue=queue,
            queue_key=_text(queue_key, f"{run}: queue_key"),
            priority=priority or 0,
        )

    def forked_run(self, row: StoredRun, position: str, new_run_id: str | None) -> NewRun:
        """A run with the data of another one as they are now, whose main is about to stand at a position."""
        workflow, _ = load(self._catalogue.class_of(row.workflow), row.snapshot or b"")
        name = self._catalogue.name_of(type(workflow))
        state = State.new(str(uuid4()) if new_run_id is None else new_run_id, name)
        before = dump(workflow, state)
        goto(workflow, state, "main", position, reason=f"forked from the run {row.run_id!r}")
        digest = digest_of(before, {"from_position": position})
        version = self._catalogue.known()[name]
        return NewRun(state.run_id, name, version, dump(workflow, state), digest, position=position, labels=dict(row.labels))


def settled(run: NewRun, started: Started) -> StoredRun | None:
    """The run that there is, if it is the same one; None if the new one was started. Raises ``ConflictError``."""
    if started.created:
        return None
    assert started.existing is not None  # what is in the way is told
    if started.in_flight:
        raise refuse_in_flight(run, started.existing)
    refuse_another(run, started.existing)
    return started.existing


def _labels(labels: Any, run: str) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise StateError(f"{run}: labels must be names and values, all of them texts, not {a_kind_of(labels)}")
    for part in chain.from_iterable(labels.items()):
        if not is_text(part):
            raise StateError(f"{run}: labels must be names and values, all of them texts; {quoted(part)} is none")
    return dict(labels)


def _text(value: Any, what: str) -> str | None:
    if value is not None and (not is_text(value) or not value):
        raise StateError(f"{what} must be a text that is not empty, not {quoted(value)}")
    found: str | None = value
    return found
