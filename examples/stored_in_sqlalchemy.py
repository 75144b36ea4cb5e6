"""Runs as rows of a table that SQLAlchemy 2 maps, in PostgreSQL or SQLite: web requests call back while workers move them.

Copy ``Run``, the table, and ``Runs``, which does all of it twice:

- *Optimistic*: ``callback`` and ``work``. No lock is held while handlers and actions run. Each write says which revision it
  was made from; if that is not the stored one any more, nothing is written and ``ConflictError`` is raised. A request then
  loads the run again and hands its callback in once more; a worker drops the run. Take this one, always if actions are slow.
- *Pessimistic*: ``callback_locked`` and ``work_locked``. The row is locked first, and whoever comes second waits (a worker
  goes on to the next row). Take it if actions write to this same database: the writes commit with the checkpoint, as in
  ``transfer.py``, and no action runs in vain. A slow action would keep callbacks, and a connection, waiting all the time.

They may be mixed, since ``write`` always looks at the revision. It is an UPDATE of its own instead of SQLAlchemy's
``version_id_col``, which compares with what the session has read *last*: after a commit that is what others have written since.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import DateTime, create_engine, event, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from examples.claim import Claim
from flowstmt import (
    CallbackRequest,
    CheckpointType,
    ConflictError,
    FlowstmtError,
    SetupError,
    State,
    StateError,
    current,
    dump,
    handle_callback,
    load,
    resume,
)

log = logging.getLogger("runs")

LEASE = timedelta(minutes=5)
"""For how long other workers leave a run alone that one has begun to move; after that its process counts as dead."""

WORKFLOWS = {"Claim": Claim}
"""What may stand in the column ``workflow``."""


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[Any] = {datetime: DateTime(timezone=True)}


class Run(Base):
    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    workflow: Mapped[str]
    status: Mapped[str]
    revision: Mapped[int]
    wake_at: Mapped[datetime | None] = mapped_column(index=True)
    """From when on a worker should look at the run."""
    snapshot: Mapped[bytes]


def begin_immediate(engine: Any) -> None:
    """SQLite has no row locks. So each transaction takes the lock of the file when it begins, not with its first write."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class Runs:
    """All runs of all workflows. It may be shared by threads; a forked process makes its own."""

    def __init__(self, url: str, deps: Any) -> None:
        self.deps = deps
        sqlite = url.startswith("sqlite")
        self.engine = create_engine(url, connect_args={"timeout": 30} if sqlite else {})
        if sqlite:
            begin_immediate(self.engine)

    def start(self, run_id: str, work: Any, now: datetime | None = None) -> None:
        """Store a run that a worker then moves."""
        state = State.new(run_id, type(work).__name__, now)
        with Session(self.engine) as session, session.begin():
            session.execute(insert(Run).values(id=run_id, workflow=state.workflow, **columns(work, state)))

    def load(self, run_id: str) -> tuple[Any, State]:
        with Session(self.engine) as session:
            return loaded(session.get_one(Run, run_id))

    def write(self, session: Session, work: Any, state: State, revision: int, lease: timedelta | None = None) -> None:
        """Write a run that was loaded at ``revision``, unless somebody else has written it since."""
        unmoved = update(Run).where(Run.id == state.run_id, Run.revision == revision)
        if session.scalar(unmoved.values(**columns(work, state, lease)).returning(Run.id)) is None:
            raise ConflictError(f"{state.run_id} was moved by somebody else since revision {revision}: load it again")

    def settle(
        self, work: Any, state: State, save: Callable[..., None] | None, now: datetime | None, max_steps: int = 0
    ) -> None:
        """Only move: to the wait, if a callback or a dead process has left the run before it; past it, if its time is over."""
        try:
            resume(work, state, save, max_steps=max_steps, now=now, deps=self.deps)
        except SetupError:
            log.exception("%s can be called back all the same", state.run_id)

    # --- optimistic ---

    def saver(self, work: Any, state: State, lease: timedelta | None = None) -> Callable[..., None]:
        revision = state.revision

        def save(kind: CheckpointType | None = None) -> None:
            nonlocal revision
            with Session(self.engine) as session, session.begin():
                self.write(session, work, state, revision, lease)
            revision = state.revision

        return save

    def callback(
        self, run_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None
    ) -> Any:
        """What a web request calls. The answer means that the callback is stored; a worker does the rest."""
        for _ in range(20):
            work, state = self.load(run_id)
            save = self.saver(work, state)
            try:
                self.settle(work, state, save, now)
                answer = handle_callback(request, work, state, payload, now=now, deps=self.deps)
                save(CheckpointType.afterCallback)
            except ConflictError:
                continue  # somebody has moved the run: whether the callback still fits is to be seen
            return answer
        raise ConflictError(f"{run_id} is moved by others all the time: hand the callback in once more")

    def work(self, now: datetime | None = None) -> bool:
        """What a worker calls in its loop: move the run that is due for longest. False if none is due."""
        instant = now or datetime.now(UTC)
        due = select(Run.id).where(Run.wake_at <= instant).order_by(Run.wake_at).limit(1).with_for_update(skip_locked=True)
        claim = update(Run).where(Run.id == due.scalar_subquery()).values(wake_at=instant + LEASE)
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            run = session.scalar(claim.returning(Run))
            if run is None:
                return False
        try:
            work, state = loaded(run)
            resume(work, state, self.saver(work, state, LEASE), now=now, deps=self.deps)
        except ConflictError:
            log.info("%s was called back meanwhile: it is due again, for whoever comes next", run.id)
        except FlowstmtError:
            log.exception("%s can't go on now; it is due again when the lease is over", run.id)
        return True

    # --- pessimistic ---

    def callback_locked(
        self, run_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None
    ) -> Any:
        """As ``callback``, but whoever moves the run is waited for, and the handler's own writes would be of one commit."""
        with Session(self.engine) as session, session.begin():
            work, state = loaded(session.get_one(Run, run_id, with_for_update=True))
            revision = state.revision
            self.settle(work, state, None, now)
            answer = handle_callback(request, work, state, payload, now=now, deps=self.deps)
            self.write(session, work, state, revision)
            return answer

    def work_locked(self, now: datetime | None = None) -> bool:
        """As ``work``, but the row is locked while an action runs, and what that writes in this session commits with it.

        One transaction is one action. ``deps`` would hold the session, for actions to write in.
        """
        instant = now or datetime.now(UTC)
        due = select(Run).where(Run.wake_at <= instant).order_by(Run.wake_at).limit(1).with_for_update(skip_locked=True)
        with Session(self.engine) as session, session.begin():
            run = session.scalar(due)
            if run is None:
                return False
            try:
                with session.begin_nested():  # so that the lock stays when what a failed action has written is rolled back
                    work, state = loaded(run)
                    revision = state.revision
                    self.settle(work, state, None, now)
                    # A decision is stored before the action that it leads to. So if there was one, that is all for now.
                    if state.revision == revision:
                        self.settle(work, state, None, now, max_steps=1)
                    self.write(session, work, state, revision)
            except FlowstmtError:
                log.exception("%s can't go on now; it is due again in %s", run.id, LEASE)
                session.execute(update(Run).where(Run.id == run.id).values(wake_at=instant + LEASE))
        return True


def columns(work: Any, state: State, lease: timedelta | None = None) -> dict[str, Any]:
    wake_at = state.wake_at
    if lease is not None and wake_at is not None and wake_at <= current().now:
        wake_at = current().now + lease  # it could go on at once, and does: in the hands of who saves it
    return {"status": state.status, "revision": state.revision, "wake_at": wake_at, "snapshot": dump(work, state)}


def loaded(run: Run) -> tuple[Any, State]:
    if run.workflow not in WORKFLOWS:
        raise StateError(f"run {run.id!r}: there is no workflow {run.workflow!r} here")
    return load(WORKFLOWS[run.workflow], run.snapshot)
