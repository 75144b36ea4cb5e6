"""The world outside of the runs: tables beside the store's, in the same database, in which actions leave what they do.

``note`` is an effect outside: a transaction of its own, at once, with the idempotency key. ``book`` is an effect in the
transaction of a step. A page is what an event sets up and tears down. A tally counts calls, whatever becomes of their runs.

The world has to be there while the store's connections are cut and its server is restarted: a note that fails for that is
written once more, so that no failure of a run is one of its world's.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from flowstmt import CallbackRequest, Current

__all__ = ["Effect", "World", "connected"]

TABLES = """
CREATE TABLE effects (
    id {serial}, run_id TEXT NOT NULL, what TEXT NOT NULL, key TEXT NOT NULL, attempt INTEGER NOT NULL,
    once INTEGER NOT NULL, at DOUBLE PRECISION NOT NULL DEFAULT ({now})
);
CREATE TABLE pages (id TEXT PRIMARY KEY, run_id TEXT NOT NULL, open INTEGER NOT NULL, request TEXT NOT NULL);
CREATE TABLE tallies (id {serial}, run_id TEXT NOT NULL, what TEXT NOT NULL);
CREATE TABLE mended (run_id TEXT PRIMARY KEY);
CREATE TABLE orders (run_id TEXT PRIMARY KEY);
CREATE INDEX effects_of_a_run ON effects (run_id);
CREATE INDEX tallies_of_a_run ON tallies (run_id);
"""
SQLITE = {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "now": "(julianday('now') - 2440587.5) * 86400.0"}
POSTGRES = {"serial": "BIGSERIAL PRIMARY KEY", "now": "EXTRACT(EPOCH FROM clock_timestamp())"}

_connect = sqlite3.connect
"""As it is before `databases.fill_when_told` has got at it: the world has another disk."""

PATIENCE = 60.0
"""For so many seconds a note is tried: longer than any disturbance of the database takes."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of what was done. ``once``: in the transaction of its step. ``at``: the database's clock, in seconds."""

    run_id: str
    what: str
    key: str
    attempt: int
    once: bool
    at: float


def connected(url: str) -> Any:
    """A connection of one's own to the database of a round, in autocommit; it obeys no disturbance meant for stores."""
    if url.startswith("postgresql:"):
        return psycopg.connect(url, autocommit=True)
    # Closed by another thread than the one that has used it.
    db = _connect(url, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")  # processes die here, and not the machine
    return db


class World:
    """The tables, for one process; a connection for each of its threads. ``pace``: how many seconds an action takes."""

    def __init__(self, url: str, pace: float = 0.0) -> None:
        self.url = url
        self.pace = pace
        self._marks = "%s" if url.startswith("postgresql:") else "?"
        self._own = threading.local()
        self._all: list[Any] = []

    def create(self) -> None:
        """Make the tables."""
        types = POSTGRES if self.url.startswith("postgresql:") else SQLITE
        for statement in TABLES.format(**types).split(";\n"):
            self._do(statement)

    def close(self) -> None:
        """Give up all connections. Nobody may use them any more."""
        while self._all:
            self._all.pop().close()
        self._own = threading.local()

    # -- what actions do

    def note(self, here: Current, what: str) -> None:
        """An effect outside, with the key of the call that has it."""
        self._do(*self._effect(here, what, once=False))
        time.sleep(self.pace)

    def book(self, here: Current, what: str) -> None:
        """An effect in the transaction of the step. What becomes of it is the engine's business."""
        sql, values = self._effect(here, what, once=True)
        here.connection.execute(sql.replace("?", self._marks), values)
        time.sleep(self.pace)

    def tally(self, run_id: str, what: str) -> int:
        """How often this was called for the run, with this time; also by processes that died, and in steps that rolled back."""
        self._do("INSERT INTO tallies (run_id, what) VALUES (?, ?)", (run_id, what))
        return int(self._do("SELECT count(*) FROM tallies WHERE run_id = ? AND what = ?", (run_id, what))[0][0])

    def put_up(self, request: CallbackRequest) -> str:
        """Open the page of a stop. One that was taken down stays down: a process that comes late can't put it up again."""
        values = (_page(request), request.run_id, json.dumps(asdict(request)))
        self._do("INSERT INTO pages (id, run_id, open, request) VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING", values)
        return values[0]

    def take_down(self, request: CallbackRequest) -> None:
        """Close it, whether it was there or not."""
        values = (_page(request), request.run_id, json.dumps(asdict(request)))
        put = "INSERT INTO pages (id, run_id, open, request) VALUES (?, ?, 0, ?) ON CONFLICT (id) DO UPDATE SET open = 0"
        self._do(put, values)

    def is_mended(self, run_id: str) -> bool:
        """Whether somebody has mended what kept the run from going on."""
        return bool(self._do("SELECT 1 FROM mended WHERE run_id = ?", (run_id,)))

    # -- what the play does, and sees

    def mend(self, run_id: str) -> None:
        """See to it that the actions of the run do not raise any more."""
        self._do("INSERT INTO mended VALUES (?) ON CONFLICT DO NOTHING", (run_id,))

    def open_requests(self, run_id: str) -> list[CallbackRequest]:
        """The requests of pages that are open, pinned to their stops."""
        found = self._do("SELECT request FROM pages WHERE run_id = ? AND open = 1", (run_id,))
        return [CallbackRequest(**json.loads(request)) for (request,) in found]

    def open_pages(self) -> list[str]:
        """The pages that nobody took down."""
        return [page for (page,) in self._do("SELECT id FROM pages WHERE open = 1 ORDER BY id")]

    def orders(self) -> set[str]:
        """The runs that were started in a transaction with an order which was committed."""
        return {run_id for (run_id,) in self._do("SELECT run_id FROM orders")}

    def booked(self, run_id: str) -> int:
        """How many effects were committed with a step of the run so far."""
        return int(self._do("SELECT count(*) FROM effects WHERE run_id = ? AND once = 1", (run_id,))[0][0])

    def effects(self) -> dict[str, list[Effect]]:
        """All that was done, by run, in its order."""
        found = defaultdict(list)
        for run_id, what, key, attempt, once, at in self._do(
            "SELECT run_id, what, key, attempt, once, at FROM effects ORDER BY id"
        ):
            found[run_id].append(Effect(run_id, what, key, attempt, bool(once), float(at)))
        return found

    def _effect(self, here: Current, what: str, once: bool) -> tuple[str, tuple[Any, ...]]:
        values = (here.run_id, what, here.idempotency_key, here.attempt, int(once))
        return "INSERT INTO effects (run_id, what, key, attempt, once) VALUES (?, ?, ?, ?, ?)", values

    def _do(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """One statement, in a transaction of its own."""

        def do() -> list[Any]:
            db = getattr(self._own, "db", None)
            if db is None or (isinstance(db, psycopg.Connection) and db.closed):
                db = self._own.db = connected(self.url)
                self._all.append(db)
            cursor = db.execute(sql.replace("?", self._marks), tuple(values))
            return [] if cursor.description is None else list(cursor.fetchall())

        return patiently(do)


def patiently(do: Callable[[], Any]) -> Any:
    """What the database answers, once it does."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return do()
        except (sqlite3.OperationalError, psycopg.OperationalError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _page(request: CallbackRequest) -> str:
    return f"{request.run_id}:{request.birth}:{request.pc}:{request.name}"
