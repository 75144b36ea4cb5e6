"""A run is moved by one worker at a time, and by another one when that is gone."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from flowstmt import Engine, MemoryStore, Return, S, Sleep, Statement, Step, current, load
from flowstmt.errors import StoreError
from flowstmt.stores.protocol import Renewal
from tests.engine.databases import Database
from tests.engine.running import SOON, has_looked, run, stored, until

CALLS: Counter[str] = Counter()
GATES: dict[str, asyncio.Event] = {}
CANCELLED: list[str] = []


@dataclass
class Steps:
    name: str = ""
    done: int = 0

    def definition(self) -> Statement:
        return S(*(Step(f"step {number}", self.step) for number in range(6)), Return(self.done))

    async def step(self) -> None:
        CALLS[current().idempotency_key] += 1
        await asyncio.sleep(0)
        self.done += 1


@dataclass
class Forgotten(Steps):
    """No other test makes any."""


@dataclass
class Held:
    """Its action waits at a gate."""

    gate: str = ""
    done: int = 0

    def definition(self) -> Statement:
        return S(Step("first", self.first), Step("hold", self.hold), Return(self.done))

    async def first(self) -> None:
        self.done += 1

    async def hold(self) -> None:
        CALLS[self.gate] += 1
        try:
            await GATES[self.gate].wait()
        except asyncio.CancelledError:
            CANCELLED.append(self.gate)
            raise
        self.done += 1


@dataclass
class Napping:
    woken_at: str = ""
    due_at: str = ""

    def definition(self) -> Statement:
        return S(Step("before", self.before), Sleep("nap", timedelta(seconds=0.3)), Step("wake", self.wake))

    async def before(self) -> None:
        self.due_at = (current().now + timedelta(seconds=0.3)).isoformat()

    async def wake(self) -> None:
        CALLS["woken"] += 1
        self.woken_at = current().now.isoformat()


ALL = (Steps, Forgotten, Held, Napping)


class Hands:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Lossy(MemoryStore):
    """Fails to renew leases, as the store of a worker that can't reach its database."""

    deaf = False

    def renew(self, worker: str, leases: Any, lease: timedelta) -> Renewal:
        if self.deaf:
            return Renewal(self.now(), ())
        return super().renew(worker, leases, lease)


def engine_on(store: Any, **settings: Any) -> Engine:
    return Engine(store, **{"workflows": ALL, "poll": timedelta(milliseconds=50), **settings})


def test_many_workers_move_many_runs_and_each_step_is_called_once(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            engines = [await stack.enter_async_context(engine_on(database.store(), concurrency=5)) for _ in range(3)]
            for number in range(40):
                await engines[number % 3].start(Steps(), run_id=f"r-{number}")
            for number in range(40):
                assert await engines[(number + 1) % 3].result(f"r-{number}", SOON) == 6

    run(main())
    assert len(CALLS) == 40 * 6
    assert set(CALLS.values()) == {1}


def test_a_run_whose_worker_is_gone_is_taken_over_and_what_the_old_one_does_is_not_saved() -> None:
    CALLS.clear()
    CANCELLED.clear()
    clock = Hands()

    async def main() -> None:
        GATES["over"] = asyncio.Event()
        store = Lossy(clock=clock)
        old, new = engine_on(store, worker_id="old"), engine_on(store, worker_id="new", worker=False)
        async with old, new:
            await old.start(Held("over"), run_id="h")
            await until(lambda: _is(CALLS["over"] == 1), "it is in its action")
            store.deaf = True
            clock.now += timedelta(minutes=1)
            # Another worker, which is not this process: its claim is all that counts.
            claims = await asyncio.to_thread(store.claim, "new", {"Held": 1}, timedelta(minutes=5), 10)
            assert [claimed.fence for claimed in claims.runs] == [2]
            GATES["over"].set()
            parts = old._parts
            assert parts is not None
            await until(lambda: _is(parts.worker.held("h") is None), "the old worker has dropped it")
            row = await stored(store, "h")
            assert (row.owner, row.fence, row.revision) == ("new", 2, 2)

    run(main())


def test_an_action_in_flight_is_cancelled_when_the_lease_turns_out_to_be_lost() -> None:
    CALLS.clear()
    CANCELLED.clear()
    clock = Hands()

    async def main() -> None:
        GATES["lost"] = asyncio.Event()
        store = MemoryStore(clock=clock)
        async with engine_on(store, lease=timedelta(seconds=0.3)) as engine:
            await engine.start(Held("lost"), run_id="h")
            await until(lambda: _is(CALLS["lost"] == 1), "it is in its action")
            clock.now += timedelta(minutes=1)
            while True:
                claims = await asyncio.to_thread(store.claim, "new", {"Held": 1}, timedelta(minutes=5), 10)
                if claims.runs:
                    break
                clock.now += timedelta(minutes=1)  # it was renewed at that very moment
            await until(lambda: _is(CANCELLED == ["lost"]), "it is told")

    run(main())


def test_a_lease_is_renewed_while_an_action_takes_long(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        GATES["long"] = asyncio.Event()
        store = database.store()
        async with engine_on(store, lease=timedelta(seconds=1.5)) as one, engine_on(database.store()):
            await one.start(Held("long"), run_id="h")
            first = await until_owned(store, "h")

            async def is_renewed() -> bool:
                row = await stored(store, "h")
                return bool(row.lease_until and row.lease_until > first.lease_until + timedelta(seconds=0.9))

            await until(is_renewed, "the lease goes on and on")
            GATES["long"].set()
            assert await one.result("h", SOON) == 2
            assert CALLS["long"] == 1
            assert (await stored(store, "h")).fence == first.fence

    run(main())


def test_no_more_runs_are_moved_at_once_than_there_is_room_for(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        GATES["room"] = asyncio.Event()
        async with engine_on(database.store(), concurrency=3) as engine:
            await asyncio.gather(*(engine.start(Held("room"), run_id=f"h-{number}") for number in range(9)))
            await until(lambda: _is(CALLS["room"] == 3), "three are in their actions")
            await has_looked(engine)
            parts = engine._parts
            assert parts is not None
            assert (parts.worker.held_runs, CALLS["room"]) == (3, 3)
            GATES["room"].set()
            for number in range(9):
                await engine.result(f"h-{number}", SOON)
            assert CALLS["room"] == 9

    run(main())


def test_nothing_is_left_in_memory_of_runs_that_are_parked_or_over(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            for number in range(30):
                await engine.start(Forgotten(), run_id=f"r-{number}")
            for number in range(30):
                await engine.result(f"r-{number}", SOON)
            parts = engine._parts
            assert parts is not None
            await until(lambda: _is(parts.worker.held_runs == 0), "all are given up")
            await until(is_forgotten, "the last tasks have ended")

    async def is_forgotten() -> bool:
        if any("flowstmt run" in task.get_name() for task in asyncio.all_tasks()):
            return False
        gc.collect()
        # By type: isinstance would ask lazy objects of others (Django's settings) for their class, and so load them.
        return not any(type(each) is Forgotten for each in gc.get_objects())

    run(main())


def test_workers_whose_clocks_are_wrong_by_minutes_fire_timers_neither_early_nor_late(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        def late() -> datetime:
            return datetime.now(UTC) - timedelta(minutes=7)

        def early() -> datetime:
            return datetime.now(UTC) + timedelta(minutes=7)

        for clock in (late, early):
            store = database.store()
            async with engine_on(store, clock=clock, poll=timedelta(minutes=1)) as engine:  # not found by chance
                run_id = f"n-{clock.__name__}"
                await engine.start(Napping(), run_id=run_id)
                await engine.result(run_id, SOON)
                now = await asyncio.to_thread(store.now)
                row = await stored(store, run_id)
                assert abs(row.finished_at - now) < SOON
                napping, _ = load(Napping, row.snapshot)
                late_by = datetime.fromisoformat(napping.woken_at) - datetime.fromisoformat(napping.due_at)
                assert timedelta(0) <= late_by < timedelta(seconds=10)  # within milliseconds on a machine that has the time

    run(main())


async def _is(holds: bool) -> bool:
    return holds


async def until_owned(store: Any, run_id: str) -> Any:
    async def is_owned() -> bool:
        return (await stored(store, run_id)).owner is not None

    await until(is_owned, "somebody owns it")
    return await stored(store, run_id)


def test_a_worker_that_gets_a_run_again_begins_when_its_old_attempt_has_ended() -> None:
    CALLS.clear()
    CANCELLED.clear()
    clock = Hands()

    async def main() -> None:
        GATES["again"] = asyncio.Event()
        store = Lossy(clock=clock)
        store.deaf = True
        async with engine_on(store) as engine:
            await engine.start(Held("again"), run_id="h")
            await until(lambda: _is(CALLS["again"] == 1), "it is in its action")
            clock.now += timedelta(minutes=1)
            store.wake()
            await until(lambda: _is(CALLS["again"] == 2), "it is claimed again, and in its action again")
            assert CANCELLED == ["again"]
            GATES["again"].set()
            assert await engine.result("h", SOON) == 2
            assert (await stored(store, "h")).fence == 2

    run(main())


def test_an_idle_worker_asks_its_database_only_now_and_then() -> None:
    class Watched(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.looks: list[float] = []

        def claim(self, *arguments: Any) -> Any:
            self.looks.append(monotonic())
            return super().claim(*arguments)

    async def main() -> None:
        store = Watched()

        async def is_calm() -> bool:
            # A slow machine makes this time longer, never shorter.
            return len(store.looks) > 4 and store.looks[-1] - store.looks[-5] > 4 * 0.9 * 0.2

        async with engine_on(store, poll=timedelta(seconds=0.2)) as engine:
            await engine.start(Napping(), run_id="n")
            await engine.result("n", SOON)
            store.looks.clear()
            await until(is_calm, "from one look to the next it takes as long as it was told")

    run(main())


@pytest.mark.parametrize("fails", ["claim", "commit", "renew", "wait"])
def test_a_database_that_is_away_for_a_while_costs_nothing_but_time(fails: str) -> None:
    CALLS.clear()

    class Away(MemoryStore):
        left = 0

    def broken(self: Any, *arguments: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            raise StoreError("the database is away", retry=True)
        return getattr(MemoryStore, fails)(self, *arguments)

    setattr(Away, fails, broken)

    async def main() -> None:
        GATES["away"] = asyncio.Event()
        store = Away()
        async with engine_on(store, lease=timedelta(seconds=3)) as engine:
            await engine.start(Held("away"), run_id="h")
            for number in range(5):
                store.left = 2
                await engine.start(Napping(), run_id=f"n-{number}")
                await engine.start(Steps(), run_id=f"s-{number}")
                assert await engine.result(f"s-{number}", SOON) == 6
            for number in range(5):
                await engine.result(f"n-{number}", SOON)
            await until(lambda: _is(store.left == 0), "it was away, and is back")
            GATES["away"].set()
            assert await engine.result("h", SOON) == 2
        assert {count for key, count in CALLS.items() if key != "woken"} == {1}
        assert CALLS["woken"] == 5

    run(main())
