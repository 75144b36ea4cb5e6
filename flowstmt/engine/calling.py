"""The ``invoke`` hook of an engine: where what users wrote is called, and what it is given."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import orjson

from flowstmt.current import Current
from flowstmt.engine.checkpoints import Checkpoints
from flowstmt.engine.children import cancellation, child_run
from flowstmt.engine.invoking import StepTransaction, guarded
from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import said
from flowstmt.stores.protocol import Publication

__all__ = ["Calling"]

logger = logging.getLogger("flowstmt.engine")


class Calling:
    """Calls what one run asks for. ``workflow`` are its data; ``leaves_threads`` that nobody waits for threads any more."""

    __slots__ = ("_around", "_checkpoints", "_history", "leaves_threads", "workflow")

    def __init__(self, around: Surroundings, checkpoints: Checkpoints) -> None:
        self._around = around
        self._checkpoints = checkpoints
        self._history = around.settings.history
        self.workflow: Any = None
        self.leaves_threads = False

    def invoke(self, current: Current, call: Callable[[], Any]) -> Any:
        """For the drivers: call in the event loop, in a thread, or in a transaction."""
        is_action = current.kind == "action"
        if not is_action and current.child_run_id:
            return self._change_child(current)
        current.publisher = self._publish
        if current.is_async:
            # The action of a concurrent step, which has a copy of the data, and a handler have tasks of their own.
            alone = current.workflow is self.workflow and current.kind != "handler"
            called = call() if alone else guarded(call())
        elif current.inline:
            called = call()
        elif current.transactional:
            called = self._in_transaction(current, call)
        else:
            called = self._around.threads.call(call).outcome(self._leaves)
        return self._timed(current, called) if is_action and self._history else called

    def _change_child(self, current: Current) -> None:
        """Start or cancel a child run, with the checkpoint that follows."""
        if current.kind == "setup":
            self._checkpoints.children.append(child_run(self._around.catalogue, current))
        else:
            self._checkpoints.messages.append(cancellation(current))

    async def _in_transaction(self, current: Current, call: Callable[[], Any]) -> Any:
        await self._checkpoints.begin_transaction()
        transaction = StepTransaction(self._around.store, current, call)
        # From here on nothing else of this run is written, but the checkpoint that commits it.
        self._checkpoints.transaction = transaction
        self._around.threads.begin(transaction.work)
        try:
            result = await transaction.outcome(self._leaves)
            if hasattr(type(result), "__await__"):
                result = await result
        except BaseException:
            self._checkpoints.roll_back()
            raise
        return result

    def _leaves(self) -> bool:
        return self.leaves_threads

    async def _timed(self, current: Current, called: Any) -> Any:
        """Keep how long an attempt took, and how it ended."""
        started_at, began = self._around.clock(), monotonic()
        error: str | None = None
        try:
            result = await called
            if hasattr(type(result), "__await__"):
                result = await result
        except BaseException as raised:
            error = said(raised)
            raise
        finally:
            duration = timedelta(0, monotonic() - began)
            row = (current.thread_id, current.position, current.attempt, started_at, duration, error)
            self._checkpoints.history.append(row)
        return result

    def _publish(self, value: Any) -> None:
        """For actions, from any thread."""
        try:
            body = orjson.dumps(value)
        except TypeError:
            body = json.dumps(value).encode()  # a number past 64 bits
        self._around.writes.submit_threadsafe(Publication(self._checkpoints.run_id, body), self._published)

    def _published(self, outcome: Any) -> None:
        if outcome is True:
            self._around.watchers.tell(self._checkpoints.run_id)
        else:
            logger.warning(
                "run %r: what it published was not kept, and nobody who watches sees it; the run goes on: %s",
                self._checkpoints.run_id,
                outcome,
            )
