"""What cancelling a run now would undo, and in which order: asked before it is done.

Theory: the machine undoes for a Saga when its thread leaves it, and for the run when all other threads have ended. So what
belongs to sagas that threads are in comes first, each thread's innermost saga first, and what is left comes last; within
each of these the newest record first. Threads take turns, a parent after those that it waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowstmt.core.machine import Machine
from flowstmt.core.state import ENDED, MAIN, OVER, State, Thread
from flowstmt.core.statements import Go
from flowstmt.core.undoing import Record, records_to_undo
from flowstmt.errors import PositionError
from flowstmt.run import Run

__all__ = ["UndoStep", "compensation_plan"]


@dataclass(frozen=True, slots=True)
class UndoStep:
    """A completed step that would be undone.

    Attributes:
        step: Its name.
        thread_id: The thread that did it; it may have ended since.
        result: What its action returned, as plain JSON values, where its ``compensate`` takes that.
        item: Its item, as plain JSON values, where its ``compensate`` takes that, too.
    """

    step: str
    thread_id: str
    result: Any = None
    item: Any = None


def compensation_plan(workflow: Any, state: State) -> list[UndoStep]:
    """What ``cancel`` would undo if it were called now, in that order, without doing it; sagas included.

    Steps whose undoing has failed for good are left out: they are not tried again, and ``state.undo`` has them. Where a
    ``finally_`` has something to do as well, steps of different threads may change places. Of a run that is over nothing
    will be undone. Changes nothing. Raises ``StateError`` and ``PositionError`` as ``resume`` does, and a ``PositionError`` for
    a step that the definition has no ``compensate`` for any more.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, S, State, Step, Wait, resume
    >>> @dataclass
    ... class Trip:
    ...     def definition(self):
    ...         return S(Step("flight", lambda: "LH1", compensate=lambda code: None), Wait("approval", On("approve")))
    >>> trip, state = Trip(), State.new("r1", "Trip")
    >>> resume(trip, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> compensation_plan(trip, state)
    [UndoStep(step='flight', thread_id='main', result='LH1', item=None)]
    """
    run = Run(workflow, state, None, None, None)
    if state.status in OVER:
        return []
    machine = run.machine
    machine.begin()
    try:
        for record in records_to_undo(state):
            if machine.program.by_name.get(f"{record['step']}:compensate") is None:
                raise PositionError(
                    f"run {state.run_id!r}: the step {record['step']!r} could not be undone: the definition of "
                    f"{machine.program.workflow_name} has no compensate for it any more. Bring it back"
                )
        return [
            UndoStep(record["step"], record["thread"], record.get("result"), record.get("item"))
            for record in _in_order(machine, state)
        ]
    finally:
        machine.take_back_begin()


def _in_order(machine: Machine, state: State) -> Iterator[Record]:
    left = records_to_undo(state)
    todo: dict[str, list[Record]] = {}
    threads = [thread for thread in state.threads if thread.status is not ENDED]
    taken: set[int] = set()
    for thread in sorted(threads, key=lambda each: -_depth(each, threads)):
        for frame in reversed(thread.frames):
            saga = (frame.data or {}).get("saga")
            records = [record for record in left if saga in record.get("sagas", ()) and id(record) not in taken]
            taken |= set(map(id, records))
            todo.setdefault(thread.id, []).extend(records)
    while any(todo.values()):
        turn = [
            thread
            for thread in threads
            if todo.get(thread.id) and not any(todo.get(each.id) for each in _waited_for(machine, thread, threads))
        ]
        for thread in turn:
            yield todo[thread.id].pop(0)
    yield from (record for record in left if id(record) not in taken)


def _parent(thread: Thread, threads: list[Thread]) -> Thread | None:
    return next((each for each in threads if each.id == thread.parent), None)


def _depth(thread: Thread, threads: list[Thread]) -> int:
    parent = _parent(thread, threads)
    return 0 if parent is None else 1 + _depth(parent, threads)


def _waited_for(machine: Machine, thread: Thread, threads: list[Thread]) -> Iterator[Thread]:
    """The threads that a thread lets end before it undoes anything: its branches, and those that its sagas have started."""
    by_name = machine.program.by_name
    for each in threads:
        if each.parent == thread.id and each.name != MAIN and (by_name[each.name].kind is not Go or by_name[each.name].in_saga):
            yield each
            yield from _waited_for(machine, each, threads)
