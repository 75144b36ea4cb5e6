"""DBOS Transact, with its own tables in SQLite or PostgreSQL."""

from __future__ import annotations

import os
from time import perf_counter

from dbos import DBOS, SetWorkflowID, error

from benchmarks.peers.contract import Contender, DiedError, Steps

__all__ = ["Peer"]

CANCELLED = (error.DBOSAwaitedWorkflowCancelledError, error.DBOSWorkflowCancelledError)


class Peer(Contender):
    packages = ("dbos",)

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        entered = self.entered = [0.0]

        @DBOS.step()
        def step(number: int) -> int:
            try:
                return steps(number)
            except DiedError:
                # What a step raises is its outcome. The documented stop is this one; nothing is recorded after it.
                DBOS.cancel_workflow(DBOS.workflow_id)
                return number

        @DBOS.workflow()
        def count(until: int) -> int:
            entered[0] = perf_counter()
            number = 0
            while number < until:
                number = step(number)
            return number

        self.count = count
        url = f"sqlite:///{os.path.abspath(store)}" if "://" not in store else store
        DBOS(config={"name": "compare", "system_database_url": url, "log_level": "CRITICAL"})
        DBOS.launch()

    def begin(self, run_id: str, until: int) -> None:
        try:
            with SetWorkflowID(run_id):
                self.count(until)
        except CANCELLED:
            return

    def resume(self, run_id: str) -> float:
        try:
            DBOS.resume_workflow(run_id).get_result()
        except CANCELLED:
            # Not from the call on: it only puts the run into a queue, which is looked at once a second.
            return self.entered[0]
        raise AssertionError("the run came to its end")

    def close(self) -> None:
        DBOS.destroy()
