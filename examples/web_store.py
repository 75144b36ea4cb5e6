"""The orders of ``web.py`` in a SQLite file, for many threads and processes at once.

Nobody holds a lock. Two that move one order at once both write ``WHERE revision = <the one loaded>``: the slower one gets a
``ConflictError``, and what it did outside had the same idempotency keys. Each call has a connection of its own, since sqlite3's
connections are for one thread, and opening one takes less than a write.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from examples.web_order import Order, Services
from flowstmt import (
    CallbackRequest,
    CheckpointType,
    ConflictError,
    FlowstmtError,
    NotWaitingError,
    SetupError,
    State,
    StepError,
    dump,
    handle_callback,
    load,
    resume,
)

log = logging.getLogger("shop")

RETRY = timedelta(seconds=10)  # after something raised
CONFLICTS = 20


class NotFoundError(LookupError):
    """There is no order of this id."""


class NotYetError(Exception):
    """The order does not wait for this yet, but has something to do that may lead there: try again."""


class Shop:
    def __init__(self, path: str | Path, services: Services) -> None:
        self.path = path
        self.services = services
        with self._db() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, revision INT, wake_at REAL, snapshot BLOB) STRICT"
            )
            db.execute("CREATE INDEX IF NOT EXISTS due ON orders (wake_at)")

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, isolation_level=None)  # every statement commits by itself
        try:
            db.execute("PRAGMA synchronous = FULL")
            yield db
        finally:
            db.close()

    def start(self, order_id: str, order: Order, now: datetime | None = None) -> None:
        """An order that is there already stays as it is: whoever asks twice, for want of an answer, has ordered once."""
        now = now or datetime.now(UTC)
        state = State.new(order_id, "Order", now)
        with self._db() as db:
            # Due at once: should this process die now, `wake` finds it.
            row = (order_id, now.timestamp(), dump(order, state))
            db.execute("INSERT OR IGNORE INTO orders VALUES (?, 0, ?, ?)", row)

    def load(self, order_id: str) -> tuple[Order, State]:
        with self._db() as db:
            row = db.execute("SELECT snapshot FROM orders WHERE id = ?", (order_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"there is no order {order_id!r}")
        return load(Order, row[0])

    def call(self, order_id: str, request: CallbackRequest | str, payload: Any = None, now: datetime | None = None) -> Any:
        """Hand in a callback. When this returns it is saved: answer the caller, then ``go_on``.

        Raises ``CallbackError`` if it is refused, ``NotYetError`` if it should be tried again later.
        """
        for _ in range(CONFLICTS):
            order, state = self.load(order_id)
            try:
                save = self.saver(order, state)
                answer = handle_callback(request, order, state, payload, now=now, deps=self.services)
                save()
            except NotWaitingError:
                if not is_due(state, now):
                    raise
                # A process died before the order got to its wait, or is on its way there.
                if not self.go_on(order_id, now):
                    raise NotYetError(f"order {order_id!r} can't go on now") from None
            except ConflictError:
                continue  # somebody else moved it: look again what it waits for
            else:
                return answer
        raise NotYetError(f"order {order_id!r} is being moved by too many at once")

    def go_on(self, order_id: str, now: datetime | None = None) -> bool:
        """Do all that the order can do by itself; False if something stands in its way."""
        order, state = self.load(order_id)
        try:
            resume(order, state, self.saver(order, state), now=now, deps=self.services)
        except ConflictError:
            log.info("order %s is moved by somebody else", order_id)
        except SetupError:
            # Saved, with the instant of the next try.
            log.exception("order %s: something could not be set up", order_id)
        except StepError:
            # All is saved up to the last checkpoint. Not in a busy loop: `wake` tries again a little later.
            log.exception("order %s can't go on now", order_id)
            self._leave_alone(order_id, state.revision, now)
            return False
        return True

    def _leave_alone(self, order_id: str, revision: int, now: datetime | None) -> None:
        later = ((now or datetime.now(UTC)) + RETRY).timestamp()
        with self._db() as db:
            db.execute("UPDATE orders SET wake_at = ? WHERE id = ? AND revision = ?", (later, order_id, revision))

    def wake(self, grace: timedelta, now: datetime | None = None) -> None:
        """Move on what can do something by itself: whose process died, whose time has come.

        ``grace`` is how long an order that is due is left to the request that is probably at it.
        """
        until = (now or datetime.now(UTC)) - grace
        with self._db() as db:
            find = "SELECT id, revision FROM orders WHERE wake_at <= ? ORDER BY wake_at"
            due = db.execute(find, (until.timestamp(),)).fetchall()
        for order_id, revision in due:
            try:
                self.go_on(order_id, now)
            except FlowstmtError:
                # It does not fit the workflow any more, say. Those behind it do.
                log.exception("order %s needs somebody to look at it", order_id)
                self._leave_alone(order_id, revision, now)

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        """What ``resume`` calls at each checkpoint: write the run, unless somebody else has since it was loaded."""
        loaded = state.revision

        def save(kind: CheckpointType | None = None) -> None:
            nonlocal loaded
            wake_at = state.wake_at.timestamp() if state.wake_at is not None else None
            row = (state.revision, wake_at, dump(order, state), state.run_id, loaded)
            with self._db() as db:
                done = db.execute(
                    "UPDATE orders SET revision = ?, wake_at = ?, snapshot = ? WHERE id = ? AND revision = ?", row
                )
            if done.rowcount == 0:
                raise ConflictError(f"{state.run_id} was moved by somebody else since revision {loaded}: load it again")
            loaded = state.revision

        return save


def is_due(state: State, now: datetime | None = None) -> bool:
    """Whether the order can do something by itself."""
    return state.wake_at is not None and state.wake_at <= (now or datetime.now(UTC))
