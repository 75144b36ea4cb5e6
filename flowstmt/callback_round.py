"""A callback: taken, or refused with everything as it was. The rules, without anybody who calls or awaits (``rounds.py``)."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeAlias

from flowstmt.backup import Backup
from flowstmt.core.approvals import Approval
from flowstmt.core.callbacks import accept
from flowstmt.core.children import Call
from flowstmt.core.events import open_event
from flowstmt.core.nodes import Node
from flowstmt.core.state import OVER, CallbackRequest, State, Thread, WaitEvent
from flowstmt.core.statements import Event
from flowstmt.current import Ask
from flowstmt.errors import CallbackError, a_kind_of
from flowstmt.handlers import LEFT_OUT, kept_payload, taken_payload
from flowstmt.run import Asks, Run

__all__ = ["Request", "callback_round"]

Request: TypeAlias = CallbackRequest | Event[Any, Any] | str


def callback_round(run: Run, request: Request, payload: Any) -> Asks:
    """Take a callback, or refuse it with everything as it was; returns what its handler returned. Saving is the caller's."""
    machine, state, workflow = run.machine, run.state, run.workflow
    wanted = _request(request, state)
    if state.status not in OVER:
        machine.begin()
    try:
        thread, node = accept(run.program, state, wanted)
        on = machine.values[node.index]
        given, kept = taken_payload(payload, on, workflow, int(run.program.class_style), state.run_id)
        backup = Backup(workflow, thread)
    except BaseException:
        machine.take_back_begin()
        raise
    output = None
    run.kind = "handler"
    run.thread = thread
    run.event = _event(run, thread, node)
    around = None if node.parent is None else node.parent.kind
    is_answer = around is Approval
    try:
        if is_answer:
            machine.check_answer(thread, node, kept)
        if on.into is not None and kept is not LEFT_OUT:
            machine.store(thread, node, on.into, kept_payload(kept, on, workflow, state.run_id))
        if on.handler is not None:
            output = yield _handler_call(run, run.event, thread, node, given, payload)
    except BaseException:
        backup.put_back()
        machine.take_back_begin()
        raise
    now = run.clock()
    machine.turn = None
    if is_answer:
        output = machine.answer(thread, node, kept, now)
    elif around is Call:
        machine.child_ended(thread, node, kept, now)
    else:
        machine.take(thread, node, now)
    if on.handler is None and on.into is None:
        machine.checkpoint(now)
    else:
        machine.checkpoint_from_outside(now)
    return output


def _event(run: Run, thread: Thread, node: Node) -> WaitEvent:
    found = open_event(thread, node)
    if found is not None:
        return found
    # The Wait has gained the event since it was reached: nothing was set up for it.
    assert node.parent is not None  # an event stands in its Wait
    request = CallbackRequest(node.name, thread.id, thread.pc, thread.birth, run.state.run_id)
    return WaitEvent(node.name, node.parent.name, request=request)


def _handler_call(run: Run, event: WaitEvent, thread: Thread, node: Node, given: tuple[Any, ...], payload: Any) -> Ask:
    machine = run.machine
    handler = machine.values[node.index].handler
    if callable(handler):
        return handler, machine.arguments(thread, node, handler, given)
    return handler.handle, (copy(event.request), payload)


def _request(request: Request, state: State) -> CallbackRequest:
    if isinstance(request, CallbackRequest):
        return request
    if isinstance(request, Event):
        return CallbackRequest(request.name)
    if isinstance(request, str):
        return CallbackRequest(request)
    raise CallbackError(
        f"run {state.run_id!r}: expected a CallbackRequest, an Event or the name of an event, not {a_kind_of(request)}: "
        "handle_callback takes it first, the payload last"
    )
