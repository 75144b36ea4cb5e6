"""How a thread moves: from its position along the links to its next stop.

Each kind of statement answers a thread that reaches it in a function ``_at_...``: either with the node to go on to, or by
parking the thread and answering None. Adding a statement that neither parks nor unwinds in a new way adds one function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from flowstmt.core.events import Events
from flowstmt.core.nodes import End, Leave, Node
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    RUN_FINISHED,
    WAITING_CONDITION,
    WAITING_EVENT,
    WAITING_TIME,
    Frame,
    Thread,
    ThreadStatus,
    birth_of,
)
from flowstmt.core.statements import For, ForEach, Go, If, Join, Return, Sleep, Statement, Step, Switch, Wait, WaitFor
from flowstmt.errors import DefinitionError, a_kind_of, quoted, said

__all__ = ["Moves"]


class Moves(Events):
    """Threads on their way."""

    # The For loops that were reached in this round, by the birth of the thread: few for each, however many threads there are.
    __slots__ = ("_visited",)
    _visited: dict[str, list[tuple[Any, ...]]]

    def _move(self, thread: Thread) -> None:
        """Follow the links from a thread's position to its next stop."""
        node: Node | None = self._onwards(thread)
        # Replaced, not changed, by whoever enters or leaves a loop: the thread keeps its own until it parks.
        self._frames = thread.frames
        while node is not None:
            if node.kind is Step:
                self._park(thread, node, EXECUTING)
                return
            node = _ARRIVE[node.kind](self, thread, node)

    def _onwards(self, thread: Thread) -> Node:
        by_name = self.program.by_name
        if not thread.position:
            return self.program.start if thread.name == MAIN else by_name[thread.name].entry
        node = by_name[thread.position]
        # The check of positions has seen that the Wait has the event.
        return node.by_event[thread.event].entry if thread.event is not None else node.next

    def _park(self, thread: Thread, node: Node, status: ThreadStatus, due_at: datetime | None = None) -> None:
        thread.status = status
        thread.position = node.name
        thread.event = None
        thread.pc += 1
        thread.ready = self.state.revision + 1
        thread.due_at = due_at
        thread.frames = self._frames

    def _at_switch(self, thread: Thread, node: Node) -> Node:
        for case in node.children:
            statement = self.values[case.index]
            # A Default has no condition.
            if not hasattr(statement, "cond") or self._truth(thread, case, statement.cond):
                return case.entry
        return node.next

    def _at_for(self, thread: Thread, node: Node) -> Node:
        statement = self.values[node.index]
        if not statement.forever and not self._truth(thread, node, statement.cond):
            return node.next
        # A thread that enters a loop for a second time in a round has had no outcome in between; the answers of the loops
        # and branches on its way will be the same again, unless time has passed for it (a timer that was due for long
        # fired: ``since`` is another instant now), or a loop around has begun a new round.
        visit: tuple[Any, ...] = (node.index, thread.since)
        if self._frames:
            visit += tuple([frame.index for frame in self._frames])
        visited = self._visited.get(thread.birth)
        if visited is None:
            self._visited[thread.birth] = [visit]
        elif visit not in visited:
            self._forget_inside(thread, node)
            self._visited[thread.birth].append(visit)
        else:
            raise DefinitionError(
                f"{self._where(thread)}: {node.place} makes no progress: it came round without a stop that takes an "
                "outcome or time. Put a Step, or a Wait whose time is still to come, on every way through its body"
            )
        return node.entry

    def _forget_inside(self, thread: Thread, loop: Node) -> None:
        """What a thread has visited inside of a loop says nothing about the next round of the loop."""
        visited = self._visited.get(thread.birth)
        if visited is not None:
            first, last = loop.index + 1, loop.last
            self._visited[thread.birth] = [visit for visit in visited if not first <= visit[0] <= last]

    def _at_for_each(self, thread: Thread, node: Node) -> Node:
        frames = self._frames
        inside = bool(frames) and frames[-1].statement == node.name and len(frames) == len(node.frames) + 1
        outer, index = (frames[:-1], frames[-1].index + 1) if inside else (frames, 0)
        self._frames = outer
        self._forget_inside(thread, node)
        items = self._value(thread, node, "items", self.values[node.index].items)
        if not isinstance(items, Sequence):
            raise self._failed(thread, node, f"its items must be a Sequence (list, tuple, range ...), not {a_kind_of(items)}")
        try:
            if index >= len(items):
                return node.next
            found = items[index]
        except Exception as error:
            raise self._failed(thread, node, f"its items raised {said(error)}") from error
        item = self._adapted(thread, node, "its item", found)
        self._frames = [*outer, Frame(node.name, index, item)]
        return node.entry

    def _at_leave(self, thread: Thread, node: Node) -> Node:
        self._frames = self._frames[:-1]
        return node.next

    def _at_go(self, thread: Thread, node: Node) -> Node:
        statement = self.values[node.index]
        thread_id = node.name
        if statement.id is not None:
            # By way of JSON: a UUID becomes its text.
            part = self._plain(thread, node, "its id", self._value(thread, node, "id", statement.id))
            if not isinstance(part, str | int) or isinstance(part, bool) or part == "":
                raise self._failed(thread, node, f"its id must be a text, a whole number or a UUID, not {quoted(part)}")
            thread_id = f"{node.name}:{part}"
        agenda = self._agenda
        assert agenda is not None  # every round of a program that has a Go makes one
        if agenda.is_taken(thread_id):
            raise DefinitionError(
                f"{self._where(thread)}: {node.label} would start a second thread with the id {thread_id!r} while the "
                "first one lives: tell them apart with id=, or Join the first one before"
            )
        arg = None
        if node.own_item is not node.item:
            arg = self._adapted(thread, node, "its arg", self._value(thread, node, "arg", statement.arg))
        elif statement.arg is not None:
            raise DefinitionError(
                f"{self._where(thread)}: {node.label} has an arg now, but had none when its class was linked: if it may be "
                "None, give a callable that returns it"
            )
        elif node.item is not None:
            arg = self._adapted(thread, node, "the item that it hands on", self._item(thread, node))
        birth = birth_of(thread.birth, thread.pc, thread_id)
        started = Thread(id=thread_id, name=node.name, birth=birth, parent=thread.id, since=self._now, arg=arg)
        self.state.threads.append(started)
        agenda.started(started)
        return node.next

    def _at_wait(self, thread: Thread, node: Node) -> None:
        pc = thread.pc + 1
        events = [self._waiting(thread, child, pc) for child in node.children]
        self._park(thread, node, WAITING_EVENT)
        thread.events = [*thread.events, *events]

    def _at_condition(self, thread: Thread, node: Node) -> None:
        self._park(thread, node, WAITING_CONDITION)

    def _at_sleep(self, thread: Thread, node: Node) -> None:
        due_at = self._instant(thread, node, "duration", self.values[node.index].duration, self._now)
        self._park(thread, node, WAITING_TIME, due_at)

    def _at_return(self, thread: Thread, node: Node) -> None:
        value = None
        if thread.name == MAIN:
            given = self._value(thread, node, "value", self.values[node.index].value)
            value = self._plain(thread, node, "its value", given)
        self._end(thread, value)

    def _at_end(self, thread: Thread, node: Node) -> None:
        self._end(thread, None)

    def _end(self, thread: Thread, result: Any) -> None:
        if thread.name != MAIN:
            self._end_thread(thread)
            return
        for each in self.state.threads:
            if each.birth in self.in_flight:
                self._note_dropped(each)
            if each.status is not ENDED:
                self._end_thread(each)
        self.state.status = RUN_FINISHED
        self.state.result = result

    def _note_dropped(self, thread: Thread) -> None:
        """Nobody will know what became of an action in flight: the state says at least that there was one."""
        self.state.notes.append(
            {
                "note": "dropped",
                "thread": thread.id,
                "step": thread.position,
                "birth": thread.birth,
                "pc": thread.pc,
                "at": self._now.isoformat(),
                "message": "main ended while this action was in flight: it was cancelled, and may have taken effect",
            }
        )

    def _end_thread(self, thread: Thread) -> None:
        if thread.status is WAITING_EVENT:
            thread.events = self._closed(thread, None)
        thread.status = ENDED
        thread.event = None
        thread.due_at = None
        thread.frames = []
        if self._agenda is not None:
            self._agenda.ended(thread)


_Arrival = Callable[[Moves, Thread, Node], "Node | None"]
_ARRIVE: dict[type[Statement[Any, Any, Any]], _Arrival] = {
    Switch: Moves._at_switch,
    If: Moves._at_switch,
    For: Moves._at_for,
    ForEach: Moves._at_for_each,
    Leave: Moves._at_leave,
    Return: Moves._at_return,
    Go: Moves._at_go,
    Join: Moves._at_condition,
    Wait: Moves._at_wait,
    WaitFor: Moves._at_condition,
    Sleep: Moves._at_sleep,
    End: Moves._at_end,
}
"""What a thread that reaches a statement does: park (None), or go on to the next node."""
