"""What becomes of a lease, and of what was acknowledged under it, when somebody goes away at a bad moment."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from flowstmt import Engine, MemoryStore, Retry, dump, load, unpause
from flowstmt.stores.protocol import Claims, Outcome, Save, Setback, Store, Write
from tests.engine.databases import Database
from tests.engine.flows import ALL, PAID, Failing, Order
from tests.engine.running import SOON, engine_on, run, stored, until


class SlowToLease:
    """A store that leases a single run when it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = threading.Event()
        self.may = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def claim_run(self, worker: str, run_id: str, lease: timedelta) -> Claims:
        self.asked.set()
        assert self.may.wait(30)
        return self._store.claim_run(worker, run_id, lease)


def test_a_caller_who_gives_up_while_the_run_is_being_leased_leaves_no_lease_behind(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
        slow = SlowToLease(database.store())
        async with Engine(cast(Store, slow), ALL, worker=False) as engine:
            calling = asyncio.create_task(engine.callback("o-1", PAID, 5))
            assert await asyncio.to_thread(slow.asked.wait, 30)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            slow.may.set()

            async def is_free() -> bool:
                found = await stored(cast(Store, slow), "o-1")
                return found.owner is None and found.fence == 2

            await until(is_free, "the lease was given back")

    run(main())


def test_a_lease_that_comes_while_the_engine_is_being_closed_is_given_back(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
        slow = SlowToLease(database.store())
        async with Engine(cast(Store, slow), ALL) as engine:
            calling = asyncio.create_task(engine.callback("o-1", PAID, 5))
            assert await asyncio.to_thread(slow.asked.wait, 30)
            parts = engine._parts
            assert parts is not None
            leaving = asyncio.create_task(until(lambda: _is(parts.worker._stopping), "the engine is being left"))
            leaving.add_done_callback(lambda _: slow.may.set())
        await leaving
        # Whether it was still taken does not matter here.
        await asyncio.wait([calling], timeout=30)
        assert calling.done()
        if calling.exception() is not None:
            assert "engine" in str(calling.exception())
        async with engine_on(database, worker=False) as engine:
            assert (await engine.get("o-1")).owner is None

    run(main())


def test_an_unpaused_run_goes_on_though_its_worker_died_before_it_came_to_rest(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.pause("o-1")
            [claimed] = (await asyncio.to_thread(_claimed, store)).runs
            order, state = load(Order, claimed.snapshot)
            unpause(order, state)
            save = Save("o-1", claimed.fence, state.revision, dump(order, state))
            assert await asyncio.to_thread(_committed, store, save) == [True]
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.callback("o-1", PAID, 5)
            assert await engine.result("o-1", SOON) == 5

    def _claimed(store: Store) -> Claims:
        store.open()
        return store.claim_run("a worker that dies", "o-1", timedelta(hours=1))

    def _committed(store: Store, save: Save) -> list[Outcome]:
        outcomes = store.commit([save])
        store.renew("a worker that dies", {"o-1": save.fence}, timedelta(milliseconds=1))
        if database.url:
            store.close()
        return outcomes

    run(main())


async def _is(holds: bool) -> bool:
    return holds


class SlowToSetBack(MemoryStore):
    """A store that writes that a run could not be moved when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.may = threading.Event()

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if any(isinstance(write, Setback) for write in writes):
            self.asked.set()
            assert self.may.wait(30)
        return super().commit(writes)


def test_a_lease_that_is_being_given_up_is_not_renewed_and_so_not_told_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store = SlowToSetBack()
        async with Engine(store, ALL, retry=Retry(max_attempts=1), poll=timedelta(seconds=60)) as engine:
            await engine.start(Failing("given up"), run_id="f-1")
            assert await asyncio.to_thread(store.asked.wait, 30)
            parts = engine._parts
            assert parts is not None
            parts.worker._renew_at = 0.0  # it is time to renew
            parts.worker.wake()

            async def is_queued() -> bool:
                return parts.shared.writes.backlog() > 0

            await until(is_queued, "a renewal waits behind what gives the lease up")
            store.may.set()
            await engine.await_status("f-1", "Paused", SOON)

    with caplog.at_level(logging.WARNING, "flowstmt.engine"):
        run(main())
    assert [line for line in caplog.messages if "was lost" in line] == []


def test_a_run_that_is_due_again_at_once_is_not_told_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        retry = Retry(max_attempts=4, initial=timedelta(microseconds=1), max_delay=timedelta(microseconds=1))
        async with Engine(MemoryStore(), ALL, retry=retry) as engine:
            for number in range(40):
                await engine.start(Failing("again"), run_id=f"f-{number}")
            for number in range(40):
                await engine.await_status(f"f-{number}", "Paused", SOON)

    with caplog.at_level(logging.WARNING, "flowstmt.engine"):
        run(main())
    assert [line for line in caplog.messages if "was lost" in line] == []
    assert len([line for line in caplog.messages if "is Paused" in line]) == 40
