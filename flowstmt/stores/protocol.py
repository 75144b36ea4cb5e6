"""What an engine needs of a database. Who writes a store of their own follows this, and runs ``flowstmt.testing.store_suite``.

Rules:

1. **One writer a run.** Whoever moves a run holds a lease on it: ``claim`` (or a ``NewRun`` with a worker) gives it, with a
   fencing token that rises by one each time. A ``Save`` or ``Setback`` whose fence is not the stored one changes nothing and
   is answered ``False``. Lease time is the database's clock, so that workers whose clocks differ agree.
2. **One commit.** ``commit`` makes all writes durable in one transaction, or none; it returns when they are. Each write has
   its own answer: a ``Save`` without a lease does not keep its neighbours from being saved. Each write is idempotent: after
   a commit whose outcome is unknown (a ``StoreError`` with ``retry``) the engine hands in the same writes again. What has
   happened since must not be undone by that: a ``Save`` or ``Setback`` that has already given up its lease is answered
   ``True`` and changes nothing. Only a ``Publication`` may be told twice. A write whose content the database refuses (a name
   that it can't keep, say) is answered with the exception, and its neighbours are made.
3. **Senders lock no run.** A message is a row of its own. It is ``new`` until the owner of its run has seen it; ``claim``
   treats a run with a new message as due (unless it is paused), and ``rest`` with unseen new messages leaves the run due.
   A run that waits in a queue is not due, whatever it was sent, until ``admit`` has let it in.
4. **Threads.** The engine calls ``commit``, ``claim``, ``renew``, ``admit`` and ``purge`` from one thread, the reading methods
   from a second, ``wait`` from a third and ``transaction`` from any. They must not keep each other waiting longer than a
   transaction takes.

All instants are aware and in UTC. Documents (``bytes``) are UTF-8 JSON, and come back as the same JSON value; a snapshot comes
back byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

__all__ = [
    "Claimed",
    "Claims",
    "HistoryRow",
    "Message",
    "MessageKind",
    "MessageStatus",
    "NewRun",
    "Outcome",
    "Posted",
    "Publication",
    "Published",
    "QueueLimits",
    "Release",
    "Renewal",
    "Rest",
    "RunQuery",
    "Save",
    "Setback",
    "Started",
    "Store",
    "StoredRun",
    "Taken",
    "Transaction",
    "Withdrawal",
    "Write",
]


class MessageKind(StrEnum):
    """What a message is."""

    callback = "callback"
    """Somebody waits for the answer."""
    signal = "signal"
    """Kept until a Wait takes it."""
    control = "control"
    """Pause, cancel, goto ...; somebody may wait for the answer."""


class MessageStatus(StrEnum):
    """How far a message has got."""

    new = "new"
    """The owner of its run has not seen it."""
    kept = "kept"
    """Seen; nobody waits for it yet."""
    done = "done"
    """Taken, or refused: it has its answer."""
    dead = "dead"
    """A dead letter: it can't be delivered, and its answer says why. Its body is kept."""


# --- writes ---


@dataclass(slots=True)
class NewRun:
    """Start a run, unless there is one of this id. Answered with ``Started``.

    With a ``worker`` it is born with that worker's lease, fence 1; otherwise it is due at ``start_at`` (None: at once), or, in
    a queue, once ``admit`` lets it in, which is not before ``start_at`` either. Messages that come before do not wake it.
    ``digest`` tells whether two starts mean the same run. While the run is not over, no other of the same workflow and
    ``single_flight`` key can be started.
    """

    run_id: str
    workflow: str
    version: int
    snapshot: bytes
    digest: str
    position: str = ""
    start_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    single_flight: str | None = None
    parent: str | None = None
    queue: str | None = None
    queue_key: str | None = None
    priority: int = 0
    worker: str | None = None
    lease: timedelta = timedelta(seconds=30)


@dataclass(slots=True)
class Message:
    """Post a message to a run. Answered with ``Posted``. ``id`` is the sender's, unique for ever; ``key`` is unique in its run.

    A message whose key the run has had, delivered or not, is a duplicate.
    """

    id: str
    run_id: str
    kind: MessageKind
    body: bytes
    key: str | None = None
    created_at: datetime | None = None
    """Filled in by the store."""
    status: MessageStatus = MessageStatus.new


@dataclass(slots=True)
class Taken:
    """What became of a message, as part of a ``Save``. ``answer`` is kept for whoever posted it."""

    id: str
    status: MessageStatus
    answer: bytes | None = None


@dataclass(slots=True)
class HistoryRow:
    """One attempt at a step. Unique by revision, thread, attempt and start; a second one is the same again, and ignored."""

    revision: int
    thread_id: str
    position: str
    attempt: int
    started_at: datetime
    duration: timedelta
    error: str | None = None


@dataclass(slots=True)
class Rest:
    """What a run is at rest: the lease is given up with the save, and the run is due at ``wake_at`` (None: never by itself).

    ``status`` is the word of a ``WorkflowStatus``. A run that is over gives up its ``single_flight`` key and its place in its
    queue, and gets a ``finished_at``; one that is Paused gives up its place. ``version`` is that of the snapshot, by which
    ``claim`` goes from then on (None: as it was).
    """

    status: str
    position: str
    wake_at: datetime | None
    error: bytes | None = None
    version: int | None = None


@dataclass(slots=True)
class Save:
    """A checkpoint: the snapshot, and all that has to be saved with it. Answered ``True``, or ``False`` if the lease is lost.

    It sets ``attempts`` to 0 and clears the run's error. Without ``rest`` the lease stays, and nothing that is indexed changes.
    """

    run_id: str
    fence: int
    revision: int
    snapshot: bytes
    rest: Rest | None = None
    taken: Sequence[Taken] = ()
    messages: Sequence[Message] = ()
    """To other runs. Whether they were posted is not told."""
    children: Sequence[NewRun] = ()
    """Started unless they exist."""
    history: Sequence[HistoryRow] = ()

    @property
    def is_mere(self) -> bool:
        """Whether it is a snapshot and nothing else, as most are: several of them can be saved by one statement."""
        return self.rest is None and not (self.taken or self.messages or self.children or self.history)


@dataclass(slots=True)
class Setback:
    """A run could not be moved: the snapshot stays, the lease is given up. Answered ``True``, or ``False`` if that is lost.

    It is due again at ``retry_at``, or with a new message; with None its status is Paused until a ``Release``. A run that is
    over stays so.
    """

    run_id: str
    fence: int
    attempts: int
    error: bytes
    retry_at: datetime | None
    history: Sequence[HistoryRow] = ()


@dataclass(slots=True)
class Release:
    """Make a run due at once that nobody owns, with ``attempts`` 0 and no error. Answered whether there was one.

    A Paused run that is released is Resuming; if it is of a queue, it has its place again, even if that is then one more than
    the limit. A run that is over stays so, with its error.

    With ``fence`` it is for the owner: the lease is given up, and ``attempts``, error and a Paused status stay as they are.
    """

    run_id: str
    fence: int | None = None


@dataclass(slots=True)
class Publication:
    """What an action tells those who watch. Answered ``True``, or ``False`` if there is no such run.

    Handed in twice, it may be told twice.
    """

    run_id: str
    body: bytes


@dataclass(slots=True)
class Withdrawal:
    """Take back a message that nobody has seen. Answered ``False`` if it was seen: then it has, or gets, its answer.

    Answered ``True`` if there is no such message, as there isn't when this is handed in twice.
    """

    id: str


Write: TypeAlias = NewRun | Save | Setback | Release | Message | Publication | Withdrawal


# --- answers ---


@dataclass(slots=True)
class Started:
    """``created``, or the run that was there: of the same id, or (``in_flight``) of the same ``single_flight`` key."""

    created: bool
    existing: StoredRun | None = None
    in_flight: bool = False


class Posted(StrEnum):
    """What became of a ``Message``."""

    posted = "posted"
    duplicate = "duplicate"
    """Its run has had one of this key (or this very message)."""
    unknown = "unknown"
    """There is no such run."""
    over = "over"
    """Its run is over: nothing is kept for it."""


Outcome: TypeAlias = Started | Posted | bool | Exception
"""The answer of a write; an exception if the database refuses its content."""


@dataclass(slots=True)
class StoredRun:
    """A run as it is stored. ``snapshot`` is None in lists; ``owner`` and ``lease_until`` while somebody moves it.

    ``position`` is where main stood when the run last came to rest; ``wake_at`` when it is due, None while it is owned.
    """

    run_id: str
    workflow: str
    version: int
    status: str
    position: str
    revision: int
    attempts: int
    created_at: datetime
    updated_at: datetime
    wake_at: datetime | None
    finished_at: datetime | None
    owner: str | None
    lease_until: datetime | None
    fence: int
    digest: str
    error: bytes | None
    labels: Mapping[str, str]
    single_flight: str | None
    parent: str | None
    queue: str | None
    queue_key: str | None
    priority: int
    snapshot: bytes | None = None


@dataclass(slots=True)
class Claimed:
    """A run whose lease the claimer holds now, with its messages that are new or kept, in the order in which they came.

    ``status`` and ``error`` are those of its row: one that is Paused, or over, is leased by ``claim_run`` alone.
    """

    run_id: str
    workflow: str
    fence: int
    attempts: int
    snapshot: bytes
    messages: Sequence[Message] = ()
    status: str = "Resuming"
    error: bytes | None = None


@dataclass(slots=True)
class Claims:
    """What was claimed; the database's clock; when the next run is due that this worker could claim (None: unknown)."""

    now: datetime
    runs: Sequence[Claimed]
    next_due: datetime | None = None


@dataclass(slots=True)
class Renewal:
    """The database's clock, and the runs whose leases were lost. New messages of the runs that the worker holds."""

    now: datetime
    lost: Sequence[str]
    messages: Sequence[Message] = ()


@dataclass(slots=True)
class Published:
    """What an action told, in the order of ``number``."""

    number: int
    at: datetime
    body: bytes


@dataclass(slots=True)
class QueueLimits:
    """How many runs of a queue may be under way at once: from when they are let in until they are over or paused.

    ``rate`` are how many may be let in per time. None: no limit.
    """

    name: str
    concurrency: int | None = None
    per_key_concurrency: int | None = None
    rate: tuple[int, timedelta] | None = None


@dataclass(slots=True)
class RunQuery:
    """Which runs, newest first: by ``created_at``, then ``run_id``, both descending. ``after`` is that pair of the last seen.

    ``created_from`` is included, ``created_before`` and ``wake_before`` are not.
    """

    workflow: str | None = None
    status: str | None = None
    position: str | None = None
    label: tuple[str, str] | None = None
    parent: str | None = None
    queue: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    wake_before: datetime | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 100


class Transaction(Protocol):
    """A transaction for the action of one step. Leaving it without ``commit`` rolls back."""

    @property
    def connection(self) -> Any:
        """What the action writes with."""

    def commit(self, save: Save) -> bool:
        """Commit what was written, with the checkpoint; ``False``, and nothing is committed, if the lease is lost."""


class Store(Protocol):
    """A database that keeps runs."""

    def open(self) -> None:
        """Get ready; migrate, if it was told to. Raises ``SchemaError`` if the tables are missing, older or newer."""

    def close(self) -> None:
        """Give up connections, if there are any. What was committed stays."""

    def migrate(self) -> Sequence[str]:
        """Bring the tables up to date, and return the names of the migrations done.

        Safe while others do the same, and before ``open``.
        """

    # -- the writing thread

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Make all writes durable in one transaction; the answer of each, in their order."""

    def claim(self, worker: str, known: Mapping[str, int], lease: timedelta, limit: int) -> Claims:
        """Lease up to ``limit`` due runs, the longest due first, of ``known`` workflows (name: highest version) to a worker.

        Due are: runs whose ``wake_at`` has come, runs whose lease has run out, runs that nobody owns with a new message unless
        they are Paused. Their status is Resuming from then on, unless they are Paused or over. No two claims get the same run.
        """

    def claim_run(self, worker: str, run_id: str, lease: timedelta) -> Claims:
        """Lease this run, due or not, of whatever workflow; ``runs`` is empty while somebody has a lease on it.

        So it is for the worker that has the lease itself: a second one would fence off the first. A run that is Paused or over
        is leased as well, and keeps its status. Raises ``NotFoundError``.
        """

    def renew(self, worker: str, leases: Mapping[str, int], lease: timedelta) -> Renewal:
        """Renew leases (run id: fence); which are lost; and messages that are new, of all runs that the worker holds."""

    def admit(self, queue: QueueLimits, limit: int) -> int:
        """Make queued runs due, as far as limits allow: highest priority first, then the oldest. How many were let in."""

    def purge(self, finished_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` runs that were over before an instant, with all that belongs to them; how many there were."""

    def delete(self, run_id: str) -> bool:
        """Delete a run, with all that belongs to it; whether there was one. Raises ``ConflictError`` if somebody owns it."""

    # -- the reading thread

    def get(self, run_id: str) -> StoredRun | None:
        """A run with its snapshot."""

    def list(self, query: RunQuery) -> Sequence[StoredRun]:
        """Runs without their snapshots."""

    def history(self, run_id: str, after: int, limit: int) -> Sequence[HistoryRow]:
        """Attempts at steps, oldest first; those beyond the first ``after``."""

    def published(self, run_id: str, after: int, limit: int) -> Sequence[Published]:
        """What was published, in order; those whose number is greater than ``after``."""

    def answers(self, message_ids: Sequence[str]) -> Mapping[str, Taken]:
        """The answers of messages that are done or dead."""

    def messages(self, run_id: str, status: MessageStatus, limit: int) -> Sequence[Message]:
        """Messages of a run, in the order in which they came."""

    def now(self) -> datetime:
        """The database's clock."""

    # -- any thread

    def wait(self, seconds: float) -> None:
        """Return when ``claim``, ``renew``, ``admit`` or ``answers`` may find something new, or time is over."""

    def wake(self) -> None:
        """Let a ``wait`` that is under way return."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction for the action of one step; made, used and left in one thread."""

    def join(self, connection: Any, writes: Sequence[Write]) -> Any:
        """Make ``NewRun`` and ``Message`` writes in the caller's own open transaction; their answers.

        The ``connection`` of a ``Transaction`` can be joined too: what an action starts then commits with its checkpoint.
        If the connection has to be awaited, so does what this returns. Raises ``StoreError`` if the connection is not one of
        this store's database. Nothing is visible until the caller commits.
        """
