"""What the tests of the engine have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from flowstmt import Engine
from flowstmt.engine.movers import Mover
from flowstmt.stores.protocol import Store
from tests.engine.databases import Database
from tests.engine.flows import ALL

SOON = timedelta(seconds=30)
"""Long enough on a slow machine; nothing waits for it."""


def engine_on(database: Database, **settings: Any) -> Engine:
    """An engine with a store of its own on a database."""
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=100), **settings})


def run(main: Coroutine[Any, Any, None]) -> None:
    """A test in an event loop, which must not take for ever."""

    async def bounded() -> None:
        async with asyncio.timeout(180):
            await main

    asyncio.run(bounded())


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something holds that nobody tells."""
    async with asyncio.timeout(SOON.total_seconds()):
        while not await holds():  # noqa: ASYNC110 the database is asked, which has no event
            await asyncio.sleep(0.01)
    assert what


def mover_of(engine: Engine, run_id: str) -> Mover:
    """What moves a run in the process of this engine."""
    parts = engine._parts
    assert parts is not None  # it is in use
    mover = parts.worker.held(run_id)
    assert mover is not None, "the run is not moved here"
    return mover


async def has_looked(engine: Engine) -> None:
    """The worker has looked for runs since this was called, and begun what it found: what it has not begun, it does not.

    It clears what woke it before it looks: so once it has done that a second time, the first look is over.
    """
    parts = engine._parts
    assert parts is not None  # it is in use
    worker = parts.worker

    async def is_awake() -> bool:
        return not worker._news.is_set()

    for _ in range(2):
        worker.wake()
        await until(is_awake, "the worker looks")


async def stored(store: Store, run_id: str) -> Any:
    return await asyncio.to_thread(store.get, run_id)
