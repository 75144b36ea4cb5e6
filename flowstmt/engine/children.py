"""Child runs: how a ``Call`` starts and cancels them, and how their end gets to the run that waits for it.

Rules:

1. A child is started by the write that saves that it was set up, and cancelled by a message in the write that saves that
   it was torn down. Its end is a signal to its parent, in the write that saves that it is over. So nothing is said twice or
   never, whatever dies in between: what is done again has the same ids, and changes nothing.
2. Which run waits for it, and at which stop, is read off the child's id. A run that somebody has given such an id without
   there being a ``Call`` tells its end to nobody, or to a stop that has passed.
3. A child that is deleted tells nobody anything. So one that is not over stays as long as its parent waits for it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from flowstmt.core.children import CHILD_ENDED, child_run_id, parent_of
from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.program import program_for
from flowstmt.core.state import CallbackRequest, State
from flowstmt.current import Current
from flowstmt.engine.catalogue import Catalogue
from flowstmt.engine.messages import ControlBody, EventBody
from flowstmt.engine.runs import digest_of
from flowstmt.snapshot import dump
from flowstmt.stores.protocol import Message, MessageKind, NewRun

__all__ = ["cancellation", "child_run", "end_of", "waits_for"]


def child_run(catalogue: Catalogue, current: Current) -> NewRun:
    """The run that a ``Call`` starts. Raises ``DefinitionError`` or ``StateError`` if it could not be moved."""
    workflow = current.child
    name = catalogue.name_of(type(workflow))
    state = State.new(current.child_run_id, name)
    program_for(workflow, state.run_id)
    snapshot = dump(workflow, state)
    return NewRun(state.run_id, name, catalogue.known()[name], snapshot, digest_of(snapshot), parent=current.run_id)


def cancellation(current: Current) -> Message:
    """To a child for which nobody waits any more."""
    body = ControlBody("cancel", {"reason": f"the run {current.run_id!r} does not wait for it any more"})
    return Message(f"{current.child_run_id}/cancel", current.child_run_id, MessageKind.control, body.write())


def end_of(state: State) -> Message | None:
    """To the parent of a run that is over, if it has one."""
    parent = parent_of(state.run_id)
    if parent is None:
        return None
    run_id, birth, pc = parent
    error = None if state.error is None else asdict(state.error)
    payload: dict[str, Any] = {"status": state.status.value, "result": state.result, "error": error}
    body = EventBody(CallbackRequest(CHILD_ENDED.name, pc=pc, birth=birth, run_id=run_id), orjson.dumps(payload))
    return Message(f"{state.run_id}/ended", run_id, MessageKind.signal, body.write())


def waits_for(snapshot: bytes, child: str) -> bool:
    """Whether a run waits for the end of this child; not if nobody can read its snapshot, for then it can't go on either."""
    try:
        state = orjson.loads(snapshot)["state"]
        events = [event for thread in state["threads"] for event in thread.get("events", ())]
        return any(
            event["name"] == CHILD_ENDED.name
            and event["status"] not in NEEDS_TEARDOWN
            and child_run_id(state["run_id"], event["request"]["birth"], event["request"]["pc"]) == child
            for event in events
        )
    except (ValueError, KeyError, TypeError):
        return False
