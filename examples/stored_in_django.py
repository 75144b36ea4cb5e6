"""Runs as rows of a Django model: views call back while workers move them.

Copy ``Run`` into the ``models.py`` of an app, without its ``Meta``, and the functions beside it; import your workflows instead
of ``Claim``, and drop the block at ``if not settings.configured``. ``makemigrations`` does the rest. A view and a worker that
call the functions are in docs/examples.md. They do all of it twice:

- *Optimistic*: ``callback`` and ``work``. No lock is held while handlers and actions run. Each write says which revision it
  was made from; if that is not the stored one any more, nothing is written and ``ConflictError`` is raised. A view then loads
  the run again and hands its callback in once more; a worker drops the run. Take this one, always if actions are slow.
- *Pessimistic*: ``callback_locked`` and ``work_locked``. The row is locked by ``select_for_update``, and whoever comes second
  waits (a worker goes on to the next row). Take it if actions write to other models of the same database: they commit with
  the checkpoint, and no action runs in vain. A slow action would keep views, and a connection, waiting all the time.

They may be mixed, since ``write`` always looks at the revision. Not ``run.save()``: that writes whatever the object holds over
whatever is in the row. SQLite has no row locks, and Django leaves ``FOR UPDATE`` out there: what stands in for it is the
option ``transaction_mode``, see below. Under ``ATOMIC_REQUESTS`` nothing is committed before the view has ended: there take
``callback_locked``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django
from django.conf import settings
from django.db import models, transaction

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

# Yours are in settings.py. These OPTIONS (Django 5.1 or newer) are a must there with SQLite, else: "database is locked".
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": "runs.db",
    # IMMEDIATE: a transaction takes the lock of the file when it begins, not with its first write, when it may be too late.
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": "PRAGMA journal_mode = WAL"},
}

if not settings.configured:
    settings.configure(DATABASES={"default": SQLITE}, USE_TZ=True)
    django.setup()

LEASE = timedelta(minutes=5)
"""For how long other workers leave a run alone that one has begun to move; after that its process counts as dead."""

WORKFLOWS = {"Claim": Claim}
"""What may stand in the column ``workflow``."""


class Run(models.Model):
    id = models.CharField(primary_key=True, max_length=100)
    workflow = models.CharField(max_length=100)
    status = models.CharField(max_length=20)
    revision = models.BigIntegerField()
    wake_at = models.DateTimeField(null=True, db_index=True)  # from when on a worker should look at the run
    snapshot = models.BinaryField()

    class Meta:
        # Delete this Meta in your models.py: with it makemigrations finds nothing, unless your app is called "runs".
        app_label = "runs"


def start(run_id: str, work: Any, now: datetime | None = None) -> None:
    """Store a run that a worker then moves; with other models in one transaction, if you like."""
    state = State.new(run_id, type(work).__name__, now)
    Run.objects.create(id=run_id, workflow=state.workflow, **columns(work, state))


def load_run(run: Run) -> tuple[Any, State]:
    if run.workflow not in WORKFLOWS:
        raise StateError(f"run {run.id!r}: there is no workflow {run.workflow!r} here")
    return load(WORKFLOWS[run.workflow], run.snapshot)


def write(work: Any, state: State, revision: int, lease: timedelta | None = None) -> None:
    """Write a run that was loaded at ``revision``, unless somebody else has written it since."""
    if Run.objects.filter(id=state.run_id, revision=revision).update(**columns(work, state, lease)) == 0:
        raise ConflictError(f"{state.run_id} was moved by somebody else since revision {revision}: load it again")


def columns(work: Any, state: State, lease: timedelta | None = None) -> dict[str, Any]:
    wake_at = state.wake_at
    if lease is not None and wake_at is not None and wake_at <= current().now:
        wake_at = current().now + lease  # it could go on at once, and does: in the hands of who saves it
    return {"status": state.status, "revision": state.revision, "wake_at": wake_at, "snapshot": dump(work, state)}


def settle(
    work: Any, state: State, save: Callable[..., None] | None, now: datetime | None, deps: Any, max_steps: int = 0
) -> None:
    """Only move: to the wait, if a callback or a dead process has left the run before it; past it, if its time is over."""
    try:
        resume(work, state, save, max_steps=max_steps, now=now, deps=deps)
    except SetupError:
        log.exception("%s can be called back all the same", state.run_id)


def due_runs(now: datetime | None) -> models.QuerySet[Run]:
    """To be evaluated inside of ``transaction.atomic``: the row stays locked until that ends."""
    return Run.objects.select_for_update(skip_locked=True).filter(wake_at__lte=now or datetime.now(UTC)).order_by("wake_at")


# --- optimistic ---


def saver(work: Any, state: State, lease: timedelta | None = None) -> Callable[..., None]:
    revision = state.revision

    def save(kind: CheckpointType | None = None) -> None:
        nonlocal revision
        write(work, state, revision, lease)
        revision = state.revision

    return save


def callback(
    run_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None, deps: Any = None
) -> Any:
    """What a view calls. The answer means that the callback is stored; a worker does the rest."""
    for _ in range(20):
        work, state = load_run(Run.objects.get(id=run_id))
        save = saver(work, state)
        try:
            settle(work, state, save, now, deps)
            answer = handle_callback(request, work, state, payload, now=now, deps=deps)
            save(CheckpointType.afterCallback)
        except ConflictError:
            continue  # somebody has moved the run: whether the callback still fits is to be seen
        return answer
    raise ConflictError(f"{run_id} is moved by others all the time: hand the callback in once more")


def work(now: datetime | None = None, deps: Any = None) -> bool:
    """What a worker calls in its loop: move the run that is due for longest. False if none is due."""
    with transaction.atomic():
        run = due_runs(now).first()
        if run is None:
            return False
        Run.objects.filter(id=run.id).update(wake_at=(now or datetime.now(UTC)) + LEASE)
    try:
        work, state = load_run(run)
        resume(work, state, saver(work, state, LEASE), now=now, deps=deps)
    except ConflictError:
        log.info("%s was called back meanwhile: it is due again, for whoever comes next", run.id)
    except FlowstmtError:
        log.exception("%s can't go on now; it is due again when the lease is over", run.id)
    return True


# --- pessimistic ---


def callback_locked(
    run_id: str, request: CallbackRequest | str, payload: bytes | None = None, now: datetime | None = None, deps: Any = None
) -> Any:
    """As ``callback``, but whoever moves the run is waited for, and what the handler writes is of the same commit."""
    with transaction.atomic():
        work, state = load_run(Run.objects.select_for_update().get(id=run_id))
        revision = state.revision
        settle(work, state, None, now, deps)
        answer = handle_callback(request, work, state, payload, now=now, deps=deps)
        write(work, state, revision)
    return answer


def work_locked(now: datetime | None = None, deps: Any = None) -> bool:
    """As ``work``, but the row is locked while an action runs, and what that writes to other models commits with it.

    One transaction is one action.
    """
    with transaction.atomic():
        run = due_runs(now).first()
        if run is None:
            return False
        try:
            with transaction.atomic():  # so that the lock stays when what a failed action has written is rolled back
                work, state = load_run(run)
                revision = state.revision
                settle(work, state, None, now, deps)
                # A decision is stored before the action that it leads to. So if there was one, that is all for now.
                if state.revision == revision:
                    settle(work, state, None, now, deps, max_steps=1)
                write(work, state, revision)
        except FlowstmtError:
            log.exception("%s can't go on now; it is due again in %s", run.id, LEASE)
            Run.objects.filter(id=run.id).update(wake_at=(now or datetime.now(UTC)) + LEASE)
    return True
