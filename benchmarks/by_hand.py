"""The measure of the machine: a linked state machine as one would write it by hand, for steps, loops and waits.

It takes no shortcuts: a run has a status, a position, a count of its stops and a list of events, which are up to date
whenever an action runs; it is resumed at its position, and a callback finds its event there. It does nothing else: no
save, no checks, no threads, no clock, no errors that explain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Kind", "Node", "Program", "State", "handle_callback", "resume"]


class Kind(StrEnum):
    Step = "Step"
    Loop = "Loop"
    Wait = "Wait"


class Status(StrEnum):
    Executing = "Executing"
    Resuming = "Resuming"
    Waiting = "Waiting"
    Finished = "Finished"


STEP, LOOP, WAIT = Kind
EXECUTING, RESUMING, WAITING, FINISHED = Status


@dataclass(slots=True)
class Node:
    """A statement: ``call`` is its action, condition or handler; ``body`` what is inside; the rest is linked."""

    kind: Kind
    name: str
    call: Callable[[Any], Any]
    body: Sequence[Node] = ()
    event: str = ""
    entry: Node | None = None
    next: Node | None = None


@dataclass(slots=True)
class Event:
    name: str
    wait: str
    pc: int


@dataclass(slots=True)
class State:
    run_id: str
    status: Status = RESUMING
    position: str = ""
    pc: int = 0
    event: str | None = None
    events: list[Event] = field(default_factory=list)


class Program:
    """Nodes linked to what follows them, and found by name."""

    def __init__(self, *nodes: Node) -> None:
        self.by_name: dict[str, Node] = {}
        self.start = self._link(nodes, None)

    def _link(self, nodes: Sequence[Node], following: Node | None) -> Node | None:
        for node in reversed(nodes):
            self.by_name[node.name] = node
            node.next = following
            node.entry = self._link(node.body, node if node.kind is LOOP else following)
            following = node
        return following


def resume(program: Program, workflow: Any, state: State) -> Status:
    """Move the run on until it waits for an event or has finished."""
    if state.status is not RESUMING:
        return state.status
    node = program.start
    if state.position:
        stop = program.by_name[state.position]
        node = stop.next if state.event is None else stop.entry
    while node is not None:
        kind = node.kind
        if kind is STEP:
            state.status = EXECUTING
            state.position = node.name
            state.event = None
            state.pc += 1
            node.call(workflow)
            state.status = RESUMING
            node = node.next
        elif kind is LOOP:
            node = node.entry if node.call(workflow) else node.next
        else:
            state.status = WAITING
            state.position = node.name
            state.event = None
            state.pc += 1
            state.events = [Event(node.event, node.name, state.pc)]
            return state.status
    state.status = FINISHED
    return state.status


def handle_callback(program: Program, name: str, workflow: Any, state: State) -> Any:
    """Fire the event of this name; return what its handler returns."""
    if state.status is not WAITING:
        raise LookupError(f"the run is {state.status}")
    for event in state.events:
        if event.name == name:
            output = program.by_name[event.wait].call(workflow)
            state.event = name
            state.events = []
            state.status = RESUMING
            return output
    raise LookupError(f"nobody waits for event {name!r}")
