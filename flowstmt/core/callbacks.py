"""Which thread, and which event of its Wait, a callback is for; or why there is none.

The order of the checks is part of the contract: the run, the event's name, the stop that the request pins, and only then
whether anybody waits. So whoever calls twice learns that the first call was taken, not that nobody waits.
"""

from __future__ import annotations

from flowstmt.core.nodes import Node
from flowstmt.core.program import Program
from flowstmt.core.state import OVER, CallbackRequest, State, Thread, ThreadStatus
from flowstmt.core.statements import On
from flowstmt.errors import (
    AmbiguousCallbackError,
    CallbackError,
    NotWaitingError,
    StaleCallbackError,
    UnknownEventError,
    WorkflowFinishedError,
)

__all__ = ["accept"]


def accept(program: Program, state: State, request: CallbackRequest) -> tuple[Thread, Node]:
    """The thread that a request is for and the node of its event. Changes nothing; raises a ``CallbackError``."""
    _check_request(state, request)
    run, name = f"run {state.run_id!r}", request.name
    if state.status in OVER:
        raise WorkflowFinishedError(f"{run}: event {name!r} refused: the run is {state.status} and takes no more callbacks")
    nodes = program.events.get(name, [])
    if not nodes:
        known = ", ".join(repr(known) for known, nodes in program.events.items() if nodes[0].kind is On) or "none"
        raise UnknownEventError(f"{run}: {program.workflow_name} has no event {name!r}; it has {known}")
    if not any(node.kind is On for node in nodes):
        raise UnknownEventError(f"{run}: {name!r} is a Timeout: time fires it, callbacks can't. {_open_events(program, state)}")
    waiting = _waiting(program, state, name)
    if request.thread_id is not None:
        waiting = [found for found in waiting if found[0].id == request.thread_id]
    pinned = request.pc is not None or request.birth is not None
    if pinned:
        waiting = [
            (thread, node)
            for thread, node in waiting
            if request.pc in (None, thread.pc) and request.birth in (None, thread.birth)
        ]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        threads = ", ".join(f"{thread.id!r} (pc {thread.pc})" for thread, _ in waiting)
        raise AmbiguousCallbackError(f"{run}: event {name!r} is waited for by the threads {threads}: name one as thread_id")
    if pinned:
        pins = ", ".join(
            f"{key} {value!r}" for key, value in (("birth", request.birth), ("pc", request.pc)) if value is not None
        )
        raise StaleCallbackError(
            f"{run}: event {name!r} with {pins} is stale: nobody waits at that stop now. {_open_events(program, state)}"
        )
    raise NotWaitingError(f"{run}: nobody waits for event {name!r}{_instead(state, request)}. {_open_events(program, state)}")


def _check_request(state: State, request: CallbackRequest) -> None:
    texts = (
        ("name", request.name),
        ("thread_id", request.thread_id),
        ("birth", request.birth),
        ("run_id", request.run_id),
    )
    for key, value in texts:
        if not isinstance(value, str) and (value is not None or key == "name"):
            raise CallbackError(f"run {state.run_id!r}: the request's {key} must be a text, not {value!r}")
    if request.pc is not None and (not isinstance(request.pc, int) or isinstance(request.pc, bool)):
        raise CallbackError(f"run {state.run_id!r}: the request's pc must be a whole number, not {request.pc!r}")
    if request.run_id is not None and request.run_id != state.run_id:
        raise CallbackError(f"run {state.run_id!r}: the request is for the run {request.run_id!r}")


def _waiting(program: Program, state: State, name: str | None = None) -> list[tuple[Thread, Node]]:
    return [
        (thread, node)
        for thread in state.threads
        if thread.status is ThreadStatus.WaitingEvent
        for node in program.by_name[thread.position].children
        if node.kind is On and name in (None, node.name)
    ]


def _instead(state: State, request: CallbackRequest) -> str:
    """What the threads that might have been meant do now."""
    meant = [thread for thread in state.threads if request.thread_id in (None, thread.id)]
    if not meant:
        return f": no thread {request.thread_id!r} lives"
    thread = meant[0]
    doing = "is about to start" if not thread.position else f"is {thread.status} at {thread.position!r}"
    return f": thread {thread.id!r} {doing}"


def _open_events(program: Program, state: State) -> str:
    taken = [f"{node.name!r} (thread {thread.id!r}, pc {thread.pc})" for thread, node in _waiting(program, state)]
    return f"It would take: {', '.join(taken[:20])}" if taken else "It would take no event now"
