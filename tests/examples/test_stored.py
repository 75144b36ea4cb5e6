"""Runs stored with SQLAlchemy and in Django: requests call back while workers move them, nothing is lost or doubled."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from examples.claim import Claim, Document
from flowstmt import (
    CallbackRequest,
    NotWaitingError,
    On,
    S,
    Statement,
    Step,
    Wait,
    WorkflowFinishedError,
    current,
    validate,
)
from flowstmt.testing import Advance, Callback, explore
from tests.blocks import sources
from tests.examples.mortal import MEMORY
from tests.examples.processes import python
from tests.examples.race import KILLS, Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)
LATE = timedelta(days=30)

every_example = pytest.mark.parametrize("example", ["sqlalchemy", "django"])
every_way = pytest.mark.parametrize("way", ["optimistic", "locked"])
every_database = pytest.mark.parametrize("database", ["sqlite", "postgres"])


def letter(name: str) -> bytes:
    return b'{"id": "%b", "text": "%b"}' % (name.encode(), name.encode())


class Archive:
    """Does its work once per key; ``during`` is what others do meanwhile."""

    def __init__(self) -> None:
        self.shelf: dict[str, str] = {}
        self.puts: list[str] = []
        self.during: Callable[[], Any] = lambda: None

    def put(self, key: str, document: Document) -> None:
        self.during()
        self.puts.append(document.id)
        assert self.shelf.setdefault(key, document.id) == document.id
        self.during()


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    yield folder
    shutil.rmtree(folder)


def url_of(example: str, database: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if database == "sqlite":
        return f"sqlite:///{folder / 'runs.db'}"
    url: str = request.getfixturevalue("postgres")(f"{example}_{time.monotonic_ns()}")
    return url.replace("postgresql:", "postgresql+psycopg:") if example == "sqlalchemy" else url


# --- in many processes ---


@every_database
@every_way
@every_example
def test_nothing_is_lost_or_doubled_whoever_calls_back_moves_or_is_killed(example, way, database, folder, request):
    url = url_of(example, database, folder, request)
    done = python("-m", "tests.examples.race", example, way, url, str(folder))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert int(done.stdout) == KILLS


# --- in this process ---


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def open_store(folder: Path, archive: Archive, request: pytest.FixtureRequest) -> Iterator[Callable[..., Store]]:
    stores: list[Store] = []

    def make(example: str, way: str, database: str = "sqlite") -> Store:
        url = url_of(example, database, folder, request)
        stores.append(Store(example, way, url, archive))
        stores[-1].create()
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def work_off(store: Store, now: datetime = NOON) -> None:
    """Work until nothing is due."""
    for _ in range(100):
        if not store.work(now):
            return
    raise AssertionError("something stays due")


@every_way
@every_example
def test_a_claim_from_its_first_document_to_its_last(example, way, open_store, archive):
    store = open_store(example, way)
    store.start("claim-1", Claim(), NOON)
    assert store.callback("claim-1", "document", letter("a"), NOON) == "we have document a"  # before any worker has seen it
    assert store.callback("claim-1", "document", letter("a"), NOON) == "we have document a"
    assert store.callback("claim-1", "document", letter("b"), NOON) == "we have document b"
    work_off(store)
    assert archive.puts == ["a", "b"]
    assert store.load("claim-1")[1].status == "Waiting"
    store.callback("claim-1", "complete", now=NOON)
    with pytest.raises(NotWaitingError):
        store.callback("claim-1", "document", letter("c"), NOON)
    work_off(store)
    assert store.load("claim-1")[1].result == ["a", "b"]
    with pytest.raises(WorkflowFinishedError):
        store.callback("claim-1", "complete", now=NOON)


@every_way
@every_example
def test_a_document_that_comes_too_late_is_refused_though_no_worker_has_seen_that_time_is_over(example, way, open_store):
    store = open_store(example, way)
    store.start("claim-1", Claim(), NOON)
    assert store.callback("claim-1", "document", letter("a"), NOON) == "we have document a"
    late = NOON + LATE
    with pytest.raises(NotWaitingError):
        store.callback("claim-1", "document", letter("b"), late)
    work_off(store, late)
    assert store.load("claim-1")[1].result == ["a"]


@every_way
@every_example
def test_a_run_that_fails_keeps_nobody_from_the_others_and_is_tried_again_later(example, way, open_store, archive, caplog):
    def out_of_order() -> None:
        raise OSError("the archive is closed")

    store = open_store(example, way)
    for claim in ("claim-1", "claim-2"):
        store.start(claim, Claim(), NOON)
        store.callback(claim, "document", letter(claim), NOON)
    archive.during = out_of_order
    work_off(store)
    assert caplog.text.count("can't go on now") == 2
    archive.during = lambda: None
    assert not store.work(NOON + LEASE - timedelta(seconds=1))
    work_off(store, NOON + LEASE)
    assert archive.puts == ["claim-1", "claim-2"]


@every_way
@every_example
@pytest.mark.parametrize("broken", ["snapshot = x'7B7D'", "workflow = 'Gone'"])
def test_a_run_that_can_not_be_read_keeps_nobody_from_the_others(broken, example, way, open_store, folder, archive, caplog):
    store = open_store(example, way)
    for claim in ("claim-1", "claim-2"):
        store.start(claim, Claim(), NOON)
    store.callback("claim-2", "document", letter("a"), NOON)
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None)) as db:
        db.execute(f"UPDATE {'runs' if example == 'sqlalchemy' else 'runs_run'} SET {broken} WHERE id = 'claim-1'")
    work_off(store)
    assert "claim-1 can't go on now" in caplog.text
    assert archive.puts == ["a"]


def test_the_view_and_the_command_of_the_guide_call_back_and_move(open_store, archive, monkeypatch):
    open_store("django", "optimistic").start("claim-1", Claim(), datetime.now(UTC))
    from django.test import RequestFactory

    names: dict[str, Any] = {"__name__": "guide"}
    for source in sources(Path(__file__).parents[2] / "docs" / "examples.md", "python"):
        exec(source, names)

    def post(run_id: str, event: str, body: bytes = b"") -> tuple[int, Any]:
        request = RequestFactory().post("/", body, content_type="application/json")
        response = names["callback_view"](request, run_id, event)
        return response.status_code, json.loads(response.content)

    assert post("claim-1", "document", letter("a")) == (200, {"answer": "we have document a"})
    assert post("claim-2", "document", letter("a")) == (404, {"detail": "there is no run 'claim-2'"})
    assert post("claim-1", "document", b"{}") == (422, {"detail": ["id: Field required", "text: Field required"]})
    assert post("claim-1", "complete") == (200, {"answer": None})

    def nothing_to_do(seconds: float) -> None:
        raise KeyboardInterrupt  # as whoever stops a worker does

    monkeypatch.setattr(time, "sleep", nothing_to_do)
    names["archive"] = archive
    with pytest.raises(KeyboardInterrupt):
        names["Command"]().handle()
    assert archive.puts == ["a"]
    assert post("claim-1", "complete")[0] == 409


class Door:
    def setup(self, request: CallbackRequest) -> None:
        raise OSError("nobody is at home")


@dataclass
class Visit:
    def definition(self) -> Statement:
        return S(Step("ring", self.ring), Wait("door", On("opened", via=Door())))

    def ring(self) -> None:
        current().deps.puts.append(current().idempotency_key)


@every_way
@every_example
def test_an_event_that_can_not_be_set_up_undoes_no_action(example, way, open_store, archive, monkeypatch):
    store = open_store(example, way)
    monkeypatch.setitem(sys.modules[f"examples.stored_in_{example}"].WORKFLOWS, "Visit", Visit)
    store.start("visit-1", Visit(), NOON)
    for now in (NOON, NOON + LEASE):
        work_off(store, now)
        assert len(archive.puts) == 1
    store.callback("visit-1", "opened", now=NOON)


@every_example
@pytest.mark.parametrize("instant", range(4))
def test_a_callback_that_overtakes_a_worker_is_kept_and_the_worker_drops_out(example, instant, open_store, archive, caplog):
    caplog.set_level(logging.INFO, "runs")
    store = open_store(example, "optimistic")
    store.start("claim-1", Claim(), NOON)
    store.callback("claim-1", "document", letter("a"), NOON)
    store.callback("claim-1", "document", letter("b"), NOON)
    instants = iter(range(100))

    def overtake() -> None:
        if next(instants) == instant:
            store.callback("claim-1", "document", letter("c"), NOON)

    archive.during = overtake
    assert store.work(NOON)
    assert "claim-1 was called back meanwhile" in caplog.text
    assert [document.id for document in store.load("claim-1")[0].documents] == ["a", "b", "c"]
    work_off(store)  # it is due at once, in spite of the lease
    claim, _ = store.load("claim-1")
    assert claim.filed == ["a", "b", "c"] == list(archive.shelf.values())
    assert sorted(archive.puts) == sorted(["a", "b", "c", "ab"[instant // 2]])  # one action ran in vain, under its old key


@every_example
def test_a_callback_that_is_overtaken_by_another_one_is_handed_in_once_more(example, open_store, monkeypatch):
    store = open_store(example, "optimistic")
    store.start("claim-1", Claim(), NOON)
    module = sys.modules[f"examples.stored_in_{example}"]
    handle_callback = module.handle_callback

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, "handle_callback", handle_callback)
        store.callback("claim-1", "document", letter("fast"), NOON)
        return handle_callback(*args, **kwargs)

    monkeypatch.setattr(module, "handle_callback", overtaken)
    assert store.callback("claim-1", "document", letter("slow"), NOON) == "we have document slow"
    assert [document.id for document in store.load("claim-1")[0].documents] == ["fast", "slow"]


@every_example
def test_a_run_is_claimed_before_it_is_moved(example, open_store, archive, monkeypatch):
    store = open_store(example, "optimistic")
    store.start("claim-1", Claim(), NOON)
    store.callback("claim-1", "document", letter("a"), NOON)
    module = sys.modules[f"examples.stored_in_{example}"]
    resume = module.resume

    def while_others_look(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, "resume", resume)
        assert not store.work(NOON)
        return resume(*args, **kwargs)

    monkeypatch.setattr(module, "resume", while_others_look)
    assert store.work(NOON)
    assert archive.puts == ["a"]


@every_example
def test_a_worker_leaves_alone_what_another_one_has_begun_until_that_counts_as_dead(example, open_store, archive):
    store = open_store(example, "optimistic")
    store.start("claim-1", Claim(), NOON)
    store.callback("claim-1", "document", letter("a"), NOON)
    store.callback("claim-1", "document", letter("b"), NOON)
    found: list[bool] = []

    def others() -> None:
        archive.during = lambda: None
        found.append(store.work(NOON))
        found.append(store.work(NOON + LEASE))

    archive.during = others
    store.work(NOON)
    assert found == [False, True]
    assert sorted(archive.puts) == ["a", "a", "b"]
    assert store.load("claim-1")[0].filed == ["a", "b"] == list(archive.shelf.values())


@every_example
def test_a_locked_run_is_passed_by_workers_and_waited_for_by_callbacks(example, open_store, archive, postgres):
    store = open_store(example, "locked", "postgres")
    for claim in ("claim-1", "claim-2"):
        store.start(claim, Claim(), NOON)
        store.callback(claim, "document", letter(claim), NOON)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        archive.during = lambda: None
        inside.set()
        assert go_on.wait(30)

    def leaving(call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            store.leave_thread()

    def work() -> None:
        work_off(store)

    archive.during = hold
    with ThreadPoolExecutor() as threads:
        worker = threads.submit(leaving, work)
        try:
            assert inside.wait(30)
            work()  # the other claim, without waiting for the one that is held
            (other,) = archive.puts
            (held,) = {"claim-1", "claim-2"} - {other}
            waiting = threads.submit(leaving, lambda: store.callback(held, "document", letter("b"), NOON))
            wait_for_a_lock(postgres.server)
            assert not waiting.done()
        finally:
            go_on.set()
        worker.result(30)
        assert waiting.result(30) == "we have document b"
    work()
    assert store.load(held)[0].filed == [held, "b"]
    assert archive.puts == [other, held, "b"]  # none in vain


def wait_for_a_lock(server: str) -> None:
    """Return when somebody waits for a lock."""
    patience = time.monotonic() + 30
    with psycopg.connect(server, autocommit=True) as db:
        while not db.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
            assert time.monotonic() < patience


# --- the workflow by itself ---


def test_the_definition_is_sound():
    validate(Claim())


def test_the_claim_ends_the_same_wherever_it_is_killed():
    archives: list[Archive] = []

    def archive() -> Archive:
        archives.append(Archive())
        return archives[-1]

    def in_order(claim: Claim, _: Any) -> bool:
        return claim.filed == [document.id for document in claim.documents][: len(claim.filed)]

    letters: list[Callback | Advance] = [Callback("document", {"id": name, "text": name}) for name in ("a", "b", "a")]
    for script in (
        [*letters, Callback("complete"), Callback("complete", refused=WorkflowFinishedError)],
        [*letters, Advance(LATE)],
    ):
        found = explore(Claim, script, deps=archive, invariant=in_order, now=NOON)
        assert found.undisturbed.result == ["a", "b"]
        assert len(found.points) > 30
    assert all(list(explored.shelf.values()) == ["a", "b"] for explored in archives)
