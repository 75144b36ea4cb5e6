"""An engine that is used as it should not be says so, and changes nothing."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import DefinitionError, Engine, FlowstmtError, MemoryStore, Queue, StateError, SyncEngine
from tests.engine.flows import ALL, Counting, Order
from tests.engine.running import SOON, run

CALLS: dict[str, tuple[Any, ...]] = {
    "start": (Order(),),
    "fork": ("o-1", "ship"),
    "callback": ("o-1", "paid", 5),
    "signal": ("o-1", "paid", 5),
    "pause": ("o-1",),
    "unpause": ("o-1",),
    "cancel": ("o-1", "because"),
    "retry": ("o-1",),
    "goto": ("o-1", "main", "ship"),
    "set_data": ("o-1", {"paid": 5}),
    "get": ("o-1",),
    "list": (),
    "result": ("o-1",),
    "await_status": ("o-1", "Waiting"),
    "watch": ("o-1",),
    "history": ("o-1",),
    "dead_letters": ("o-1",),
    "legal": ("o-1",),
    "delete": ("o-1",),
    "purge": (None,),
    "health": (),
}


def test_these_are_all_methods() -> None:
    public = {name for name, value in vars(Engine).items() if not name.startswith("_") and not isinstance(value, property)}
    assert public == set(CALLS)


@pytest.mark.parametrize("method", CALLS)
def test_an_engine_that_is_not_in_use(method: str) -> None:
    async def main() -> None:
        engine = Engine(MemoryStore(), ALL)
        with pytest.raises(
            FlowstmtError, match=f"{method} needs an engine that is in use: call it inside `async with engine:`"
        ):
            await called(engine, method)

    run(main())


@pytest.mark.parametrize("method", CALLS)
def test_an_engine_that_was_left(method: str) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), ALL) as engine:
            pass
        with pytest.raises(FlowstmtError, match="needs an engine that is in use"):
            await called(engine, method)

    run(main())


@pytest.mark.parametrize("method", CALLS)
def test_another_event_loop(method: str) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), ALL) as engine:
            with pytest.raises(FlowstmtError, match="in another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(called(engine, method)))

    run(main())


def test_an_engine_is_entered_once_at_a_time() -> None:
    async def main() -> None:
        engine = Engine(MemoryStore(), ALL)
        async with engine:
            with pytest.raises(FlowstmtError, match="in use already"):
                await engine.__aenter__()
            await engine.start(Counting(), run_id="c-1")
            assert await engine.result("c-1", SOON) == 3
        async with engine:
            assert await engine.result("c-1", SOON) == 3

    run(main())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"workflows": [Order()]}, DefinitionError, "workflows are classes, not an Order"),
        ({"workflows": Order}, DefinitionError, r"takes a list of classes: workflows=\[Order\]"),
        ({"workflows": [dict]}, DefinitionError, "the class dict is no workflow: it has no method `definition`"),
        ({"store": "runs.db"}, StateError, r"store must be a store, as SQLiteStore\(\.\.\.\) is one, not 'runs.db'"),
        ({"concurrency": 0}, StateError, "concurrency must be a whole number from 1"),
        ({"step_concurrency": "many"}, StateError, "step_concurrency must be a whole number from 1"),
        ({"lease": timedelta(0)}, StateError, "lease must be a timedelta above 0"),
        ({"poll": 5}, StateError, "poll must be a timedelta above 0"),
        ({"retry": 3}, StateError, "retry must be a Retry"),
        ({"worker_id": ""}, StateError, "worker_id must be a text"),
        ({"clock": 12}, StateError, "clock must be a function"),
        ({"queues": ["mail"]}, StateError, "queues must be Queue objects, not a str"),
        ({"queues": [Queue("mail"), Queue("mail")]}, StateError, "two queues are called 'mail'"),
    ],
)
@pytest.mark.parametrize("cls", [Engine, SyncEngine])
def test_settings_that_can_not_be_used(cls, settings, error, message: str) -> None:
    with pytest.raises(error, match=message):
        cls(**{"store": MemoryStore(), "workflows": ALL, **settings})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "the name of a queue"),
        ({"name": "mail", "concurrency": 0}, "queue 'mail': concurrency must be a whole number from 1"),
        ({"name": "mail", "per_key_concurrency": 1.5}, "per_key_concurrency must be a whole number from 1"),
        ({"name": "mail", "rate": 5}, "rate must be how many per time"),
        ({"name": "mail", "rate": (5, timedelta(0))}, "rate must be how many per time"),
        ({"name": "mail", "priority": "high"}, "priority must be a whole number"),
    ],
)
def test_queues_that_can_not_be_used(arguments, message: str) -> None:
    with pytest.raises(StateError, match=message):
        Queue(**arguments)


@pytest.mark.parametrize("method", ["callback", "result"])
def test_a_timeout_is_a_timedelta(method: str) -> None:
    async def main() -> None:
        async with Engine(MemoryStore(), ALL) as engine:
            with pytest.raises(StateError, match=f"{method}: timeout must be a timedelta, or None, not 5"):
                await called(engine, method, timeout=5)

    run(main())


def test_a_store_that_can_not_be_opened_leaves_an_engine_that_can_be_entered_again() -> None:
    class Closed(MemoryStore):
        broken = True

        def open(self) -> None:
            if self.broken:
                raise StateError("the door is locked")

    async def main() -> None:
        store = Closed()
        engine = Engine(store, ALL)
        with pytest.raises(StateError, match="the door is locked"):
            await engine.__aenter__()
        store.broken = False
        async with engine:
            await engine.start(Counting(), run_id="c-1")
            assert await engine.result("c-1", SOON) == 3

    run(main())
    gc.collect()  # what was left open would complain


async def called(engine: Any, method: str, **more: Any) -> Any:
    answer = getattr(engine, method)(*CALLS[method], **more)
    return await (anext(answer) if method == "watch" else answer)
