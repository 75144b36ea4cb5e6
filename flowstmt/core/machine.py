"""The machine: what may run next in each thread, and what an outcome does to the state.

Rules:

1. The machine does no I/O, reads no clock, awaits nothing. A driver asks it what to run, runs that, and hands back the
   outcome and the instant.
2. Every status transition of threads and events is made here, along the tables of ``state.py``.
3. ``settle`` either succeeds or leaves the state as it was: whatever the user's conditions raise.

Theory: a round is one outcome followed by ``settle``, which moves threads until nothing moves by itself. A thread that
moves follows the links of its program from node to node. Statements that decide (If, For ...) answer with the next node;
statements that stop (Step, Wait ...) park the thread and answer None. A condition is asked only here, so whoever loads a
snapshot finds the decision already taken, and saved, before the action that it led to.

Copy on write: while threads move, frames, lists of events and the events in them are replaced, never changed, and what
they replace is kept in a journal; that is what makes rule 3 cheap.

What this module must not know: how values become JSON (``adapt`` and ``restore`` are handed in), who saves, what a
payload looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flowstmt.core.answers import Values
from flowstmt.core.events import TO_DO_NOW
from flowstmt.core.journal import keep, roll_back
from flowstmt.core.moves import Moves
from flowstmt.core.nodes import Node
from flowstmt.core.positions import check_positions
from flowstmt.core.program import Program
from flowstmt.core.state import (
    MAIN,
    OVER,
    CheckpointType,
    EventStatus,
    State,
    Thread,
    ThreadStatus,
    WaitEvent,
    WorkflowStatus,
)
from flowstmt.core.statements import Join, Step, WaitFor
from flowstmt.errors import StateError

__all__ = ["Machine"]

_Executing = ThreadStatus.Executing
_Resuming = ThreadStatus.Resuming
_WaitingEvent = ThreadStatus.WaitingEvent
_WaitingTime = ThreadStatus.WaitingTime
_Ended = ThreadStatus.Ended


class Machine(Moves):
    """One run and its program, between two calls of a driver.

    ``values`` are the statements of the latest build: a driver replaces them after data may have changed.
    """

    __slots__ = ("_reconciled",)

    def __init__(self, program: Program, values: list[Any], workflow: Any, state: State, adapt: Values) -> None:
        super().__init__(program, values, workflow, state, adapt)
        self._reconciled = False

    def begin(self) -> None:
        """Check that the state fits the definition, before anything runs. Raises ``StateError``, and changes nothing then."""
        check_positions(self.program, self.state)
        if not self.state.raw:
            return
        restored: list[tuple[Any, str, Any]] = []
        by_name = self.program.by_name
        for i, thread in enumerate(self.state.threads):
            if thread.status is _Ended:
                continue
            path = f"$.state.threads[{i}]"
            if thread.name != MAIN:
                restored.append((thread, "arg", self._restored(by_name[thread.name], thread.arg, f"{path}.arg")))
            for k, frame in enumerate(thread.frames):
                item = self._restored(by_name[frame.statement], frame.item, f"{path}.frames[{k}].item")
                restored.append((frame, "item", item))
        for owner, key, value in restored:
            setattr(owner, key, value)
        self.state.raw = False

    def _restored(self, node: Node, plain: Any, path: str) -> Any:
        scope = node.own_item
        if scope is None or scope.type is Any:
            return plain
        try:
            return self._adapt.restore(plain, scope.type)
        except ValueError as error:
            raise StateError(f"run {self.state.run_id!r}: {path}: the item of {node.label}: {error}") from error

    # --- one round ---

    def executing(self) -> Thread | None:
        """Whose turn it is: of the threads at a step, the one that arrived first."""
        first: Thread | None = None
        for thread in self.state.threads:
            if thread.status is _Executing and (first is None or thread.ready < first.ready):
                first = thread
        return first

    def action(self, thread: Thread) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What an executing thread is to run."""
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        call = statement.action if node.kind is Step else statement.handler
        self._frames = thread.frames
        return call, self._arguments(thread, node, call, self._base)

    def complete(self, thread: Thread, result: Any, now: datetime) -> CheckpointType:
        """The action returned: its result goes where the step says, and the thread is past its position."""
        node = self.program.by_name[thread.position]
        if node.kind is Step:
            self.store(thread, node, self.values[node.index].into, result)
        thread.status = _Resuming
        thread.since = now
        return CheckpointType.afterStep if node.kind is Step else CheckpointType.afterCondition

    def store(self, thread: Thread, node: Node, into: Any, value: Any) -> None:
        """Put a value into the field, or hand it to the setter, that a statement names."""
        self._frames = thread.frames
        if into is None:
            return
        if isinstance(into, str):
            setattr(self.workflow, into, value)
        else:
            into(*self._arguments(thread, node, into, (*self._base, value)))

    def settle(self, now: datetime) -> bool:
        """Move threads until nothing moves by itself; whether anything moved. Raises with the state as it was."""
        state = self.state
        threads = state.threads
        before = threads.copy()
        self._now = now
        self._journal = []
        self._visited = None
        moved = again = False
        try:
            if not self._reconciled:
                moved = self._reconcile()
            while True:
                # The list grows while threads start threads: those move in the same pass.
                for thread in threads:
                    status = thread.status
                    if status is _Executing or status is _Ended:
                        continue
                    if status is _Resuming or self._wakes(thread):
                        again = True
                        if thread.status is _Resuming:
                            self._move(thread)
                        if state.status in OVER:
                            break
                if not again or state.status in OVER:
                    break
                moved, again = True, False
            self._reconciled = True
        except BaseException:
            state.threads = before
            roll_back(self._journal)
            raise
        if state.status in OVER:
            moved = True
        if moved:
            state.threads = [thread for thread in threads if thread.status is not _Ended or thread.events]
        return moved

    def checkpoint(self, now: datetime) -> None:
        """Bring what the outside reads (status, ``wake_at``, revision) up to date, before a save."""
        state = self.state
        runnable = outside = False
        earliest: datetime | None = None
        for thread in state.threads:
            status = thread.status
            if status is _Executing or status is _Resuming:
                runnable = True
                break
            due = [thread.due_at] if status is _WaitingTime else []
            for event in thread.events:
                if event.status in TO_DO_NOW:
                    outside = True
                due.append(event.due_at)
            for instant in due:
                if instant is not None and (earliest is None or instant < earliest):
                    earliest = instant
        if state.status not in OVER:
            state.status = WorkflowStatus.Resuming if runnable else WorkflowStatus.Waiting
        state.wake_at = now if runnable or outside else earliest
        state.revision += 1

    def _wakes(self, thread: Thread) -> bool:
        """Whether what a parked thread waits for has come by itself: an instant, or a condition."""
        status = thread.status
        if status is _WaitingEvent:
            timeout = self._due_timeout(thread)
            if timeout is None:
                return False
            keep(self._journal, thread)
            self._fire(thread, timeout)
            return True
        if status is _WaitingTime:
            if thread.due_at is None or thread.due_at > self._now:
                return False
        elif not self._holds(thread):
            return False
        keep(self._journal, thread)
        thread.due_at = None
        thread.since = self._now
        node = self.program.by_name[thread.position]
        if node.kind is WaitFor and self.values[node.index].handler is not None:
            thread.status = _Executing
            thread.ready = self.state.revision + 1
        else:
            thread.status = _Resuming
        return True

    def _due_timeout(self, thread: Thread) -> str | None:
        best: WaitEvent | None = None
        for event in thread.events:
            due = event.due_at
            if (
                due is not None
                and due <= self._now
                and event.request.pc == thread.pc
                and event.status is EventStatus.Setup
                and (best is None or best.due_at is None or due < best.due_at)
            ):
                best = event
        return None if best is None else best.name

    def _holds(self, thread: Thread) -> bool:
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        if node.kind is Join:
            return not any(other.name in statement.go_names and other.status is not _Ended for other in self.state.threads)
        self._frames = thread.frames
        return self._truth(thread, node, statement.cond)
