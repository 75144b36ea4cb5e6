"""What an engine tells of runs: results, statuses, lists, changes, what may happen."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from flowstmt import (
    Fail,
    FlowstmtError,
    NotFoundError,
    RunCancelledError,
    RunFailedError,
    S,
    StateError,
    Statement,
    Step,
    WorkflowFinishedError,
    WorkflowStatus,
)
from flowstmt.engine import Change
from tests.engine.databases import Database
from tests.engine.flows import PAID, Counting, Gate, Held, Order, Talking
from tests.engine.running import SOON, engine_on, run


@dataclass
class Hopeless:
    def definition(self) -> Statement:
        return S(Step("try", lambda: None), Fail("give up", "it was hopeless"))


class TestResult:
    def test_of_a_run_that_was_over_long_before(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Counting(), run_id="c-1")
                await engine.result("c-1", SOON)
            async with engine_on(database, worker=False) as engine:
                assert await engine.result("c-1", SOON) == 3

        run(main())

    def test_of_a_run_of_this_process_is_there_when_the_run_is_over_without_looking_for_it(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("told")
            async with engine_on(database, poll=timedelta(minutes=1)) as engine:
                await engine.start(Held("told"), run_id="h-1")
                await gate.arrived()
                early = asyncio.create_task(engine.result("h-1", SOON))
                waiting = asyncio.create_task(engine.await_status("h-1", "Waiting", SOON))
                gate.open()
                assert (await waiting).status is WorkflowStatus.Waiting
                await engine.signal("h-1", "number", 1)
                assert await early == [1]
                with pytest.raises(WorkflowFinishedError, match="the run is Finished"):
                    await engine.await_status("h-1", "Waiting", timedelta(0))

        run(main())

    def test_of_a_run_that_another_engine_moves(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("result")
            async with engine_on(database) as there, engine_on(database, worker=False) as here:
                await there.start(Held("result"), run_id="h-1")
                await gate.arrived()
                waiting = asyncio.create_task(here.result("h-1", SOON))
                await there.signal("h-1", "number", 1)
                gate.open()
                assert await waiting == [1]

        run(main())

    def test_of_a_run_that_failed_says_why(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database, workflows=[Hopeless]) as engine:
                await engine.start(Hopeless(), run_id="h-1")
                with pytest.raises(
                    RunFailedError, match=r"run 'h-1' of Hopeless failed at 'give up'.*it was hopeless"
                ) as failed:
                    await engine.result("h-1", SOON)
                assert failed.value.run_id == "h-1"
                assert failed.value.error.message == "it was hopeless"
                found = await engine.get("h-1")
                assert found.error is not None
                assert found.error.message == "it was hopeless"

        run(main())

    def test_of_a_run_that_was_cancelled_says_why(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                await engine.cancel("o-1", "out of stock", by="ann")
                with pytest.raises(RunCancelledError, match="out of stock"):
                    await engine.result("o-1", SOON)

        run(main())

    def test_that_does_not_come_in_time_says_what_the_run_waits_for(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                with pytest.raises(TimeoutError, match="Waiting at 'payment'; a callback or a signal would help"):
                    await engine.result("o-1", timedelta(seconds=0.1))

        run(main())

    def test_of_no_run(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                for waiting in (engine.result("nope"), engine.await_status("nope", "Waiting"), engine.get("nope")):
                    with pytest.raises(NotFoundError):
                        await waiting
                with pytest.raises(NotFoundError):
                    await anext(engine.watch("nope"))
                with pytest.raises(NotFoundError):
                    await engine.history("nope")
                with pytest.raises(NotFoundError):
                    await engine.legal("nope")

        run(main())


class TestWatch:
    def test_a_run_of_this_process_tells_each_checkpoint(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("watch")
            async with engine_on(database) as engine:
                await engine.start(Held("watch"), run_id="h-1")
                await gate.arrived()
                seen: list[Change] = []
                async for change in engine.watch("h-1"):
                    if not seen:
                        await engine.signal("h-1", "number", 1)
                        gate.open()
                    seen.append(change)
                assert [change.kind for change in seen] == ["status"] + ["checkpoint"] * (len(seen) - 1)
                revisions = [change.revision for change in seen]
                assert revisions == list(range(revisions[0], revisions[-1] + 1))
                assert seen[0].positions == {"main": "long"}
                assert seen[-1].status is WorkflowStatus.Finished
                assert seen[-1].is_over

        run(main())

    def test_a_run_of_another_process_is_told_as_well(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("watch there")
            async with engine_on(database) as there, engine_on(database, worker=False) as here:
                await there.start(Held("watch there"), run_id="h-1")
                await gate.arrived()
                seen: list[Change] = []
                async for change in here.watch("h-1"):
                    if not seen:
                        gate.open()
                    if change.positions.get("main") == "number":
                        await here.signal("h-1", "number", 1, key="one")
                    seen.append(change)
                assert seen[0].kind == "status"
                assert {change.positions.get("main") for change in seen} >= {"long", "number"}
                assert seen[-1].status is WorkflowStatus.Finished
                assert [change.revision for change in seen] == sorted({change.revision for change in seen})

        run(main())

    @pytest.mark.parametrize("where", ["here", "there"])
    def test_what_actions_publish_is_told_in_full_and_in_order(self, database: Database, where: str) -> None:
        async def main() -> None:
            async with engine_on(database) as there, engine_on(database, worker=False) as elsewhere:
                engine = there if where == "here" else elsewhere
                await there.start(Talking(["one", "two"]), run_id="t-1")
                changes = [change async for change in engine.watch("t-1")]
                published = [change for change in changes if change.kind == "published"]
                assert [change.body for change in published] == [{"word": "one"}, "two"]
                assert changes[-1].is_over
                first = published[0].number
                assert first is not None
                rest = [change async for change in engine.watch("t-1", published_after=first)]
                assert [change.body for change in rest if change.kind == "published"] == ["two"]

        run(main())

    def test_a_run_that_is_over_is_told_once(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Counting(), run_id="c-1")
                await engine.result("c-1", SOON)
                changes = [change async for change in engine.watch("c-1")]
                assert [(change.kind, change.status) for change in changes] == [("status", "Finished")]

        run(main())

    def test_watching_ends_when_the_run_is_deleted(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                async for change in engine.watch("o-1"):
                    assert change.status is WorkflowStatus.Waiting
                    assert await engine.delete("o-1")

        run(main())

    def test_who_stops_watching_leaves_nothing_behind(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                async with aclosing(engine.watch("o-1")) as changes:
                    async for _ in changes:
                        break
                assert not engine._inside("test").shared.watchers._ears

        run(main())


class TestList:
    def test_pages_go_on_where_the_last_one_ended_whatever_is_started_meanwhile(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database, worker=False) as engine:
                for number in range(7):
                    await engine.start(Order(), run_id=f"o-{number}", labels={"customer": "c-42"})
                found = []
                page = await engine.list(limit=3)
                while True:
                    found += [each.run_id for each in page.runs]
                    await engine.start(Order(), run_id=f"late-{len(found)}")
                    if page.next is None:
                        break
                    page = await engine.list(limit=3, after=page.next)
                assert found == [f"o-{number}" for number in reversed(range(7))]
                assert all(each.snapshot is None for each in page.runs)

        run(main())

    def test_runs_are_found_by_what_is_known_of_them(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1", labels={"customer": "c-42", "kind": "gift"})
                await engine.start(Order(), run_id="o-2", labels={"customer": "c-43"})
                await engine.start(Counting(), run_id="c-1", labels={"customer": "c-42"})
                later = datetime.now(UTC) + timedelta(hours=1)
                await engine.start(Order(), run_id="o-3", start_at=later)
                await engine.await_status("o-1", "Waiting", SOON)
                await engine.await_status("o-2", "Waiting", SOON)
                await engine.result("c-1", SOON)

                async def ids(**query) -> set[str]:
                    return {each.run_id for each in (await engine.list(**query)).runs}

                assert await ids() == {"o-1", "o-2", "o-3", "c-1"}
                assert await ids(workflow="Order") == await ids(workflow=Order) == {"o-1", "o-2", "o-3"}
                assert await ids(status="Waiting") == await ids(status=WorkflowStatus.Waiting) == {"o-1", "o-2"}
                assert await ids(position="payment") == {"o-1", "o-2"}
                assert await ids(label=("customer", "c-42")) == {"o-1", "c-1"}
                assert await ids(label=("customer", "c-42"), workflow=Order, status="Waiting") == {"o-1"}
                assert await ids(wake_before=later + timedelta(hours=1)) == {"o-3"}
                assert await ids(created_before=datetime(2001, 1, 1, tzinfo=UTC)) == set()
                assert await ids(created_from=datetime(2001, 1, 1, tzinfo=UTC)) == await ids()

        run(main())

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"limit": 0}, "limit must be a whole number from 1 to 1000, not 0"),
            ({"after": "nonsense"}, "after must be the next of a Page"),
            ({"after": 7}, "after must be the next of a Page, which is a text, not an int"),
            ({"status": "Weighting"}, "a status is one of .*, not 'Weighting'"),
            ({"label": "customer"}, "label must be a name and a value, like"),
            ({"created_from": datetime(2030, 1, 1)}, "created_from must be an aware datetime"),
        ],
    )
    def test_bad_queries_are_refused(self, database: Database, arguments, message: str) -> None:
        async def main() -> None:
            async with engine_on(database, worker=False) as engine:
                with pytest.raises(StateError, match=message):
                    await engine.list(**arguments)

        run(main())


def test_history_has_a_row_for_each_attempt(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, history=True) as engine:
            await engine.start(Counting(), run_id="c-1")
            await engine.result("c-1", SOON)
            rows = await engine.history("c-1")
            assert [row.position for row in rows] == ["step 0", "step 1", "step 2"]
            assert all(row.duration >= timedelta(0) and row.error is None for row in rows)
            assert [row.position for row in await engine.history("c-1", after=1, limit=1)] == ["step 1"]
            with pytest.raises(StateError, match="limit"):
                await engine.history("c-1", limit=0)

    run(main())


def test_without_history_there_are_no_rows(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Counting(), run_id="c-1")
            await engine.result("c-1", SOON)
            assert list(await engine.history("c-1")) == []

    run(main())


def test_legal_says_what_may_happen_to_a_stored_run(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine, engine_on(database, workflows=[Counting]) as stranger:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            found = await engine.legal("o-1")
            assert [callback.event for callback in found.callbacks] == ["paid", "closed"]
            assert await engine.callback("o-1", found.callbacks[0].request, 5) == {"amount": 5, "by": "card"}
            with pytest.raises(FlowstmtError, match="no workflow 'Order' is known here"):
                await stranger.legal("o-1")

    run(main())


def test_await_status_takes_one_status_or_several(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            found = await engine.await_status("o-1", ("Paused", "Waiting"), SOON)
            assert found.status is WorkflowStatus.Waiting
            with pytest.raises(TimeoutError, match="await_status Failed: time is over"):
                await engine.await_status("o-1", "Failed", timedelta(0))
            with pytest.raises(StateError, match="not 'Lost'"):
                await engine.await_status("o-1", "Lost")
            await engine.callback("o-1", PAID, 5)
            with pytest.raises(WorkflowFinishedError, match="the run is Finished, and stays so"):
                await engine.await_status("o-1", ("Paused", "Failed"))

    run(main())
