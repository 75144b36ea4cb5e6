"""Who wants to know what becomes of a run: in this process told at once, from elsewhere seen in the store.

Rules:

1. A checkpoint of a run that this process moves is told with its snapshot, so that watchers see each one, however fast
   they come. What other processes do is read from the store: of several checkpoints between two looks the last is seen.
2. Nobody waits for a watcher: one that is slow gets the newest of what it has missed.

What this module must not know: how runs are moved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic_core import from_json

from flowstmt.core.state import OVER, WorkflowStatus
from flowstmt.stores.protocol import Published, StoredRun

__all__ = ["Change", "Ear", "Watchers", "change_of", "published_change"]

_KEPT = 1000
"""So many checkpoints are kept for a watcher that is slow."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a run.

    Attributes:
        run_id: The id of the run.
        kind: ``status`` for what it is when watching begins, ``checkpoint`` for each later one, ``published`` for what an
            action told with ``current().publish``.
        status: The status of the run, as far as it is known here.
        revision: That of the checkpoint.
        positions: Where each thread stands, by its id.
        body: What was published, as JSON values.
        number: The number of what was published: ``watch(run_id, published_after=number)`` goes on behind it.
        at: When it was published, by the database's clock.
    """

    run_id: str
    kind: Literal["status", "checkpoint", "published"]
    status: WorkflowStatus
    revision: int
    positions: dict[str, str]
    body: Any = None
    number: int | None = None
    at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether the run is over: there are no more checkpoints."""
        return self.status in OVER


class Ear:
    """One who listens to one run."""

    __slots__ = ("_news", "snapshots")

    def __init__(self) -> None:
        self.snapshots: deque[bytes] = deque(maxlen=_KEPT)
        self._news = asyncio.Event()

    def hear(self, snapshot: bytes | None) -> None:
        """Something happened; with a snapshot: it is a checkpoint, and committed."""
        if snapshot is not None:
            self.snapshots.append(snapshot)
        self._news.set()

    async def news(self, seconds: float) -> None:
        """Return once there are news, or so many seconds are over."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()


class Watchers:
    """Those who listen to runs in this process, all in its event loop."""

    def __init__(self) -> None:
        self._ears: dict[str, list[Ear]] = {}

    def tell(self, run_id: str, snapshot: bytes | None = None) -> None:
        """For who moves runs: a checkpoint of this one is committed, or (without a snapshot) something was published.

        To be called for every checkpoint: where nobody listens, it is one look into a dict.
        """
        ears = self._ears.get(run_id)
        if ears is not None:
            for ear in ears:
                ear.hear(snapshot)

    @contextmanager
    def listening(self, run_id: str) -> Iterator[Ear]:
        """Hear of a run meanwhile."""
        ear = Ear()
        self._ears.setdefault(run_id, []).append(ear)
        try:
            yield ear
        finally:
            ears = self._ears[run_id]
            ears.remove(ear)
            if not ears:
                del self._ears[run_id]


def change_of(run_id: str, snapshot: bytes, kind: Literal["status", "checkpoint"], row: StoredRun | None = None) -> Change:
    """A checkpoint, as watchers are told of it. The row may know better: Paused after failures is no status of the snapshot."""
    state = orjson.loads(snapshot)["state"]
    status = WorkflowStatus(state["status"])
    if row is not None and row.status == WorkflowStatus.Paused:
        status = WorkflowStatus.Paused
    positions = {thread["id"]: thread.get("position", "") for thread in state["threads"]}
    return Change(run_id, kind, status, state["revision"], positions)


def published_change(last: Change, published: Published) -> Change:
    """What was published, told with what is known of the run."""
    return Change(
        last.run_id,
        "published",
        last.status,
        last.revision,
        last.positions,
        from_json(published.body),
        published.number,
        published.at,
    )
