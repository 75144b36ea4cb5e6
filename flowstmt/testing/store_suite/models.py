"""A store next to a model of one: whatever is done to both, in whatever order, both must answer and end up the same.

The model is the shortest thing that follows the protocol: one row a run in a dict, and no time at all. A lease of no length
has run out when somebody asks again, any other outlives the test; a run is due now, never by itself, or not in our time. So
nothing in it depends on how fast the database is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from flowstmt.core.state import WorkflowStatus
from flowstmt.stores.protocol import (
    Message,
    MessageStatus,
    NewRun,
    Outcome,
    Posted,
    Release,
    RunQuery,
    Save,
    Setback,
    Started,
    Store,
    Withdrawal,
    Write,
)
from flowstmt.testing.store_suite.case import HOUR, PAST, StoreCase

__all__ = ["FUTURE", "Model", "Models", "Row", "answered", "compare"]

FUTURE = datetime(2200, 1, 1, tzinfo=UTC)
"""An instant that does not come while a test runs."""
OVER = (WorkflowStatus.Finished, WorkflowStatus.Failed, WorkflowStatus.Cancelled)


@dataclass
class Row:
    """One run. ``due`` is PAST once it is due, FUTURE or None; ``lapsed`` means a lease of no length."""

    new: NewRun
    version: int = 1
    status: str = "Resuming"
    position: str = ""
    revision: int = 0
    snapshot: bytes = b""
    attempts: int = 0
    error: bytes | None = None
    owner: str | None = None
    lapsed: bool = False
    fence: int = 0
    due: datetime | None = PAST
    perhaps_due: bool = False
    """A message that was taken back may have made it due before; and the like."""
    messages: dict[str, Message] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in OVER

    @property
    def leased(self) -> bool:
        """Whether nobody else can have it."""
        return self.owner is not None and not self.lapsed

    def unseen(self) -> list[str]:
        """Its new messages."""
        return [message.id for message in self.messages.values() if message.status is MessageStatus.new]

    def is_due(self) -> bool:
        """Whether a claim would get it."""
        if self.owner is not None:
            return self.lapsed
        return self.due == PAST or (self.may_begin and bool(self.unseen()) and self.status != "Paused")

    @property
    def may_begin(self) -> bool:
        """Whether it has begun, or is not to begin later: what comes for it then makes it due."""
        return self.revision > 0 or self.new.start_at is None or self.new.start_at <= PAST


class Model:
    """What the store should hold."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def expected(self, write: Write) -> Outcome | None:
        """Make a write, and answer it; None where either answer will do."""
        match write:
            case NewRun():
                return self.start(write)
            case Save():
                return self.save(write)
            case Setback():
                return self.set_back(write)
            case Release():
                return self.release(write)
            case Message():
                return self.post(write)
            case Withdrawal():
                return self.withdraw(write)
        raise AssertionError(f"the model knows no {type(write).__name__}")

    def start(self, new: NewRun) -> Started:
        """Start a run."""
        if new.run_id in self.rows:
            return Started(False)
        keys = [(row.new.workflow, row.new.single_flight) for row in self.rows.values() if not row.over]
        if new.single_flight is not None and (new.workflow, new.single_flight) in keys:
            return Started(False, in_flight=True)
        row = Row(new, new.version, snapshot=new.snapshot, position=new.position, due=new.start_at or PAST)
        if new.worker is not None:
            row.owner, row.fence, row.lapsed, row.due = new.worker, 1, not new.lease, None
        self.rows[new.run_id] = row
        return Started(True)

    def save(self, save: Save) -> bool:
        """A checkpoint."""
        row = self.rows.get(save.run_id)
        if row is None or row.fence != save.fence:
            return False
        if row.owner is None:
            return save.revision <= row.revision
        row.snapshot, row.revision, row.attempts, row.error = save.snapshot, save.revision, 0, None
        for taken in save.taken:
            if (message := row.messages.get(taken.id)) is not None:
                message.status = taken.status
        for child in save.children:
            self.start(child)
        for message in save.messages:
            self.post(message)
        if (rest := save.rest) is not None:
            row.owner, row.lapsed, row.status, row.position = None, False, rest.status, rest.position
            row.due, row.error, row.version = rest.wake_at, rest.error, rest.version or row.version
        return True

    def set_back(self, setback: Setback) -> bool | None:
        """A run that could not be moved."""
        row = self.rows.get(setback.run_id)
        if row is None or row.fence != setback.fence:
            return False
        if row.owner is None:
            return None
        row.owner, row.lapsed, row.attempts, row.error = None, False, setback.attempts, setback.error
        row.due = setback.retry_at
        if setback.retry_at is None and not row.over:
            row.status = "Paused"
        return True

    def release(self, release: Release) -> bool | None:
        """A run that is due at once."""
        row = self.rows.get(release.run_id)
        if row is None:
            return False
        if release.fence is None:
            if row.owner is not None:
                return False
            row.attempts = 0
            if not row.over:
                row.error, row.status = None, "Resuming"
        elif row.fence != release.fence:
            return False
        elif row.owner is None:
            return None
        row.owner, row.lapsed, row.due = None, False, PAST
        if row.status == "Paused":  # whether anybody looks at it before its pause ends is up to the store
            row.due, row.perhaps_due = None, True
        return True

    def post(self, message: Message) -> Posted:
        """A message."""
        row = self.rows.get(message.run_id)
        if row is None:
            return Posted.unknown
        if message.id in row.messages or (message.key is not None and message.key in row.keys):
            return Posted.duplicate
        if row.over:
            return Posted.over
        row.messages[message.id] = replace(message)
        if message.key is not None:
            row.keys.add(message.key)
        return Posted.posted

    def withdraw(self, withdrawal: Withdrawal) -> bool:
        """A message that is taken back."""
        for row in self.rows.values():
            if (message := row.messages.get(withdrawal.id)) is not None:
                if message.status is not MessageStatus.new:
                    return False
                del row.messages[withdrawal.id]
                row.keys.discard(message.key or "")
                row.perhaps_due = True
        return True

    def take(self, row: Row, worker: str, lease: timedelta) -> None:
        """A lease."""
        row.owner, row.lapsed, row.due, row.perhaps_due = worker, not lease, None, False
        row.fence += 1
        if row.status != "Paused" and not row.over:
            row.status = "Resuming"


def answered(outcome: Outcome, expected: Outcome | None, write: Write) -> None:
    """Whether a write was answered as it should be."""
    if isinstance(expected, Started):
        assert isinstance(outcome, Started), f"{write} was answered with {outcome!r}"
        outcome = Started(outcome.created, None, outcome.in_flight)
    either = (Posted.over, Posted.duplicate)  # a run that is over may have had it
    if expected is not None and not (outcome in either and expected in either):
        assert outcome == expected, f"{write} was answered with {outcome!r} and not with {expected!r}"


def compare(store: Store, model: Model, prefix: str) -> None:
    """Whether a store holds what the model holds."""
    listed = {run.run_id for run in store.list(RunQuery(limit=1000)) if run.run_id.startswith(prefix)}
    assert listed == set(model.rows), "the store has other runs than the model"
    for run_id, row in model.rows.items():
        run = store.get(run_id)
        assert run is not None, f"the run {run_id} is not there"
        told = (
            run.version,
            run.status,
            run.position,
            run.revision,
            run.snapshot,
            run.attempts,
            run.error,
            run.owner,
            run.fence,
        )
        wanted = (
            row.version,
            row.status,
            row.position,
            row.revision,
            row.snapshot,
            row.attempts,
            row.error,
            row.owner,
            row.fence,
        )
        assert told == wanted, f"{run_id} is {told} and not {wanted}"
        assert (run.finished_at is not None) == row.over, f"{run_id} is {run.status} with finished_at {run.finished_at}"
        wake = None if run.wake_at is None else PAST if run.wake_at <= store.now() else FUTURE
        due = None if row.owner else row.due
        # Whether a new message changes it at once, or only the next claim, is up to the store.
        assert wake == due or row.unseen() or row.perhaps_due, f"{run_id} ({run.status}) is due at {run.wake_at} and not {due}"
        assert (run.lease_until is None) == (run.owner is None), f"{run_id} has an owner without a lease, or the reverse"
        for status in MessageStatus:
            found = [message.id for message in store.messages(run_id, status, 100)]
            wanted_ids = [message.id for message in row.messages.values() if message.status is status]
            assert found == wanted_ids, f"of {run_id} the messages {found} are {status.value}, and not {wanted_ids}"


class Models(StoreCase):
    """Whatever is done, in whatever order. Needs hypothesis: ``pip install flowstmt[testing]``."""

    model_examples = 60
    """So many sequences are drawn, of up to ``model_steps`` steps each."""
    model_steps = 25
    model_shrinks = False
    """Whether a sequence that fails is shrunk to the shortest that does, which may take minutes: for whoever mends it."""

    def test_the_store_does_what_a_model_does(self) -> None:
        try:
            from flowstmt.testing.store_suite.machine import play  # noqa: PLC0415 the only part that needs hypothesis
        except ImportError:
            self.skip("hypothesis is not installed: pip install 'flowstmt[testing]'")
        play((self.store, self.other), self.model_examples, self.model_steps, self.model_shrinks)

    def test_a_message_that_meets_a_setback_is_not_overlooked(self) -> None:
        self.held()
        self.one(self.message("m"))
        self.one(Setback("r", 1, 1, b"{}", self.store.now() + HOUR))
        assert [message.id for message in self.claim()["r"].messages] == ["m"], "a new message makes a free run due"
