"""Children that write to a store, tell what it has acknowledged, and are killed by SIGKILL at any time.

Forked, since hundreds of interpreters would take minutes to start; hence from a process of their own without threads:
``python -m tests.stores.killed sqlite runs.db 50``. What it prints is how many were killed, and how much was acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

from flowstmt.stores.postgres import PostgresStore
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Publication,
    Rest,
    RunQuery,
    Save,
    Started,
    Store,
    Taken,
)
from flowstmt.stores.sqlite import SQLiteStore
from tests.examples.processes import child, ended

KNOWN = {"Order": 1}
BRIEF = timedelta(milliseconds=20)
STEPS = 4


@dataclass
class Acknowledged:
    """What the children were told, by all of them together."""

    revisions: dict[str, int] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    count: int = 0

    def hear(self, line: bytes) -> None:
        """One line of a child."""
        self.count += 1
        match json.loads(line):
            case ["saved", run, revision]:
                self.revisions[run] = max(revision, self.revisions.get(run, 0))
            case ["leased", run, fence]:
                self.fences[run] = max(fence, self.fences.get(run, 0))
            case ["noted", run]:
                self.notes.add(run)
            case ["deleted", run]:
                self.deleted.add(run)


STORES: dict[str, Callable[[str], Store]] = {"sqlite": SQLiteStore, "postgres": PostgresStore}


def opened(kind: str, address: str) -> Store:
    """A store, as its users get it."""
    store = STORES[kind](address)
    store.open()
    return store


def work(kind: str, address: str, number: int, telling: int) -> None:
    """Take over what others have left, and start more, without end."""
    store = opened(kind, address)
    finished: list[str] = []

    def tell(*what: Any) -> None:
        os.write(telling, json.dumps(what).encode() + b"\n")

    def move(run: str, fence: int, done: int, messages: list[str]) -> None:
        """A run from where it stands to its end, with a lease that another may have taken over meanwhile."""
        for revision in range(done + 1, STEPS + 1):
            row = HistoryRow(revision, "main", f"step-{revision}", 1, store.now(), BRIEF)
            if store.commit([Save(run, fence, revision, b"%d" % revision, history=[row])]) != [True]:
                return
            tell("saved", run, revision)
        with store.transaction() as transaction:
            transaction.connection.execute("CREATE TABLE IF NOT EXISTS notes (run TEXT)")
            transaction.connection.execute(f"INSERT INTO notes VALUES ('{run}')")
            taken = [Taken(name, MessageStatus.done, b'"thanks"') for name in messages]
            over = Save(run, fence, STEPS + 1, b"%d" % (STEPS + 1), Rest("Finished", "end", None), taken)
            if not transaction.commit(over):
                return
        tell("noted", run)
        tell("saved", run, STEPS + 1)
        finished.append(run)

    for n in count():
        run = f"{number}-{n}"
        born = NewRun(run, "Order", 1, b"0", "d", labels={"child": str(number)}, worker=f"w{number}", lease=BRIEF)
        letter = Message(f"m-{run}", run, MessageKind.signal, b'"hello"', key="k")
        started = store.commit([born, letter, Publication(run, b'"born"')])[0]
        assert isinstance(started, Started)
        tell("saved", run, 0)
        tell("leased", run, 1)
        if n % 3:  # the others wait until somebody takes them over
            move(run, 1, 0, [f"m-{run}"])
        for claimed in store.claim(f"w{number}", KNOWN, BRIEF, 2).runs:
            tell("leased", claimed.run_id, claimed.fence)
            move(claimed.run_id, claimed.fence, int(claimed.snapshot), [message.id for message in claimed.messages])
        if len(finished) == 7:
            assert store.delete(finished[3])
            tell("deleted", finished[3])
            finished.clear()


def check(kind: str, address: str, acknowledged: Acknowledged) -> None:
    """All that was acknowledged is there, and nothing is there by half."""
    store = opened(kind, address)
    with store.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE IF NOT EXISTS notes (run TEXT)")
        notes = [run for (run,) in transaction.connection.execute("SELECT run FROM notes").fetchall()]
    assert len(notes) == len(set(notes)), "a transactional effect was committed twice"
    assert acknowledged.notes <= set(notes), "an acknowledged transaction is gone"
    there = {run.run_id: run for run in store.list(RunQuery(limit=100_000))}
    assert acknowledged.deleted.isdisjoint(there), "a run that was deleted is there again"
    for name, revision in acknowledged.revisions.items():
        if name not in there:
            # Its deletion may have been committed before it could be told.
            assert revision == STEPS + 1, f"{name} was acknowledged, and is not there"
            continue
        assert there[name].revision >= revision, f"revision {revision} of {name} was acknowledged, and is not there"
        assert there[name].fence >= acknowledged.fences.get(name, 0), f"a lease of {name} is forgotten"
    for name, run in there.items():
        got = store.get(name)
        assert got is not None
        assert got.snapshot == b"%d" % run.revision, f"{name} has the snapshot of another revision"
        assert len(store.history(name, 0, 100)) == min(run.revision, STEPS), f"{name} has not the history of its revision"
        assert len(store.published(name, 0, 100)) == 1, f"{name} was born without what came with it"
        over = run.revision == STEPS + 1
        assert (run.finished_at is not None) == over == (name in notes), f"{name} and its note were not committed together"
        of_status = MessageStatus.done if over else MessageStatus.new
        assert [m.id for m in store.messages(name, of_status, 9)] == [f"m-{name}"], f"the message of {name} is not {of_status}"
    store.close()


def killed_after(delay: float, work: Callable[[int], None], acknowledged: Acknowledged) -> None:
    """Let a child work for a while, and hear what it tells, to the last line."""
    reading, writing = os.pipe()
    pid = child(partial(work, writing))
    os.close(writing)
    deadline, told = time.monotonic() + delay, b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            if not (more := os.read(reading, 65536)):
                break  # it has failed: that is said below
            told += more
    os.kill(pid, signal.SIGKILL)
    while more := os.read(reading, 65536):
        told += more
    os.close(reading)
    assert not ended(pid), "a child that works without end has come to one"
    for line in told.split(b"\n")[:-1]:
        acknowledged.hear(line)


def main(kind: str, address: str, kills: int, within: float) -> None:
    """Kill one child after the other on one database, and check after each."""
    delays, acknowledged = random.Random(kills), Acknowledged()
    for number in range(kills):
        killed_after(delays.uniform(0, within), partial(work, kind, address, number), acknowledged)
        if number % 5 == 4 or number == kills - 1:
            assert ended(child(partial(check, kind, address, acknowledged)))
    print(kills, acknowledged.count, len(acknowledged.notes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
