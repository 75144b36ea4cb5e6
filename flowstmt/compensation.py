"""What cancelling a run now would undo, and in which order: asked before it is done.

Theory: the machine undoes for a Saga when its thread leaves it, and for the run when all other threads have ended. So what
belongs to sagas that threads are in comes first, each thread's innermost saga first, and what is left comes last; within
each of these the newest record first. Threads take turns, a parent after those that it waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowstmt.core.machine import Machine
from flowstmt.core.state import ENDED, OVER, State, Thread
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
    threads = {thread.id: thread for thread in state.threads if thread.status is not ENDED}
    in_sagas = [thread for thread in threads.values() if any((frame.data or {}).get("saga") for frame in thread.frames)]
    taken: set[int] = set()
    todo: dict[str, deque[Record]] = {}
    for thread in sorted(in_sagas, key=lambda each: -len(_ancestors(each, threads))):
        own = todo[thread.id] = deque()
        for frame in reversed(thread.frames):
            saga = (frame.data or {}).get("saga")
            own.extend(record for record in left if saga in record.get("sagas", ()) and id(record) not in taken)
            taken.update(map(id, own))
    waits_for = {thread.id: [each.id for each in in_sagas if _awaits(machine, thread, each, threads)] for thread in in_sagas}
    while any(todo.values()):
        # In start order, as they take turns.
        for own in [
            todo[each] for each, others in waits_for.items() if todo[each] and not any(todo[other] for other in others)
        ]:
            yield own.popleft()
    yield from (record for record in left if id(record) not in taken)


def _ancestors(thread: Thread, threads: Mapping[str, Thread]) -> list[Thread]:
    """The live threads by way of which a thread was started, itself first."""
    found = [thread]
    while (parent := threads.get(found[-1].parent or "")) is not None:
        found.append(parent)
    return found


def _awaits(machine: Machine, thread: Thread, other: Thread, threads: Mapping[str, Thread]) -> bool:
    """Whether a thread lets another one end before it undoes anything: one of its branches, or started inside of its Saga."""
    if thread is other:
        return False
    if not {(frame.data or {}).get("saga") for frame in thread.frames}.isdisjoint(other.sagas):
        return True
    way = _ancestors(other, threads)
    return thread in way and all(machine.program.by_name[each.name].kind is not Go for each in way[: way.index(thread)])
