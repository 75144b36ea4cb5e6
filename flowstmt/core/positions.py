"""Whether a state's threads stand where the definition has something for them.

Asked before anything runs: a definition that has changed since the run was saved must be told at once, and by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from flowstmt.core.exits import pending_exit
from flowstmt.core.fanout import Map, Parallel
from flowstmt.core.nodes import EVENTS, FANOUT, STARTERS, STOPS, WAITS, Compensation, Node, RunEnd
from flowstmt.core.open_waits import holds
from flowstmt.core.program import Program
from flowstmt.core.recovery import Saga, Try
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    RESUMING,
    WAITING_CONDITION,
    WAITING_EVENT,
    WAITING_TIME,
    Frame,
    State,
    Thread,
    ThreadStatus,
)
from flowstmt.core.statements import For, ForEach, Join, Sleep, Statement, Step, Wait, WaitFor
from flowstmt.errors import PositionError, StateError

__all__ = ["check_positions"]

_MAY_STAND_AT: Mapping[ThreadStatus, frozenset[type[Statement[Any, Any, Any]]]] = {
    EXECUTING: frozenset((Step, WaitFor, Compensation)),
    RESUMING: frozenset((*STOPS, Compensation, RunEnd, Saga)),
    WAITING_EVENT: WAITS,
    WAITING_CONDITION: frozenset((WaitFor, Join, Parallel, Map, RunEnd, Saga)),
    WAITING_TIME: frozenset((Sleep, Step, WaitFor, Compensation)),
}

_PARKED_BY: Mapping[type[Statement[Any, Any, Any]], ThreadStatus] = {
    Step: EXECUTING,
    Wait: WAITING_EVENT,
    Join: WAITING_CONDITION,
    WaitFor: WAITING_CONDITION,
    Sleep: WAITING_TIME,
}
"""What a thread is that has been parked by a statement."""

_KEPT: Mapping[type[Statement[Any, Any, Any]], str] = {Saga: "saga", Parallel: "count", Map: "count"}
"""A key of what a statement keeps in its frame, by which that is known (``state_json.py`` has seen the others)."""


def check_positions(program: Program, values: list[Any], state: State) -> None:
    """Refuse a state whose threads stand where the definition has nothing for them, before anything runs."""
    by_name = program.by_name
    has_main = False
    for thread in state.threads:
        status = thread.status
        if status is ENDED:
            continue
        node = by_name.get(thread.position)
        if node is None and thread.id == thread.name == MAIN and status is RESUMING and not (thread.position or thread.frames):
            has_main = True  # it has not begun
            continue
        if (
            node is not None
            and (
                (status is _PARKED_BY.get(node.kind) and thread.event is None)
                or (status is RESUMING and node.kind is Wait and thread.event in node.by_event)
            )
            and thread.name == node.thread_name
            and not (thread.frames or node.frames)
            and (thread.id == MAIN) is (node.go is None)
            and (status is not WAITING_TIME or thread.due_at is not None)
        ):
            # The usual case, said quickly: thousands of parked threads are looked at by every resume.
            has_main = has_main or node.go is None
            continue
        has_main = has_main or thread.name == MAIN
        _check_thread(program, values, state, thread)
    if not has_main:
        raise StateError(
            f"run {state.run_id!r} is {state.status}, but has no thread 'main': make states with State.new(run_id, workflow)"
        )


def _check_thread(program: Program, values: list[Any], state: State, thread: Thread) -> None:
    """The same for one thread that is not where most are."""
    status = thread.status
    if (thread.id == MAIN) is not (thread.name == MAIN):
        raise _broken(state, thread, f"its id and its name {thread.name!r} must both be 'main' or neither")
    position = thread.position
    node = program.by_name.get(position or ("" if thread.name == MAIN else thread.name))
    exit_ = pending_exit(thread)
    if not position and status is RESUMING and (not thread.frames or exit_ is not None):
        if thread.name == MAIN or (node is not None and node.kind in STARTERS):
            return
        raise _misplaced(program, state, thread, f"the definition has no Go {thread.name!r}")
    if node is None:
        raise _misplaced(program, state, thread, "the definition has no such statement")
    retries = status is WAITING_TIME and node.kind is not Sleep
    if node.kind not in _MAY_STAND_AT[status] or (retries and thread.attempt == 1):
        raise _misplaced(program, state, thread, f"a thread can't be {status} at {node.label}")
    frames = tuple([frame.statement for frame in thread.frames])
    name = _thread_name(node, frames)
    if name != thread.name:
        raise _misplaced(program, state, thread, f"{node.label} is in the thread of {name!r} now")
    if (exit_ is not None or (thread.event is not None and frames[-1:] == (position,))) and frames != _expected(node, frames):
        frames = frames[:-1]  # the mark of a thread that is told to end, or what a case that stays will run in
    if frames != _expected(node, frames):
        raise _misplaced(
            program,
            state,
            thread,
            f"it is inside {_inside(program, frames)}, but {node.label} is inside {_inside(program, node.frames)}",
        )
    if status is RESUMING and node.kind in WAITS and exit_ is None and (thread.event or "") not in node.by_event:
        raise _misplaced(program, state, thread, f"{node.label} has no event {thread.event!r}, which fired")
    _check_frames(program, state, thread)
    if thread.event is not None and (status is not RESUMING or node.kind not in WAITS):
        raise _broken(state, thread, f"the event {thread.event!r} has fired, but it is {status} at {node.label}")
    if status is WAITING_TIME and thread.due_at is None:
        raise _broken(state, thread, "it waits for an instant, but has no due_at")
    if status is EXECUTING and node.kind is WaitFor and values[node.index].handler is None:
        raise _misplaced(program, state, thread, f"{node.label} has no handler to execute")


def _check_frames(program: Program, state: State, thread: Thread) -> None:
    """Whether the frames of a thread hold what their statements keep there, and know the events that were taken."""
    for frame in thread.frames:
        node = program.by_name[frame.statement]
        if not _holds(node, frame):
            why = f"its frame of {node.label} does not hold what that keeps there"
            # What was a Try may be a Saga now: that comes of the definition.
            raise _broken(state, thread, why) if node.kind in WAITS else _misplaced(program, state, thread, why)
        if node.kind not in WAITS or frame.data is None:
            continue
        for name in frame.data.get("then", ()):
            if name not in node.by_event:
                raise _misplaced(program, state, thread, f"{node.label} has no event {name!r}, which was taken")


def _holds(node: Node, frame: Frame) -> bool:
    if node.kind in WAITS:
        return holds(node, frame.data) or (frame.data is None and frame.exit is not None)
    wanted = _KEPT.get(node.kind)
    return wanted is None or wanted in (frame.data or ())


def _expected(node: Node, frames: tuple[str, ...]) -> tuple[str, ...]:
    """The frames of a thread at a node."""
    if node.kind is RunEnd:
        return (MAIN,)
    if node.kind is Saga:
        return node.inside
    if node.kind is not Compensation:
        return node.frames
    return frames if _undoing_saga(node, frames) is not None or frames == (MAIN,) else node.frames


def _thread_name(node: Node, frames: tuple[str, ...]) -> str:
    """The name of the thread that stands at a node."""
    if node.kind is not Compensation:
        return node.thread_name
    # What another thread has done is undone by that of the Saga around, or by main.
    saga = _undoing_saga(node, frames)
    return MAIN if frames == (MAIN,) else node.thread_name if saga is None else saga.thread_name


def _undoing_saga(node: Node, frames: tuple[str, ...]) -> Node | None:
    """The Saga around a step from the end of which its compensation is called."""
    around = node.parent
    while around is not None and not (around.kind is Saga and around.inside == frames):
        around = around.parent
    return around


def _misplaced(program: Program, state: State, thread: Thread, why: str) -> PositionError:
    return PositionError(
        f"run {state.run_id!r}, thread {thread.id!r}, position {thread.position!r}: {why}. Nothing was run. The definition "
        f"of {program.workflow_name} has changed since this run was saved: bring the statement back, "
        f"{_renaming(program, thread)}or move the thread in its snapshot"
    )


def _renaming(program: Program, thread: Thread) -> str:
    """The advice to say what a lost statement is called now, with a name that looks like it."""
    wanted: list[tuple[str, frozenset[type[Statement[Any, Any, Any]]]]] = [
        (thread.position, STOPS),
        (thread.name, STARTERS),
    ]
    wanted += [(frame.statement, frozenset((ForEach, For, Try, Saga, *WAITS, *FANOUT))) for frame in thread.frames]
    names = {name: node.kind for name, node in program.by_name.items()}
    lost = next(((name, kinds) for name, kinds in wanted if name not in ("", MAIN, *names)), None)
    if lost is None:
        wait = program.by_name.get(thread.position)
        if thread.event is None or wait is None or wait.kind not in WAITS or thread.event in wait.by_event:
            return ""
        lost, names = (thread.event, EVENTS), {name: node.kind for name, node in wait.by_event.items()}
    old, kinds = lost
    close = get_close_matches(old, [name for name, kind in names.items() if kind in kinds], 1)
    if "/" in "".join((old, *close)):
        old = f"/{old}"  # from the outermost scope: that is right wherever the statement stands now
    which = f" ({names[close[0]].__name__} {close[0]!r}?)" if close else ""
    return f"or give what took the place of {lost[0]!r}{which} was=({old!r},), "


def _broken(state: State, thread: Thread, why: str) -> StateError:
    return StateError(
        f"run {state.run_id!r}, thread {thread.id!r}: {why}. Nothing was run, and no run gets there by itself: undo what "
        "changed its state"
    )


def _inside(program: Program, frames: tuple[str, ...]) -> str:
    nodes = [(name, program.by_name.get(name)) for name in reversed(frames)]
    return " in ".join(repr(name) if node is None else node.label for name, node in nodes) or "nothing"
