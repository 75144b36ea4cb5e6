"""What the tests of the engine have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from flowstmt import Engine
from flowstmt.stores.protocol import Store
from tests.engine.databases import Database
from tests.engine.flows import ALL

SOON = timedelta(seconds=10)
"""Long enough on a slow machine; nothing waits for it."""


def engine_on(database: Database, **settings: Any) -> Engine:
    """An engine with a store of its own on a database."""
    return Engine(database.store(), **{"workflows": ALL, "poll": timedelta(milliseconds=100), **settings})


def run(main: Coroutine[Any, Any, None]) -> None:
    """A test in an event loop, which must not take for ever."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main

    asyncio.run(bounded())


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something holds that nobody tells."""
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 the database is asked, which has no event
            await asyncio.sleep(0.01)
    assert what


async def stored(store: Store, run_id: str) -> Any:
    return await asyncio.to_thread(store.get, run_id)
