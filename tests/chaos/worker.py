"""A worker process of a round: an engine that moves runs, and does for the play what clients ask of an engine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from flowstmt import Engine, Queue, Retry, StoreError
from flowstmt.stores.protocol import Store
from tests.chaos.databases import fill_when_told, store_of
from tests.chaos.flows import FLOWS
from tests.chaos.planted import BUGS
from tests.chaos.senders import Answer, perform, receive, send
from tests.chaos.world import World

__all__ = ["engine_of", "main", "skewed"]

PARKED_AFTER = Retry(max_attempts=3, initial=timedelta(milliseconds=50), max_delay=timedelta(milliseconds=100))
QUEUES = (Queue("narrow", concurrency=2),)

log = logging.getLogger("tests.chaos")


def skewed(seconds: float) -> Callable[[], datetime]:
    """A clock that is wrong."""
    wrong = timedelta(seconds=seconds)
    return lambda: datetime.now(UTC) + wrong


def engine_of(store: Store, world: World, *, worker: bool, lease: float, skew: float, name: str) -> Engine:
    """An engine as all processes of a round have it."""
    return Engine(
        store,
        FLOWS,
        deps=world,
        worker=worker,
        concurrency=20,
        lease=timedelta(seconds=lease),
        poll=timedelta(milliseconds=250),
        retry=PARKED_AFTER,
        queues=QUEUES,
        history=True,
        shutdown_timeout=timedelta(seconds=5),
        worker_id=name,
        clock=skewed(skew),
    )


def main(config: dict[str, Any]) -> None:
    """Work until SIGTERM, or until the play is over."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {config['name']} %(name)s %(levelname)s %(message)s")
    if config["full"]:
        fill_when_told(config["full"])
    asyncio.run(_work(config))


async def _work(config: dict[str, Any]) -> None:
    world = World(config["url"], config["pace"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    engine = await _started(config, world, stop)
    if engine is None:
        return
    reader, writer = await asyncio.open_unix_connection(config["socket"])
    await send(writer, config["name"])
    answering = asyncio.create_task(_answer(engine, reader, writer, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([answering, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        os._exit(3)  # the play is gone
    log.info("is told to stop")
    await engine.__aexit__(None, None, None)
    answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering
    world.close()
    log.info("has stopped")


async def _started(config: dict[str, Any], world: World, stop: asyncio.Event) -> Engine | None:
    """An engine that has its database: this process may have been started while that is not to be had."""
    while not stop.is_set():
        store = store_of(config["url"])
        if config["planted"] is not None:
            store = BUGS[config["planted"]].store(store)
        engine = engine_of(store, world, worker=True, lease=config["lease"], skew=config["skew"], name=config["name"])
        try:
            return await engine.__aenter__()
        except StoreError as error:
            log.info("has no database yet: %s", error)
            store.close()
            await asyncio.sleep(0.1)
    return None


async def _answer(engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
    async def one(number: int, operation: str, arguments: tuple[Any, ...]) -> None:
        answer = Answer(why="the worker is about to stop") if stop.is_set() else await perform(engine, operation, arguments)
        with suppress(ConnectionError):
            await send(writer, (number, answer))

    async with asyncio.TaskGroup() as tasks:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                tasks.create_task(one(*await receive(reader)))
