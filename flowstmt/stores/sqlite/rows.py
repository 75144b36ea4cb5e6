"""Rows of SQLite as the protocol's objects, and back. Instants are microseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from flowstmt.stores.protocol import HistoryRow, Message, MessageKind, MessageStatus, Published, RunQuery, StoredRun

__all__ = ["history_row", "instant", "labels_json", "leading", "message", "microseconds", "page", "published", "span", "stored"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FOREVER = 2**62


def microseconds(at: datetime) -> int:
    """An instant as it is stored; a naive one raises ``TypeError``."""
    return (at - _EPOCH) // _MICROSECOND


def instant(stored_at: int) -> datetime:
    """A stored instant."""
    return _EPOCH + timedelta(microseconds=stored_at)


def span(duration: timedelta) -> int:
    """A duration as it is stored."""
    return duration // _MICROSECOND


def labels_json(labels: Any) -> str:
    """Labels as they are stored with their run."""
    return orjson.dumps(dict(labels)).decode()


def stored(row: Sequence[Any]) -> StoredRun:
    """A row of ``get`` or of a list, which has no snapshot."""
    due_at = None if row[9] is None else instant(row[9])
    owned = row[11] is not None
    return StoredRun(
        run_id=row[0],
        workflow=row[1],
        version=row[2],
        status=row[3],
        position=row[4],
        revision=row[5],
        attempts=row[6],
        created_at=instant(row[7]),
        updated_at=instant(row[8]),
        wake_at=None if owned else due_at,
        finished_at=None if row[10] is None else instant(row[10]),
        owner=row[11],
        lease_until=due_at if owned else None,
        fence=row[12],
        digest=row[13],
        error=row[14],
        labels=orjson.loads(row[15]),
        single_flight=row[16],
        parent=row[17],
        queue=row[18],
        queue_key=row[19],
        priority=row[20],
        snapshot=row[21] if len(row) > 21 else None,
    )


def message(row: Sequence[Any]) -> Message:
    """A row of the inbox."""
    return Message(row[0], row[1], MessageKind(row[2]), row[3] or b"", row[4], instant(row[5]), MessageStatus(row[6]))


def history_row(row: Sequence[Any]) -> HistoryRow:
    """An attempt at a step."""
    return HistoryRow(row[0], row[1], row[2], row[3], instant(row[4]), timedelta(microseconds=row[5]), row[6])


def published(row: Sequence[Any]) -> Published:
    """What an action told."""
    return Published(row[0], instant(row[1]), row[2])


def leading(query: RunQuery) -> str:
    """The list whose index leaves the fewest rows to look at, as far as one can know without asking the database."""
    if query.label is not None:
        return "list_by_label"
    if query.parent is not None:
        return "list_by_parent"
    if query.wake_before is not None:
        return "list_by_wake"
    if query.position is not None:
        return "list_by_position"
    if query.status is not None:
        return "list_by_status"
    if query.queue is not None:
        return "list_by_queue"
    return "list_by_created" if query.workflow is None else "list_by_workflow"


def page(query: RunQuery) -> dict[str, Any]:
    """What a query asks for, as the parameters of any list."""
    before = (_FOREVER, "") if query.created_before is None else (microseconds(query.created_before), "")
    if query.after is not None:
        before = min(before, (microseconds(query.after[0]), query.after[1]))
    label_name, label_value = query.label or (None, None)
    return {
        "workflow": query.workflow,
        "status": query.status,
        "position": query.position,
        "parent": query.parent,
        "queue": query.queue,
        "label_name": label_name,
        "label_value": label_value,
        "from_at": -_FOREVER if query.created_from is None else microseconds(query.created_from),
        "before_at": before[0],
        "before_id": before[1],
        "wake_before": None if query.wake_before is None else microseconds(query.wake_before),
        "limit": query.limit,
    }
