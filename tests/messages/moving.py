"""What is logged while runs are moved, and what becomes of those that can't be."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import pytest

from flowstmt import (
    Branch,
    Call,
    CallbackRequest,
    MemoryStore,
    On,
    Parallel,
    Retry,
    State,
    Statement,
    Step,
    StoreError,
    Wait,
    current,
)
from flowstmt.engine import lanes
from flowstmt.engine.at_once import AtOnce
from flowstmt.engine.lanes import ReadLane
from flowstmt.engine.messages import read_answer
from flowstmt.engine.write_lane import WriteLane
from flowstmt.snapshot import dump
from flowstmt.stores.protocol import Message, MessageKind, NewRun, Publication, Save, Setback, Withdrawal
from tests.messages.engines import ALL, NOW, Broken, Busy, Order, engine_on
from tests.messages.rows import Table
from tests.messages.stores import talkative

MOVING = Table("Engines: runs that are moved")
RECEIVING = Table("Engines: what runs are sent")
STORING = Table("Engines: the database")
TABLES = [MOVING, RECEIVING, STORING]

GATE, BLOCKED = threading.Event(), threading.Event()


@dataclass
class Loud:
    """Publishes."""

    def definition(self) -> Statement:
        return Step("shout", self.shout)

    async def shout(self) -> None:
        current().publish("tea")


@dataclass
class Leaving:
    """Does what no action should."""

    def definition(self) -> Statement:
        return Step("leave", sys.exit)


@dataclass
class LeavingLater:
    async def leave(self) -> None:
        sys.exit(3)

    def definition(self) -> Statement:
        return Wait("odd", On("leave", self.leave))


@dataclass
class LeavingInTheMiddle:
    def definition(self) -> Statement:
        return Step("leave", sys.exit, transactional=True)


@dataclass
class BrokenInTheMiddle(Broken):
    """Fails within its transaction."""

    def definition(self) -> Statement:
        return Step("work", self.write, transactional=True)

    def write(self) -> None:
        raise ValueError("no such account")


@dataclass
class Blocking:
    def block(self) -> None:
        BLOCKED.set()
        GATE.wait(20)

    def definition(self) -> Statement:
        return Step("block", self.block)


@dataclass
class Parent:
    def definition(self) -> Statement:
        return Call("ordered", self.order)

    def order(self) -> Order:
        return Order()


@dataclass
class Touchy:
    """Does not take what it is sent."""

    def definition(self) -> Statement:
        return Wait("card", On("touch", self.touch), On("stop", self.stop))

    def touch(self) -> None:
        raise ValueError("there is no such card")

    async def stop(self) -> None:
        raise asyncio.CancelledError


@dataclass
class Branching(Broken):
    """Fails in a thread."""

    def definition(self) -> Statement:
        return Parallel("both", Branch("left", Step("work", self.work)), Branch("right", Step("rest", lambda: None)))


WORKFLOWS: tuple[type[Any], ...] = (
    *ALL,
    Loud,
    Leaving,
    LeavingLater,
    LeavingInTheMiddle,
    BrokenInTheMiddle,
    Blocking,
    Parent,
    Touchy,
    Branching,
)


class Store(MemoryStore):
    """A database that answers some writes otherwise, or not at once."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.otherwise: dict[type, Callable[[], Any]] = {}
        self.claims: Callable[[], None] = lambda: None
        self.begins: Callable[[], None] = lambda: None
        self.waits: Callable[[], None] = lambda: None
        self.closes: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return "Store()"

    def commit(self, writes: Any) -> Any:
        return [
            self.otherwise[type(write)]() if type(write) in self.otherwise else super(Store, self).commit([write])[0]
            for write in writes
        ]

    def claim(self, *arguments: Any, **options: Any) -> Any:
        self.claims()
        return super().claim(*arguments, **options)

    def transaction(self) -> Any:
        self.begins()
        return super().transaction()

    def wait(self, seconds: float) -> None:
        self.waits()
        super().wait(seconds)

    def close(self) -> None:
        self.closes()
        super().close()


class Said(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.heard.set()


@contextmanager
def until_said(words: str, level: int = logging.WARNING) -> Iterator[Said]:
    """Within this the log is listened to, down to a level."""
    logger, handler = logging.getLogger("flowstmt.engine"), Said(words)
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


def moved(
    table: Table,
    title: str,
    words: str,
    begin: Callable[[Any, Store], Awaitable[Any]],
    level: int = logging.WARNING,
    prepare: Callable[[Store], None] = lambda store: None,
    **settings: Any,
) -> None:
    """A row in which something is begun with an engine, until its log has some words."""

    async def provoke() -> None:
        store = Store()
        prepare(store)
        with until_said(words, level) as said:
            async with engine_on(store, workflows=WORKFLOWS, **settings) as engine:
                await begin(engine, store)
                assert await asyncio.to_thread(said.heard.wait, 20), words

    table.add(title, provoke)


def starts(workflow: Any, **otherwise: Callable[[], Any]) -> Callable[[Any, Store], Awaitable[Any]]:
    """Starts a run."""
    kinds: dict[str, type] = {"publication": Publication, "setback": Setback, "save": Save}

    async def begin(engine: Any, store: Store) -> None:
        store.otherwise = {kinds[name]: answer for name, answer in otherwise.items()}
        await engine.start(workflow, run_id="b-1")

    return begin


# --- runs that are moved ---

disk_full = StoreError("the disk is full")
AGAIN = Retry(max_attempts=3)

moved(MOVING, "something published that can't be kept", "published", starts(Loud(), publication=lambda: disk_full))
moved(MOVING, "a lease that is lost", "its lease", starts(Order(), save=lambda: False))
moved(MOVING, "a lease that is lost when a run is set back", "its lease", starts(Broken(), setback=lambda: False))
moved(MOVING, "a run that could not be moved, and is tried again", "tried again", starts(Broken()), retry=AGAIN)
moved(MOVING, "a run that could not be moved, and is Paused", "Paused", starts(Broken()))
moved(
    MOVING,
    "a retry policy that raises",
    "retry policy",
    starts(Broken()),
    retry=Retry(max_attempts=3, when=lambda error: bool(1 / 0)),
)
moved(MOVING, "an action that leaves Python", "Paused", starts(Leaving()))
moved(MOVING, "an action that leaves Python within a transaction", "Paused", starts(LeavingInTheMiddle()))
moved(MOVING, "an action that fails within a transaction", "Paused", starts(BrokenInTheMiddle()))
moved(
    MOVING,
    "a transaction that can't be begun",
    "tried again",
    starts(LeavingInTheMiddle()),
    prepare=lambda store: setattr(store, "begins", raising(StoreError("no room in the pool", retry=True))),
)
moved(
    MOVING,
    "a run that could not be given up",
    "given up",
    starts(Broken(), setback=raising(RuntimeError("no such table"))),
)


@MOVING.row
async def an_action_that_does_not_end() -> None:
    GATE.clear()
    BLOCKED.clear()
    store = Store()
    try:
        async with engine_on(store, workflows=WORKFLOWS, shutdown_timeout=timedelta(0)) as engine:
            await engine.start(Blocking(), run_id="b-1")
            assert await asyncio.to_thread(BLOCKED.wait, 20)
    finally:
        GATE.set()


async def _mover(engine: Any, run_id: str) -> Any:
    """The mover of a run that goes on."""
    worker = engine._inside("testing").worker
    async with asyncio.timeout(20):
        while (mover := worker.held(run_id)) is None or not mover.takes_beside():  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0.01)
    return mover


@MOVING.row
async def a_run_that_is_dropped() -> None:
    store = Store()
    with until_said("was dropped", logging.INFO) as said:
        async with engine_on(store, workflows=WORKFLOWS) as engine:
            hangs, entered = threading.Event(), threading.Event()

            def hang() -> bool:
                entered.set()
                return hangs.wait(20)

            store.otherwise = {Setback: hang}
            await engine.start(Broken(), run_id="b-1")
            assert await asyncio.to_thread(entered.wait, 20)
            mover = engine._inside("testing").worker.held("b-1")
            assert mover is not None
            assert mover._task is not None
            mover._task.cancel()
            await mover.ended
            hangs.set()
            assert said.heard.is_set()


def _stored(run_id: str, snapshot: bytes) -> Callable[[Any, Store], Awaitable[Any]]:
    """Has a snapshot in the database that no engine has put there."""

    async def begin(engine: Any, store: Store) -> None:
        store.commit([NewRun(run_id, "Order", 1, snapshot, "digest")])
        store.wake()

    return begin


def _snapshot(run_id: str, **changes: Any) -> bytes:
    document = orjson.loads(dump(Order(), State.new(run_id, "Order")))
    return orjson.dumps(document | changes)


moved(MOVING, "the snapshot of another run", "Paused", _stored("o-1", _snapshot("o-2")))
moved(MOVING, "a snapshot of newer code", "newer code", _stored("o-1", _snapshot("o-1", version=2)))


async def _given_up(call: Callable[[Any], Awaitable[Any]]) -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(Busy(), run_id="b-1")
        mover = await _mover(engine, "b-1")
        mover.abandon()
        await mover.ended
        await call(mover)


MOVING.add(
    "a callback for what this worker has given up", lambda: _given_up(lambda m: m.callback(CallbackRequest("paid"), b"5"))
)
MOVING.add("a control for what this worker has given up", lambda: _given_up(lambda m: m.control("pause", {})))


async def _set_back(call: Callable[[Any], Awaitable[Any]], workflow: Any, status: str) -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(workflow, run_id="b-1")
        await engine.await_status("b-1", status)
        await call(await engine._inside("testing").worker.take("b-1"))


MOVING.add("a control that there is not", lambda: _set_back(lambda m: m.control("dance", {}), Order(), "Waiting"))
MOVING.add("pause of a run that could not be moved", lambda: _set_back(lambda m: m.control("pause", {}), Broken(), "Paused"))
MOVING.add(
    "a callback that meets a run that could not be moved",
    lambda: _set_back(lambda m: m.callback(CallbackRequest("paid"), b"5"), Broken(), "Paused"),
)


@MOVING.row
async def a_child_for_which_nobody_waits_any_more() -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(Parent(), run_id="p-1")
        await engine.await_status("p-1", "Waiting")
        async with asyncio.timeout(20):
            while not (runs := (await engine.list(workflow=Order, status="Waiting")).runs):  # noqa: ASYNC110 the database has no event
                await asyncio.sleep(0.01)
        await engine.cancel("p-1", "out of stock")
        await engine.result(runs[0].run_id)


@MOVING.row
async def a_run_that_waits_for_its_child() -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(Parent(), run_id="p-1")
        await engine.await_status("p-1", "Waiting")
        await engine.result("p-1", timedelta(seconds=0.1))


moved(MOVING, "a thread that could not be moved", "Paused", starts(Branching()))


@MOVING.row
async def a_callback_whose_checkpoint_is_on_its_way_when_the_run_is_given_up() -> None:
    store = Store()
    hangs, entered = threading.Event(), threading.Event()

    def hang() -> bool:
        entered.set()
        return hangs.wait(20)

    async with engine_on(store, workflows=WORKFLOWS) as engine:
        await engine.start(Order(), run_id="o-1")
        await engine.await_status("o-1", "Waiting")
        store.otherwise = {Save: hang}
        calling = asyncio.ensure_future(engine.callback("o-1", "paid", 5))
        try:
            assert await asyncio.to_thread(entered.wait, 20)
            mover = engine._inside("testing").worker.held("o-1")
            assert mover is not None
            mover.abandon()
            await calling
        finally:
            hangs.set()


@MOVING.row
async def an_action_that_does_not_let_itself_be_cancelled() -> None:
    async with engine_on(Store(), workflows=WORKFLOWS, shutdown_timeout=timedelta(0)) as engine:
        await engine.start(Busy(), run_id="b-1")
        mover = await _mover(engine, "b-1")
        mover.desert()


# --- what runs are sent ---


def _sends(*what: Any, to: Any, **options: Any) -> Callable[[Any, Store], Awaitable[Any]]:
    async def begin(engine: Any, store: Store) -> None:
        await engine.start(to, run_id="o-1")
        await engine.await_status("o-1", "Waiting")
        await engine.signal("o-1", *what, **options)

    return begin


moved(RECEIVING, "a signal whose handler raises", "dead letter", _sends("touch", to=Touchy()))
moved(RECEIVING, "a signal whose handler leaves Python", "dead letter", _sends("leave", to=LeavingLater()))
moved(
    RECEIVING,
    "a signal for a stop that has passed",
    "too late",
    _sends(CallbackRequest("touch", pc=0, birth="99"), to=Touchy()),
    level=logging.DEBUG,
)
moved(RECEIVING, "a signal whose payload does not fit", "dead letter", _sends("paid", "five", to=Order()))


@RECEIVING.row
async def a_callback_whose_handler_is_cancelled() -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(Touchy(), run_id="o-1")
        await engine.callback("o-1", "stop")


@RECEIVING.row
async def a_callback_whose_handler_leaves_python() -> None:
    async with engine_on(Store(), workflows=WORKFLOWS) as engine:
        await engine.start(LeavingLater(), run_id="o-1")
        await engine.callback("o-1", "leave")


@RECEIVING.row
async def a_message_that_cant_be_read() -> None:
    store = Store()
    with until_said("can't be read") as said:
        async with engine_on(store, workflows=WORKFLOWS) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting")
            store.commit([Message("m-1", "o-1", MessageKind.control, b"[]")])
            store.wake()
            assert await asyncio.to_thread(said.heard.wait, 20)
            async with asyncio.timeout(20):
                while not (answers := store.answers(["m-1"])):  # noqa: ASYNC110 the database has no event
                    await asyncio.sleep(0.01)
            read_answer(answers["m-1"].answer or b"")


# --- the database ---


@STORING.row
async def an_engine_that_is_closed() -> None:
    lane = ReadLane("engine w-1, reading")
    lane.start()
    await lane.stop(1)
    await lane.call(print)


@STORING.row
async def a_write_once_an_engine_is_closed() -> None:
    lane = WriteLane("engine w-1, writing", Store())
    lane.start()
    await lane.stop(1)
    lane.submit(Withdrawal("m-1"), print)


@STORING.row
async def something_published_once_an_engine_is_closed() -> None:
    lane = WriteLane("engine w-1, writing", Store())
    lane.start()
    await lane.stop(1)
    await asyncio.to_thread(lane.submit_threadsafe, Publication("o-1", b"1"), print)


@STORING.row
def something_published_when_the_event_loop_is_gone() -> None:
    lane = WriteLane("engine w-1, writing", Store())

    async def begin() -> None:
        lane.start()
        await lane.stop(1)

    asyncio.run(begin())
    lane._closed = False  # as if nobody had left the engine
    lane.submit_threadsafe(Publication("o-1", b"1"), print)


class Sends(Store):
    """A database that is answered later, if ever."""

    door: int

    def commit_at_once(self, writes: Any) -> Any:
        return self

    def fileno(self) -> int:
        return self.door

    def outcomes(self) -> Any:
        raise StoreError("the server has closed the connection", retry=True)

    def abandon(self) -> None: ...


@contextmanager
def sending() -> Iterator[tuple[WriteLane, Callable[[], int]]]:
    store = Sends()
    store.door, ring = os.pipe()
    lane = WriteLane("engine w-1, writing", store)
    try:
        yield lane, partial(os.write, ring, b".")
    finally:
        os.close(ring)
        os.close(store.door)


@STORING.row
async def a_commit_that_is_cut_off() -> None:
    with sending() as (lane, ring), talkative():
        lane.start()
        ring()
        await lane.write(Withdrawal("m-1"))
        await lane.stop(1)


@STORING.row
async def a_commit_that_is_not_answered_when_an_engine_is_closed() -> None:
    with sending() as (lane, _):
        lane.start()
        writing = asyncio.ensure_future(lane.write(Withdrawal("m-1")))
        await asyncio.sleep(0)
        await lane.stop(0.01)
        await writing


@STORING.row
def a_disk_that_is_slow() -> None:
    at_once = AtOnce(Store())
    at_once._commit = lambda _: [True]
    seconds = iter(range(10))
    with pytest.MonkeyPatch.context() as patch, talkative():
        patch.setattr("flowstmt.engine.at_once.perf_counter", lambda: 0.002 * next(seconds))
        for _ in range(3):
            at_once.commit([Withdrawal("m-1")])


@STORING.row
async def a_database_that_does_not_answer_when_an_engine_is_closed() -> None:
    goes_on, entered = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        goes_on.wait(20)

    lane = ReadLane("engine w-1, reading")
    lane.start()
    calling = asyncio.ensure_future(lane.call(hang))
    await asyncio.to_thread(entered.wait, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "_LONGEST_PAUSE", 0.01)
        await lane.stop(0.01)
    goes_on.set()
    calling.cancel()


@STORING.row
async def a_store_that_leaves_python() -> None:
    lane = ReadLane("engine w-1, reading")
    lane.start()
    try:
        await lane.call(sys.exit, 3)
    finally:
        await lane.stop(1)


@STORING.row
async def an_answer_that_nobody_takes() -> None:
    lane = WriteLane("engine w-1, writing", Store())
    lane.start()

    def answer(outcome: Any) -> None:
        raise RuntimeError("it is not wanted")

    lane.submit(Withdrawal("m-1"), answer)
    await lane.call(int)
    await lane.stop(1)


@STORING.row
async def a_database_that_can_t_be_closed() -> None:
    store = Store()
    async with engine_on(store, workflows=WORKFLOWS):
        store.closes = raising(StoreError("the disk is full"))


async def _nothing(engine: Any, store: Store) -> None: ...


def _once(error: Exception) -> Callable[[], None]:
    errors = iter([error])

    def call() -> None:
        for each in errors:
            raise each

    return call


def _claims(error: Exception) -> Callable[[Store], None]:
    return lambda store: setattr(store, "claims", _once(error))


moved(
    STORING,
    "a database that is away for a moment",
    "is back",
    _nothing,
    prepare=_claims(StoreError("no connection", retry=True)),
)
moved(STORING, "a database that refuses to look", "look for", _nothing, prepare=_claims(StoreError("no permission")))
moved(STORING, "a store that is broken", "look for", _nothing, prepare=_claims(KeyError("fence")))
moved(
    STORING,
    "a database that can't be listened to",
    "hear from",
    _nothing,
    level=logging.INFO,
    prepare=lambda store: setattr(store, "waits", _once(OSError("connection reset"))),
)
