"""What would hurt an engine if it were not ready for it: bad handlers, bad moments, bad names, far too much of anything."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import pytest

from flowstmt import (
    Branch,
    CallbackError,
    ConflictError,
    Engine,
    FlowstmtError,
    For,
    MemoryStore,
    NotWaitingError,
    On,
    Parallel,
    RemoteError,
    Retry,
    Return,
    S,
    StateError,
    Statement,
    Step,
    StoreError,
    SyncEngine,
    Wait,
)
from flowstmt.stores.protocol import NewRun, Outcome, Save, Taken, Write
from tests.engine.databases import Database
from tests.engine.running import SOON, run, until

MS_300 = timedelta(milliseconds=300)
TRIED: Counter[str] = Counter()


@dataclass
class Careless:
    """Its handlers leave behind what can't be saved, exit, and are slow."""

    kept: Any = 0

    def definition(self) -> Statement:
        return S(self.wait(), Return(self.kept))

    def wait(self) -> Wait:
        return Wait("w", On("spoil", self.spoil), On("slow", self.slow), On("leave", self.leave), On("end"))

    def spoil(self) -> None:
        self.kept = object()

    async def slow(self) -> None:
        self.kept = "slow"
        await asyncio.sleep(60)

    def leave(self) -> None:
        raise SystemExit(3)


@dataclass
class CarelessBeside(Careless):
    """The same beside a step."""

    def definition(self) -> Statement:
        return S(
            Parallel("both", Branch("asks", self.wait()), Branch("works", Step("long", self.long, concurrent=True))),
            Return(self.kept),
        )

    async def long(self) -> None:
        while TRIED["end"] == 0:  # noqa: ASYNC110 opened by the test
            await asyncio.sleep(0.01)


@dataclass
class Counts:
    """Takes so many signals, one after the other."""

    wanted: int = 0
    got: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            For("each", lambda: len(self.got) < self.wanted, Wait("number", On("number", self.take))),
            Return(self.got),
        )

    def take(self, number: int) -> None:
        self.got.append(number)


@dataclass
class FailsBeforeItWaits:
    name: str = ""

    def definition(self) -> Statement:
        return S(Step("fail", self.fail), Wait("w", On("number", self.take)))

    def fail(self) -> None:
        TRIED[self.name] += 1
        raise OSError("the disk is on fire")

    def take(self, number: int) -> None:
        raise NotImplementedError


def engine_on(database: Database, **settings: Any) -> Engine:
    TRIED.clear()
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=100), **settings})


@pytest.mark.parametrize("beside", [False, True], ids=["at rest", "beside a step"])
def test_a_callback_whose_handler_spoils_the_data_is_refused_and_the_run_unharmed(database: Database, beside: bool) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(CarelessBeside() if beside else Careless(), run_id="c")
            if beside:
                await until(lambda: _waits(engine, "c"), "the Wait was not set up")
            else:
                await engine.await_status("c", "Waiting", SOON)
            with pytest.raises(StateError, match=r"\.kept can't be saved"):
                await engine.callback("c", "spoil", timeout=SOON)
            assert (await engine.get("c")).error is None
            await engine.callback("c", "end", timeout=SOON)
            TRIED["end"] = 1
            assert await engine.result("c", SOON) == 0

    run(main())


async def _waits(engine: Engine, run_id: str) -> bool:
    return b'"WaitingEvent"' in ((await engine.get(run_id)).snapshot or b"")


def test_a_signal_whose_handler_spoils_the_data_is_a_dead_letter(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Careless(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)
            await engine.signal("c", "spoil")
            await engine.signal("c", "end")
            assert await engine.result("c", SOON) == 0

    run(main())


def test_a_handler_that_exits_ends_nobody_elses_program(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Careless(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)
            with pytest.raises(RemoteError, match="SystemExit: 3"):
                await engine.callback("c", "leave", timeout=SOON)
            with pytest.raises(TimeoutError):
                await engine.callback("c", "slow", timeout=MS_300)
            await engine.callback("c", "end", timeout=SOON)
            assert await engine.result("c", SOON) == 0

    run(main())


def test_thousands_of_signals_are_taken_in_the_order_in_which_they_came(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Counts(500), run_id="c")
            for first in range(0, 500, 50):
                await asyncio.gather(*(engine.signal("c", "number", number) for number in range(first, first + 50)))
            assert await engine.result("c", SOON) == list(range(500))

    run(main())


def test_a_call_that_meets_a_snapshot_which_nobody_can_read_is_told_so(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        async with Engine(store, ALL, worker=False) as engine:
            for run_id, blob in (("c", b'"nothing"'), ("d", b'{"version":1}')):
                await asyncio.to_thread(store.commit, [NewRun(run_id, "Careless", 1, blob, "")])
                for _ in range(2):
                    # Released, as there is no worker here: nobody is kept from looking at it.
                    with pytest.raises((StateError, TimeoutError)):
                        await engine.callback(run_id, "end", timeout=MS_300)
                assert (await engine.get(run_id)).owner is None
        async with engine_on(database) as engine:
            for run_id in ("c", "d"):
                assert "Paused" in repr(await engine.await_status(run_id, "Paused", SOON))

    run(main())


@dataclass
class Stubborn:
    """Does not let itself be cancelled."""

    def definition(self) -> Statement:
        return Step("go on", self.go_on)

    async def go_on(self) -> None:
        TRIED["stubborn"] += 1
        while TRIED["end"] == 0:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                TRIED["swallowed"] += 1


def test_a_run_whose_action_swallows_its_cancellation_is_handed_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstmt.engine.worker._LAST_GRACE", 0.2)

    async def main() -> None:
        async with engine_on(database, shutdown_timeout=timedelta(0)) as engine:
            await engine.start(Stubborn(), run_id="s")
            await until(lambda: _tried("stubborn"), "the action began")
        assert TRIED["swallowed"] == 1
        async with Engine(database.store(), ALL, worker=False) as looker:
            assert (await looker.get("s")).owner is None
        TRIED["end"] = 1
        async with Engine(database.store(), ALL) as engine:
            await engine.result("s", SOON)
        assert TRIED["stubborn"] == 2

    run(main())


async def _tried(name: str) -> bool:
    return TRIED[name] > 0


def test_an_engine_that_is_left_in_a_hurry_gives_its_runs_back(database: Database) -> None:
    async def main() -> None:
        engine = engine_on(database, shutdown_timeout=timedelta(minutes=1))
        await engine.__aenter__()
        await engine.start(Endless(), run_id="e")
        await until(lambda: _tried("endless"), "the action began")
        before = asyncio.all_tasks()
        leaving = asyncio.ensure_future(engine.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert asyncio.all_tasks() <= {asyncio.current_task()}, before
        async with Engine(database.store(), ALL, worker=False) as looker:
            assert (await looker.get("e")).owner is None

    run(main())


@dataclass
class Endless:
    def definition(self) -> Statement:
        return Step("last", self.last)

    async def last(self) -> None:
        TRIED["endless"] += 1
        await asyncio.sleep(3600)


def test_messages_do_not_use_up_the_attempts_of_a_run_that_waits_for_its_next_try(database: Database) -> None:
    async def main() -> None:
        retry = Retry(max_attempts=3, initial=timedelta(minutes=1))
        async with engine_on(database, retry=retry) as engine:
            await engine.start(FailsBeforeItWaits("f"), run_id="f")
            await until(lambda: _was_set_back(engine, 1), "the run failed")
            for number in range(5):
                await engine.signal("f", "number", number)
                with pytest.raises(NotWaitingError):
                    await engine.callback("f", "number", number, timeout=SOON)
            assert TRIED["f"] == 1
            await until(lambda: _was_set_back(engine, 1), "it waits again")
            await engine.retry("f", timeout=SOON)
            await until(_tried_twice, "somebody said so")
            await until(lambda: _was_set_back(engine, 1), "the count began anew")

    async def _was_set_back(engine: Engine, attempts: int) -> bool:
        found = await engine.get("f")
        return (found.attempts, found.owner) == (attempts, None) and found.error is not None

    async def _tried_twice() -> bool:
        return TRIED["f"] == 2

    run(main())


def test_a_run_that_was_paused_let_go_on_and_fails_is_tried_again(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, retry=Retry(max_attempts=3, initial=timedelta(milliseconds=1))) as engine:
            await engine.start(Careful(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)
            await engine.pause("c", timeout=SOON)
            await engine.set_data("c", {"ready": True}, timeout=SOON)
            await engine.signal("c", "go")
            await engine.unpause("c", timeout=SOON)
            await engine.result("c", SOON)
        assert TRIED["careful"] == 2

    run(main())


@dataclass
class Careful:
    """Fails once."""

    ready: bool = False

    def definition(self) -> Statement:
        return S(Wait("w", On("go")), Step("fail", self.fail))

    def fail(self) -> None:
        TRIED["careful"] += 1
        if TRIED["careful"] < 2:
            raise OSError("the disk is on fire")


def test_a_step_that_fails_right_after_the_pause_is_tried_again(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, retry=Retry(max_attempts=5, initial=timedelta(milliseconds=1))) as engine:
            await engine.start(Paused(), run_id="p")
            await until(lambda: _tried("began"), "the first step began")
            pausing = asyncio.ensure_future(engine.pause("p", timeout=SOON))
            await asyncio.sleep(0)
            TRIED["end"] = 1
            await pausing
            await engine.await_status("p", "Paused", SOON)
            await engine.unpause("p", timeout=SOON)
            await engine.result("p", SOON)
        assert TRIED["paused"] == 3

    run(main())


@dataclass
class Paused:
    """Can be paused in its first step; its second one fails twice."""

    def definition(self) -> Statement:
        return S(Step("first", self.first), Step("second", self.second))

    async def first(self) -> None:
        TRIED["began"] += 1
        while TRIED["end"] == 0:  # noqa: ASYNC110 opened by the test
            await asyncio.sleep(0.01)

    async def second(self) -> None:
        TRIED["paused"] += 1
        if TRIED["paused"] < 3:
            raise OSError("the disk is on fire")


@dataclass
class Numbers:
    """Takes signals beside a step that keeps the run busy, and callbacks too."""

    got: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        waits = For("each", lambda: len(self.got) < 20, Wait("number", On("number", self.take), On("other", self.take)))
        works = For("steps", lambda: TRIED["end"] == 0, Step("work", self.work, concurrent=True))
        return S(Parallel("both", Branch("waits", waits), Branch("works", works)), Return(self.got))

    async def take(self, number: int) -> None:
        await asyncio.sleep(0)
        self.got.append(number)

    async def work(self) -> None:
        await asyncio.sleep(0.001)


def test_signals_that_are_sent_by_turns_through_two_engines_keep_their_order(shared_database: Database) -> None:
    async def main() -> None:
        async with engine_on(shared_database) as one, Engine(shared_database.store(), ALL, worker=False) as other:
            await one.start(Numbers(), run_id="n")
            for number in range(20):
                await (one, other)[number % 2].signal("n", "number", number)
            await until(lambda: _has(one, 20), "all of them were taken")
            TRIED["end"] = 1
            assert await one.result("n", SOON) == list(range(20))

    async def _has(engine: Engine, count: int) -> bool:
        snapshot = (await engine.get("n")).snapshot
        assert snapshot is not None
        return len(orjson.loads(snapshot)["data"]["got"]) == count

    run(main())


class Forgetful(MemoryStore):
    """Makes the first start, and loses the answer."""

    has_forgotten = False

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = super().commit(writes)
        if not self.has_forgotten and any(isinstance(write, NewRun) for write in writes):
            self.has_forgotten = True
            raise StoreError("the connection was cut", retry=True)
        return outcomes


def test_a_start_whose_answer_is_lost_leaves_no_run_behind_a_lease() -> None:
    async def main() -> None:
        TRIED.clear()
        async with Engine(Forgetful(), ALL, lease=timedelta(hours=1), poll=timedelta(milliseconds=100)) as engine:
            await engine.start(Careless(), run_id="c")
            await engine.await_status("c", "Waiting", SOON)

    run(main())


class Unreadable(MemoryStore):
    """Can't say what messages were answered."""

    def answers(self, message_ids: Sequence[str]) -> Mapping[str, Taken]:
        raise StoreError("the table of messages is gone")


def test_answers_that_cannot_be_read_keep_nobody_waiting() -> None:
    async def main() -> None:
        store = Unreadable()
        async with Engine(store, ALL, worker=False) as engine:
            await asyncio.to_thread(store.commit, [NewRun("r", "Unknown", 1, b"{}", "")])
            with pytest.raises(StoreError, match=r"messages is gone\. It may be applied all the same"):
                await engine.callback("r", "end", timeout=timedelta(minutes=1))

    run(main())


@pytest.mark.parametrize("what", ["watch", "result", "callback", "cancel"])
def test_a_run_that_waits_for_itself_is_told_so(database: Database, what: str) -> None:
    async def main() -> None:
        async with engine_on(database, deps={}) as engine:
            TRIED[what] = 1
            WITHIN[0] = engine
            await engine.start(Narcissus(what), run_id="n")
            assert "would wait for itself" in await engine.result("n", SOON)

    run(main())


WITHIN: list[Any] = [None]


@dataclass
class Narcissus:
    what: str = ""
    heard: str = ""

    def definition(self) -> Statement:
        return S(Step("look", self.look), Return(self.heard))

    async def look(self) -> None:
        engine: Engine = WITHIN[0]
        try:
            if self.what == "watch":
                async for _ in engine.watch("n"):
                    pass
            elif self.what == "result":
                await engine.result("n")
            elif self.what == "callback":
                await engine.callback("n", "end")
            else:
                await engine.cancel("n", "no reason")
        except ConflictError as error:
            self.heard = str(error)


def test_an_engine_says_that_it_does_not_get_through_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), ALL) as engine:
            with monkeypatch.context() as forked:
                forked.setattr("flowstmt.engine.engine.getpid", lambda: -1)
                with pytest.raises(FlowstmtError, match="forked"):
                    await engine.start(Careless())

    run(main())
    with SyncEngine(MemoryStore(), ALL) as engine, monkeypatch.context() as forked:
        forked.setattr("flowstmt.engine.sync_engine.getpid", lambda: -1)
        with pytest.raises(FlowstmtError, match="forked"):
            engine.start(Careless())


def test_names_that_no_database_can_keep_are_refused(database: Database) -> None:
    bad = "\ud800"

    async def main() -> None:
        async with engine_on(database) as engine:
            await engine.start(Careless(), run_id="c")
            wrong: list[Any] = [bad, 5]
            for name in wrong:
                for call in (engine.get(name), engine.result(name), engine.delete(name)):
                    with pytest.raises(StateError, match="run_id must be a text"):
                        await call
                for call in (engine.signal("c", "end", thread_id=name), engine.callback("c", "end", thread_id=name)):
                    with pytest.raises(CallbackError, match="thread_id must be a text"):
                        await call
                with pytest.raises(StateError, match="the key of a signal must be a text"):
                    await engine.signal("c", "end", key=name)
                with pytest.raises(StateError, match="labels must be names and values"):
                    await engine.start(Careless(), labels={"a": name})
                with pytest.raises(StateError, match="single_flight must be a text"):
                    await engine.start(Careless(), single_flight=name)
            with pytest.raises(CallbackError, match="name of the event must be a text"):
                await engine.signal("c", bad)

    run(main())


class Slow(MemoryStore):
    """Takes its time with one revision."""

    def __init__(self, revision: int) -> None:
        super().__init__()
        self.revision = revision
        self.come = threading.Event()
        self.opened = threading.Event()

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if any(isinstance(write, Save) and write.revision == self.revision for write in writes):
            self.come.set()
            assert self.opened.wait(30), "nobody opened the gate"
        return super().commit(writes)


@pytest.mark.parametrize("what", ["callback", "pause"])
def test_who_is_cut_off_while_it_is_saved_is_told_that_it_may_be_applied(what: str) -> None:
    async def main() -> None:
        store = Slow(2)
        engine = Engine(store, ALL, shutdown_timeout=timedelta(0))
        await engine.__aenter__()
        await engine.start(Careless(), run_id="c")
        await engine.await_status("c", "Waiting", SOON)
        call = engine.callback("c", "end", timeout=None) if what == "callback" else engine.pause("c", timeout=None)
        asking = asyncio.ensure_future(call)
        assert await asyncio.to_thread(store.come.wait, 30)
        leaving = asyncio.ensure_future(engine.__aexit__(None, None, None))
        with pytest.raises(FlowstmtError, match="may be applied all the same"):
            await asking
        store.opened.set()
        await leaving

    run(main())


ALL = [Careless, CarelessBeside, Counts, FailsBeforeItWaits, Stubborn, Endless, Careful, Paused, Numbers, Narcissus]
