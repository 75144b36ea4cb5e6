"""Queues: limits hold across all engines of a database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import pytest

from flowstmt import On, Queue, Return, S, StateError, Statement, Step, Wait
from tests.engine.databases import Database
from tests.engine.running import SOON, engine_on, run


@dataclass
class Mail:
    """Counts how many are under way at once, by key too."""

    now: ClassVar[dict[str, int]] = {}
    most: ClassVar[dict[str, int]] = {}
    order: ClassVar[list[str]] = []

    name: str
    key: str = ""

    def definition(self) -> Statement:
        return S(Step("begin", self.begin), Step("think", self.think), Step("end", self.end), Return(self.name))

    async def begin(self) -> None:
        Mail.order.append(self.name)
        for key in {"", self.key}:
            Mail.now[key] = Mail.now.get(key, 0) + 1
            Mail.most[key] = max(Mail.most.get(key, 0), Mail.now[key])

    async def think(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for key in {"", self.key}:
            Mail.now[key] -= 1

    @classmethod
    def forget(cls) -> None:
        cls.now.clear()
        cls.most.clear()
        cls.order.clear()


@dataclass
class Answered:
    def definition(self) -> Statement:
        return S(Wait("answer", On("answered")), Return("done"))


def test_a_callback_does_not_begin_a_run_that_stands_in_its_queue(database: Database) -> None:
    async def main() -> None:
        queues = [Queue("one", concurrency=1)]
        async with engine_on(database, workflows=[Answered], queues=queues) as engine:
            await engine.start(Answered(), run_id="a-1", queue="one")
            await engine.await_status("a-1", "Waiting", SOON)
            await engine.start(Answered(), run_id="a-2", queue="one")
            with pytest.raises(TimeoutError, match="'answered' was not taken in time: the run stands in queue 'one'"):
                await engine.callback("a-2", "answered", timeout=timedelta(seconds=0.5))
            assert (await engine.get("a-2")).revision == 0
            later = asyncio.create_task(engine.callback("a-2", "answered", timeout=SOON))
            await engine.callback("a-1", "answered")
            await later
            assert await engine.result("a-2", SOON) == "done"

    run(main())


def test_what_is_done_to_a_run_that_stands_in_its_queue_does_not_begin_it(database: Database) -> None:
    async def main() -> None:
        queues = [Queue("one", concurrency=1)]
        async with engine_on(database, workflows=[Answered, Mail], queues=queues) as engine:
            await engine.start(Answered(), run_id="a-1", queue="one")
            await engine.await_status("a-1", "Waiting", SOON)
            await engine.start(Mail("a"), run_id="m-1", queue="one")
            await engine.set_data("m-1", {"name": "b"})
            with pytest.raises(TimeoutError, match=r"the run is Resuming.*; it stands in queue 'one'"):
                await engine.result("m-1", timedelta(seconds=0.2))
            await engine.start(Mail("c"), run_id="m-2", queue="one")
            await engine.cancel("m-2", "not needed")
            await engine.await_status("m-2", "Cancelled", SOON)
            assert (await engine.get("m-1")).position == ""
            await engine.callback("a-1", "answered")
            assert await engine.result("m-1", SOON) == "b"

    run(main())


def test_no_more_runs_are_under_way_than_all_engines_together_may(database: Database) -> None:
    async def main() -> None:
        Mail.forget()
        queues = [Queue("mail", concurrency=3, per_key_concurrency=1)]
        async with engine_on(database, workflows=[Mail], queues=queues) as one:
            async with engine_on(database, workflows=[Mail], queues=queues) as two:
                for number in range(12):
                    engine = (one, two)[number % 2]
                    key = f"k-{number % 4}"
                    await engine.start(Mail(f"m-{number}", key), run_id=f"m-{number}", queue="mail", queue_key=key)
                results = [await one.result(f"m-{number}", 3 * SOON) for number in range(12)]
                assert results == [f"m-{number}" for number in range(12)]
        assert Mail.most[""] <= 3
        assert {Mail.most[f"k-{number}"] for number in range(4)} == {1}

    run(main())


def test_the_highest_priority_goes_first_then_the_oldest(database: Database) -> None:
    async def main() -> None:
        Mail.forget()
        queues = [Queue("mail", concurrency=1, priority=5)]
        async with engine_on(database, workflows=[Mail], queues=queues, worker=False) as web:
            for name, priority in (("low", 1), ("usual", None), ("high", 9), ("usual too", None)):
                started = await web.start(Mail(name), run_id=name, queue="mail", priority=priority)
                assert started.priority == (5 if priority is None else priority)
        async with engine_on(database, workflows=[Mail], queues=queues) as engine:
            for name in ("low", "usual", "high", "usual too"):
                await engine.result(name, SOON)
        assert Mail.order == ["high", "usual", "usual too", "low"]

    run(main())


def test_no_more_runs_are_let_in_per_time_than_the_rate_says(database: Database) -> None:
    async def main() -> None:
        Mail.forget()
        queues = [Queue("mail", rate=(2, timedelta(hours=1)))]
        async with engine_on(database, workflows=[Mail], queues=queues) as engine:
            for number in range(4):
                await engine.start(Mail(f"m-{number}"), run_id=f"m-{number}", queue="mail")
            assert await engine.result("m-0", SOON) == "m-0"
            assert await engine.result("m-1", SOON) == "m-1"
            with pytest.raises(TimeoutError):
                await engine.result("m-2", timedelta(seconds=0.3))
            assert [each.run_id for each in (await engine.list(queue="mail", status="Finished")).runs] == ["m-1", "m-0"]

    run(main())


def test_a_queue_that_nobody_knows_is_refused(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=[Mail], queues=[Queue("mail")]) as engine:
            with pytest.raises(StateError, match=r"no queue 'mial'; .*'mail'; did you mean 'mail'"):
                await engine.start(Mail("m"), run_id="m", queue="mial")
            with pytest.raises(StateError, match="priority must be a whole number"):
                await engine.start(Mail("m"), run_id="m", queue="mail", priority="high")  # type: ignore[arg-type] # the mistake
            assert (await engine.list()).runs == ()

    run(main())
