"""What can go wrong when somebody calls an engine."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from flowstmt import (
    Call,
    CallbackRequest,
    Engine,
    Event,
    Fail,
    MemoryStore,
    On,
    Queue,
    Retry,
    Return,
    S,
    Statement,
    Step,
    StoreError,
    SyncEngine,
    Wait,
)
from flowstmt.stores.protocol import NewRun, Outcome, Posted, Save, Write
from tests.messages.foreign import anything
from tests.messages.rows import Table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SOON = timedelta(seconds=0.1)
BEFORE: Any = datetime(2026, 6, 1)

SETTINGS = Table("Engines: what they are given")
STARTING = Table("Engines: starting runs")
BRINGING = Table("Engines: callbacks and signals")
CONTROLLING = Table("Engines: control")
LOOKING = Table("Engines: results and lists")
USING = Table("Engines: how they are used")
TABLES = [SETTINGS, STARTING, BRINGING, CONTROLLING, LOOKING, USING]

PAID = Event("paid", int, str)
BAD_THREAD: Any = 5
MANY: Any = make_dataclass("Many", [(f"n{i}", int, field(default=0)) for i in range(41)])
MANY.definition = lambda self: Return()


@dataclass
class Order:
    sku: str = "tea"
    note: str = ""

    def definition(self) -> Statement:
        return S(Wait("payment", On("paid", self.pay), On("odd", self.odd), On("typed", self.pay)), Step("ship", self.ship))

    def pay(self, amount: int) -> str:
        return f"{amount} taken"

    def odd(self) -> object:
        return object()

    async def ship(self) -> None: ...


@dataclass
class Hopeless:
    def definition(self) -> Statement:
        return Fail("give up", "no tea is left")


@dataclass
class Broken:
    def definition(self) -> Statement:
        return Step("work", self.work)

    async def work(self) -> None:
        raise OSError("the disk is full")


@dataclass
class Shop:
    def definition(self) -> Statement:
        return Call("order", Order())


@dataclass
class Busy:
    def definition(self) -> Statement:
        return S(Step("long", self.long), Wait("payment", On("paid")))

    async def long(self) -> None:
        await asyncio.get_running_loop().create_future()


@dataclass
class Selfish:
    def definition(self) -> Statement:
        return Step("ask", self.ask)

    async def ask(self) -> None:
        await IN_USE[0].result("s-1")


IN_USE: list[Engine] = []
ALL = (Order, Hopeless, Broken, Busy, Selfish, MANY)


def memory() -> MemoryStore:
    return MemoryStore(clock=lambda: NOW)


def engine_on(store: Any, **settings: Any) -> Engine:
    usual: dict[str, Any] = {
        "workflows": ALL,
        "worker_id": "w-1",
        "retry": Retry(max_attempts=1),
        "poll": timedelta(milliseconds=20),
        "clock": lambda: NOW,
    }
    return Engine(store, **{**usual, **settings})


def using(table: Table, title: str, call: Callable[[Engine], Awaitable[Any]], **settings: Any) -> None:
    """A row in which an engine is called that has an order, ``o-1``, which waits for its payment."""

    async def provoke() -> None:
        async with engine_on(memory(), **settings) as engine:
            await engine.start(Order(), run_id="o-1", single_flight="customer-7")
            await engine.await_status("o-1", "Waiting")
            await call(engine)

    table.add(title, provoke)


def elsewhere(table: Table, title: str, call: Callable[[Engine], Awaitable[Any]], **settings: Any) -> None:
    """A row in which an engine is called for a run, ``b-1``, that another one moves; ``o-1`` waits, and nobody moves it."""

    async def provoke() -> None:
        store = memory()
        async with engine_on(store, worker_id="w-2", shutdown_timeout=timedelta(0)) as other:
            await other.start(Order(), run_id="o-1")
            await other.await_status("o-1", "Waiting")
            await other.start(Busy(), run_id="b-1")
            async with engine_on(store, worker=False, **settings) as engine:
                await call(engine)

    table.add(title, provoke)


# --- settings ---


def _setting(title: str, **settings: Any) -> None:
    SETTINGS.add(title, lambda: engine_on(memory(), **settings))


_setting("a workflow that is no class", workflows=[Order()])
SETTINGS.add("a store that is none", lambda: engine_on("orders.db"))
_setting("one workflow, and no list", workflows=Order)
_setting("a class that is no workflow", workflows=[make_dataclass("Parcel", [])])
_setting(
    "two workflows of one name", workflows=[Order, make_dataclass("Order", [], namespace={"definition": Order.definition})]
)
_setting("concurrency", concurrency=0)
_setting("a lease that is no duration", lease=30)
_setting("a retry that is none", retry=3)
_setting("a retry that does not add up", retry=Retry(max_attempts=0))
_setting("a worker without a name", worker_id="")
_setting("a clock that is none", clock=NOW)
_setting("a queue that is none", queues=["mail"])
_setting("two queues of one name", queues=[Queue("mail"), Queue("mail")])
SETTINGS.add("a queue without a name", lambda: Queue(""))
SETTINGS.add("a limit that is none", lambda: Queue("mail", concurrency=0))
SETTINGS.add("a rate that is none", lambda: Queue("mail", rate=5))
SETTINGS.add("a priority of a queue that is none", lambda: Queue("mail", priority="high"))


# --- starting ---

using(STARTING, "a class", lambda engine: engine.start(Order))


class Unknown(Order):
    """Not among the workflows."""


using(STARTING, "a workflow that the engine does not have", lambda engine: engine.start(Unknown()))
using(STARTING, "other data", lambda engine: engine.start(Order("milk", "secret"), run_id="o-1"))
using(STARTING, "another workflow", lambda engine: engine.start(Hopeless(), run_id="o-1"))
using(STARTING, "a second unfinished run", lambda engine: engine.start(Order(), run_id="o-2", single_flight="customer-7"))
using(STARTING, "a key without a text", lambda engine: engine.start(Order(), run_id="o-2", single_flight=""))
using(STARTING, "a naive start", lambda engine: engine.start(Order(), run_id="o-2", start_at=BEFORE))
using(STARTING, "labels in a list", lambda engine: engine.start(Order(), run_id="o-2", labels=anything(["n"])))
using(STARTING, "labels that are none", lambda engine: engine.start(Order(), run_id="o-2", labels={"n": 1}))  # type: ignore[dict-item] # the mistake
using(
    STARTING,
    "a queue that there is not",
    lambda engine: engine.start(Order(), run_id="o-2", queue="mial"),
    queues=[Queue("mail")],
)
using(
    STARTING,
    "a queue key without a text",
    lambda engine: engine.start(Order(), run_id="o-2", queue="mail", queue_key=""),
    queues=[Queue("mail")],
)
using(
    STARTING,
    "a priority that is none",
    lambda engine: engine.start(Order(), run_id="o-2", queue="mail", priority="high"),
    queues=[Queue("mail")],
)
using(STARTING, "a priority without a queue", lambda engine: engine.start(Order(), run_id="o-2", priority=5))
using(STARTING, "a fork to where nothing is", lambda engine: engine.fork("o-1", "shop", "o-2"))


async def _many(engine: Engine) -> None:
    await engine.start(MANY(), run_id="m-1")
    await engine.start(MANY(n7=7), run_id="m-1")


using(STARTING, "other data of a class with many fields", _many)


@STARTING.row
def a_connection_that_a_sync_engine_can_not_await() -> None:
    class Awaiting(MemoryStore):
        def join(self, connection: Any, writes: Any) -> Any:
            async def joined() -> list[Any]:
                return [Posted.posted]

            return joined()

    with SyncEngine(Awaiting(), [Order]) as engine:
        engine.start(Order(), run_id="o-2", connection="a connection")


# --- callbacks and signals ---

using(BRINGING, "a request for another run", lambda engine: engine.callback("o-1", CallbackRequest("paid", run_id="o-2"), 5))
using(BRINGING, "an event whose name is no text", lambda engine: engine.callback("o-1", CallbackRequest(anything(7)), 5))
using(BRINGING, "something that names no event", lambda engine: engine.callback("o-1", 5))
using(BRINGING, "a payload without JSON", lambda engine: engine.callback("o-1", "paid", object()))
using(BRINGING, "a payload that is no JSON", lambda engine: engine.callback("o-1", "paid", b"{"))
using(BRINGING, "an output without JSON", lambda engine: engine.callback("o-1", "odd"))
using(BRINGING, "an output of another type", lambda engine: engine.callback("o-1", Event("typed", int, int), 5))
using(BRINGING, "a run that there is not", lambda engine: engine.callback("o-2", "paid", 5))
using(BRINGING, "a signal without a text for a key", lambda engine: engine.signal("o-1", "paid", 5, key=""))
using(BRINGING, "a signal that the workflow does not have", lambda engine: engine.signal("o-1", "payd", 5))
using(BRINGING, "a signal for a run that there is not", lambda engine: engine.signal("o-2", "paid", 5))


async def _over(engine: Engine) -> None:
    await engine.callback("o-1", "paid", 5)
    await engine.result("o-1")


async def _callback_too_late(engine: Engine) -> None:
    await _over(engine)
    await engine.callback("o-1", "paid", 5)


async def _signal_too_late(engine: Engine) -> None:
    await _over(engine)
    await engine.signal("o-1", "paid", 5)


async def _keyed_signal_too_late(engine: Engine) -> None:
    await _over(engine)
    await engine.signal("o-1", "paid", 5, key="evt-17")


using(BRINGING, "a callback for a run that is over", _callback_too_late)
using(BRINGING, "a signal for a run that is over", _signal_too_late)
using(BRINGING, "a signal with a key for a run that is over", _keyed_signal_too_late)


async def _broken(engine: Engine) -> None:
    await engine.start(Broken(), run_id="b-1")
    await engine.await_status("b-1", "Paused")


async def _callback_for_a_broken_run(engine: Engine) -> None:
    await _broken(engine)
    await engine.callback("b-1", "paid", 5)


async def _busy(engine: Engine) -> None:
    await engine.start(Busy(), run_id="b-1")
    await engine.callback("b-1", "paid", 5, timeout=SOON)


using(BRINGING, "a callback for a run that could not be moved", _callback_for_a_broken_run)
using(BRINGING, "a callback that this worker has no time for", _busy, shutdown_timeout=timedelta(0))
elsewhere(
    BRINGING, "a callback that another worker has no time for", lambda engine: engine.callback("b-1", "paid", timeout=SOON)
)


@BRINGING.row
async def a_callback_for_a_workflow_that_nobody_knows() -> None:
    store = memory()
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
    async with engine_on(store, workflows=[Hopeless]) as engine:
        await engine.callback("o-1", "paid", 5, timeout=SOON)


elsewhere(
    BRINGING,
    "a callback that a worker refuses elsewhere",
    lambda engine: engine.callback("o-1", "payd", 5),
    workflows=[Hopeless],
)


@BRINGING.row
async def a_callback_that_no_worker_took_up() -> None:
    async with engine_on(memory(), worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        await engine.callback("o-1", "paid", 5, timeout=SOON)


class Moody(MemoryStore):
    """A database that hangs when it is told to."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW)
        self.goes_on = threading.Event()
        self.goes_on.set()

    def get(self, run_id: str) -> Any:
        self.goes_on.wait(20)
        return super().get(run_id)

    def list(self, query: Any) -> Any:
        self.goes_on.wait(20)
        return super().list(query)

    def answers(self, message_ids: Any) -> Any:
        self.goes_on.wait(20)
        return super().answers(message_ids)


async def _hanging(call: Callable[[Engine], Awaitable[Any]], after: float = 0) -> None:
    store = Moody()
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        try:
            asyncio.get_running_loop().call_later(after, store.goes_on.clear) if after else store.goes_on.clear()
            await call(engine)
        finally:
            store.goes_on.set()


BRINGING.add(
    "a callback that the database had no time for", lambda: _hanging(lambda e: e.callback("o-1", "paid", 5, timeout=SOON))
)
BRINGING.add(
    "a callback whose answer the database had no time for",
    lambda: _hanging(lambda e: e.callback("o-1", "paid", 5, timeout=4 * SOON), after=0.2),
)


@LOOKING.row
async def the_result_of_a_run_that_stands_in_a_queue() -> None:
    async with engine_on(memory(), worker=False, queues=[Queue("mail")]) as engine:
        await engine.start(Order(), run_id="o-2", queue="mail")
        await engine.result("o-2", SOON)


@LOOKING.row
async def a_status_that_a_run_will_not_have_any_more() -> None:
    async with engine_on(memory()) as engine:
        await engine.start(Order(), run_id="o-1")
        await engine.callback("o-1", "paid", 5)
        await engine.await_status("o-1", "Paused")


LOOKING.add("a result that the database had no time for", lambda: _hanging(lambda e: e.result("o-1", SOON)))


using(BRINGING, "an event whose name is none", lambda engine: engine.signal("o-1", "\ud800"))
using(BRINGING, "a thread whose name is none", lambda engine: engine.signal("o-1", PAID, 5, thread_id=BAD_THREAD))


@dataclass
class Leaving:
    """Its handler exits."""

    def definition(self) -> Statement:
        return Wait("leave", On("leave", self.leave))

    def leave(self) -> None:
        raise SystemExit(3)


@BRINGING.row
async def a_handler_that_exits() -> None:
    async with engine_on(memory(), workflows=[Leaving]) as engine:
        await engine.start(Leaving(), run_id="l-1")
        await engine.await_status("l-1", "Waiting")
        await engine.callback("l-1", "leave")


async def _not_begun(engine: Engine) -> None:
    await engine.start(Order(), run_id="o-2", start_at=NOW + timedelta(hours=1))
    await engine.callback("o-2", "paid", 5, timeout=SOON)


using(BRINGING, "a callback for a run that is to begin later", _not_begun)


@BRINGING.row
async def a_callback_for_a_run_that_stands_in_a_queue() -> None:
    async with engine_on(memory(), worker=False, queues=[Queue("mail")]) as engine:
        await engine.start(Order(), run_id="o-2", queue="mail")
        await engine.callback("o-2", "paid", 5, timeout=SOON)


class CutOff(MemoryStore):
    """The commit of what the callback did is cut off; when it is made again, another worker has the run."""

    cut = False

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if not any(isinstance(write, Save) and b'"note":"cut"' in write.snapshot for write in writes):
            return super().commit(writes)
        if not self.cut:
            self.cut = True
            raise StoreError("the connection is gone", retry=True)
        return [False for _ in writes]


@dataclass
class Noted:
    note: str = ""

    def definition(self) -> Statement:
        return Wait("note", On("noted", into="note"))


@BRINGING.row
async def a_callback_of_which_nobody_knows_whether_it_was_saved() -> None:
    async with engine_on(CutOff(clock=lambda: NOW), workflows=[Noted]) as engine:
        await engine.start(Noted(), run_id="o-1")
        await engine.await_status("o-1", "Waiting")
        await engine.callback("o-1", "noted", "cut")


class Unreadable(MemoryStore):
    """It can't say what was answered."""

    def answers(self, message_ids: Sequence[str]) -> Any:
        raise StoreError("the table of messages is gone")


@BRINGING.row
async def a_callback_whose_answer_cannot_be_read() -> None:
    store = Unreadable()
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        await engine.callback("o-1", "paid", 5)


@BRINGING.row
async def a_run_that_is_wanted_while_the_engine_is_left() -> None:
    async with engine_on(memory(), worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        worker = engine._inside("leaving").worker
    await worker.take("o-1")


@BRINGING.row
async def a_callback_by_message_from_an_engine_that_is_left() -> None:
    store = memory()
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
    async with engine_on(store, worker=False, workflows=[Hopeless]) as engine:
        requests = engine._inside("calling").requests
        calling = asyncio.create_task(engine.callback("o-1", "paid", 5))
        async with asyncio.timeout(20):
            while not requests._awaited:  # noqa: ASYNC110 it tells nobody
                await asyncio.sleep(0.01)
    await calling


@BRINGING.row
async def a_callback_from_an_engine_that_is_being_left() -> None:
    engine = await engine_on(memory(), worker=False).__aenter__()
    parts = engine._inside("leaving")
    await parts.requests.stop()
    try:
        await engine.callback("o-1", "paid", 5)
    finally:
        await engine.__aexit__(None, None, None)


class Forgetful(MemoryStore):
    """Loses runs, or is told that they are over, between two looks."""

    posted = Posted.unknown

    def commit(self, writes: Any) -> Any:
        return [
            self.posted if not isinstance(write, NewRun) else outcome
            for write, outcome in zip(writes, super().commit(writes), strict=True)
        ]


async def _gone(call: Callable[[Engine], Awaitable[Any]], posted: Posted) -> None:
    store = Forgetful(clock=lambda: NOW)
    store.posted = posted
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        await call(engine)


BRINGING.add(
    "a callback for a run that was deleted just now", lambda: _gone(lambda e: e.callback("o-1", "paid", 5), Posted.unknown)
)
BRINGING.add("a callback for a run that was over just now", lambda: _gone(lambda e: e.callback("o-1", "paid", 5), Posted.over))
BRINGING.add(
    "a signal for a run that was deleted just now", lambda: _gone(lambda e: e.signal("o-1", "paid", 5), Posted.unknown)
)


# --- control ---


async def _paused(engine: Engine) -> None:
    await engine.pause("o-1", by="ann", reason="the fix")
    await engine.retry("o-1")


async def _unpaused(engine: Engine) -> None:
    await _broken(engine)
    await engine.unpause("b-1")


@CONTROLLING.row
async def retry_by_somebody_who_does_not_say_why() -> None:
    store = memory()
    async with engine_on(store) as worker:
        await _broken(worker)
    logger = logging.getLogger("flowstmt.engine")
    logger.setLevel(logging.INFO)  # this one is no warning
    try:
        async with engine_on(store, worker=False) as engine:
            await engine.retry("b-1")
    finally:
        logger.setLevel(logging.NOTSET)


using(CONTROLLING, "retry of a run that was paused", _paused)
using(CONTROLLING, "retry of a run of which nothing failed", lambda engine: engine.retry("o-1"))
using(CONTROLLING, "retry of a thread that is none", lambda engine: engine.retry("o-1", BAD_THREAD))
using(CONTROLLING, "unpause of a run that could not be moved", _unpaused)
using(CONTROLLING, "arguments without JSON", lambda engine: engine.set_data("o-1", {"sku": object()}))


@CONTROLLING.row
async def a_child_that_is_deleted_while_its_parent_waits() -> None:
    async with engine_on(memory(), workflows=[Shop, Order]) as engine:
        await engine.start(Shop(), run_id="s-1")
        await engine.await_status("s-1", "Waiting")
        [child] = (await engine.list(parent="s-1")).runs
        await engine.await_status(child.run_id, "Waiting")
        await engine.delete(child.run_id)


using(CONTROLLING, "a purge before a naive instant", lambda engine: engine.purge(BEFORE))


# --- looking ---


async def _cancelled(engine: Engine) -> None:
    await engine.cancel("o-1", "out of stock")
    await engine.result("o-1")


async def _failed(engine: Engine) -> None:
    await engine.start(Hopeless(), run_id="h-1")
    await engine.result("h-1")


async def _result_of_a_broken_run(engine: Engine) -> None:
    await _broken(engine)
    await engine.result("b-1", SOON)


async def _result_of_a_paused_run(engine: Engine) -> None:
    await engine.pause("o-1")
    await engine.result("o-1", SOON)


using(LOOKING, "the result of a run that was cancelled", _cancelled)
using(LOOKING, "the result of a run that failed", _failed)
using(LOOKING, "the result of a run that waits", lambda engine: engine.result("o-1", SOON))
using(LOOKING, "the result of a run that could not be moved", _result_of_a_broken_run)
using(LOOKING, "the result of a run that is paused", _result_of_a_paused_run)
elsewhere(LOOKING, "the result of a run that somebody moves", lambda engine: engine.result("b-1", SOON))


@LOOKING.row
async def the_result_of_a_run_that_nobody_moves() -> None:
    async with engine_on(memory(), worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
        await engine.result("o-1", SOON)


using(LOOKING, "a run that there is not", lambda engine: engine.get("o-2"))
using(LOOKING, "a status that is none", lambda engine: engine.await_status("o-1", "Lost"))
using(LOOKING, "a status that does not come", lambda engine: engine.await_status("o-1", "Failed", SOON))
using(LOOKING, "a list that is too long", lambda engine: engine.list(limit=5000))
using(LOOKING, "a label that is none", lambda engine: engine.list(label="customer"))
using(LOOKING, "a list that goes on after nothing", lambda engine: engine.list(after="o-1"))
using(LOOKING, "a list that goes on after a number", lambda engine: engine.list(after=7))
using(LOOKING, "a history that is too long", lambda engine: engine.history("o-1", limit=5000))


@LOOKING.row
async def what_may_happen_to_a_run_of_an_unknown_workflow() -> None:
    store = memory()
    async with engine_on(store, worker=False) as engine:
        await engine.start(Order(), run_id="o-1")
    async with engine_on(store, worker=False, workflows=[Hopeless]) as engine:
        await engine.legal("o-1")


# --- how they are used ---


@USING.row
async def an_engine_that_is_not_in_use() -> None:
    await engine_on(memory()).get("o-1")


using(USING, "an engine that is in use already", lambda engine: engine.__aenter__())
using(USING, "an engine in another event loop", lambda engine: asyncio.to_thread(lambda: asyncio.run(engine.get("o-1"))))
using(USING, "no id of a run", lambda engine: engine.get(""))


@USING.row
async def an_engine_behind_a_fork() -> None:
    async with engine_on(memory()) as engine:
        with mock.patch("flowstmt.engine.engine.getpid", return_value=-1):
            await engine.get("o-1")


@USING.row
def a_sync_engine_behind_a_fork() -> None:
    with SyncEngine(memory(), [Order]) as engine, mock.patch("flowstmt.engine.sync_engine.getpid", return_value=-1):
        engine.get("o-1")


using(USING, "a timeout that is none", lambda engine: engine.result("o-1", 5))


async def _from_inside(engine: Engine) -> None:
    IN_USE[:] = [engine]
    await engine.start(Selfish(), run_id="s-1")
    await engine.await_status("s-1", "Paused")


using(USING, "a run that waits for itself", _from_inside)


@USING.row
async def an_engine_that_is_left_before_it_is_in_use() -> None:
    await engine_on(memory()).__aexit__(None, None, None)


@USING.row
def a_sync_engine_that_is_left_before_it_is_in_use() -> None:
    SyncEngine(memory(), [Order]).__exit__(None, None, None)


@USING.row
async def a_database_that_does_not_answer() -> None:
    async def ask(engine: Engine) -> None:
        raise StoreError((await engine.health()).error or "it is well")

    await _hanging(ask)


@USING.row
def a_sync_engine_that_is_not_in_use() -> None:
    SyncEngine(memory(), [Order]).get("o-1")


async def _forked(engine: Engine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowstmt.engine.engine.getpid", lambda: 0)
        await engine.get("o-1")


using(USING, "an engine in a process that was forked", _forked)


@USING.row
def a_sync_engine_in_a_process_that_was_forked() -> None:
    with SyncEngine(memory(), [Order]) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowstmt.engine.sync_engine.getpid", lambda: 0)
        engine.get("o-1")


@USING.row
def a_sync_engine_that_is_in_use_already() -> None:
    with SyncEngine(memory(), [Order]) as engine:
        engine.__enter__()


@dataclass
class Looping:
    """Calls its engine in the event loop of that."""

    engine: Any = field(default=None, metadata={"transient": True})

    def definition(self) -> Statement:
        return Wait("call", On("call", self.call))

    async def call(self) -> None:
        SYNC[0].get("l-1")


SYNC: list[SyncEngine] = []


@USING.row
def a_sync_engine_in_its_own_event_loop() -> None:
    with SyncEngine(memory(), [Looping]) as engine:
        SYNC[:] = [engine]
        engine.start(Looping(), run_id="l-1")
        engine.callback("l-1", "call")
