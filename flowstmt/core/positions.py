"""Whether a state's threads stand where the definition has something for them.

Asked before anything runs: a definition that has changed since the run was saved must be told at once, and by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowstmt.core.nodes import STOPS
from flowstmt.core.program import Program
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    RESUMING,
    WAITING_CONDITION,
    WAITING_EVENT,
    WAITING_TIME,
    State,
    Thread,
    ThreadStatus,
)
from flowstmt.core.statements import Go, Join, Sleep, Statement, Step, Wait, WaitFor
from flowstmt.errors import PositionError

__all__ = ["check_positions"]

_MAY_STAND_AT: Mapping[ThreadStatus, frozenset[type[Statement]]] = {
    EXECUTING: frozenset((Step, WaitFor)),
    RESUMING: STOPS,
    WAITING_EVENT: frozenset((Wait,)),
    WAITING_CONDITION: frozenset((WaitFor, Join)),
    WAITING_TIME: frozenset((Sleep,)),
}


def check_positions(program: Program, state: State) -> None:
    """Refuse a state whose threads stand where the definition has nothing for them, before anything runs."""
    by_name = program.by_name
    for thread in state.threads:
        status = thread.status
        if status is ENDED:
            continue
        position = thread.position
        node = by_name.get(position or thread.name)
        if not position and status is RESUMING and not thread.frames:
            if thread.name == MAIN or (node is not None and node.kind is Go):
                continue
            raise _misplaced(program, state, thread, f"the definition has no Go {thread.name!r}")
        if node is None:
            raise _misplaced(program, state, thread, "the definition has no such statement")
        if node.kind not in _MAY_STAND_AT[status]:
            raise _misplaced(program, state, thread, f"a thread can't be {status} at {node.label}")
        if node.thread_name != thread.name:
            raise _misplaced(program, state, thread, f"{node.label} is in the thread of {node.thread_name!r} now")
        frames = tuple([frame.statement for frame in thread.frames])
        if frames != node.frames:
            raise _misplaced(
                program,
                state,
                thread,
                f"it is inside {_loops(frames)}, but {node.label} is inside {_loops(node.frames)}",
            )
        if status is RESUMING and node.kind is Wait and (thread.event or "") not in node.by_event:
            raise _misplaced(program, state, thread, f"{node.label} has no event {thread.event!r}, which fired")
        if status is EXECUTING and node.kind is WaitFor and program.values[node.index].handler is None:
            raise _misplaced(program, state, thread, f"{node.label} has no handler to execute")


def _misplaced(program: Program, state: State, thread: Thread, why: str) -> PositionError:
    return PositionError(
        f"run {state.run_id!r}, thread {thread.id!r}, position {thread.position!r}: {why}. Nothing was run. The definition "
        f"of {program.workflow_name} has changed since this run was saved: bring the statement back, or move the run"
    )


def _loops(frames: tuple[str, ...]) -> str:
    return " in ".join(f"ForEach {name!r}" for name in reversed(frames)) or "no ForEach"
