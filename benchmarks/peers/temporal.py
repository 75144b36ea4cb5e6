"""Temporal's Python SDK without its server: a history of steps done is replayed, as it is when a worker takes a run over.

The events are those that its server would have recorded: for each step a workflow task, which asks for an activity, and that
activity's outcome.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from benchmarks.peers.contract import Contender, Steps

__all__ = ["Peer"]

QUEUE = {"name": "count"}
RUN_ID = "6f4dcd2b-0000-4000-8000-000000000001"

asked: list[tuple[int, float]] = []
"""The step that a replay asked for last, and when."""


@activity.defn
async def step(number: int) -> int:
    return number + 1


# Not in the sandbox, which is there to find what is not deterministic, and has the workflow's modules imported anew.
@workflow.defn(sandboxed=False)
class Count:
    @workflow.run
    async def run(self) -> int:
        number = 0
        while True:
            asked[:] = [(number, perf_counter())]
            number = await workflow.execute_activity(step, number, start_to_close_timeout=timedelta(minutes=1))


class Peer(Contender):
    packages = ("temporalio",)
    replays_only = True

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        self.histories: dict[str, WorkflowHistory] = {}

    def begin(self, run_id: str, until: int) -> None:
        self.histories[run_id] = history(run_id, self.steps.left)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        asyncio.run(self._replay(run_id))
        number, begun = asked[0]
        self.steps(number)
        self.steps.begun[:] = [begun]
        return start

    def close(self) -> None:
        self.histories.clear()

    async def _replay(self, run_id: str) -> None:
        await Replayer(workflows=[Count]).replay_workflow(self.histories[run_id])


def history(run_id: str, done: int) -> WorkflowHistory:
    """What is recorded of a run that has done so many steps, and whose worker is gone."""
    events: list[HistoryEvent] = []

    def add(kind: str, **attributes: Any) -> int:
        event = HistoryEvent(
            event_id=len(events) + 1,
            event_type=getattr(EventType, f"EVENT_TYPE_{kind}"),
            **{f"{kind.lower()}_event_attributes": attributes},
        )
        event.event_time.GetCurrentTime()
        events.append(event)
        return len(events)

    def payloads(number: int) -> dict[str, Any]:
        return {"payloads": DataConverter.default.payload_converter.to_payloads([number])}

    add(
        "WORKFLOW_EXECUTION_STARTED",
        workflow_id=run_id,
        workflow_type={"name": "Count"},
        task_queue=QUEUE,
        original_execution_run_id=RUN_ID,
        first_execution_run_id=RUN_ID,
        attempt=1,
    )
    for number in range(done + 1):
        scheduled = add("WORKFLOW_TASK_SCHEDULED", task_queue=QUEUE, attempt=1)
        started = add("WORKFLOW_TASK_STARTED", scheduled_event_id=scheduled, identity="gone")
        if number == done:
            break  # the replay goes on to ask for the next step
        completed = add("WORKFLOW_TASK_COMPLETED", scheduled_event_id=scheduled, started_event_id=started, identity="gone")
        asked_for = add(
            "ACTIVITY_TASK_SCHEDULED",
            activity_id=str(number + 1),
            activity_type={"name": "step"},
            task_queue=QUEUE,
            input=payloads(number),
            workflow_task_completed_event_id=completed,
        )
        began = add("ACTIVITY_TASK_STARTED", scheduled_event_id=asked_for, identity="gone", attempt=1)
        add(
            "ACTIVITY_TASK_COMPLETED",
            scheduled_event_id=asked_for,
            started_event_id=began,
            identity="gone",
            result=payloads(number + 1),
        )
    return WorkflowHistory(run_id, events)
