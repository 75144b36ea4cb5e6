"""What an engine tells of runs, and what it makes of a workflow object to start one."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson
from pydantic_core import from_json

from flowstmt.core.state import OVER, ErrorInfo, WorkflowStatus
from flowstmt.engine.messages import read_error_info
from flowstmt.errors import ConflictError, RunCancelledError, RunFailedError, StateError, a_kind_of, listed, quoted
from flowstmt.stores.protocol import NewRun, StoredRun

__all__ = [
    "Page",
    "RunInfo",
    "cursor_of",
    "digest_of",
    "new_run_info",
    "outcome_of",
    "read_cursor",
    "refuse_another",
    "refuse_in_flight",
    "run_info",
]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it is stored.

    Attributes:
        run_id: Its id.
        workflow: The name of its workflow.
        version: The version of the workflow's class that its snapshot had when it last came to rest.
        status: ``Resuming`` while a worker moves it, or should; ``Paused`` also when it can't be moved, and ``error`` says why.
        position: Where its thread ``main`` stood when it last came to rest.
        revision: Rises with every checkpoint.
        attempts: The failed tries to move it since its last checkpoint.
        created_at: When it was started, by the database's clock, as all instants here. What ``start`` tells of a new run may be
            some milliseconds off: take it from ``get`` before you compare.
        updated_at: When it was saved last.
        wake_at: From when on a worker will move it; None if only a callback or a signal helps, and while it is owned.
        finished_at: When it was over.
        owner: The worker that moves it now.
        lease_until: Until when that worker need not be heard of before another takes over.
        error: How it failed, or why it was paused.
        labels: What it was started with.
        single_flight: The key of which no other run may be unfinished; None once it is over.
        parent: The run that started it.
        queue: The queue in which it stands, or stood.
        queue_key: Whose place it takes there.
        priority: The higher the sooner.
        snapshot: The document itself, for ``load``; None in lists.
    """

    run_id: str
    workflow: str
    version: int
    status: WorkflowStatus
    position: str
    revision: int
    attempts: int
    created_at: datetime
    updated_at: datetime
    wake_at: datetime | None = None
    finished_at: datetime | None = None
    owner: str | None = None
    lease_until: datetime | None = None
    error: ErrorInfo | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    single_flight: str | None = None
    parent: str | None = None
    queue: str | None = None
    queue_key: str | None = None
    priority: int = 0
    snapshot: bytes | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether it has finished, failed, or was cancelled."""
        return self.status in OVER


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs of a list.

    Attributes:
        runs: The runs, without their snapshots.
        next: What ``list(after=...)`` takes for those that follow; None if there are none.
    """

    runs: Sequence[RunInfo]
    next: str | None = None


def run_info(row: StoredRun) -> RunInfo:
    """A run as its row says."""
    return RunInfo(
        row.run_id,
        row.workflow,
        row.version,
        WorkflowStatus(row.status),
        row.position,
        row.revision,
        row.attempts,
        row.created_at,
        row.updated_at,
        row.wake_at,
        row.finished_at,
        row.owner,
        row.lease_until,
        read_error_info(row.error),
        dict(row.labels),
        row.single_flight,
        row.parent,
        row.queue,
        row.queue_key,
        row.priority,
        row.snapshot,
    )


def new_run_info(run: NewRun, now: datetime) -> RunInfo:
    """A run that was started just now."""
    return RunInfo(
        run.run_id,
        run.workflow,
        run.version,
        WorkflowStatus.Resuming,
        run.position,
        0,
        0,
        now,
        now,
        wake_at=None if run.worker is not None or run.queue is not None else run.start_at or now,
        owner=run.worker,
        lease_until=None if run.worker is None else now + run.lease,
        labels=dict(run.labels),
        single_flight=run.single_flight,
        parent=run.parent,
        queue=run.queue,
        queue_key=run.queue_key,
        priority=run.priority,
        snapshot=run.snapshot,
    )


# --- which runs are the same ---

_MOST_FIELDS = 40


def digest_of(snapshot: bytes, more: Mapping[str, str] | None = None) -> str:
    """What tells whether two starts mean the same run: a hash of each field of the data. So it can be said which differ."""
    data = {**from_json(snapshot)["data"], **(more or {})}
    if len(data) > _MOST_FIELDS:
        return orjson.dumps({"": _hash(data)}).decode()
    return orjson.dumps({name: _hash(value) for name, value in data.items()}).decode()


def _hash(value: Any) -> str:
    # In order, for dicts whose keys came in another one are equal.
    try:
        blob = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number past 64 bits, or a text that is no UTF-8, as they were each time
        blob = json.dumps(value, sort_keys=True).encode()
    return blake2b(blob, digest_size=6).hexdigest()


def refuse_another(run: NewRun, existing: StoredRun) -> None:
    """Raise ``ConflictError`` if the run that there is was started as something else.

    Fields that only one of the two knows are passed over: a class that has gained a field since is still the same workflow.
    """
    exists = f"run {run.run_id!r} exists already"
    todo = "Nothing was started: choose another run_id"
    if existing.workflow != run.workflow:
        raise ConflictError(f"{exists}, as a run of {existing.workflow}, not of {run.workflow}. {todo}")
    if existing.digest == run.digest:
        return
    ours, theirs = orjson.loads(run.digest), orjson.loads(existing.digest)
    common = [name for name in ours if name in theirs]
    differing = [repr(name) for name in common if ours[name] != theirs[name] and name]
    if differing:
        named = f"{'field' if len(differing) == 1 else 'fields'} {listed(differing)}"
        raise ConflictError(
            f"{exists}, and was started with other data: its {named} had other values then. {todo}, or hand in the same data "
            "to get the run that there is"
        )
    if not common or common == [""]:
        raise ConflictError(f"{exists}, and was started with other data. {todo}")


def refuse_in_flight(run: NewRun, existing: StoredRun) -> ConflictError:
    """The error for a second unfinished run of one ``single_flight`` key."""
    return ConflictError(
        f"run {run.run_id!r} was not started: the run {existing.run_id!r} of {run.workflow} is {existing.status}, and "
        f"single_flight={quoted(run.single_flight)} lets only one be unfinished. Wait for it, cancel it, or leave it at that"
    )


# --- how a run has ended ---


def outcome_of(row: StoredRun) -> Any:
    """What ``main`` of a run that is over returned. Raises ``RunFailedError`` or ``RunCancelledError``."""
    return _outcome(row.run_id, row.workflow, row.status, from_json(row.snapshot or b"{}")["state"], row.error)


def outcome_in(snapshot: bytes) -> Any:
    """The same for the last checkpoint of a run that is over."""
    state = from_json(snapshot)["state"]
    return _outcome(state["run_id"], state["workflow"], state["status"], state, None)


def _outcome(run_id: str, workflow: str, status: str, state: Mapping[str, Any], stored: bytes | None) -> Any:
    if status == WorkflowStatus.Finished:
        return state.get("result")
    error = ErrorInfo(**state["error"]) if state.get("error") else read_error_info(stored)
    said = "" if error is None else f": {error.message}"
    at = f" at {error.step!r}" if error is not None and error.step else ""
    if status == WorkflowStatus.Cancelled:
        raise RunCancelledError(f"run {run_id!r} of {workflow} was cancelled{at}{said}", run_id=run_id, error=error)
    kind = "" if error is None or error.type == error.step else f" with {error.type}"
    raise RunFailedError(f"run {run_id!r} of {workflow} failed{at}{kind}{said}", run_id=run_id, error=error)


# --- pages ---


def cursor_of(run: StoredRun) -> str:
    """Where the page after this run begins."""
    return urlsafe_b64encode(orjson.dumps([run.created_at.isoformat(), run.run_id])).decode().rstrip("=")


def read_cursor(cursor: Any) -> tuple[datetime, str]:
    """What ``cursor_of`` wrote. Raises ``StateError``."""
    if not isinstance(cursor, str):
        raise StateError(f"after must be the next of a Page, which is a text, not {a_kind_of(cursor)}")
    try:
        created_at, run_id = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return datetime.fromisoformat(created_at).astimezone(UTC), str(run_id)
    except (ValueError, TypeError) as error:
        raise StateError(f"after must be the next of a Page; {quoted(cursor)} is none") from error
