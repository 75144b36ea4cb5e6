"""What ``flowstmt worker tests.cli.shop:...`` finds: functions that give an engine on the database that ``SHOP`` names."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flowstmt import Engine, Return, S, Statement, Step, SyncEngine, current
from tests.engine.databases import opened


@dataclass
class Order:
    """With a gate it is packed once that is opened; who packs says that it has come."""

    gate: str = ""
    on_the_way: str = ""

    def definition(self) -> Statement:
        return S(Step("take", lambda: None), Step("pack", self.pack), Return(lambda: f"packed{self.on_the_way}"))

    def pack(self) -> None:
        if self.gate:
            Path(f"{self.gate}.come").touch()
            deadline = time.monotonic() + 60
            while not Path(self.gate).exists():
                assert time.monotonic() < deadline, "nobody opened the gate"
                time.sleep(0.01)


@dataclass
class LastOrder:
    """Stops the process that moves it, as whoever runs it would."""

    async def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def definition(self) -> Statement:
        return S(Step("stop", self.stop), Return("stopped"))


@dataclass
class Deps:
    """What an order gets to know of the function that made its engine."""

    is_open: bool = True


@dataclass
class Asking:
    def definition(self) -> Statement:
        return S(Step("ask", self.ask), LastOrder.definition(LastOrder()))

    def ask(self) -> None:
        assert current().deps.is_open


def settings() -> dict[str, Any]:
    seconds = float(os.environ.get("SHOP_SHUTDOWN", "10"))
    return {"workflows": [Order, LastOrder, Asking], "shutdown_timeout": timedelta(seconds=seconds)}


def make_engine() -> Engine:
    return Engine(opened(os.environ["SHOP"]), **settings())


def make_sync_engine() -> SyncEngine:
    return SyncEngine(opened(os.environ["SHOP"]), **settings())


async def make_engine_later() -> Engine:
    await asyncio.sleep(0)
    return make_engine()


closed: list[Deps] = []


@asynccontextmanager
async def engine_and_its_deps() -> AsyncIterator[Engine]:
    deps = Deps()
    yield Engine(opened(os.environ["SHOP"]), deps=deps, **settings())
    deps.is_open = False
    closed.append(deps)


def make_engine_without_worker() -> Engine:
    return Engine(opened(os.environ["SHOP"]), **settings(), worker=False)
