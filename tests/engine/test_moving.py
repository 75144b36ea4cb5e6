"""How one run is moved: history, publications, timeouts, setups, and what is brought to it in odd ways."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    ControlError,
    Engine,
    For,
    MemoryStore,
    On,
    Retry,
    Return,
    S,
    Statement,
    Step,
    Wait,
    current,
)
from flowstmt.core.state import CallbackRequest
from flowstmt.stores.protocol import Message, MessageKind, MessageStatus
from tests.engine.databases import Database
from tests.engine.running import SOON, mover_of, run, until

CALLS: Counter[str] = Counter()
GATES: dict[str, asyncio.Event] = {}
THREADS: dict[str, threading.Event] = {}


class Door:
    """Outside of the process; opening it fails as often as it was told."""

    def __init__(self, fails: int) -> None:
        self._fails = fails

    def setup(self, request: CallbackRequest) -> str:
        CALLS["setup"] += 1
        if CALLS["setup"] <= self._fails:
            raise OSError("the door is stuck")
        return "open"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        CALLS["teardown"] += 1


@dataclass
class Tells:
    done: int = 0

    def definition(self) -> Statement:
        again = Retry(max_attempts=2, initial=timedelta(milliseconds=1))
        return S(Step("async", self.tell, retry=again), Step("plain", self.tell_too), Return(self.done))

    async def tell(self) -> None:
        current().publish({"step": 1, "big": 2**80})
        if current().attempt == 1:
            raise OSError("not yet")

    def tell_too(self) -> None:
        current().publish("from a thread")


@dataclass
class TooSlow:
    """Its first attempt hangs in a thread for longer than it may."""

    gate: str = ""
    done: int = 0

    def definition(self) -> Statement:
        again = Retry(max_attempts=2, initial=timedelta(milliseconds=1))
        limit = timedelta(milliseconds=500)  # the second attempt has to begin and end within it, on a slow machine too
        slow = Step("slow", self.slow, timeout=limit, retry=again, concurrent=True, into="done")
        return S(slow, Return(self.done))

    def slow(self) -> int:
        CALLS[self.gate] += 1
        if CALLS[self.gate] == 1:
            THREADS[self.gate].wait(20)
        return CALLS[self.gate]


@dataclass
class Opens:
    def definition(self) -> Statement:
        return S(Wait("door", On("knock", via=Door(1))), Return("in"))


@dataclass
class Counts:
    """More steps than one resume makes."""

    count: int = 0

    @classmethod
    def definition(cls) -> Statement:
        one: Any = cls.one
        return S(For("all", lambda w: w.count < 10_050, Step("one", one, inline=True)), Return(lambda w: w.count))

    def one(self) -> None:
        self.count += 1


@dataclass
class Holds:
    gate: str = ""

    def definition(self) -> Statement:
        return S(Step("hold", self.hold), Wait("answer", On("answered", self.answer)), Return("done"))

    async def hold(self) -> None:
        CALLS[self.gate] += 1
        await GATES[self.gate].wait()

    async def answer(self, number: int) -> int:
        CALLS["answered"] += 1
        if number < 0:
            raise ValueError("negative")
        if number == 0:
            await GATES["never"].wait()
        return number


ALL = (Tells, TooSlow, Opens, Counts, Holds)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


def engine_on(store: Any, **settings: Any) -> Engine:
    return Engine(store, **{"workflows": ALL, "poll": timedelta(milliseconds=50), **settings})


def test_history_has_a_row_for_each_attempt(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store(), history=True) as engine:
            await engine.start(Tells(), run_id="t")
            await engine.result("t", SOON)
            rows = await engine.history("t")
            found = [(row.position, row.attempt, row.error) for row in rows]
            assert found == [("async", 1, "OSError: not yet"), ("async", 2, None), ("plain", 1, None)]
            assert all(row.duration >= timedelta(0) for row in rows)

    run(main())


def test_what_actions_publish_is_told_from_the_loop_and_from_threads(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        async with engine_on(store) as engine:
            await engine.start(Tells(), run_id="t")
            await engine.result("t", SOON)

            async def are_told() -> bool:
                return len(await asyncio.to_thread(store.published, "t", 0, 10)) == 3

            await until(are_told, "each attempt has published, and the other step")

    run(main())


def test_an_action_left_alone_in_its_thread_does_not_keep_the_run(database: Database) -> None:
    async def main() -> None:
        THREADS["slow"] = threading.Event()
        async with engine_on(database.store()) as engine:
            await engine.start(TooSlow("slow"), run_id="t")
            assert await engine.result("t", SOON) == 2
            THREADS["slow"].set()
            assert CALLS["slow"] == 2

    run(main())


def test_a_setup_that_fails_is_tried_again_and_the_run_rests_meanwhile(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database.store()) as engine:
            await engine.start(Opens(), run_id="o")
            found = await engine.await_status("o", "Waiting", SOON)
            assert found.owner is None
            await until(lambda: _is(CALLS["setup"] == 2), "it is tried again")
            await engine.callback("o", "knock")
            assert await engine.result("o", SOON) == "in"
            await until(lambda: _is(CALLS["teardown"] == 1), "it is torn down")

    run(main())


def test_a_run_goes_on_past_the_steps_of_one_resume() -> None:
    async def main() -> None:
        async with engine_on(MemoryStore()) as engine:
            await engine.start(Counts(), run_id="c")
            assert await engine.result("c", 4 * SOON) == 10_050

    run(main())


def test_a_message_that_says_nothing_is_a_dead_letter(database: Database) -> None:
    async def main() -> None:
        GATES["idle"] = asyncio.Event()
        GATES["idle"].set()
        store = database.store()
        async with engine_on(store) as engine:
            await engine.start(Holds("idle"), run_id="h")
            await engine.await_status("h", "Waiting", SOON)
            bad = [Message(f"m-{kind}", "h", kind, b'{"nothing": 1}') for kind in MessageKind]
            await asyncio.to_thread(store.commit, bad)

            async def are_dead() -> bool:
                found = await asyncio.to_thread(store.answers, [message.id for message in bad])
                return [each.status for each in found.values()] == [MessageStatus.dead] * 3

            await until(are_dead, "all are dead letters")
            letters = await engine.dead_letters("h")
            assert [(letter.event, letter.request) for letter in letters] == [("", None)] * 3
            assert all(b"nothing" in (letter.payload or b"") and "can't be read" in letter.error for letter in letters)
            await engine.callback("h", "answered", 1)
            await engine.result("h", SOON)

    run(main())


def test_a_callback_whose_caller_gives_up_is_not_taken() -> None:
    async def main() -> None:
        GATES["busy"], GATES["never"] = asyncio.Event(), asyncio.Event()
        async with engine_on(MemoryStore()) as engine:
            await engine.start(Holds("busy"), run_id="h")
            await until(lambda: _is(CALLS["busy"] == 1), "it is in its action")
            mover = mover_of(engine, "h")
            request = CallbackRequest("answered")
            with pytest.raises(TimeoutError):
                await mover.callback(request, 1, 0.01)
            early = asyncio.ensure_future(mover.callback(request, 1))
            pausing = asyncio.ensure_future(mover.control("pause", {}))
            await until(lambda: _is(mover.post.is_busy() and len(mover._controls) == 1), "it has got both")
            for each in (early, pausing):
                each.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await each
            GATES["busy"].set()
            found = await engine.await_status("h", "Waiting", SOON)
            assert (found.status, CALLS["answered"]) == ("Waiting", 0)
            hanging = asyncio.ensure_future(engine.callback("h", "answered", 0))
            await until(lambda: _is(CALLS["answered"] == 1), "its handler hangs")
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            assert await engine.callback("h", "answered", 5) == 5
            await engine.result("h", SOON)

    run(main())


def test_what_nobody_can_do_to_a_run_is_refused(database: Database) -> None:
    async def main() -> None:
        GATES["held"] = asyncio.Event()
        async with engine_on(database.store()) as engine:
            await engine.start(Holds("held"), run_id="h")
            await until(lambda: _is(CALLS["held"] == 1), "it is in its action")
            mover = mover_of(engine, "h")
            wanted = [asyncio.ensure_future(mover.control(action, {})) for action in ("dance", "unpause")]
            await until(lambda: _is(len(mover._controls) == 2), "it has got both")
            GATES["held"].set()
            for each in wanted:
                with pytest.raises(ControlError):
                    await each
            await engine.callback("h", "answered", 1)
            assert await engine.result("h", SOON) == "done"
            assert CALLS["held"] == 1

    run(main())


def test_a_refused_signal_is_a_dead_letter_and_the_run_goes_on(database: Database) -> None:
    async def main() -> None:
        GATES["dead"] = asyncio.Event()
        GATES["dead"].set()
        store = database.store()
        async with engine_on(store) as engine:
            await engine.start(Holds("dead"), run_id="h")
            await engine.signal("h", "answered", -1, key="bad")

            async def is_dead() -> bool:
                return len(await asyncio.to_thread(store.messages, "h", MessageStatus.dead, 10)) == 1

            await until(is_dead, "it is a dead letter")
            await engine.signal("h", "answered", 1, key="good")
            assert await engine.result("h", SOON) == "done"

    run(main())


async def _is(holds: bool) -> bool:
    return holds
