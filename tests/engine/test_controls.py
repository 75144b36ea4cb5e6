"""What people do to runs: wherever these are moved, and told apart from what runs did to themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowstmt import (
    ConflictError,
    ControlError,
    FlowstmtError,
    NotFoundError,
    Retry,
    RunCancelledError,
    StateError,
    WorkflowStatus,
    load,
)
from tests.engine.databases import Database
from tests.engine.flows import MENDED, PAID, Counting, Failing, Gate, Held, Order
from tests.engine.running import SOON, engine_on, run, until
from tests.engine.test_callbacks import posted

ONCE = Retry(max_attempts=1)


def notes_of(found: Any, cls: type[Any]) -> list[tuple[str, str, str]]:
    _, state = load(cls, found.snapshot)
    return [(note["note"], note["by"], note["reason"]) for note in state.notes]


def test_a_paused_run_stands_until_it_is_unpaused(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.pause("o-1", by="ann", reason="the fix")
            found = await engine.get("o-1")
            assert found.status is WorkflowStatus.Paused
            assert found.error is None
            with pytest.raises(ControlError, match=r"pause can.t be done|Paused"):
                await engine.pause("o-1")
            await engine.unpause("o-1", by="ann")
            await engine.await_status("o-1", "Waiting", SOON)
            assert notes_of(await engine.get("o-1"), Order) == [("paused", "ann", "the fix"), ("unpaused", "ann", "")]
            await engine.callback("o-1", PAID, 5)
            assert await engine.result("o-1", SOON) == 5

    run(main())


def test_a_busy_run_is_paused_after_its_next_checkpoint(database: Database) -> None:
    async def main() -> None:
        gate = Gate("pausing")
        async with engine_on(database) as engine:
            await engine.start(Held("pausing"), run_id="h-1")
            await gate.arrived()
            pausing = asyncio.create_task(engine.pause("h-1"))
            await asyncio.sleep(0)
            gate.open()
            await pausing
            found = await engine.await_status("h-1", "Paused", SOON)
            assert load(Held, found.snapshot or b"")[1].threads[0].position != "long"
            await engine.unpause("h-1")
            await engine.callback("h-1", "number", 1)
            assert await engine.result("h-1", SOON) == [1]

    run(main())


def test_a_run_that_another_engine_moves_is_controlled_through_its_inbox(database: Database) -> None:
    async def main() -> None:
        gate = Gate("controlled")
        async with engine_on(database) as there, engine_on(database, worker=False) as here:
            await there.start(Held("controlled"), run_id="h-1")
            await gate.arrived()
            changing = asyncio.create_task(here.set_data("h-1", {"got": [7]}, by="ann"))
            await until(lambda: posted(here, "h-1"), "the message is in the inbox")
            gate.open()
            await changing
            await there.callback("h-1", "number", 1)
            assert await here.result("h-1", SOON) == [7, 1]

    run(main())


def test_a_refused_control_says_why_from_elsewhere_too(database: Database) -> None:
    async def main() -> None:
        gate = Gate("refused control")
        async with engine_on(database) as there, engine_on(database, worker=False) as here:
            await there.start(Held("refused control"), run_id="h-1")
            await gate.arrived()
            changing = asyncio.create_task(here.set_data("h-1", {"gotten": [7]}))
            await until(lambda: posted(here, "h-1"), "the message is in the inbox")
            gate.open()
            with pytest.raises(ControlError, match="did you mean 'got'"):
                await changing

    run(main())


def test_a_cancelled_run_ends_so(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.cancel("o-1", "out of stock")
            with pytest.raises(RunCancelledError, match="out of stock"):
                await engine.result("o-1", SOON)
            with pytest.raises(ControlError):
                await engine.cancel("o-1", "again")

    run(main())


def test_goto_moves_a_thread_and_set_data_changes_fields(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.set_data("o-1", {"paid": 100}, by="ann", reason="by cheque")
            with pytest.raises(ControlError, match="'shop'"):
                await engine.goto("o-1", "main", "shop")
            await engine.goto("o-1", "main", "ship", by="ann", reason="paid in cash")
            assert await engine.result("o-1", SOON) == 100
            assert [note[0] for note in notes_of(await engine.get("o-1"), Order)] == ["changed", "moved"]

    run(main())


class TestRunsThatCouldNotBeMoved:
    def test_they_are_paused_with_their_error_and_retry_lets_them_go_on(self, database: Database) -> None:
        async def main() -> None:
            MENDED.discard("disk")
            async with engine_on(database, retry=ONCE) as engine:
                await engine.start(Failing("disk"), run_id="f-1")
                found = await engine.await_status("f-1", "Paused", SOON)
                assert found.error is not None
                assert (found.error.type, found.error.message, found.error.step) == ("OSError", "the disk is on fire", "work")
                assert [each.run_id for each in (await engine.list(status="Paused")).runs] == ["f-1"]
                with pytest.raises(TimeoutError, match="Paused: it could not be moved at 'work': OSError: the disk is on fire"):
                    await engine.result("f-1", timedelta(seconds=0.05))
                MENDED.add("disk")
                await engine.retry("f-1", by="ann")
                assert await engine.result("f-1", SOON) is None

        run(main())

    def test_unpause_is_told_from_retry_and_the_other_way_round(self, database: Database) -> None:
        async def main() -> None:
            MENDED.discard("which")
            async with engine_on(database, retry=ONCE) as engine:
                await engine.start(Failing("which"), run_id="f-1")
                await engine.await_status("f-1", "Paused", SOON)
                with pytest.raises(
                    ControlError, match=r"nobody paused the run\. .* OSError: the disk is on fire.* retry lets it go on"
                ):
                    await engine.unpause("f-1")
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                await engine.pause("o-1", by="ann", reason="the fix")
                with pytest.raises(ControlError, match=r"it was paused by ann at .* \(the fix\)\. unpause lets it go on"):
                    await engine.retry("o-1")

        run(main())

    def test_their_next_attempt_can_be_made_at_once(self, database: Database) -> None:
        async def main() -> None:
            MENDED.discard("later")
            async with engine_on(database, retry=Retry(max_attempts=5, initial=timedelta(hours=1))) as engine:
                await engine.start(Failing("later"), run_id="f-1")
                await until(lambda: failed(engine, "f-1"), "the first attempt")
                MENDED.add("later")
                await engine.retry("f-1")
                await engine.result("f-1", SOON)

        run(main())

    def test_they_can_be_cancelled_and_their_data_changed(self, database: Database) -> None:
        async def main() -> None:
            for name in ("cancelled", "changed"):
                MENDED.discard(name)
            MENDED.add("mended")
            async with engine_on(database, retry=ONCE) as engine:
                await engine.start(Failing("cancelled"), run_id="f-1")
                await engine.start(Failing("changed"), run_id="f-2")
                for run_id in ("f-1", "f-2"):
                    await engine.await_status(run_id, "Paused", SOON)
                await engine.cancel("f-1", "hopeless")
                with pytest.raises(RunCancelledError):
                    await engine.result("f-1", SOON)
                await engine.set_data("f-2", {"name": "mended"})
                if (await engine.get("f-2")).status is WorkflowStatus.Paused:
                    await engine.retry("f-2")
                await engine.result("f-2", SOON)

        run(main())

    def test_callbacks_are_refused_with_what_helps(self, database: Database) -> None:
        async def main() -> None:
            MENDED.discard("callback")
            async with engine_on(database, retry=ONCE) as engine:
                await engine.start(Failing("callback"), run_id="f-1")
                before = await engine.await_status("f-1", "Paused", SOON)
                with pytest.raises(FlowstmtError, match=r"the run is Paused, because .* retry lets it go on"):
                    await engine.callback("f-1", "paid", 5)
                after = await engine.get("f-1")
                assert (after.status, after.error, after.attempts) == (before.status, before.error, before.attempts)

        run(main())


def test_retry_of_a_run_that_does_not_wait_for_an_attempt_is_refused(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            with pytest.raises(ControlError, match=r"^run 'o-1': retry refused: nothing waits for another attempt"):
                await engine.retry("o-1")
            with pytest.raises(ControlError, match=r"^run 'o-1': retry refused: nothing of a thread 'retry_now refused' waits"):
                await engine.retry("o-1", "retry_now refused")
            with pytest.raises(StateError, match="what retry was given can't be turned into JSON"):
                await engine.retry("o-1", object())  # type: ignore[arg-type] # the mistake
            with pytest.raises(NotFoundError):
                await engine.retry("o-2")

    run(main())


def test_a_refusal_from_another_process_has_the_name_of_what_was_called(database: Database) -> None:
    async def main() -> None:
        gate = Gate("refusing")
        async with engine_on(database) as there, engine_on(database, worker=False) as here:
            await there.start(Held("refusing"), run_id="h-1")
            await gate.arrived()
            retrying = asyncio.create_task(here.retry("h-1"))
            await until(lambda: posted(here, "h-1"), "the message is in the inbox")
            gate.open()
            with pytest.raises(ControlError, match=r"^run 'h-1': retry refused: nothing waits for another attempt"):
                await retrying
            await there.await_status("h-1", "Waiting", SOON)
            with pytest.raises(ControlError, match=r"^run 'h-1': unpause refused"):
                await here.unpause("h-1")

    run(main())


def test_a_fork_goes_its_own_way_with_the_data_of_now(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1", labels={"customer": "c-42"})
            await engine.await_status("o-1", "Waiting", SOON)
            await engine.callback("o-1", PAID, 5)
            await engine.result("o-1", SOON)
            forked = await engine.fork("o-1", "payment", "o-2")
            assert (forked.run_id, forked.labels) == ("o-2", {"customer": "c-42"})
            assert (await engine.fork("o-1", "payment", "o-2")).run_id == "o-2"
            with pytest.raises(ConflictError):
                await engine.fork("o-1", "ship", "o-2")
            await engine.callback("o-2", PAID, 7)
            assert await engine.result("o-2", SOON) == 12
            assert await engine.result("o-1", SOON) == 5
            with pytest.raises(ControlError, match="'shop'"):
                await engine.fork("o-1", "shop")
            with pytest.raises(NotFoundError):
                await engine.fork("nope", "ship")

    run(main())


def test_a_run_is_deleted_with_all_that_belongs_to_it(database: Database) -> None:
    async def main() -> None:
        gate = Gate("deleting")
        async with engine_on(database, history=True) as engine, engine_on(database) as other:
            await engine.start(Counting(), run_id="c-1", labels={"customer": "c-42"})
            await engine.result("c-1", SOON)
            assert await engine.delete("c-1")
            assert not await engine.delete("c-1")
            assert (await engine.list(label=("customer", "c-42"))).runs == ()
            await engine.start(Counting(), run_id="c-1")
            assert await engine.result("c-1", SOON) == 3
            await engine.start(Held("deleting"), run_id="h-1")
            await gate.arrived()
            for either in (engine, other):
                with pytest.raises(ConflictError, match="'h-1'"):
                    await either.delete("h-1")
            gate.open()

    run(main())


def test_a_purge_deletes_what_was_over_before_an_instant(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            for number in range(5):
                await engine.start(Counting(), run_id=f"c-{number}")
            await engine.start(Order(), run_id="o-1")
            for number in range(5):
                await engine.result(f"c-{number}", SOON)
            assert await engine.purge(datetime(2001, 1, 1, tzinfo=UTC)) == 0
            assert await engine.purge(datetime.now(UTC) + timedelta(hours=1)) == 5
            assert [each.run_id for each in (await engine.list()).runs] == ["o-1"]
            with pytest.raises(FlowstmtError, match="finished_before must be an aware datetime"):
                await engine.purge(datetime(2030, 1, 1))

    run(main())


async def failed(engine: Any, run_id: str) -> bool:
    return bool((await engine.get(run_id)).attempts)
