"""Where a thread of a run may be moved from outside, and what it takes along.

Theory: a thread stands at a stop with a frame for each ForEach, Try ... around it. What it is moved to must be inside of
nothing that it has no frame for: nobody else knows the item of a loop, what a Try is left for, what a Saga has done. Going
outward, frames are dropped, as if the statements had been left; nothing of theirs is run.

What this module must not know: who moves threads, and why.
"""

from __future__ import annotations

from dataclasses import replace

from flowstmt.core.approvals import Approval
from flowstmt.core.machine import Machine
from flowstmt.core.nodes import FANOUT, STOPS, Compensation, Node, RunEnd
from flowstmt.core.recovery import Finally, Saga
from flowstmt.core.state import ENDED, Frame, State, Thread
from flowstmt.errors import ControlError, did_you_mean, listed, quoted

__all__ = ["kept_frames", "present_id", "refused", "standing", "stop_to_move_to", "thread_to_move"]


def refused(state: State, action: str, why: str) -> ControlError:
    """The error for an action that is not legal now."""
    return ControlError(f"run {state.run_id!r}: {action} refused: {why}{'' if why.endswith('?') else '.'} Nothing was changed")


def standing(thread: Thread) -> str:
    """Where a thread is, for messages and notes."""
    return f"{thread.status} at {thread.position!r}" if thread.position else "about to start"


def present_id(machine: Machine, thread_id: str) -> str:
    """The id of a thread that somebody may know by an old one."""
    renames = machine.program.renames
    return (None if renames is None else renames.thread_id(thread_id)) or thread_id


def thread_to_move(machine: Machine, thread_id: str) -> Thread:
    """The live thread of this id, unless it is not free to be moved."""
    state, by_name = machine.state, machine.program.by_name
    if not isinstance(thread_id, str):
        raise refused(state, "goto", f"thread must be the id of one, a text, not {quoted(thread_id)}")
    live = [thread for thread in state.threads if thread.status is not ENDED]
    thread = next((each for each in live if each.id == present_id(machine, thread_id)), None)
    if thread is None:
        ids = listed([repr(each.id) for each in live])
        raise refused(state, "goto", f"no thread {quoted(thread_id)} lives; alive: {ids}")
    who = f"thread {thread.id!r} is {standing(thread)}"
    kind = by_name[thread.position].kind if thread.position else None
    if kind in (Compensation, RunEnd, Saga):
        raise refused(state, "goto", f"{who}, where it ends, or undoes what was done")
    if any(frame.exit is not None and frame.exit.get("sticky") for frame in thread.frames):
        raise refused(state, "goto", f"{who}, and has been told to end")
    if kind in FANOUT and thread.frames[-1].data["live"]:
        raise refused(state, "goto", f"{who}, whose branches live and would be left without it: move those, or cancel the run")
    return thread


def stop_to_move_to(machine: Machine, thread: Thread, position: str) -> Node:
    """The stop of this name, if it is one of the thread's own."""
    state, program = machine.state, machine.program
    if not isinstance(position, str):
        raise refused(state, "goto", f"position must be the name of a statement, a text, not {quoted(position)}")
    name = position if program.renames is None else program.renames.statements.get(position, position)
    node = program.by_name.get(name)
    if node is None or node.kind not in STOPS:
        stops = [known for known, each in program.by_name.items() if each.kind in STOPS and each.thread_name == thread.name]
        found = "the definition has no such statement" if node is None else f"no thread can be put at {node.label}"
        raise refused(state, "goto", f"position {quoted(position)}: {found}{did_you_mean(position, stops)}")
    if node.thread_name != thread.name:
        raise refused(
            state, "goto", f"{node.label} is in the thread of {node.thread_name!r}, and thread {thread.id!r} runs another body"
        )
    return node


def kept_frames(machine: Machine, thread: Thread, node: Node) -> list[Frame]:
    """The frames that a thread keeps on its way to a stop: those of what both are inside of."""
    # Some have a frame for themselves, which a thread gets when it arrives.
    wanted = node.frames[:-1] if node.kind in FANOUT or node.kind is Approval else node.frames
    names = tuple([frame.statement for frame in thread.frames])
    parts = _parts(node)
    if names[: len(wanted)] != wanted:
        lacking = next(name for at, name in enumerate(wanted) if names[at : at + 1] != (name,))
        label = machine.program.by_name[lacking].label
        raise refused(
            machine.state,
            "goto",
            f"{node.label} is inside {label}, and thread {thread.id!r} is not: move it to a stop before that, and let it get "
            "there by itself",
        )
    return [_kept(frame, parts[frame.statement]) for frame in thread.frames[: len(wanted)]]


def _kept(frame: Frame, part: Node) -> Frame:
    """The frame of a statement in a part of which a thread stands from now on."""
    if part.stays:
        return replace(frame, exit=None, data={**(frame.data or {}), "event": part.name})
    # What a body was left for is forgotten by whoever goes back into it.
    return frame if frame.exit is None or part.kind is Finally else replace(frame, exit=None)


def _parts(node: Node) -> dict[str, Node]:
    """By the names of the statements around a stop: in which part of each it stands."""
    return {around.name: part for part, around in node.outward()}
