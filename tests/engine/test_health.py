"""How an engine is, for readiness checks and for people."""

from __future__ import annotations

import asyncio
import json
import threading

from flowstmt import MemoryStore, StoreError
from tests.engine.databases import Database
from tests.engine.flows import Counting, Gate, Held, Order
from tests.engine.running import engine_on, run, until


def test_an_engine_that_is_well_says_what_it_holds(database: Database) -> None:
    async def main() -> None:
        gate = Gate("health")
        async with engine_on(database, worker_id="w-1") as engine:
            await engine.start(Held("health"), run_id="h-1")
            await gate.arrived()
            health = await engine.health()
            assert (health.worker_id, health.is_well, health.error, health.held) == ("w-1", True, None, 1)
            assert health.unknown == {}
            assert json.loads(json.dumps(health.to_json()))["held"] == 1
            gate.open()

    run(main())


def test_runs_that_nobody_here_can_move_are_told(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, worker=False) as engine:
            for number in range(3):
                await engine.start(Order(), run_id=f"o-{number}")
        async with engine_on(database, workflows=[Counting]) as other:
            await other.start(Counting(), run_id="c-1")
            await other.result("c-1")
            health = await other.health()
            assert health.is_well
            assert health.unknown == {("Order", 1): 3}
            assert health.to_json()["unknown"] == [{"workflow": "Order", "version": 1, "runs": 3}]

    run(main())


class Moody(MemoryStore):
    """A database that can be away for a while, or hang."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()

    def commit(self, writes):
        self._mood()
        return super().commit(writes)

    def list(self, query):
        self._mood()
        return super().list(query)

    def _mood(self) -> None:
        self.hangs.wait(10)
        if self.away:
            raise StoreError("the database is away", retry=True)


def test_a_database_that_is_away_is_told_and_nothing_is_lost() -> None:
    async def main() -> None:
        database = OneStore(Moody())
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting")
            database.only.away = True
            calling = asyncio.create_task(engine.callback("o-1", "paid", 5))

            async def is_ill() -> bool:
                return not (await engine.health()).is_well

            await until(is_ill, "the lane has found out")
            health = await engine.health()
            assert health.error == "StoreError: the database is away"
            assert health.error_since is not None
            database.only.away = False
            assert await calling == {"amount": 5, "by": "card"}
            assert await engine.result("o-1") == 5
            assert (await engine.health()).is_well

    run(main())


def test_a_database_that_does_not_answer_keeps_nobody_waiting() -> None:
    async def main() -> None:
        database = OneStore(Moody())
        async with engine_on(database) as engine:
            database.only.hangs.clear()
            health = await engine.health()
            assert not health.is_well
            assert health.error == "the database has not answered for 2 s"
            database.only.hangs.set()

    run(main())


class OneStore:
    url = sqlalchemy_url = ""

    def __init__(self, only: Moody) -> None:
        self.only = only

    def store(self) -> Moody:
        return self.only

    def connect(self) -> None:
        raise NotImplementedError
