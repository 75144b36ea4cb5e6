"""Which thread, and which event of its Wait, a callback is for; or why there is none.

The order of the checks is part of the contract: the run, the event's name, the stop that the request pins, and only then
whether anybody waits. So whoever calls twice learns that the first call was taken, not that nobody waits.

The world outside may still know an event or a thread by its old name (``was=``): both are taken. Messages show present names.
"""

from __future__ import annotations

from copy import copy

from flowstmt.core.children import CHILD_ENDED, Call
from flowstmt.core.events import open_event
from flowstmt.core.nodes import Node
from flowstmt.core.open_waits import open_waits
from flowstmt.core.program import Program
from flowstmt.core.renames import Renames
from flowstmt.core.state import EXECUTING, OVER, RESUMING, RUN_PAUSED, WAITING_EVENT, CallbackRequest, State, Thread
from flowstmt.core.statements import On
from flowstmt.core.waits import Every, When
from flowstmt.errors import (
    AmbiguousCallbackError,
    CallbackError,
    NotWaitingError,
    PausedError,
    StaleCallbackError,
    UnknownEventError,
    WorkflowFinishedError,
    did_you_mean,
    listed,
    quoted,
)

__all__ = ["accept", "stop_of"]

_CLOSED = OVER | {RUN_PAUSED}
"""The statuses of a run that takes no callbacks."""


def accept(program: Program, state: State, request: CallbackRequest) -> tuple[Thread, Node]:
    """The thread that a request is for and the node of its event. Changes nothing; raises a ``CallbackError``."""
    _check_request(state, request)
    if program.renames is not None:
        request = _with_present_id(program.renames, request)
    known = request.name in program.events or request.name == CHILD_ENDED.name
    if state.status not in _CLOSED and (known or program.renames is not None):
        waiting = _meant(program, state, request)
        if len(waiting) == 1:
            return waiting[0]
    raise _refusal(program, state, request)


def _meant(program: Program, state: State, request: CallbackRequest) -> list[tuple[Thread, Node]]:
    """The threads that wait for the event, at the stop that the request pins."""
    found = []
    by_name = program.by_name
    for thread in _named(state, request):
        if thread.frames:
            # Of two Waits of one thread that have the event the inner one is meant, unless the request says another stop.
            nodes = (program.event(wait, request.name) for wait in open_waits(by_name, thread))
            node = next((each for each in nodes if _is_meant(thread, each, request)), None)
            if node is not None:
                found.append((thread, node))
        elif thread.status is WAITING_EVENT:  # what is mostly found, without a generator for each of thousands
            node = program.event(by_name[thread.position], request.name)
            if node is not None and _is_meant(thread, node, request):
                found.append((thread, node))
    return found


def _is_meant(thread: Thread, node: Node | None, request: CallbackRequest) -> bool:
    """Whether a case of a Wait is an event that callbacks fire, at the stop that the request pins."""
    if node is None or node.kind is not On:
        return False
    if request.pc is None:
        return request.name != CHILD_ENDED.name  # who tells of the end of a child knows for which stop
    return request.pc in _stops(thread, node)


def _named(state: State, request: CallbackRequest) -> list[Thread]:
    """The threads that a request may be for."""
    if request.thread_id is None and request.birth is None:
        return state.threads
    return [
        thread for thread in state.threads if request.thread_id in (None, thread.id) and request.birth in (None, thread.birth)
    ]


def stop_of(thread: Thread, node: Node) -> int:
    """The stop by which the event of a Wait is known outside: that at which it was reached, however often it came back."""
    event = open_event(thread, node)
    return thread.pc if event is None or event.request.pc is None else event.request.pc


def _stops(thread: Thread, node: Node) -> tuple[int, ...]:
    """All stops that mean the event of a Wait: that of its request, and the present one of a thread that stands there."""
    at_wait = node.parent is not None and thread.position == node.parent.name
    return (stop_of(thread, node), thread.pc) if at_wait else (stop_of(thread, node),)


def _refusal(program: Program, state: State, request: CallbackRequest) -> CallbackError:
    run, name = f"run {state.run_id!r}", quoted(request.name)
    if state.status in OVER:
        return WorkflowFinishedError(f"{run}: event {name} refused: the run is {state.status} and takes no more callbacks")
    if state.status is RUN_PAUSED:
        return PausedError(
            f"{run}: event {name} refused: the run is paused, and takes no callbacks. Hand it in once more when it has been "
            "unpaused"
        )
    if request.name == CHILD_ENDED.name and request.pc is not None:
        return StaleCallbackError(
            f"{run}: the end of a child run came for pc {request.pc}, where nobody waits for one now: it was taken before, or "
            "its thread has gone on"
        )
    nodes = program.events.get(request.name, [])
    if not nodes:
        nodes = _once_called(program, request.name)
        if nodes:
            name = f"{' or '.join(dict.fromkeys(repr(node.name) for node in nodes))} (once {name})"
    if not nodes:
        known = [known for known, nodes in program.events.items() if nodes[0].kind is On]
        has = listed([repr(event) for event in known]) or "none"
        meant = did_you_mean(request.name, known)
        return UnknownEventError(f"{run}: {program.workflow_name} has no event {name}; it has {has}{meant}")
    if not any(node.kind is On for node in nodes):
        by = "its condition" if nodes[0].kind is When else "time"
        return UnknownEventError(
            f"{run}: {name} is {'an' if nodes[0].kind is Every else 'a'} {nodes[0].kind.__name__}: {by} fires it, callbacks "
            f"can't. {_open_events(program, state)}"
        )
    waiting = _meant(program, state, request)
    if waiting:
        threads = listed([f"{thread.id!r} (pc {stop_of(thread, node)})" for thread, node in waiting])
        return AmbiguousCallbackError(f"{run}: event {name} is waited for by the threads {threads}: name one as thread_id")
    pins = ", ".join(
        f"{key} {quoted(value)}" for key, value in (("birth", request.birth), ("pc", request.pc)) if value is not None
    )
    if pins and not _anybody_at(program, state, request):
        return StaleCallbackError(
            f"{run}: event {name} with {pins} is stale: nobody waits at that stop now. {_open_events(program, state)}"
        )
    return NotWaitingError(
        f"{run}: nobody waits for event {name}{_instead(state, request, nodes)}. {_open_events(program, state)}"
    )


def _with_present_id(renames: Renames, request: CallbackRequest) -> CallbackRequest:
    present = None if request.thread_id is None else renames.thread_id(request.thread_id)
    if present is None:
        return request
    found = copy(request)
    found.thread_id = present
    return found


def _once_called(program: Program, name: str) -> list[Node]:
    """The events that had this name before."""
    if program.renames is None:
        return []
    return [program.by_name[wait].by_event[olds[name]] for wait, olds in program.renames.events.items() if name in olds]


def _anybody_at(program: Program, state: State, request: CallbackRequest) -> bool:
    """Whether a thread waits at the stop that the request pins, for whatever event."""
    return any(
        request.pc is None or any(request.pc in _stops(thread, node) for node in wait.children)
        for thread in _named(state, request)
        for wait in open_waits(program.by_name, thread)
    )


def _check_request(state: State, request: CallbackRequest) -> None:
    if not isinstance(request.name, str):
        raise CallbackError(f"run {state.run_id!r}: the request's name must be a text, not {quoted(request.name)}")
    for key, value in (("thread_id", request.thread_id), ("birth", request.birth), ("run_id", request.run_id)):
        if value is not None and not isinstance(value, str):
            raise CallbackError(f"run {state.run_id!r}: the request's {key} must be a text, not {quoted(value)}")
    if request.pc is not None and (not isinstance(request.pc, int) or isinstance(request.pc, bool)):
        raise CallbackError(f"run {state.run_id!r}: the request's pc must be a whole number, not {quoted(request.pc)}")
    if request.run_id is not None and request.run_id != state.run_id:
        raise CallbackError(f"run {state.run_id!r}: the request is for the run {quoted(request.run_id)}: hand it in there")


def _instead(state: State, request: CallbackRequest, nodes: list[Node]) -> str:
    """What the threads that might have been meant do now."""
    meant = [thread for thread in state.threads if request.thread_id in (None, thread.id)]
    if not meant:
        return f": no thread {quoted(request.thread_id)} lives"
    able = dict.fromkeys(node.thread_name for node in nodes)
    if request.thread_id is None:
        meant = [thread for thread in meant if thread.name in able]
        if not meant:
            return f": no thread {' or '.join(repr(name) for name in able)} lives"
    thread = meant[0]
    doing = "is about to start" if not thread.position else f"is {thread.status} at {thread.position!r}"
    first = ": resume the run first" if thread.status in (RESUMING, EXECUTING) else ""
    return f": thread {thread.id!r} {doing}{first}"


def _open_events(program: Program, state: State) -> str:
    taken = [
        f"{node.name!r} (thread {thread.id!r}, pc {stop_of(thread, node)})"
        for thread in state.threads
        for wait in open_waits(program.by_name, thread)
        for node in wait.children
        if node.kind is On and wait.kind is not Call
    ]
    return f"It would take: {listed(taken)}" if taken else "It would take no event now"
