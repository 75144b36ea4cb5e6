"""Rows of PostgreSQL as the records of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from flowstmt.stores.protocol import (
    Claimed,
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    Published,
    RunQuery,
    StoredRun,
    Taken,
)

__all__ = ["claimed", "history_row", "message", "published", "query_parameters", "stored", "taken", "utc"]


def utc(instant: datetime) -> datetime:
    """An instant in UTC, whatever the time zone of the connection (the caller's own may have any)."""
    return instant.astimezone(UTC)


def _maybe_utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)


def _maybe_bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def stored(row: tuple[Any, ...]) -> StoredRun:
    """A row of the statements ``get``, ``get_in_flight`` and ``list``."""
    due_at, owner = _maybe_utc(row[9]), row[11]
    return StoredRun(
        run_id=row[0],
        workflow=row[1],
        version=row[2],
        status=row[3],
        position=row[4],
        revision=row[5],
        attempts=row[6],
        created_at=utc(row[7]),
        updated_at=utc(row[8]),
        wake_at=due_at if owner is None else None,
        finished_at=_maybe_utc(row[10]),
        owner=owner,
        lease_until=None if owner is None else due_at,
        fence=row[12],
        digest=row[13],
        error=_maybe_bytes(row[14]),
        single_flight=row[15],
        parent=row[16],
        queue=row[17],
        queue_key=row[18],
        priority=row[19],
        labels={} if row[20] is None else orjson.loads(row[20]),
        snapshot=_maybe_bytes(row[21]),
    )


def claimed(row: tuple[Any, ...], messages: Sequence[Message]) -> Claimed:
    """A row of ``claim`` and ``claim_run``."""
    run_id, workflow, fence, attempts, snapshot, status, error = row
    return Claimed(run_id, workflow, fence, attempts, snapshot.encode(), messages, status, _maybe_bytes(error))


def message(row: tuple[Any, ...]) -> Message:
    """A row of ``open_messages``, ``mail`` and ``messages``."""
    message_id, run_id, kind, body, key, created_at, status = row
    return Message(message_id, run_id, MessageKind(kind), body.encode(), key, utc(created_at), MessageStatus(status))


def taken(row: tuple[Any, ...]) -> Taken:
    """A row of ``answers``."""
    return Taken(row[0], MessageStatus(row[1]), _maybe_bytes(row[2]))


def history_row(row: tuple[Any, ...]) -> HistoryRow:
    """A row of ``history``."""
    revision, thread_id, position, attempt, started_at, duration, error = row
    return HistoryRow(revision, thread_id, position, attempt, utc(started_at), duration, error)


def published(row: tuple[Any, ...]) -> Published:
    """A row of ``published``."""
    return Published(row[0], utc(row[1]), row[2].encode())


def query_parameters(query: RunQuery) -> Mapping[str, Any]:
    """What ``list`` and ``list_labelled`` are asked with."""
    after_at, after_id = query.after or (None, None)
    label_name, label_value = query.label or (None, None)
    return {
        "workflow": query.workflow,
        "status": query.status,
        "position": query.position,
        "label_name": label_name,
        "label_value": label_value,
        "parent": query.parent,
        "queue": query.queue,
        "created_from": query.created_from,
        "created_before": query.created_before,
        "wake_before": query.wake_before,
        "after_at": after_at,
        "after_id": after_id,
        "limit": query.limit,
    }
