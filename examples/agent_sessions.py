"""Sessions of ``agent.py`` in a SQLite file, moved by one process, which people's decisions reach while a session moves.

Copy ``Sessions``: a web server has one, calls ``decide`` where a decision is posted, ``go_on`` in a task of its own for each
session that moves, and now and then for those that are ``due``. One process moves them: a second one that moved the same
session would be told by a ``ConflictError``, but both would have asked the model.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from examples.agent import Agent, Decision, World
from flowstmt import (
    CallbackRequest,
    CheckpointType,
    ConflictError,
    FlowstmtError,
    State,
    WorkflowStatus,
    dump,
    handle_callback_async,
    load,
    resume_async,
)

log = logging.getLogger("agent")

PAUSE = timedelta(seconds=10)  # after something raised


class Sessions:
    """Runs of ``Agent``, one row each; ``running`` are those that move now."""

    def __init__(self, path: str | Path, world: World, concurrency: int = 8) -> None:
        self.world = world
        self.concurrency = concurrency
        self.running: dict[str, tuple[Agent, State]] = {}
        self.db = sqlite3.connect(path, isolation_level=None)  # every statement commits by itself
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, revision INTEGER, wake_at REAL, snapshot BLOB) STRICT"
        )

    def start(self, run_id: str, agent: Agent, now: datetime | None = None) -> None:
        """Keep a new session. It is due at once."""
        self.db.execute("INSERT INTO sessions VALUES (?, 0, 0, ?)", (run_id, dump(agent, State.new(run_id, "Agent", now))))

    def load(self, run_id: str | None) -> tuple[Agent, State]:
        row = self.db.execute("SELECT snapshot FROM sessions WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise LookupError(f"there is no session {run_id!r}")
        return load(Agent, row[0])

    def saver(self, agent: Agent, state: State) -> Callable[..., Awaitable[None]]:
        """What ``resume_async`` calls at each checkpoint; with an async database driver it would await its write."""
        loaded = state.revision

        async def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            self.write(state.revision, wake_at, dump(agent, state), state.run_id, loaded)
            loaded = state.revision

        return save

    def write(self, revision: int, wake_at: float | None, snapshot: bytes, run_id: str, loaded: int) -> None:
        # Not in a thread: it takes a millisecond or so, and a thread goes on writing when its save has been cancelled.
        done = self.db.execute(
            "UPDATE sessions SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?",
            (revision, wake_at, snapshot, run_id, loaded),
        )
        if done.rowcount == 0:
            raise ConflictError(f"{run_id} was moved by somebody else since revision {loaded}: load it again")

    async def go_on(self, run_id: str, now: datetime | None = None) -> WorkflowStatus:
        """Move a session until it waits or is over. What fails is logged, and is due again after a pause."""
        if run_id in self.running:
            return WorkflowStatus.Resuming
        try:
            agent, state = self.running[run_id] = self.load(run_id)
            save = self.saver(agent, state)
            return await resume_async(agent, state, save, now=now, deps=self.world, concurrency=self.concurrency)
        except ConflictError:
            log.info("%s was moved by somebody else, who sees to the rest", run_id)
            return WorkflowStatus.Resuming
        except FlowstmtError:
            # All is saved up to the last checkpoint; or it can't be read any more, and others can.
            log.exception("%s can't go on now", run_id)
            self._leave_alone(run_id, now or datetime.now(UTC))
            return WorkflowStatus.Resuming
        finally:
            # Nothing was awaited since the resume returned: who finds the session here finds it moving.
            self.running.pop(run_id, None)

    def _leave_alone(self, run_id: str, now: datetime) -> None:
        # Only if it is still due: what could not be set up has been saved with the instant of its next try.
        row = ((now + PAUSE).timestamp(), run_id, now.timestamp())
        self.db.execute("UPDATE sessions SET wake_at = ? WHERE id = ? AND wake_at <= ?", row)

    def due(self, now: datetime) -> list[str]:
        """Sessions that can do something by themselves: new, decided, timed out, or left behind by a process that died."""
        found = self.db.execute("SELECT id FROM sessions WHERE wake_at <= ? ORDER BY id", (now.timestamp(),)).fetchall()
        return [run_id for (run_id,) in found if run_id not in self.running]

    async def decide(self, request: CallbackRequest, decision: Decision | bytes, now: datetime | None = None) -> Any:
        """Hand in a decision, whether the session moves now or not; then let it ``go_on``. Taken for good when this returns.

        Raises ``CallbackError`` if it is refused, and ``ConflictError`` if it was not taken, as the session failed or was
        moved by somebody else meanwhile: hand it in once more.
        """
        if request.run_id in self.running:
            # Taken between two checkpoints, and saved by the running resume.
            return await handle_callback_async(request, *self.running[request.run_id], decision, now=now, deps=self.world)
        agent, state = self.load(request.run_id)
        save = self.saver(agent, state)
        output = await handle_callback_async(request, agent, state, decision, now=now, deps=self.world)
        await save()
        return output
