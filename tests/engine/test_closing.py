"""An engine that is closed: what is in flight gets to its next checkpoint, and everything is given back."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flowstmt import Engine, On, Return, S, Statement, Step, Wait
from tests.engine.databases import Database
from tests.engine.running import SOON, run, until

CALLS: Counter[str] = Counter()
GATES: dict[str, asyncio.Event] = {}
THREADS: dict[str, threading.Event] = {}


@dataclass
class Slow:
    """Two steps, of which the first waits at a gate."""

    gate: str = ""
    done: int = 0

    def definition(self) -> Statement:
        return S(Step("slow", self.slow), Step("next", self.next), Return(self.done))

    async def slow(self) -> None:
        CALLS[f"{self.gate} slow"] += 1
        await GATES[self.gate].wait()
        self.done += 1

    async def next(self) -> None:
        CALLS[f"{self.gate} next"] += 1
        self.done += 1


@dataclass
class Hangs:
    gate: str = ""

    def definition(self) -> Statement:
        return Step("hang", self.hang)

    def hang(self) -> None:
        CALLS[self.gate] += 1
        THREADS[self.gate].wait(30)


@dataclass
class Waits:
    def definition(self) -> Statement:
        return Wait("answer", On("answered"))


ALL = (Slow, Hangs, Waits)


def engine_on(database: Database, **settings: Any) -> Engine:
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=50), **settings})


def test_an_action_in_flight_ends_and_what_follows_is_for_others(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        GATES["calm"] = asyncio.Event()
        async with engine_on(database) as engine:
            await engine.start(Slow("calm"), run_id="s")
            await until(lambda: _is(CALLS["calm slow"] == 1), "it is in its action")
            parts = engine._parts
            assert parts is not None
            opening = asyncio.create_task(until(lambda: _is(parts.worker._stopping), "the engine is being left"))
            opening.add_done_callback(lambda _: GATES["calm"].set())
        await opening
        assert (CALLS["calm slow"], CALLS["calm next"]) == (1, 0)
        async with engine_on(database, worker=False) as looking:
            row = await looking.get("s")
            assert (row.owner, row.status) == (None, "Resuming")
            assert row.wake_at is not None
        async with engine_on(database) as other:
            assert await other.result("s", SOON) == 2
        assert (CALLS["calm slow"], CALLS["calm next"]) == (1, 1)

    run(main())


def test_an_action_that_does_not_end_is_cancelled_and_the_run_given_back(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        GATES["hung"] = asyncio.Event()
        async with engine_on(database, shutdown_timeout=timedelta(seconds=0.1)) as engine:
            await engine.start(Slow("hung"), run_id="s")
            await until(lambda: _is(CALLS["hung slow"] == 1), "it is in its action")
        GATES["hung"].set()
        async with engine_on(database) as other:
            # At once: nobody has to wait for the lease to run out.
            assert await other.result("s", SOON) == 2
        assert CALLS["hung slow"] == 2

    run(main())


def test_a_thread_that_hangs_is_left_alone(database: Database) -> None:
    CALLS.clear()

    async def main() -> None:
        THREADS["thread"] = threading.Event()
        async with engine_on(database, shutdown_timeout=timedelta(seconds=0.1)) as engine:
            await engine.start(Hangs("thread"), run_id="h")
            await until(lambda: _is(CALLS["thread"] == 1), "it is in its action")
        THREADS["thread"].set()
        async with engine_on(database) as other:
            await other.result("h", SOON)
        assert CALLS["thread"] == 2

    run(main())


def test_an_engine_without_anything_to_do_is_closed_at_once(database: Database) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with engine_on(database, poll=timedelta(seconds=30)) as engine:
            await engine.start(Waits(), run_id="w")
            await engine.await_status("w", "Waiting", SOON)
            began = loop.time()
        assert loop.time() - began < 4  # it does not wait for a look, nor five seconds for a thread that does not hear it
        assert [task for task in asyncio.all_tasks() if "flowstmt" in task.get_name()] == []

    run(main())


def test_threads_of_an_engine_end_with_it(database: Database) -> None:
    async def main() -> None:
        THREADS["short"] = threading.Event()
        THREADS["short"].set()
        others = set(threading.enumerate())
        async with engine_on(database) as engine:
            await engine.start(Hangs("short"), run_id="h")
            await engine.result("h", SOON)
        await until(lambda: _is(not _ours() - others), "its threads have ended")

    run(main())


def _ours() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("flowstmt")}


async def _is(holds: bool) -> bool:
    return holds
