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

from flowstmt.core.state import OVER, ThreadStatus, WorkflowStatus
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
    """One who listens to one run: to each of its checkpoints, or only to where it comes to rest."""

    __slots__ = ("_checkpoints", "_news", "over", "snapshots")

    def __init__(self, *, checkpoints: bool) -> None:
        # The last checkpoint there is, once the run is over.
        self.over: bytes | None = None
        self.snapshots: deque[bytes] = deque(maxlen=_KEPT)
        self._checkpoints = checkpoints
        self._news = asyncio.Event()

    def hear(self, snapshot: bytes | None, rests: str | None) -> None:
        """Something happened; with a snapshot: it is a checkpoint, and committed. ``rests``: the status at rest."""
        if rests in OVER:
            self.over = snapshot
        if snapshot is not None:
            if self._checkpoints:
                self.snapshots.append(snapshot)
            elif rests is None:
                return
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

    def tell(self, run_id: str, snapshot: bytes | None = None, *, rests: str | None = None) -> None:
        """For who moves runs: a checkpoint of this one is committed; ``rests`` is its status, if it has come to rest with it.

        Without a snapshot: it has come to rest as it was, was set back, or something was published. Where nobody listens, this
        is one look into a dict.
        """
        ears = self._ears.get(run_id)
        if ears is not None:
            for ear in ears:
                ear.hear(snapshot, rests)

    @contextmanager
    def listening(self, run_id: str, *, checkpoints: bool = True) -> Iterator[Ear]:
        """Hear of a run meanwhile."""
        ear = Ear(checkpoints=checkpoints)
        self._ears.setdefault(run_id, []).append(ear)
        try:
            yield ear
        finally:
            ears = self._ears[run_id]
            ears.remove(ear)
            if not ears:
                del self._ears[run_id]


def change_of(row: StoredRun | None, snapshot: bytes | None, kind: Literal["status", "checkpoint"]) -> Change:
    """A checkpoint, as watchers are told of it: that of a row, or one of a run that this process moves."""
    blob = snapshot if row is None else row.snapshot
    try:
        state = orjson.loads(blob or b"")["state"]
        status = WorkflowStatus(state["status"])
        positions = {thread["id"]: thread["position"] for thread in state["threads"] if thread["status"] != ThreadStatus.Ended}
        run_id, revision = state["run_id"], state["revision"]
    except (ValueError, KeyError, TypeError):
        # A snapshot that can't be read is why the run is Paused: whoever watches it wants to know just that.
        assert row is not None  # what this process writes can be read
        return Change(row.run_id, kind, WorkflowStatus(row.status), row.revision, {"main": row.position})
    if row is not None and row.status == WorkflowStatus.Paused:
        status = WorkflowStatus.Paused
    return Change(run_id, kind, status, revision, positions)


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
