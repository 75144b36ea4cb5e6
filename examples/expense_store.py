"""Expenses in a SQLite file: ``submit`` and ``call`` are for your web handlers, ``wake`` for a timer, ``saver`` for a copy."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from examples.expense import Expense, Office
from flowstmt import (
    CallbackRequest,
    CheckpointType,
    ConflictError,
    FlowstmtError,
    SetupError,
    State,
    StepError,
    dump,
    handle_callback,
    load,
    resume,
)

log = logging.getLogger("expense")


class Expenses:
    """Expenses in a SQLite file, one row each. A connection is for one thread: let each thread of a web server make its own."""

    invoke: Callable[..., Any] | None = None
    """Wraps every action, handler, setup and teardown: for tracing, and for tests that kill."""

    def __init__(self, path: str | Path, office: Office) -> None:
        self.path = path
        self.office = office
        self.db = sqlite3.connect(path, isolation_level=None)  # every statement commits by itself
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS expenses (id TEXT PRIMARY KEY, revision INTEGER, wake_at REAL, snapshot BLOB) STRICT"
        )
        self.db.execute("CREATE INDEX IF NOT EXISTS due ON expenses (wake_at)")

    def submit(self, expense_id: str, expense: Expense, now: datetime | None = None) -> None:
        """``expense_id`` is the caller's: whoever submits twice, for want of an answer, has submitted once."""
        state = State.new(expense_id, "Expense", now)
        # wake_at 0: should this process die now, `wake` finds it.
        self.db.execute("INSERT OR IGNORE INTO expenses VALUES (?, 0, 0, ?)", (expense_id, dump(expense, state)))
        self.go_on(expense_id, now)

    def call(
        self, expense_id: str, event: str, by: str, text: str = "", desk: str | None = None, now: datetime | None = None
    ) -> Any:
        """Hand in what somebody says. ``desk`` is the role in which they say it, or which asked; raises ``CallbackError``."""
        request = CallbackRequest(event, thread_id=f"approval:{desk}" if desk is not None else None)
        payload = {"by": by, "text": text} if text else {"by": by}
        while True:
            self.go_on(expense_id, now)  # to where it would be, had no process died, and no deadline passed unseen
            expense, state = self.load(expense_id)
            save = self.saver(expense, state)
            answer = handle_callback(request, expense, state, payload, now=now, deps=self.office, invoke=self.invoke)
            try:
                save()  # from here on it is taken, whatever happens to this process
            except ConflictError:
                continue  # somebody else was faster: look again whether it is welcome
            self.go_on(expense_id, now)
            return answer

    def wake(self, now: datetime) -> None:
        """Move on every expense that can do something by itself: one whose process died, one whose time has come."""
        for (expense_id,) in self.db.execute("SELECT id FROM expenses WHERE wake_at <= ?", (now.timestamp(),)).fetchall():
            try:
                self.go_on(expense_id, now)
            except FlowstmtError:
                # It does not fit the workflow any more, say. Those behind it do.
                log.exception("%s needs somebody to look at it", expense_id)

    def go_on(self, expense_id: str, now: datetime | None) -> None:
        expense, state = self.load(expense_id)
        try:
            resume(expense, state, self.saver(expense, state), now=now, deps=self.office, invoke=self.invoke)
        except (StepError, SetupError, ConflictError):
            # All is saved up to the last checkpoint, and `wake` tries again: neither who called nor other expenses suffer.
            log.exception("%s can't go on now", expense_id)

    def load(self, expense_id: str) -> tuple[Expense, State]:
        row = self.db.execute("SELECT snapshot FROM expenses WHERE id = ?", (expense_id,)).fetchone()
        if row is None:
            raise LookupError(f"there is no expense {expense_id!r}")
        return load(Expense, row[0])

    def saver(self, expense: Expense, state: State) -> Callable[..., None]:
        """What ``resume`` calls at each checkpoint: write the run, unless somebody else has since it was loaded."""
        loaded = state.revision

        def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            row = (state.revision, wake_at, dump(expense, state), state.run_id, loaded)
            done = self.db.execute(
                "UPDATE expenses SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?", row
            )
            if done.rowcount == 0:
                raise ConflictError(f"{state.run_id} was moved by somebody else since revision {loaded}: load it again")
            loaded = state.revision

        return save
