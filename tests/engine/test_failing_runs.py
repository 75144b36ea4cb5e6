"""What becomes of runs whose code fails, in whatever way: they are tried again, or parked; others never notice."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import Engine, FinalError, Go, Join, MemoryStore, On, Retry, S, State, Statement, Step, Wait, WaitFor, dump
from flowstmt.core.state import CallbackRequest
from flowstmt.engine.messages import EventBody
from flowstmt.stores.protocol import Message, MessageKind, NewRun
from tests.engine.databases import Database
from tests.engine.flows import Gate
from tests.engine.running import SOON, run, stored, until

TRIED: Counter[str] = Counter()

THREE = Retry(max_attempts=3, initial=timedelta(milliseconds=1))


@dataclass
class Fails:
    """Raises in its action, as many times as it was told."""

    name: str = ""
    times: int = 10_000
    how: str = "error"

    def definition(self) -> Statement:
        return Step("fail", self.fail)

    async def fail(self) -> None:
        self._raise()

    def _raise(self) -> None:
        TRIED[self.name] += 1
        if TRIED[self.name] > self.times:
            return
        kind = self.how.rpartition(" ")[2]
        if kind == "exit":
            raise SystemExit(3)
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "cancelled":
            raise asyncio.CancelledError
        if kind == "generator":
            raise GeneratorExit
        if kind == "stop":
            raise StopIteration
        if kind == "final":
            raise FinalError("no use")
        raise OSError("the disk is on fire")


@dataclass
class FailsInAThread(Fails):
    def definition(self) -> Statement:
        return Step("fail", self.plain)

    def plain(self) -> None:
        self._raise()


@dataclass
class FailsOnce(FailsInAThread):
    """Waits at a gate when it does not fail."""

    def plain(self) -> None:
        self._raise()
        Gate.known["second try"].pass_through()


@dataclass
class FailsInFlight(Fails):
    def definition(self) -> Statement:
        other = Step("wait", self.wait, concurrent=True)
        return S(Go("other", Step("fail", self.fail, concurrent=True)), other, Join("all", "other"))

    async def wait(self) -> None:
        await asyncio.sleep(0)


@dataclass
class Fine:
    done: int = 0

    def definition(self) -> Statement:
        return S(*(Step(f"step {number}", self.step) for number in range(5)))

    async def step(self) -> None:
        self.done += 1
        await asyncio.sleep(0)


@dataclass
class Stuck:
    """Its condition raises, once another thread has ended: all that is left is parked."""

    name: str = ""
    go: bool = False

    def definition(self) -> Statement:
        return S(Go("other", Step("work", self.work)), WaitFor("ready", self.ready))

    def work(self) -> None:
        self.go = True

    def ready(self) -> bool:
        if not self.go:
            return False
        TRIED[self.name] += 1
        if TRIED[self.name] < 3:
            raise OSError("can't tell")
        return True


@dataclass
class Asks:
    name: str = ""

    def definition(self) -> Statement:
        return Wait("answer", On("answered", self.answer))

    async def answer(self) -> None:
        TRIED[self.name] += 1
        if TRIED[self.name] == 1:
            raise SystemExit(3)


ALL = (Fails, FailsInAThread, FailsInFlight, Fine, Stuck, Asks)
BY_PLACE = {"": Fails, "plain": FailsInAThread, "beside": FailsInFlight}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    TRIED.clear()


def engine_on(store: Any, **settings: Any) -> Engine:
    return Engine(store, **{"workflows": ALL, "retry": THREE, "poll": timedelta(milliseconds=50), **settings})


@pytest.mark.parametrize("how", ["error", "plain error", "beside error"])
def test_a_run_that_fails_is_tried_again_and_goes_on(database: Database, how: str) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            await engine.start(BY_PLACE[how.rpartition(" ")[0]]("twice", times=2, how=how), run_id="f")
            await engine.result("f", SOON)
            assert TRIED["twice"] == 3
            assert (await engine.get("f")).attempts == 0

    run(main())


@pytest.mark.parametrize(
    ("how", "type_"),
    [
        ("error", "OSError"),
        ("plain error", "OSError"),
        ("beside error", "OSError"),
        ("exit", "SystemExit"),
        ("plain exit", "SystemExit"),
        ("beside exit", "SystemExit"),
        ("beside interrupt", "KeyboardInterrupt"),
        ("plain interrupt", "KeyboardInterrupt"),
        ("cancelled", "CancelledError"),
        ("plain cancelled", "CancelledError"),
        ("generator", "GeneratorExit"),
        ("plain stop", "RuntimeError"),
    ],
)
def test_whatever_it_raises_it_is_parked_with_that_and_others_go_on(how: str, type_: str) -> None:
    async def main() -> None:
        async with engine_on(MemoryStore()) as engine:
            await engine.start(BY_PLACE[how.rpartition(" ")[0]]("bad", how=how), run_id="bad")
            for number in range(5):
                await engine.start(Fine(), run_id=f"fine-{number}")
            found = await engine.await_status("bad", "Paused", SOON)
            assert found.error is not None
            assert (found.error.type, found.attempts, TRIED["bad"]) == (type_, 3, 3)
            for number in range(5):
                await engine.result(f"fine-{number}", SOON)

    run(main())


def test_a_failure_that_is_final_is_not_tried_again(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            await engine.start(Fails("final", how="final"), run_id="f")
            found = await engine.await_status("f", "Paused", SOON)
            assert found.error is not None
            assert (found.error.type, found.error.step, TRIED["final"]) == ("FinalError", "fail", 1)

    run(main())


def test_retry_lets_a_parked_run_go_on(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            await engine.start(Fails("mended", times=4), run_id="f")
            await engine.await_status("f", "Paused", SOON)
            await engine.retry("f")
            await engine.result("f", SOON)
            assert TRIED["mended"] == 5

    run(main())


def test_a_condition_that_raises_once_all_are_parked_is_asked_again(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            await engine.start(Stuck("stuck"), run_id="s")
            await engine.result("s", SOON)
            assert TRIED["stuck"] == 3

    run(main())


def test_a_handler_that_exits_refuses_its_callback_only() -> None:
    async def main() -> None:
        async with engine_on(MemoryStore()) as engine:
            await engine.start(Asks("exits"), run_id="a")
            await engine.await_status("a", "Waiting", SOON)
            with pytest.raises(BaseException, match="SystemExit"):
                await engine.callback("a", "answered")
            await engine.callback("a", "answered")
            await engine.result("a", SOON)

    run(main())


def test_a_snapshot_that_nobody_can_read_is_parked_at_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store = database.store()
        async with engine_on(store) as engine:
            good = dump(Fine(), State.new("p", "Fine"))
            for run_id, blob in (("p", good.replace(b'"done":0', b'"done":"x"')), ("q", good)):
                await asyncio.to_thread(store.commit, [NewRun(run_id, "Fine", 1, blob, "")])
            for run_id in ("p", "q"):
                found = await engine.await_status(run_id, "Paused", SOON)
                assert found.error is not None
                assert (found.error.type, found.attempts) == ("StateError", 1)
            await engine.start(Fine(), run_id="fine")
            await engine.result("fine", SOON)

    with caplog.at_level(logging.ERROR, "flowstmt.engine"):
        run(main())
    assert any("is Paused after 1 failure" in line for line in caplog.messages)


def test_a_parked_run_is_left_alone_by_messages(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        async with engine_on(store) as engine:
            await engine.start(Fails("parked"), run_id="f")
            await engine.await_status("f", "Paused", SOON)
            before = await stored(store, "f")
            await asyncio.to_thread(
                store.commit, [Message("m", "f", MessageKind.signal, EventBody(CallbackRequest("x")).write())]
            )
            await engine.start(Fine(), run_id="fine")
            await engine.result("fine", SOON)
            after = await stored(store, "f")
            assert (after.fence, after.error, after.status) == (before.fence, before.error, "Paused")

    run(main())


def test_what_was_told_of_a_failure_is_gone_after_the_next_checkpoint(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        gate = Gate("second try")
        async with engine_on(store, workflows=[FailsOnce]) as engine:
            await engine.start(FailsOnce("once", times=1), run_id="f")
            await gate.arrived()
            row = await stored(store, "f")
            assert row.attempts == 1
            assert b"the disk is on fire" in row.error
            gate.open()
            await engine.result("f", SOON)
            row = await stored(store, "f")
            assert (row.attempts, row.error) == (0, None)

    run(main())


def test_a_run_that_newer_code_has_moved_is_left_to_that(database: Database) -> None:
    """Its row has the version with which it last came to rest, and newer code may have died since."""

    async def main() -> None:
        store = database.store()
        async with engine_on(store) as engine:
            blob = dump(Fine(), State.new("n", "Fine")).replace(b'"version":1', b'"version":2')
            await asyncio.to_thread(store.commit, [NewRun("n", "Fine", 1, blob, "")])

            async def is_given_back() -> bool:
                row = await stored(store, "n")
                return bool(row.owner is None and row.error)

            await until(is_given_back, "the old code gives it back")
            row = await stored(store, "n")
            assert (row.status, row.attempts, row.snapshot) == ("Resuming", 0, blob)
            assert row.wake_at is not None
            await engine.start(Fine(), run_id="fine")
            await engine.result("fine", SOON)

    run(main())


@dataclass
class FailsBeside(Fails):
    """In a thread of its own."""

    def definition(self) -> Statement:
        return S(Go("other", Step("fail", self.fail)), Join("all", "other"))


def test_the_log_names_step_and_thread_and_gives_no_advice_for_the_drivers(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        twice = Retry(max_attempts=2, initial=timedelta(milliseconds=1))
        async with engine_on(database.store(), retry=twice, workflows=[Fails, FailsBeside]) as engine:
            for workflow, run_id in ((Fails("one"), "f-1"), (FailsBeside("two"), "f-2")):
                await engine.start(workflow, run_id=run_id)
                await engine.await_status(run_id, "Paused", SOON)

    with caplog.at_level(logging.WARNING, "flowstmt.engine"):
        run(main())
    records = [record for record in caplog.records if record.name == "flowstmt.engine"]
    assert [record.getMessage().partition(". ")[0] for record in records] == [
        "run 'f-1' could not be moved at 'fail' (1 failure): OSError: the disk is on fire",
        "run 'f-1' is Paused at 'fail' after 2 failures: OSError: the disk is on fire",
        "run 'f-2' could not be moved at 'fail' in thread 'other' (1 failure): OSError: the disk is on fire",
        "run 'f-2' is Paused at 'fail' in thread 'other' after 2 failures: OSError: the disk is on fire",
    ]
    assert all(record.exc_info is not None and record.exc_info[0] is OSError for record in records)
