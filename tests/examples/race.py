"""Requests call back while workers move the same runs, in many processes, some of which get killed.

``python -m tests.examples.race sqlalchemy optimistic sqlite:///runs.db``. Everything is forked from a process without threads
and without connections. Its exit status says whether something was lost or doubled; it prints how many were killed.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from examples.claim import Claim, Document
from flowstmt import NotWaitingError, State, WorkflowFinishedError
from tests.examples import django_store
from tests.examples.processes import child, ended

CLAIMS = [f"claim-{n}" for n in range(3)]
DOCUMENTS = [f"document-{n}" for n in range(5)]
WORKERS = 2
CUSTOMERS = 3
KILLS = 10
DEADLINE = 60.0


class FileArchive:
    """What was put, a line each, in a file that every process appends to; whoever reads it drops what has the same key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, key: str, document: Document) -> None:
        select.select([], [], [], 0.002)  # time for others to come in between
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{key} {document.text}\n".encode())
        os.close(file)
        select.select([], [], [], 0.002)

    def entries(self) -> list[tuple[str, str]]:
        return [(line.split()[0], line.split()[1]) for line in self.path.read_text().splitlines()]


class Store:
    """An example, by the few calls that the race needs."""

    def __init__(self, name: str, way: str, url: str, archive: Any) -> None:
        locked = "_locked" if way == "locked" else ""
        module = imported(name, url)
        if name == "sqlalchemy":
            runs = module.Runs(url, archive)
            self.create: Callable[[], Any] = partial(module.Base.metadata.create_all, runs.engine)
            self.start: Callable[..., Any] = runs.start
            self.load: Callable[[str], tuple[Claim, State]] = runs.load
            self.callback: Callable[..., Any] = getattr(runs, f"callback{locked}")
            self.work: Callable[..., bool] = getattr(runs, f"work{locked}")
            self.close: Callable[[], None] = runs.engine.dispose
            self.leave_thread: Callable[[], None] = lambda: None  # its connections are shared
        else:
            self.create = django_store.create
            self.close = self.leave_thread = django_store.close
            self.start = module.start
            self.load = lambda run_id: module.load_run(module.Run.objects.get(id=run_id))
            self.callback = partial(getattr(module, f"callback{locked}"), deps=archive)
            self.work = partial(getattr(module, f"work{locked}"), deps=archive)


def imported(name: str, url: str) -> Any:
    if name == "django":
        django_store.connect(url)  # or the example takes its own settings
    return importlib.import_module(f"examples.stored_in_{name}")


def prepare(make: Callable[[], Store]) -> None:
    store = make()
    store.create()
    for claim in CLAIMS:
        store.start(claim, Claim())


def worker(make: Callable[[], Store], stop: int) -> None:
    """Moves what is due until the pipe ``stop`` is closed."""
    store = make()
    while not select.select([stop], [], [], 0)[0]:
        if not store.work():
            select.select([stop], [], [], 0.002)


def customer(make: Callable[[], Store], seed: int) -> None:
    """Sends all documents of all claims, in an order of its own: so each of them comes from every customer."""
    store = make()
    letters = [(claim, document) for claim in CLAIMS for document in DOCUMENTS]
    random.Random(seed).shuffle(letters)
    for claim, document in letters:
        payload = orjson.dumps({"id": document, "text": f"{claim}/{document}"})
        assert store.callback(claim, "document", payload) == f"we have document {document}"


def complete(make: Callable[[], Store]) -> None:
    store = make()
    for claim in CLAIMS:
        store.callback(claim, "complete")
        try:
            store.callback(claim, "complete")  # as one who got no answer
        except (NotWaitingError, WorkflowFinishedError):
            continue
        raise AssertionError(f"{claim} was completed twice")


def all_over(make: Callable[[], Store]) -> None:
    store = make()
    patience = time.monotonic() + DEADLINE
    while not all(store.load(claim)[1].status == "Finished" for claim in CLAIMS):
        assert time.monotonic() < patience, [store.load(claim)[1] for claim in CLAIMS]
        select.select([], [], [], 0.005)


def check(make: Callable[[], Store], archive: FileArchive) -> None:
    store = make()
    entries = archive.entries()
    keys: dict[str, str] = dict(entries)
    assert all(keys[key] == text for key, text in entries), "one key, two documents"
    assert sorted(keys.values()) == sorted(f"{claim}/{document}" for claim in CLAIMS for document in DOCUMENTS)
    for claim_id in CLAIMS:
        claim, state = store.load(claim_id)
        assert sorted(document.id for document in claim.documents) == sorted(DOCUMENTS), claim
        assert claim.filed == [document.id for document in claim.documents] == state.result


def race(make: Callable[[], Store], archive: FileArchive) -> int:
    assert ended(child(partial(prepare, make)))
    stop, go_on = os.pipe()

    def work() -> None:
        os.close(go_on)
        worker(make, stop)

    workers = [child(work) for _ in range(WORKERS)]
    customers = {child(partial(customer, make, seed)): seed for seed in range(CUSTOMERS)}
    dice = random.Random(KILLS)
    killed = 0
    while customers:
        if killed < KILLS:
            select.select([], [], [], dice.uniform(0.02, 0.06))
            victim = dice.randrange(WORKERS + 1)
            if victim < WORKERS:
                os.kill(workers[victim], signal.SIGKILL)
                killed += not ended(workers[victim])
                workers[victim] = child(work)
                continue
            pid, seed = customers.popitem()
            os.kill(pid, signal.SIGKILL)
        else:
            pid, seed = customers.popitem()
        again = killed < KILLS  # who is done sends all once more, so that there is somebody to kill
        if not ended(pid):
            killed += 1
            again = True
        if again:
            customers[child(partial(customer, make, seed))] = seed
    assert ended(child(partial(complete, make)))
    assert ended(child(partial(all_over, make)))
    os.close(go_on)
    assert all(ended(pid) for pid in workers)
    assert ended(child(partial(check, make, archive)))
    return killed


if __name__ == "__main__":
    logging.disable()
    name, way, url, folder = sys.argv[1:]
    imported(name, url).LEASE = timedelta(milliseconds=100)  # imported once, and not in every child
    shelf = FileArchive(Path(folder) / f"archive-{name}-{way}")
    print(race(partial(Store, name, way, url, shelf), shelf))
