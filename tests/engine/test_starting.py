"""Starting runs: what is the same run, what is refused, and what becomes of it when the caller's transaction does not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from flowstmt import (
    ConflictError,
    DefinitionError,
    Engine,
    MemoryStore,
    NotFoundError,
    S,
    StateError,
    Statement,
    Step,
    StoreError,
    WorkflowStatus,
)
from tests.engine.databases import Database, PostgresDatabase
from tests.engine.flows import PAID, Counting, Order, Sleeping
from tests.engine.running import SOON, engine_on, run
from tests.postgres import Postgres


def test_a_run_is_stored_when_start_returns_and_ends_by_itself(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            started = await engine.start(Counting(), run_id="c-1", labels={"customer": "c-42"})
            assert (started.run_id, started.workflow, started.version) == ("c-1", "Counting", 1)
            assert started.labels == {"customer": "c-42"}
            assert not started.is_over
            assert await engine.result("c-1", SOON) == 3
            found = await engine.get("c-1")
            assert found.status is WorkflowStatus.Finished
            assert found.is_over
            assert found.labels == {"customer": "c-42"}
            assert found.owner is None
            assert found.finished_at is not None

    run(main())


def test_a_run_without_an_id_gets_one_of_its_own(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            one, two = await engine.start(Counting()), await engine.start(Counting())
            assert one.run_id != two.run_id
            assert await engine.result(one.run_id, SOON) == await engine.result(two.run_id, SOON) == 3

    run(main())


def test_the_same_data_give_the_run_that_there_is_whatever_became_of_it(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order("tea"), run_id="o-1")
            waiting = await engine.await_status("o-1", "Waiting", SOON)
            again = await engine.start(Order("tea"), run_id="o-1")
            assert (again.status, again.revision) == (WorkflowStatus.Waiting, waiting.revision)
            await engine.callback("o-1", PAID, 5)
            assert await engine.result("o-1", SOON) == 5
            once_more = await engine.start(Order("tea"), run_id="o-1")
            assert once_more.status is WorkflowStatus.Finished

    run(main())


def test_other_data_are_a_conflict_that_names_the_fields_and_quotes_nothing(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order("a secret", paid=1), run_id="o-1")
            with pytest.raises(ConflictError) as refused:
                await engine.start(Order("another secret", paid=1), run_id="o-1")
            assert "'o-1' exists already" in str(refused.value)
            assert "field 'sku'" in str(refused.value)
            assert "secret" not in str(refused.value)
            with pytest.raises(ConflictError, match="fields 'sku', 'paid'"):
                await engine.start(Order("else", paid=2), run_id="o-1")

    run(main())


def test_another_workflow_is_a_conflict_that_names_both(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order("tea"), run_id="o-1")
            with pytest.raises(ConflictError, match="as a run of Order, not of Counting"):
                await engine.start(Counting(), run_id="o-1")

    run(main())


def test_a_class_that_has_gained_a_field_since_is_the_same_workflow(database: Database) -> None:
    @dataclass
    class Old:
        sku: str

        def definition(self) -> Statement:
            return Step("ship", lambda: None)

    @dataclass
    class New(Old):
        gift: bool = False

    async def main() -> None:
        async with engine_on(database, workflows={"Parcel": Old}, worker=False) as engine:
            await engine.start(Old("tea"), run_id="p-1")
        async with engine_on(database, workflows={"Parcel": New}) as engine:
            assert (await engine.start(New("tea"), run_id="p-1")).run_id == "p-1"
            with pytest.raises(ConflictError, match="field 'sku'"):
                await engine.start(New("milk"), run_id="p-1")

    run(main())


def test_one_key_of_single_flight_lets_one_run_of_a_workflow_be_unfinished(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1", single_flight="customer-7")
            with pytest.raises(ConflictError, match=r"'o-2' was not started: the run 'o-1' of Order .*customer-7"):
                await engine.start(Order(), run_id="o-2", single_flight="customer-7")
            with pytest.raises(NotFoundError):
                await engine.get("o-2")
            await engine.start(Order(), run_id="o-3", single_flight="customer-8")
            await engine.start(Counting(), run_id="c-1", single_flight="customer-7")
            assert (await engine.start(Order(), run_id="o-1", single_flight="customer-7")).run_id == "o-1"
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.callback("o-1", "closed")
            await engine.result("o-1", SOON)
            assert (await engine.start(Order(), run_id="o-2", single_flight="customer-7")).run_id == "o-2"

    run(main())


def test_of_many_starts_of_one_run_one_starts_it(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as one, engine_on(database) as two:
            starts = [engine.start(Counting(), run_id="c-1") for engine in (one, two) * 20]
            assert {started.run_id for started in await asyncio.gather(*starts)} == {"c-1"}
            assert await one.result("c-1", SOON) == 3
            assert len((await two.list()).runs) == 1

    run(main())


def test_a_run_may_begin_later(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            at = datetime.now(UTC) + timedelta(hours=1)
            await engine.start(Counting(), run_id="c-1", start_at=at)
            found = await engine.get("c-1")
            assert found.wake_at is not None
            assert abs(found.wake_at - at) < timedelta(milliseconds=1)
            assert found.revision == 0
            await engine.start(Sleeping(), run_id="s-1", start_at=datetime.now(UTC) + timedelta(seconds=0.05))
            assert await engine.result("s-1", SOON) == "rested"
            assert (await engine.get("c-1")).revision == 0

    run(main())


def test_what_is_handed_to_a_run_before_it_begins_does_not_begin_it(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            at = datetime.now(UTC) + timedelta(hours=1)
            await engine.start(Order(), run_id="o-1", start_at=at)
            with pytest.raises(TimeoutError, match=r"the run is to begin at .*\. A signal would be kept until then"):
                await engine.callback("o-1", PAID, 5, timeout=timedelta(seconds=0.5))
            assert await engine.signal("o-1", PAID, 5)
            await engine.start(Order(), run_id="o-2", start_at=datetime.now(UTC) + timedelta(seconds=0.3))
            assert await engine.signal("o-2", PAID, 7)
            assert await engine.result("o-2", SOON) == 7
            found = await engine.get("o-1")
            assert found.revision == 0
            assert found.wake_at is not None
            assert abs(found.wake_at - at) < timedelta(milliseconds=1)

    run(main())


def test_a_start_that_is_cut_off_leaves_no_run_that_nobody_moves(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            starting = asyncio.create_task(engine.start(Counting(), run_id="c-1"))
            await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            # Either it never was, or it ends like any other: long before its lease would.
            await engine.start(Counting(), run_id="c-1")
            assert await engine.result("c-1", SOON) == 3

    run(main())


class TestRefused:
    """What is wrong is told before anything is written."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"run_id": ""}, "run_id must be a text that is not empty"),
            ({"run_id": 7}, "run_id must be a text that is not empty, not 7"),
            ({"labels": {"n": 1}}, "labels must be names and values, all of them texts; 1 is none"),
            ({"labels": ["a"]}, "labels must be names and values"),
            ({"single_flight": ""}, "single_flight must be a text that is not empty"),
            ({"start_at": datetime(2030, 1, 1)}, "start_at must be an aware datetime"),
            ({"priority": 1}, "mean something in a queue only"),
            ({"queue_key": "k"}, "mean something in a queue only"),
            ({"queue": "mial"}, "no queue 'mial'; .* none"),
        ],
    )
    def test_bad_arguments(self, arguments, message: str) -> None:
        async def main() -> None:
            async with Engine(MemoryStore(), [Counting]) as engine:
                with pytest.raises(StateError, match=message):
                    await engine.start(Counting(), **arguments)
                assert (await engine.list()).runs == ()

        run(main())

    def test_a_class_instead_of_an_object(self) -> None:
        async def main() -> None:
            async with Engine(MemoryStore(), [Counting]) as engine:
                with pytest.raises(StateError, match="takes an object of the workflow, not the class Counting"):
                    await engine.start(Counting)  # type: ignore[arg-type] # which is the mistake

        run(main())

    def test_a_workflow_that_the_engine_was_not_given(self) -> None:
        async def main() -> None:
            async with Engine(MemoryStore(), [Counting]) as engine:
                with pytest.raises(DefinitionError, match="Order is not among workflows="):
                    await engine.start(Order())

        run(main())

    def test_a_definition_with_a_fault(self) -> None:
        @dataclass
        class Broken:
            def definition(self) -> Statement:
                return S(Step("one", print), Step("one", print))

        async def main() -> None:
            async with Engine(MemoryStore(), [Broken]) as engine:
                with pytest.raises(DefinitionError, match="'one'"):
                    await engine.start(Broken())
                assert (await engine.list()).runs == ()

        run(main())


class TestInATransactionOfTheUsers:
    def test_nothing_is_visible_before_the_commit_and_the_run_begins_soon_after(self, shared_database: Database) -> None:
        async def main() -> None:
            async with engine_on(shared_database, poll=timedelta(hours=1)) as engine:
                with shared_database.connect() as connection:
                    connection.execute("INSERT INTO notes VALUES ('an order')")
                    started = await engine.start(Counting(), run_id="c-1", connection=connection)
                    assert started.run_id == "c-1"
                    with pytest.raises(NotFoundError):
                        await engine.get("c-1")
                    connection.commit()
                assert await engine.result("c-1", SOON) == 3
                connection.close()

        run(main())

    def test_nothing_is_left_of_it_after_a_rollback(self, shared_database: Database) -> None:
        async def main() -> None:
            async with engine_on(shared_database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                connection = shared_database.connect()
                await engine.start(Counting(), run_id="c-1", connection=connection)
                await engine.signal("o-1", PAID, 5, key="once", connection=connection)
                connection.rollback()
                connection.close()
                with pytest.raises(NotFoundError):
                    await engine.get("c-1")
                assert await engine.signal("o-1", PAID, 7, key="once")
                assert await engine.result("o-1", SOON) == 7

        run(main())

    def test_a_conflict_is_told_within_the_transaction(self, shared_database: Database) -> None:
        async def main() -> None:
            async with engine_on(shared_database) as engine:
                await engine.start(Order("tea"), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                connection = shared_database.connect()
                assert (await engine.start(Order("tea"), run_id="o-1", connection=connection)).status == "Waiting"
                with pytest.raises(ConflictError, match="field 'sku'"):
                    await engine.start(Order("milk"), run_id="o-1", connection=connection)
                connection.rollback()
                connection.close()

        run(main())

    def test_a_run_and_its_first_signal_can_be_in_one_transaction(self, shared_database: Database) -> None:
        async def main() -> None:
            async with engine_on(shared_database) as engine:
                connection = shared_database.connect()
                await engine.start(Order(), run_id="o-1", connection=connection)
                assert await engine.signal("o-1", PAID, 5, connection=connection)
                connection.commit()
                connection.close()
                assert await engine.result("o-1", SOON) == 5

        run(main())

    def test_sessions_and_connections_of_sqlalchemy_are_taken(self, shared_database: Database) -> None:
        async def main() -> None:
            async with engine_on(shared_database) as engine:
                db = create_engine(shared_database.sqlalchemy_url)
                with Session(db) as session, session.begin():
                    session.execute(text("SELECT 1"))
                    await engine.start(Counting(), run_id="c-1", connection=session)
                with db.begin() as connection:
                    connection.execute(text("SELECT 1"))
                    await engine.start(Counting(), run_id="c-2", connection=connection)
                with Session(db) as session:
                    await engine.start(Counting(), run_id="c-3", connection=session)
                    session.rollback()
                db.dispose()
                assert await engine.result("c-1", SOON) == await engine.result("c-2", SOON) == 3
                with pytest.raises(NotFoundError):
                    await engine.get("c-3")

        run(main())

    def test_connections_that_are_awaited_are_taken(self, postgres: Postgres) -> None:
        database = PostgresDatabase(postgres)

        async def main() -> None:
            async with engine_on(database) as engine:
                async with await psycopg.AsyncConnection.connect(database.dsn) as connection:
                    await engine.start(Order(), run_id="o-1", connection=connection)
                    assert await engine.signal("o-1", PAID, 5, key="once", connection=connection)
                    assert not await engine.signal("o-1", PAID, 5, key="once", connection=connection)
                assert await engine.result("o-1", SOON) == 5

        run(main())

    def test_a_connection_of_another_kind_is_refused(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                with pytest.raises(StoreError):
                    await engine.start(Counting(), connection=object())
                assert (await engine.list()).runs == ()

        run(main())
