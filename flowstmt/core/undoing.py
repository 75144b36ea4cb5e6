"""What undoes completed steps: the records that they leave, and the compensations that take these back.

Theory: a step that can be undone leaves a record in ``state.undo`` when it completes: which step, what it returned, and which
sagas it stood in. Whoever fails for good, a Saga or the whole run, undoes its records, the newest first. Each is a stop of
its own (``step:compensate``), with attempts and checkpoints as any step has. A record is gone when its step is undone; one
that can't be undone stays, with the error, so that the run says what is left of it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from flowstmt.core.calls import annotation, parameters
from flowstmt.core.exits import CANCEL, interruptible
from flowstmt.core.nodes import Node
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    WAITING_CONDITION,
    ErrorInfo,
    Frame,
    State,
    Thread,
    birth_of,
)
from flowstmt.core.unwinding import Unwinding
from flowstmt.errors import PositionError, said

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Record", "Undoing", "records_to_undo", "sagas_of"]

Record: TypeAlias = dict[str, Any]
"""A completed step that can be undone: ``step``, ``thread``, ``birth``, ``pc``, ``result``, ``item``, ``sagas``, ``error``."""


def records_to_undo(state: State, saga: str | None = None) -> list[Record]:
    """What is to be undone, the newest first: of one saga, or of the whole run."""
    return [
        record for record in reversed(state.undo) if "error" not in record and (saga is None or saga in record.get("sagas", ()))
    ]


def sagas_of(thread: Thread, frames: list[Frame]) -> list[str]:
    """The sagas that a thread with these frames is inside of: those that it was started in, and its own."""
    return [*thread.sagas, *(frame.data["saga"] for frame in frames if frame.data is not None and "saga" in frame.data)]


class Undoing(Unwinding):
    """Records and compensations."""

    __slots__ = ()

    if TYPE_CHECKING:  # what a class above this one does

        def _finish(self, main: Thread, exit_: dict[str, Any]) -> None: ...
        def _cancel(self, thread: Thread, exit_: dict[str, Any], why: str) -> None: ...

    def _at_saga(self, thread: Thread, node: Node) -> Node:
        saga = birth_of(thread.birth, thread.pc, node.name)
        self._frames = [*self._frames, Frame(node.name, data={"saga": saga})]
        return node.entry

    # --- records ---

    def _record(self, thread: Thread, node: Node, result: Any) -> None:
        """Note that a step has completed which can be undone."""
        record: Record = {"step": node.name, "thread": thread.id, "birth": thread.birth, "pc": thread.pc}
        takes = self._compensation_takes(node)
        if takes > 0:
            record["result"] = self._plain(thread, node, "its result, which its compensate takes,", result)
        if takes > 1:
            self._frames = thread.frames
            record["item"] = self._plain(thread, node, "the item, which its compensate takes,", self._item(thread, node))
        sagas = sagas_of(thread, thread.frames) if node.in_saga else []
        if sagas:
            record["sagas"] = sagas
        self.state.undo = [*self.state.undo, record]

    def _compensation_takes(self, node: Node) -> int:
        """How many of result and item a compensation takes."""
        found = parameters(self.values[node.index].compensate)
        base = len(self._base)
        if node.item is not None and found.required == base + 2:
            return 2
        # One with a default is its own, as everywhere; one that takes whatever comes gets what there is.
        return int(found.required > base or found.most == sys.maxsize)

    # --- compensations ---

    def _undo(self, thread: Thread) -> Node | None:
        """Go on undoing for what the innermost frame is of; when all is done, outward."""
        frame = self._frames[-1]
        is_run = frame.statement == MAIN
        records = records_to_undo(self.state, None if is_run else frame.data["saga"])
        if records:
            self._park(thread, self._compensation(thread, records[0]), EXECUTING)
            return None
        if is_run:
            self._finish(thread, frame.exit)
            return None
        self._frames = self._frames[:-1]
        return self._unwind(thread, self.program.by_name[frame.statement], frame.exit)

    def _after_compensation(self, thread: Thread, node: Node) -> Node | None:
        return self._undo(thread)

    def _compensation(self, thread: Thread, record: Record) -> Node:
        node = self.program.by_name.get(f"{record['step']}:compensate")
        if node is None:
            raise PositionError(
                f"{self._where(thread)}: the step {record['step']!r} is to be undone, but the definition of "
                f"{self.program.workflow_name} has no compensate for it any more: bring it back, or give what took its place "
                f"was=({record['step']!r},)"
            )
        return node

    def _record_of(self, thread: Thread) -> Record:
        """What a thread at a compensation is undoing."""
        frame = thread.frames[-1]
        return records_to_undo(self.state, None if frame.statement == MAIN else frame.data["saga"])[0]

    def _compensation_call(self, thread: Thread, node: Node) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        call = self.values[node.index].compensate
        record = self._record_of(thread)
        base = len(self._base)
        takes = self._compensation_takes(node)
        names = parameters(call).names[base:]
        given = [
            self._given(thread, node, call, name, record.get(key)) for key, name in zip(("result", "item"), names, strict=False)
        ]
        return call, (*self._base, *given[:takes])

    def _given(self, thread: Thread, node: Node, call: Callable[..., Any], name: str, plain: Any) -> Any:
        """What was recorded, in the type that the compensation annotates."""
        try:
            return self._adapt.restore(plain, annotation(call, name))
        except Exception as error:
            raise self._failed(
                thread, node, f"what it recorded does not fit {name!r} of its compensate: {said(error)}"
            ) from error

    def _undone(self, thread: Thread) -> None:
        done = self._record_of(thread)
        self.state.undo = [record for record in self.state.undo if record is not done]

    def _not_undone(self, thread: Thread, error: ErrorInfo) -> None:
        """A compensation has failed for good: the others go on, and the run says what is left."""
        failed = self._record_of(thread)
        info = asdict(error)
        self.state.undo = [{**record, "error": info} if record is failed else record for record in self.state.undo]
        self._note("not undone", thread, f"{error.type}: {error.message}")

    # --- threads that were started inside of a Saga ---

    def _end_started_inside(self, thread: Thread, saga: Node) -> bool:
        """End the threads that a Saga has started; whether its thread has to wait for one of them."""
        frame = self._frames[-1]
        started = self._started_inside(frame)
        for each in interruptible(self.state.threads, self.program.by_name):
            if frame.data["saga"] in each.sagas:
                self._cancel(each, CANCEL, f"Saga {saga.name!r} failed")
        if all(each.status is ENDED for each in started):
            return False
        self._park(thread, saga, WAITING_CONDITION)
        return True

    def _started_inside(self, frame: Frame) -> list[Thread]:
        saga = frame.data["saga"]
        return [each for each in self.state.threads if each.status is not ENDED and saga in each.sagas]

    def _holds_saga(self, thread: Thread) -> bool:
        """Whether the threads that a failed Saga has started have ended."""
        return not self._started_inside(thread.frames[-1])
