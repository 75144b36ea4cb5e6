"""A store in the memory of this process: for tests, and the shortest reading of what a store has to do.

It follows every rule of the protocol but one: nothing outlives the process. Two locks, as SQLite has them: one for writers,
which a transaction holds from its beginning to its end, and one that is held for an instant at a time, so that readers never
wait for a transaction.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count, islice
from threading import Lock, RLock
from typing import Any, TypeAlias

from flowstmt.core.state import WorkflowStatus
from flowstmt.errors import ConflictError, NotFoundError, StoreError
from flowstmt.stores.bells import Bell
from flowstmt.stores.memory.rows import (
    Admissions,
    Mail,
    Run,
    check,
    is_after,
    is_due,
    is_leased,
    matches,
    messages_of,
    remember,
    utc_now,
)
from flowstmt.stores.protocol import (
    Claimed,
    Claims,
    HistoryRow,
    Message,
    MessageStatus,
    NewRun,
    Outcome,
    Posted,
    Publication,
    Published,
    QueueLimits,
    Release,
    Renewal,
    Rest,
    RunQuery,
    Save,
    Setback,
    Started,
    StoredRun,
    Taken,
    Withdrawal,
    Write,
)

__all__ = ["MemoryStore"]

_OVER = frozenset({WorkflowStatus.Finished, WorkflowStatus.Failed, WorkflowStatus.Cancelled})
_Outcomes: TypeAlias = list[Outcome]  # `list` is a method of the store
_UNSEEN = (MessageStatus.new, MessageStatus.kept)


class MemoryStore:
    """Keeps runs in this process, for as long as it lives. ``clock`` is what stands in for the database's clock."""

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock or utc_now
        self._writer = Lock()
        self._lock = RLock()
        self._bell = Bell()
        self._runs: dict[str, Run] = {}
        self._by_age: list[tuple[datetime, str]] = []
        self._in_flight: dict[tuple[str, str], str] = {}
        self._mail: dict[str, Mail] = {}
        self._due: dict[str, list[tuple[datetime, int, Run]]] = {}
        """For each workflow a heap of when its runs are due; an entry that its run has moved on from is passed over."""
        self._entries = count()
        self._admitted: dict[str, Admissions] = {}

    def open(self) -> None:
        """There is nothing to get ready."""

    def close(self) -> None:
        """Runs stay as long as this object does."""

    def migrate(self) -> Sequence[str]:
        """There are no tables: nothing to do."""
        return ()

    # -- the writing thread

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Make all writes; the answer of each, in their order."""
        with self._writer, self._lock:
            return [self._answer(write) for write in writes]

    def commit_at_once(self, writes: Sequence[Write]) -> _Outcomes | None:
        """Make all writes, unless another thread is in the way, or one of them has to be refused."""
        if not self._writer.acquire(blocking=False):
            return None
        try:
            if not self._lock.acquire(blocking=False):
                return None
            try:
                for write in writes:
                    check(write)
                return [self._written(write) for write in writes]
            except UnicodeError:
                return None  # so that `commit` says which, and why
            finally:
                self._lock.release()
        finally:
            self._writer.release()

    def claim(self, worker: str, known: Mapping[str, int], lease: timedelta, limit: int) -> Claims:
        """Lease up to ``limit`` due runs, the longest due first, of ``known`` workflows to a worker."""
        with self._writer, self._lock:
            now = self._clock()
            claimed: list[Claimed] = []
            upcoming: datetime | None = None
            passed: list[Run] = []
            heaps = {name: heap for name in known if (heap := self._due.get(name))}
            while heaps:
                workflow = min(heaps, key=lambda name: heaps[name][0][:2])
                heap = heaps[workflow]
                due_at, _, run = heap[0]
                current = run.due_at == due_at and self._runs.get(run.run_id) is run
                if current and run.version <= known[workflow] and (due_at > now or len(claimed) == limit):
                    upcoming = due_at
                    break
                heappop(heap)
                if current and run.version <= known[workflow]:
                    claimed.append(self._leased(run, worker, now + lease))
                elif current:
                    passed.append(run)
                if not heap:
                    del heaps[workflow]
            for run in passed:
                self._set_due(run, run.due_at)
            return Claims(now, claimed, upcoming)

    def claim_run(self, worker: str, run_id: str, lease: timedelta) -> Claims:
        """Lease this run, due or not; ``runs`` is empty if there is a lease on it."""
        with self._writer, self._lock:
            now = self._clock()
            run = self._runs.get(run_id)
            if run is None:
                raise NotFoundError(
                    f"there is no run {run_id!r} in this MemoryStore, which knows only what was started with it"
                )
            if is_leased(run, now):
                return Claims(now, ())
            return Claims(now, (self._leased(run, worker, now + lease),))

    def renew(self, worker: str, leases: Mapping[str, int], lease: timedelta) -> Renewal:
        """Renew leases; which are lost; and new messages of all runs that the worker holds."""
        with self._writer, self._lock:
            now = self._clock()
            lost = []
            for run_id, fence in leases.items():
                run = self._runs.get(run_id)
                if run is None or run.owner != worker or run.fence != fence:
                    lost.append(run_id)
                else:
                    self._set_due(run, now + lease)
            held = (run for run in self._runs.values() if run.owner == worker)
            return Renewal(now, lost, [mail for run in held for mail in messages_of(run, MessageStatus.new)])

    def admit(self, queue: QueueLimits, limit: int) -> int:
        """Make queued runs due, as far as limits allow: highest priority first, then the oldest."""
        with self._writer, self._lock:
            now = self._clock()
            queued = [run for run in self._runs.values() if run.queue == queue.name and run.placed is not None]
            placed = [run for run in queued if run.placed]
            keys = Counter(run.queue_key for run in placed)
            free = limit if queue.concurrency is None else min(limit, queue.concurrency - len(placed))
            admissions = self._admitted.setdefault(queue.name, Admissions()).instants
            if queue.rate is not None:
                most, per = queue.rate
                while admissions and admissions[0] <= now - per:
                    admissions.popleft()
                free = min(free, most - len(admissions))
            startable = (run for run in queued if not run.placed and run.start_at <= now)
            waiting = [run for run in startable if run.owner is None and run.status != WorkflowStatus.Paused]
            admitted = 0
            for run in sorted(waiting, key=lambda run: (-run.priority, run.created_at, run.run_id)):
                if admitted >= free:
                    break
                most_of_key = queue.per_key_concurrency if run.queue_key is not None else None
                if most_of_key is not None and keys[run.queue_key] >= most_of_key:
                    continue
                run.placed = True
                keys[run.queue_key] += 1
                admissions.append(now)
                self._park(run, now)
                admitted += 1
            if admitted:
                self._bell.ring()
            return admitted

    def purge(self, finished_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` runs that were over before an instant; how many there were."""
        with self._writer, self._lock:
            over = (run for run in self._runs.values() if run.finished_at is not None and run.finished_at < finished_before)
            found = list(islice((run for run in over if run.owner is None), limit))
            for run in found:
                self._forget(run)
            return len(found)

    def delete(self, run_id: str) -> bool:
        """Delete a run; whether there was one. Raises ``ConflictError`` if somebody has a lease on it."""
        with self._writer, self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return False
            if is_leased(run, self._clock()):
                raise ConflictError(f"run {run_id!r} can't be deleted: worker {run.owner!r} moves it; cancel or pause it first")
            self._forget(run)
            return True

    # -- the reading thread

    def get(self, run_id: str) -> StoredRun | None:
        """A run with its snapshot."""
        with self._lock:
            run = self._runs.get(run_id)
            return None if run is None else run.stored(run.snapshot)

    def list(self, query: RunQuery) -> Sequence[StoredRun]:
        """Runs without their snapshots, newest first."""
        with self._lock:
            found = (self._runs[run_id] for created_at, run_id in reversed(self._by_age) if is_after(query, created_at, run_id))
            return [run.stored() for run in islice((run for run in found if matches(query, run)), query.limit)]

    def history(self, run_id: str, after: int, limit: int) -> Sequence[HistoryRow]:
        """Attempts at steps, oldest first; those beyond the first ``after``."""
        with self._lock:
            run = self._runs.get(run_id)
            return [] if run is None else list(islice(run.history.values(), after, after + limit))

    def published(self, run_id: str, after: int, limit: int) -> Sequence[Published]:
        """What was published, in order; those whose number is greater than ``after``."""
        with self._lock:
            run = self._runs.get(run_id)
            return [] if run is None else run.published[after : after + limit]

    def answers(self, message_ids: Sequence[str]) -> Mapping[str, Taken]:
        """The answers of messages that are done or dead."""
        with self._lock:
            mails = (self._mail.get(message_id) for message_id in message_ids)
            return {
                mail.message.id: Taken(mail.message.id, mail.message.status, mail.answer)
                for mail in mails
                if mail is not None and mail.message.status not in _UNSEEN
            }

    def messages(self, run_id: str, status: MessageStatus, limit: int) -> Sequence[Message]:
        """Messages of a run, in the order in which they came."""
        with self._lock:
            run = self._runs.get(run_id)
            return [] if run is None else list(islice(messages_of(run, status), limit))

    def now(self) -> datetime:
        """The store's clock."""
        return self._clock()

    # -- any thread

    def wait(self, seconds: float) -> None:
        """Return when there may be something new, or time is over."""
        self._bell.wait(seconds)

    def wake(self) -> None:
        """Let those that wait return."""
        self._bell.ring()

    def transaction(self) -> AbstractContextManager[MemoryTransaction]:
        """A transaction, whose ``connection`` is good for ``join`` only: there is no database to write to."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[MemoryTransaction]:
        with self._writer:
            transaction = MemoryTransaction(self)
            try:
                yield transaction
            finally:
                transaction.open = False

    def join(self, connection: Any, writes: Sequence[Write]) -> _Outcomes:
        """Make writes in the transaction of a step; nothing else can be joined, as this store has no database."""
        if not isinstance(connection, MemoryTransaction) or connection.store is not self or not connection.open:
            raise StoreError(
                f"a {type(connection).__name__} can't be joined: MemoryStore has no database that a transaction of yours "
                "could be in; use SQLiteStore or PostgresStore, or leave `connection` out"
            )
        with self._lock:
            return [connection.foretold(write) for write in writes]

    # -- for its transactions, which hold the writer's lock

    def commit_joined(self, save: Save, joined: Sequence[NewRun | Message]) -> bool:
        """Make a checkpoint with what has joined its transaction; ``False``, and nothing is made, if the lease is lost."""
        with self._lock:
            run = self._runs.get(save.run_id)
            if run is None or run.owner is None or run.fence != save.fence:
                return False
            for write in joined:
                self._written(write)
            return self._save(save)

    def in_the_way(self, new: NewRun) -> Started | None:
        """The run because of which a new one is not started."""
        if (run := self._runs.get(new.run_id)) is not None:
            return Started(False, run.stored(run.snapshot))
        if new.single_flight is not None and (other := self._in_flight.get((new.workflow, new.single_flight))) is not None:
            run = self._runs[other]
            return Started(False, run.stored(run.snapshot), in_flight=True)
        return None

    def not_posted(self, message: Message) -> Posted | None:
        """Why a message is not posted."""
        run = self._runs.get(message.run_id)
        if run is None:
            return Posted.unknown
        if message.id in self._mail or (message.key is not None and message.key in run.keys):
            return Posted.duplicate
        return Posted.over if run.finished_at is not None else None

    # -- one write

    def _answer(self, write: Write) -> Outcome:
        try:
            check(write)
        except UnicodeError as error:
            return error
        return self._written(write)

    def _written(self, write: Write) -> Outcome:
        match write:
            case Save():
                return self._save(write)
            case NewRun():
                return self._start(write)
            case Message():
                return self._post(write)
            case Setback():
                return self._set_back(write)
            case Release():
                return self._release(write)
            case Publication():
                return self._publish(write)
            case Withdrawal():
                return self._withdraw(write)

    def _start(self, new: NewRun) -> Started:
        if (found := self.in_the_way(new)) is not None:
            return found
        now = self._clock()
        run = Run(
            run_id=new.run_id,
            workflow=new.workflow,
            version=new.version,
            digest=new.digest,
            snapshot=bytes(new.snapshot),
            position=new.position,
            start_at=now if new.start_at is None else new.start_at.astimezone(UTC),
            created_at=now,
            updated_at=now,
            labels=dict(new.labels),
            single_flight=new.single_flight,
            parent=new.parent,
            queue=new.queue,
            queue_key=new.queue_key,
            priority=new.priority,
            placed=None if new.queue is None else new.worker is not None,
        )
        self._runs[run.run_id] = run
        insort(self._by_age, (now, run.run_id))
        if run.single_flight is not None:
            self._in_flight[run.workflow, run.single_flight] = run.run_id
        self._park(run, run.start_at)
        if new.worker is not None:
            run.owner, run.fence = new.worker, 1
            self._set_due(run, now + new.lease)
        self._bell.ring()
        return Started(True)

    def _save(self, save: Save) -> bool:
        run = self._runs.get(save.run_id)
        if run is None or run.fence != save.fence:
            return False
        if run.owner is None or run.revision > save.revision:
            return run.revision >= save.revision  # made before, and handed in once more
        run.snapshot, run.revision, run.updated_at = bytes(save.snapshot), save.revision, self._clock()
        run.attempts, run.error = 0, None
        for taken in save.taken:
            mail = run.messages.get(taken.id)
            if mail is not None:
                body = b"" if taken.status is MessageStatus.done else mail.message.body
                mail.message = replace(mail.message, status=taken.status, body=body)
                mail.answer = taken.answer
        for child in save.children:
            self._start(child)
        for message in save.messages:
            self._post(message)
        remember(run, save.history)
        if save.rest is not None:
            self._rest(run, save.rest)
        if save.rest is not None or save.taken:
            self._bell.ring()
        return True

    def _rest(self, run: Run, rest: Rest) -> None:
        over, paused = rest.status in _OVER, rest.status == WorkflowStatus.Paused
        run.status, run.position, run.error, run.owner = rest.status, rest.position, rest.error, None
        if rest.version is not None:
            run.version = rest.version
        run.finished_at = (run.finished_at or run.updated_at) if over else None
        if over:
            self._give_up_key(run)
        if run.queue is not None:
            run.placed = None if over else _place(run, paused)
        self._park(run, rest.wake_at)

    def _set_back(self, setback: Setback) -> bool:
        run = self._runs.get(setback.run_id)
        if run is None or run.fence != setback.fence:
            return False
        if run.owner is None:
            return run.attempts == setback.attempts
        run.owner, run.attempts, run.error, run.updated_at = None, setback.attempts, setback.error, self._clock()
        remember(run, setback.history)
        if setback.retry_at is None and run.finished_at is None:
            run.status, run.placed = WorkflowStatus.Paused, _place(run, paused=True)
        self._park(run, setback.retry_at, knocked=setback.retry_at is not None)
        self._bell.ring()
        return True

    def _release(self, release: Release) -> bool:
        run = self._runs.get(release.run_id)
        if run is None or (release.fence is None and is_leased(run, self._clock())):
            return False
        if release.fence is not None and (run.fence != release.fence or run.owner is None):
            return False
        run.owner = None
        if release.fence is None:
            run.attempts = 0
            if run.finished_at is None:
                run.status, run.error = WorkflowStatus.Resuming, None
        if run.queue is not None and run.finished_at is None:
            run.placed = _place(run, paused=False)
        self._park(run, self._clock())
        self._bell.ring()
        return True

    def _post(self, message: Message) -> Posted:
        if (why := self.not_posted(message)) is not None:
            return why
        run = self._runs[message.run_id]
        now = self._clock()
        mail = Mail(replace(message, created_at=now, status=MessageStatus.new))
        self._mail[message.id] = run.messages[message.id] = mail
        if message.key is not None:
            run.keys.add(message.key)
        may_begin = run.placed is not False and (run.revision > 0 or run.start_at <= now)
        if run.owner is None and run.status != WorkflowStatus.Paused and may_begin and not is_due(run, now):
            self._set_due(run, now)
        self._bell.ring()
        return Posted.posted

    def _publish(self, publication: Publication) -> bool:
        run = self._runs.get(publication.run_id)
        if run is None:
            return False
        run.published.append(Published(len(run.published) + 1, self._clock(), publication.body))
        self._bell.ring()
        return True

    def _withdraw(self, withdrawal: Withdrawal) -> bool:
        mail = self._mail.get(withdrawal.id)
        if mail is None:
            return True  # withdrawn before: this is the same withdrawal, handed in again
        if mail.message.status != MessageStatus.new:
            return False
        run = self._runs[mail.message.run_id]
        del self._mail[withdrawal.id], run.messages[withdrawal.id]
        if mail.message.key is not None:
            run.keys.discard(mail.message.key)
        if run.owner is None and run.status != WorkflowStatus.Paused:
            self._park(run, run.wake_at)
        return True

    # -- what writes have in common

    def _set_due(self, run: Run, due_at: datetime | None) -> None:
        run.due_at = due_at
        if due_at is not None:
            heappush(self._due.setdefault(run.workflow, []), (due_at, next(self._entries), run))

    def _park(self, run: Run, wake_at: datetime | None, *, knocked: bool = True) -> None:
        """Nobody owns it now: it is due at ``wake_at``, or at once if it has new messages."""
        run.wake_at = None if wake_at is None else wake_at.astimezone(UTC)
        if run.placed is False:
            self._set_due(run, None)
        elif knocked and run.status != WorkflowStatus.Paused and next(messages_of(run, MessageStatus.new), None) is not None:
            self._set_due(run, self._clock())
        else:
            self._set_due(run, run.wake_at)

    def _leased(self, run: Run, worker: str, until: datetime) -> Claimed:
        run.owner, run.fence = worker, run.fence + 1
        if run.finished_at is None and run.status != WorkflowStatus.Paused:
            run.status = WorkflowStatus.Resuming
        self._set_due(run, until)
        mails = [mail.message for mail in run.messages.values() if mail.message.status in _UNSEEN]
        return Claimed(run.run_id, run.workflow, run.fence, run.attempts, run.snapshot, mails, run.status, run.error)

    def _give_up_key(self, run: Run) -> None:
        if run.single_flight is not None:
            self._in_flight.pop((run.workflow, run.single_flight), None)
            run.single_flight = None

    def _forget(self, run: Run) -> None:
        self._give_up_key(run)
        for message_id in run.messages:
            del self._mail[message_id]
        self._by_age.remove((run.created_at, run.run_id))
        del self._runs[run.run_id]


class MemoryTransaction:
    """The transaction of one step. What joins it is kept aside until it commits: nobody else writes until then."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.open = True
        self._joined: list[NewRun | Message] = []
        self._aside = MemoryStore(clock=store.now)

    @property
    def connection(self) -> MemoryTransaction:
        """What can be handed to ``join``."""
        return self

    def foretold(self, write: Write) -> Outcome:
        """What a write will be answered at the commit."""
        outcome: Outcome | None
        if isinstance(write, NewRun):
            outcome = self.store.in_the_way(write)
        elif isinstance(write, Message):
            outcome = self.store.not_posted(write)
        else:
            raise StoreError(f"only starts and messages can join a transaction, not a {type(write).__name__}")
        if outcome is None and isinstance(write, Message):
            earlier = [mail for mail in self._joined if isinstance(mail, Message) and mail.run_id == write.run_id]
            again = any(mail.id == write.id or (mail.key is not None and mail.key == write.key) for mail in earlier)
            outcome = Posted.duplicate if again else Posted.posted
        elif outcome is None or outcome is Posted.unknown:
            [outcome] = self._aside.commit([write])
        self._joined.append(write)
        return outcome

    def commit(self, save: Save) -> bool:
        """Make what has joined, and the checkpoint; ``False``, and nothing is made, if the lease is lost."""
        return self.store.commit_joined(save, self._joined)


def _place(run: Run, paused: bool) -> bool | None:
    """Its place in its queue: who is paused gives it up, and gets it back; who waits for one goes on waiting."""
    if run.queue is None or run.placed is False:
        return run.placed
    return None if paused else True
