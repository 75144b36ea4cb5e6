"""Letting runs into a queue, under a lock of the queue, so that limits hold whoever else does the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

from flowstmt.stores.postgres.connections import Connection, Statements
from flowstmt.stores.protocol import QueueLimits

__all__ = ["admit"]


def admit(connection: Connection, sql: Statements, queue: QueueLimits, limit: int, schema: str, channel: str) -> int:
    """Let runs in, as far as limits allow; how many there were."""
    name = {"queue": queue.name}
    if limit < 1 or not sql.rows(connection, "is_queued", name)[0][0]:
        return 0
    with connection.transaction():
        sql.execute(connection, "lock_queue", {**name, "schema": schema})
        keys: Counter[str | None] = Counter(dict(sql.rows(connection, "under_way", name)))
        chosen = _chosen(connection, sql, queue, _room(connection, sql, queue, limit, keys.total()), keys)
        if not chosen:
            return 0
        admitted = sql.execute(connection, "admit", {"run_ids": chosen}).rowcount
        if queue.rate is not None:
            sql.execute(connection, "add_admissions", {**name, "runs": admitted})
        sql.execute(connection, "notify", {"channel": channel})
    return admitted


def _room(connection: Connection, sql: Statements, queue: QueueLimits, limit: int, under_way: int) -> int:
    """How many may be let in, keys apart."""
    room = limit
    if queue.concurrency is not None:
        room = min(room, queue.concurrency - under_way)
    if queue.rate is not None:
        count, per = queue.rate
        sql.execute(connection, "forget_admissions", {"queue": queue.name, "per": per})
        [(admitted,)] = sql.rows(connection, "admitted", {"queue": queue.name})
        room = min(room, count - admitted)
    return room


def _chosen(connection: Connection, sql: Statements, queue: QueueLimits, room: int, keys: Counter[str | None]) -> list[Any]:
    """The ids of those to let in: in their order, past those whose key has as many under way as it may."""
    most = queue.per_key_concurrency
    full = set() if most is None else {key for key, count in keys.items() if key is not None and count >= most}
    chosen: dict[str, None] = {}
    while len(chosen) < room:
        asked = room - len(chosen)
        rows = sql.rows(connection, "queued", {"queue": queue.name, "full": [*full], "limit": asked + len(chosen)})
        before = len(chosen)
        for run_id, key in rows:
            if run_id in chosen or len(chosen) == room:
                continue
            if most is not None and key is not None:
                if keys[key] >= most:
                    full.add(key)
                    continue
                keys[key] += 1
            chosen[run_id] = None
        if len(chosen) == before and len(rows) < asked + before:
            break
    return [*chosen]
