"""The rows of a store in memory, and which of them a query means."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flowstmt.core.state import WorkflowStatus
from flowstmt.stores.protocol import HistoryRow, Message, MessageStatus, NewRun, Published, RunQuery, Save, StoredRun, Write

__all__ = [
    "Admissions",
    "Mail",
    "Run",
    "check",
    "is_after",
    "is_due",
    "is_leased",
    "matches",
    "messages_of",
    "remember",
    "utc_now",
]


@dataclass(slots=True)
class Run:
    """One row. ``due_at`` is the one column for work: the end of the lease while somebody has one, else when it is due."""

    run_id: str
    workflow: str
    version: int
    digest: str
    snapshot: bytes
    position: str
    start_at: datetime
    created_at: datetime
    updated_at: datetime
    labels: Mapping[str, str]
    single_flight: str | None
    parent: str | None
    queue: str | None
    queue_key: str | None
    priority: int
    placed: bool | None
    """Whether it has a place in its queue, or waits for one (False). None: it needs none."""
    status: str = WorkflowStatus.Resuming
    revision: int = 0
    attempts: int = 0
    due_at: datetime | None = None
    wake_at: datetime | None = None
    """When it would be due without its new messages."""
    finished_at: datetime | None = None
    owner: str | None = None
    fence: int = 0
    error: bytes | None = None
    messages: dict[str, Mail] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    history: dict[tuple[int, str, int, datetime], HistoryRow] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)

    def stored(self, snapshot: bytes | None = None) -> StoredRun:
        """As the protocol tells of it."""
        owned = self.owner is not None
        return StoredRun(
            run_id=self.run_id,
            workflow=self.workflow,
            version=self.version,
            status=self.status,
            position=self.position,
            revision=self.revision,
            attempts=self.attempts,
            created_at=self.created_at,
            updated_at=self.updated_at,
            wake_at=None if owned else self.due_at,
            finished_at=self.finished_at,
            owner=self.owner,
            lease_until=self.due_at if owned else None,
            fence=self.fence,
            digest=self.digest,
            error=self.error,
            labels=dict(self.labels),
            single_flight=self.single_flight,
            parent=self.parent,
            queue=self.queue,
            queue_key=self.queue_key,
            priority=self.priority,
            snapshot=snapshot,
        )


@dataclass(slots=True)
class Mail:
    """A message, with the answer that it got."""

    message: Message
    answer: bytes | None = None


@dataclass(slots=True)
class Admissions:
    """When runs of a queue were let in, for its rate."""

    instants: deque[datetime] = field(default_factory=deque)


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


def is_leased(run: Run, now: datetime) -> bool:
    """Whether somebody owns it whose lease has not run out."""
    return run.owner is not None and run.due_at is not None and run.due_at > now


def is_due(run: Run, now: datetime) -> bool:
    """Whether its instant has come."""
    return run.due_at is not None and run.due_at <= now


def messages_of(run: Run, status: MessageStatus) -> Iterator[Message]:
    """Its messages of one status, in the order in which they came."""
    return (mail.message for mail in run.messages.values() if mail.message.status == status)


def remember(run: Run, rows: Sequence[HistoryRow]) -> None:
    """Keep attempts, each once."""
    for row in rows:
        attempt = (row.revision, row.thread_id, row.attempt, row.started_at)
        run.history.setdefault(attempt, replace(row, started_at=row.started_at.astimezone(UTC)))


def is_after(query: RunQuery, created_at: datetime, run_id: str) -> bool:
    """Whether a run comes after the last one of the page before, and was created within the bounds."""
    return (
        (query.after is None or (created_at, run_id) < query.after)
        and (query.created_from is None or created_at >= query.created_from)
        and (query.created_before is None or created_at < query.created_before)
    )


def matches(query: RunQuery, run: Run) -> bool:
    """Whether a query means a run, as to all but when it was created."""
    wake_at = run.due_at if run.owner is None else None
    return (
        (query.workflow is None or run.workflow == query.workflow)
        and (query.status is None or run.status == query.status)
        and (query.position is None or run.position == query.position)
        and (query.label is None or run.labels.get(query.label[0]) == query.label[1])
        and (query.parent is None or run.parent == query.parent)
        and (query.queue is None or run.queue == query.queue)
        and (query.wake_before is None or (wake_at is not None and wake_at < query.wake_before))
    )


def check(write: Write) -> None:
    """Refuse what no database could keep: text that is not Unicode."""
    match write:
        case NewRun():
            texts = [write.run_id, write.workflow, write.position, *write.labels, *write.labels.values()]
        case Save() if write.rest is not None:
            texts = [write.rest.position]
        case Message():
            texts = [write.id, write.key or ""]
        case _:
            texts = []
    for text in texts:
        text.encode()
