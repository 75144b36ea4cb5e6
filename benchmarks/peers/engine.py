"""flowstmt's engine with one of its stores, one run at a time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any, Self

from benchmarks.peers.contract import ENDLESS, Contender, Steps
from flowstmt import Engine, For, PostgresStore, Retry, SQLiteStore, Statement, Step, current

__all__ = ["Peer"]


@dataclass
class Count:
    until: int
    number: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("count", lambda w: w.number < w.until, Step("step", cls.step, into="number"))

    async def step(self) -> int:
        steps: Steps = current().deps
        return steps(self.number)


class Peer(Contender):
    packages = ("flowstmt",)

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        logging.getLogger("flowstmt").setLevel(logging.CRITICAL)  # each death would be told with its traceback
        self.loop = asyncio.new_event_loop()
        kept = PostgresStore(store) if "://" in store else SQLiteStore(store)
        # A run whose process died is taken over when its lease has run out. Here it is given up at its first failure, so that
        # nobody has to wait for that.
        self.engine = Engine(kept, [Count], deps=steps, retry=Retry(max_attempts=1, initial=timedelta(seconds=1)))
        self._await(self.engine.__aenter__())

    def begin(self, run_id: str, until: int) -> None:
        self._await(self.engine.start(Count(until), run_id=run_id))
        self._await_end(run_id)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        self._await(self.engine.retry(run_id))
        self._await_end(run_id)
        return start

    def _await_end(self, run_id: str) -> None:
        self._await(self.engine.await_status(run_id, ("Finished", "Paused"), timedelta(seconds=ENDLESS // 100)))

    def _await(self, awaitable: Any) -> None:
        self.loop.run_until_complete(awaitable)

    def close(self) -> None:
        self._await(self.engine.__aexit__(None, None, None))
        self.loop.close()
