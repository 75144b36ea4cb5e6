"""Writes as statements of PostgreSQL, and what their results mean. It does no I/O: see ``batches``.

A write is a list of calls, which are made in their order whatever each of them finds: what a ``Save`` brings along asks by
itself whether the run stands at that save (the parameters ``guard``). So a whole batch can be sent without waiting for
any result. The first call of a write has its answer; where that isn't enough, ``looked_up`` asks once more.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, assert_never

from flowstmt.core.state import WorkflowStatus
from flowstmt.stores.postgres.rows import stored
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    NewRun,
    Outcome,
    Posted,
    Publication,
    Release,
    Rest,
    Save,
    Setback,
    Started,
    Withdrawal,
    Write,
)

__all__ = ["Call", "Result", "Writes", "is_news", "target"]

_OVER = frozenset({WorkflowStatus.Finished, WorkflowStatus.Failed, WorkflowStatus.Cancelled})


class Call(NamedTuple):
    """A statement's name, and what it is called with."""

    name: str
    parameters: dict[str, Any]


class Result(NamedTuple):
    """How many rows a statement changed or found, and those that it gave."""

    changed: int
    rows: Sequence[tuple[Any, ...]]


Steps: TypeAlias = Generator[Call, Result, Outcome]


def target(write: Write) -> str | None:
    """The run that a write is about, where it says so."""
    return None if isinstance(write, Withdrawal) else write.run_id


def is_news(write: Write) -> bool:
    """Whether somebody may wait for this: then it is notified of. A checkpoint is not: NOTIFY makes commits stand in a line."""
    match write:
        case NewRun():
            return write.worker is None
        case Save():
            return bool(write.taken or write.messages or write.children)
        case Message() | Release():
            return True
        case _:
            return False


class Writes:
    """Makes calls of writes; ``channel`` is where news are told."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._published: dict[int, tuple[Publication, uuid.UUID]] = {}
        """Publications that are not known to be committed: when they come again, they have nothing else to be known by."""

    def succeeded(self) -> None:
        """All that was handed in is committed."""
        self._published.clear()

    def calls(self, write: Write) -> list[Call]:
        """The calls of a write; the first has its answer."""
        match write:
            case Save():
                return [self.save(write), *extras(write)]
            case NewRun():
                return [_new_run(write)]
            case Message():
                return [_post(write)]
            case Setback():
                return [
                    Call(
                        "setback",
                        {
                            "run_id": write.run_id,
                            "fence": write.fence,
                            "attempts": write.attempts,
                            "error": write.error.decode(),
                            "retry_at": write.retry_at,
                            "channel": self._channel,
                        },
                    ),
                    *(_history(write.run_id, write.fence, None, row) for row in write.history),
                ]
            case Release():
                name = "release" if write.fence is None else "hand_back"
                return [Call(name, {"run_id": write.run_id, "fence": write.fence})]
            case Publication():
                return [self._publish(write)]
            case Withdrawal():
                return [Call("withdraw", {"id": write.id})]
            case _:
                assert_never(write)

    def save(self, save: Save) -> Call:
        """The checkpoint itself."""
        parameters = {
            "snapshot": save.snapshot.decode(),
            "revision": save.revision,
            "run_id": save.run_id,
            "fence": save.fence,
        }
        if save.rest is None:
            return Call("save", parameters)
        return Call("rest", {**parameters, **self._rest(save.rest), "taken": [message.id for message in save.taken]})

    def _rest(self, rest: Rest) -> dict[str, Any]:
        return {
            "version": rest.version,
            "status": rest.status,
            "position": rest.position,
            "wake_at": rest.wake_at,
            "error": None if rest.error is None else rest.error.decode(),
            "over": rest.status in _OVER,
            "paused": rest.status == WorkflowStatus.Paused,
            "channel": self._channel,
        }

    def _publish(self, publication: Publication) -> Call:
        known = self._published.get(id(publication))
        again = known is not None
        if known is None:
            known = self._published[id(publication)] = (publication, uuid.uuid4())
        body = publication.body.decode()
        return Call("publish", {"run_id": publication.run_id, "body": body, "id": known[1], "again": again})

    def answer(self, write: Write, result: Result) -> Outcome | None:
        """What the first call of a write has found; None: look further."""
        match write:
            case NewRun():
                return Started(created=True) if result.rows[0][0] else None
            case Save() | Setback():
                return True if result.changed else None
            case Message():
                return Posted(result.rows[0][0])
            case Withdrawal() | Publication():
                return bool(result.rows[0][0])
            case _:
                return result.changed > 0

    def looked_up(self, write: Write, first: Result) -> Generator[Call, Result, Outcome | None]:
        """Look further: who is in the way of a start, whether a save or setback was made before.

        None: who was in the way has gone.
        """
        if isinstance(write, Save):
            result = yield Call("standing", {"run_ids": [write.run_id]})
            return was_saved(write, result.rows)
        if isinstance(write, Setback):
            result = yield Call("standing", {"run_ids": [write.run_id]})
            return any((fence, attempts) == (write.fence, write.attempts) for _, fence, _, attempts in result.rows)
        assert isinstance(write, NewRun)
        _, is_there, in_flight = first.rows[0]
        result = yield Call("get", {"run_id": write.run_id if is_there or in_flight is None else in_flight})
        if result.rows:
            found = stored(result.rows[0])
            return Started(created=False, existing=found, in_flight=found.run_id != write.run_id)
        # Both may have been too young for the first call to see.
        result = yield Call("get_in_flight", {"workflow": write.workflow, "single_flight": write.single_flight})
        if result.rows:
            return Started(created=False, existing=stored(result.rows[0]), in_flight=True)
        return None

    def steps(self, write: Write) -> Steps:
        """All of a write, call by call."""
        while True:
            first, *more = self.calls(write)
            found = yield first
            outcome = self.answer(write, found)
            for call in more:  # noqa: UP028 a list takes no results
                yield call
            if outcome is None:
                outcome = yield from self.looked_up(write, found)
            if outcome is not None:
                return outcome


def extras(save: Save) -> Iterator[Call]:
    """What comes with a checkpoint: children first, so that messages find them."""
    guard = (save.run_id, save.fence, save.revision)
    for message in save.taken:
        answer = None if message.answer is None else message.answer.decode()
        parameters = {"id": message.id, "status": message.status.value, "answer": answer}
        yield Call("take", {**parameters, "run_id": save.run_id, "fence": save.fence, "revision": save.revision})
    for row in save.history:
        yield _history(save.run_id, save.fence, save.revision, row)
    for child in save.children:
        yield _new_run(child, guard)
    for posted in save.messages:
        yield _post(posted, guard)


def was_saved(save: Save, rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a save that changed no row was made before: the rows of ``standing`` say where runs stand now."""
    return any(
        run_id == save.run_id and fence == save.fence and revision >= save.revision for run_id, fence, revision, _ in rows
    )


_Guard: TypeAlias = tuple[str | None, int | None, int | None]
_NO_GUARD: _Guard = (None, None, None)


def _new_run(new: NewRun, guard: _Guard = _NO_GUARD) -> Call:
    parameters = {
        "run_id": new.run_id,
        "workflow": new.workflow,
        "version": new.version,
        "snapshot": new.snapshot.decode(),
        "digest": new.digest,
        "position": new.position,
        "start_at": new.start_at,
        "label_names": list(new.labels),
        "label_values": list(new.labels.values()),
        "single_flight": new.single_flight,
        "parent": new.parent,
        "queue": new.queue,
        "queue_key": new.queue_key,
        "priority": new.priority,
        "worker": new.worker,
        "lease": new.lease,
    }
    return Call("new_run", {**parameters, **_guarded(guard)})


def _post(message: Message, guard: _Guard = _NO_GUARD) -> Call:
    parameters = {
        "id": message.id,
        "run_id": message.run_id,
        "kind": message.kind.value,
        "key": message.key,
        "body": message.body.decode(),
    }
    return Call("post", {**parameters, **_guarded(guard)})


def _guarded(guard: _Guard) -> dict[str, Any]:
    return {"guard": guard[0], "guard_fence": guard[1], "guard_revision": guard[2]}


def _history(run_id: str, fence: int, saved: int | None, row: HistoryRow) -> Call:
    parameters = {
        "revision": row.revision,
        "thread_id": row.thread_id,
        "attempt": row.attempt,
        "position": row.position,
        "started_at": row.started_at,
        "duration": row.duration,
        "error": row.error,
    }
    return Call("add_history", {**parameters, "run_id": run_id, "fence": fence, "saved": saved})
