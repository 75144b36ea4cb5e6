"""Absurd: SQL functions in PostgreSQL, and the SDK that calls them."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Any

import psycopg
from absurd_sdk import Absurd
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.peers.contract import ENDLESS, Contender, Steps

__all__ = ["Peer"]


class Peer(Contender):
    packages = ("absurd-sdk", "psycopg")

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        self.db = psycopg.connect(store, autocommit=True)
        self.db.execute(BUNDLED_SCHEMA_SQL)  # what `absurdctl init` runs
        self.app = self._app("default")
        self.died: dict[str, Absurd] = {}

    def _app(self, queue: str) -> Absurd:
        app = Absurd(self.db, queue_name=queue)
        app.create_queue()

        @app.register_task(name="count")
        def count(params: Any, context: Any) -> int:
            number = 0
            while number < params["until"]:
                number = context.step("step", partial(self.steps, number))
            return number

        return app

    def begin(self, run_id: str, until: int) -> None:
        app = self.app
        if until == ENDLESS:
            # A queue of its own, as a worker takes whichever task is due.
            app = self.died[run_id] = self._app(run_id)
        # A try that failed is due again at once: who takes over from a process that died has no time to wait for, either.
        app.spawn("count", {"until": until}, max_attempts=1_000, retry_strategy={"kind": "none"}, idempotency_key=run_id)
        app.work_batch()

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        self.died[run_id].work_batch()
        return start

    def close(self) -> None:
        self.db.close()
