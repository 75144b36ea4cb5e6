"""Callbacks reach a run wherever it is moved: never lost, never twice, with a clear answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    CallbackError,
    CallbackRequest,
    FlowstmtError,
    InvalidPayloadError,
    NotFoundError,
    NotWaitingError,
    PausedError,
    RefusedError,
    RemoteError,
    StaleCallbackError,
    StateError,
    UnknownEventError,
    WorkflowFinishedError,
)
from flowstmt.stores.protocol import MessageStatus
from tests.engine.databases import Database
from tests.engine.flows import CLOSED, PAID, Counting, Gate, Held, Order, Receipt, Refusing, Selfish
from tests.engine.running import SOON, engine_on, run, stored, until

ENOUGH_TO_ASK = timedelta(seconds=1)
"""So soon who calls gives up: after the database was asked, on a slow machine too."""


def test_a_callback_gives_what_its_handler_returned_once_it_is_saved(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            assert await engine.callback("o-1", PAID, 5) == Receipt(5)
            assert await engine.result("o-1", SOON) == 5

    run(main())


def test_a_name_gives_plain_json_wherever_the_run_is_moved(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            assert await engine.callback("o-1", "paid", b"5") == {"amount": 5, "by": "card"}

    run(main())


def test_an_event_without_a_payload_needs_none(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
            assert await engine.callback("o-1", CLOSED) is None
            assert await engine.result("o-1", SOON) == 0

    run(main())


def test_a_run_that_is_busy_here_takes_it_between_two_checkpoints(database: Database) -> None:
    async def main() -> None:
        gate = Gate("busy")
        async with engine_on(database) as engine:
            await engine.start(Held("busy"), run_id="h-1")
            await gate.arrived()
            calling = asyncio.create_task(engine.callback("h-1", "number", 21))
            await asyncio.sleep(0)
            gate.open()
            assert await calling == 42
            assert await engine.result("h-1", SOON) == [21]

    run(main())


def test_a_run_that_another_engine_moves_takes_it_from_its_inbox(database: Database) -> None:
    async def main() -> None:
        gate = Gate("elsewhere")
        async with engine_on(database) as there, engine_on(database) as here:
            await there.start(Held("elsewhere"), run_id="h-1")
            await gate.arrived()
            calling = asyncio.create_task(here.callback("h-1", PAID, 21))
            await until(lambda: posted(here, "h-1"), "the message is in the inbox")
            gate.open()
            assert await calling == Receipt(21)
            assert await here.result("h-1", SOON) == [21]

    run(main())


def test_an_engine_without_a_worker_hands_it_in_where_nobody_moves_the_run(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as worker:
            await worker.start(Order(), run_id="o-1")
            await worker.await_status("o-1", "Waiting", SOON)
        async with engine_on(database, worker=False) as web:
            assert await web.callback("o-1", PAID, 5) == Receipt(5)
            found = await web.get("o-1")
            assert found.owner is None
            assert found.wake_at is not None
        async with engine_on(database) as worker:
            assert await worker.result("o-1", SOON) == 5

    run(main())


@pytest.mark.parametrize("worker", [True, False])
def test_a_run_whose_worker_died_takes_it_when_the_lease_is_over(database: Database, worker: bool) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", SOON)
        store = database.store()
        await asyncio.to_thread(store.open)
        claims = await asyncio.to_thread(store.claim_run, "dead", "o-1", timedelta(seconds=1))
        assert len(claims.runs) == 1
        async with engine_on(database, worker=worker) as engine:
            assert await engine.callback("o-1", PAID, 5) == Receipt(5)
            found = await stored(store, "o-1")
            assert found.fence > claims.runs[0].fence
        await asyncio.to_thread(store.close)

    run(main())


def test_many_callbacks_at_once_from_two_engines_are_each_applied_once(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as one, engine_on(database) as two:
            for number in range(10):
                await one.start(Order(), run_id=f"o-{number}")
            for number in range(10):
                await one.await_status(f"o-{number}", "Waiting", SOON)
            calls = [engine.callback(f"o-{number}", PAID, 1) for number in range(10) for engine in (one, two, one, two)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            taken = [answer for answer in answers if answer == Receipt(1)]
            refused = [answer for answer in answers if isinstance(answer, CallbackError)]
            assert len(taken) == 10
            assert len(refused) == 30
            assert [await one.result(f"o-{number}", SOON) for number in range(10)] == [1] * 10

    run(main())


class TestRefused:
    """A refusal says why, in this process and from another one, and changes nothing."""

    CASES: list[tuple[Any, Any, type[Exception], str]] = [
        ("paid", -1, RefusedError, "not how paying works"),
        ("paid", "much", InvalidPayloadError, "does not fit"),
        ("payd", 1, UnknownEventError, "did you mean 'paid'"),
        (CallbackRequest("paid", pc=77), 1, StaleCallbackError, "stale"),
        (CallbackRequest("paid", thread_id="other"), 1, NotWaitingError, "no thread 'other' lives"),
    ]

    @pytest.mark.parametrize(("event", "payload", "error", "message"), CASES)
    def test_in_this_process(self, database: Database, event, payload, error, message) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                before = await engine.await_status("o-1", "Waiting", SOON)
                with pytest.raises(error, match=message):
                    await engine.callback("o-1", event, payload)
                after = await engine.get("o-1")
                assert after.snapshot == before.snapshot

        run(main())

    @pytest.mark.parametrize(("event", "payload", "error", "message"), CASES)
    def test_from_another_one(self, database: Database, event, payload, error, message) -> None:
        async def main() -> None:
            gate = Gate("refusing")
            async with engine_on(database) as there, engine_on(database) as here:
                await there.start(Refusing(gate="refusing"), run_id="o-1")
                await gate.arrived()
                calling = asyncio.create_task(here.callback("o-1", event, payload))
                await until(lambda: posted(here, "o-1"), "the message is in the inbox")
                gate.open()
                with pytest.raises(error, match=message) as refused:
                    await calling
                if error is InvalidPayloadError:
                    assert len(refused.value.faults) == 1

        run(main())

    def test_what_a_handler_raises_is_raised_here_as_it_is(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                with pytest.raises(OSError, match="the till is jammed"):
                    await engine.callback("o-1", PAID, 13)
                assert await engine.callback("o-1", PAID, 5) == Receipt(5)

        run(main())

    def test_and_from_another_process_as_a_remote_error(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("jammed")
            async with engine_on(database) as there, engine_on(database) as here:
                await there.start(Refusing(gate="jammed"), run_id="o-1")
                await gate.arrived()
                calling = asyncio.create_task(here.callback("o-1", PAID, 13))
                await until(lambda: posted(here, "o-1"), "the message is in the inbox")
                gate.open()
                with pytest.raises(RemoteError, match="the till is jammed") as raised:
                    await calling
                assert raised.value.type == "OSError"

        run(main())

    def test_a_run_that_is_over(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Counting(), run_id="c-1")
                await engine.result("c-1", SOON)
                with pytest.raises(WorkflowFinishedError, match="the run is Finished"):
                    await engine.callback("c-1", "paid", 5)

        run(main())

    def test_a_run_that_is_paused(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
                await engine.pause("o-1", by="ann")
                with pytest.raises(PausedError, match="the run is paused"):
                    await engine.callback("o-1", PAID, 5)

        run(main())

    def test_a_run_that_there_is_not(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                with pytest.raises(NotFoundError, match="'nope': the store has no such run"):
                    await engine.callback("nope", PAID, 5)

        run(main())

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (("", "paid"), StateError, "run_id must be a text that is not empty"),
            (("o-1", 5), CallbackError, "expected a CallbackRequest, an Event or the name of an event, not an int"),
            (("o-1", CallbackRequest("paid", run_id="o-2")), CallbackError, "the request is for the run 'o-2'"),
            (("o-1", "paid", object()), InvalidPayloadError, "an object can't be turned into JSON"),
            (("o-1", "paid", b"{"), InvalidPayloadError, "it is no JSON"),
        ],
    )
    def test_bad_arguments(self, database: Database, arguments, error, message: str) -> None:
        async def main() -> None:
            async with engine_on(database, worker=False) as engine:
                with pytest.raises(error, match=message):
                    await engine.callback(*arguments)

        run(main())


class TestNotAnsweredInTime:
    """Who gives up learns whether it may be applied all the same."""

    def test_nobody_knows_the_workflow(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as engine:
                await engine.start(Order(), run_id="o-1")
                await engine.await_status("o-1", "Waiting", SOON)
            async with engine_on(database, workflows=[Counting]) as other:
                with pytest.raises(TimeoutError, match="does not know Order of version 1") as late:
                    await other.callback("o-1", PAID, 5, timeout=ENOUGH_TO_ASK)
                assert "will not be applied" in str(late.value)
            async with engine_on(database) as engine:
                assert await engine.callback("o-1", PAID, 7) == Receipt(7)
                assert await engine.result("o-1", SOON) == 7

        run(main())

    def test_somebody_who_knows_the_workflow_answers(self, database: Database) -> None:
        async def main() -> None:
            async with engine_on(database) as knows, engine_on(database, workflows=[Counting]) as other:
                await knows.start(Order(), run_id="o-1")
                await knows.await_status("o-1", "Waiting", SOON)
                assert await other.callback("o-1", PAID, 5) == Receipt(5)

        run(main())

    def test_another_worker_is_busy(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("late")
            async with engine_on(database, worker_id="the busy one") as there, engine_on(database) as here:
                await there.start(Held("late"), run_id="h-1")
                await gate.arrived()
                with pytest.raises(TimeoutError, match="worker 'the busy one'") as late:
                    await here.callback("h-1", PAID, 5, timeout=ENOUGH_TO_ASK)
                assert "may be applied all the same" in str(late.value)
                gate.open()

        run(main())

    def test_this_worker_is_busy(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("here")
            async with engine_on(database) as engine:
                await engine.start(Held("here"), run_id="h-1")
                await gate.arrived()
                with pytest.raises(TimeoutError, match="moved by this process"):
                    await engine.callback("h-1", PAID, 5, timeout=timedelta(seconds=0.1))
                gate.open()
                await engine.await_status("h-1", "Waiting", SOON)
                assert await engine.callback("h-1", PAID, 7) == Receipt(7)
                assert await engine.result("h-1", SOON) == [7]

        run(main())

    def test_the_caller_is_cancelled(self, database: Database) -> None:
        async def main() -> None:
            gate = Gate("cancelled")
            async with engine_on(database) as there, engine_on(database, workflows=[Counting]) as here:
                await there.start(Held("cancelled"), run_id="h-1")
                await gate.arrived()
                calling = asyncio.create_task(here.callback("h-1", PAID, 5))
                await until(lambda: posted(here, "h-1"), "the message is in the inbox")
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
                await until(lambda: unposted(here, "h-1"), "it was taken back")
                gate.open()

        run(main())


def test_nobody_is_kept_waiting_by_an_engine_that_is_left(database: Database) -> None:
    async def main() -> None:
        gate = Gate("left")
        async with engine_on(database) as there:
            await there.start(Held("left"), run_id="h-1")
            await gate.arrived()
            async with engine_on(database, workflows=[Counting]) as here:
                calling = asyncio.create_task(here.callback("h-1", PAID, 5, timeout=None))
                await until(lambda: posted(here, "h-1"), "the message is in the inbox")
            with pytest.raises(FlowstmtError, match=r"the engine was left.* may be applied all the same"):
                await calling
            mine = asyncio.create_task(there.callback("h-1", PAID, 6, timeout=None))
            waiting = asyncio.create_task(there.result("h-1"))
            await asyncio.sleep(0)
            gate.open()
            await there.pause("h-1")
        for task in (mine, waiting):
            with pytest.raises(FlowstmtError):
                await task

    run(main())


def test_a_callback_from_inside_of_its_own_run_is_refused_and_no_deadlock(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=[Selfish]) as engine:
            Selfish.engine = engine
            await engine.start(Selfish(), run_id="s-1")
            assert await engine.result("s-1", SOON) == ["ConflictError"] * 3

    run(main())


async def posted(engine, run_id: str) -> bool:
    """Whether the inbox of a run holds a message that nobody has taken."""
    shared = engine._inside("asking").shared
    return bool(await shared.reads.call(shared.store.messages, run_id, MessageStatus.new, 10))


async def unposted(engine, run_id: str) -> bool:
    return not await posted(engine, run_id)
