"""How a thread moves: from its position along the links to its next stop.

Each kind of statement answers a thread that reaches it in a function ``_at_...``: either with the node to go on to, or by
parking the thread and answering None. Adding a statement that neither parks nor unwinds in a new way adds one function.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flowstmt.core.agenda import Agenda
from flowstmt.core.approvals import Approval
from flowstmt.core.calling import Calling
from flowstmt.core.children import Call
from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.exits import pending_exit
from flowstmt.core.fanout import Map, Parallel
from flowstmt.core.journal import keep, roll_back
from flowstmt.core.nodes import Back, Compensation, End, FinallyEnd, Leave, Node, RunEnd, Unwind
from flowstmt.core.recovery import Fail, Saga, Try
from flowstmt.core.state import (
    EXECUTING,
    MAIN,
    RESUMING,
    WAITING_CONDITION,
    WAITING_TIME,
    ErrorInfo,
    Frame,
    Thread,
)
from flowstmt.core.statements import For, ForEach, Go, If, Join, Return, Sleep, Statement, Step, Switch, Wait, WaitFor
from flowstmt.errors import DefinitionError, FinalError, quoted, said

__all__ = ["Moves"]


class Moves(Calling):
    """Threads on their way."""

    # The For loops that were reached in this round, by the birth of the thread: few for each, however many threads there are.
    __slots__ = ("_visited",)
    _visited: dict[str, list[tuple[Any, ...]]]

    def _move(self, thread: Thread) -> None:
        """Follow the links from a thread's position to its next stop."""
        # Replaced, not changed, by whoever enters or leaves a loop: the thread keeps its own until it parks.
        self._frames = thread.frames
        # What is mostly found: past a step, with nothing around it that could have something to say.
        node = None if thread.frames else self.program.by_name.get(thread.position)
        node = node.next if node is not None and node.kind is Step else self._onwards(thread)
        while node is not None:
            if node.kind is Step:
                thread.status = EXECUTING  # as in ``_park``, spelt out where every step passes
                thread.position = node.name
                thread.event = None
                thread.pc += 1
                thread.ready = self.state.revision + 1
                thread.due_at = None
                thread.frames = self._frames
                return
            node = _ARRIVE[node.kind](self, thread, node)

    def put(self, thread: Thread, node: Node, frames: list[Frame], now: datetime) -> None:
        """Let a thread stand at a stop as if it had just got there, inside of ``frames``.

        What it waited for is given up. Raises with the state as it was.
        """
        threads = self.state.threads
        self._now, self._journal, self._agenda = now, [], Agenda(self.state, self.program.by_name, self.program.asking)
        before = len(threads)
        keep(self._journal, thread)
        try:
            kept = {frame.statement for frame in frames}
            for wait in {event.wait for event in thread.events if event.status not in NEEDS_TEARDOWN} - kept:
                thread.events = self._closed(thread.events, self.program.by_name[wait])
            if thread.status is not RESUMING:
                thread.status = RESUMING
            thread.since, thread.attempt, thread.error = now, 1, None
            self._frames = frames
            if node.kind is Step:
                self._park(thread, node, EXECUTING)
            else:
                _ARRIVE[node.kind](self, thread, node)
        except BaseException:
            del threads[before:]
            roll_back(self._journal)
            raise
        finally:
            self._agenda = None

    def _onwards(self, thread: Thread) -> Node | None:
        by_name = self.program.by_name
        if thread.frames:
            exit_ = pending_exit(thread)
            if exit_ is not None and thread.position != MAIN:
                return self._leave(thread, exit_)
        if not thread.position:
            return self.program.start if thread.name == MAIN else by_name[thread.name].entry
        node = by_name[thread.position]
        if node.kind in _PAST:
            return _PAST[node.kind](self, thread, node)
        return node.next

    def _at_switch(self, thread: Thread, node: Node) -> Node:
        for case in node.children:
            statement = self.values[case.index]
            # A Default has no condition.
            if not hasattr(statement, "cond") or self._truth(thread, case, statement.cond):
                return case.entry
        return node.next

    def _at_for(self, thread: Thread, node: Node) -> Node | None:
        statement = self.values[node.index]
        outer = self._frames
        rounds = None
        if node.counts:
            rounds = 0
            if len(outer) > len(node.frames):
                outer, rounds = outer[:-1], outer[-1].index
                self._frames = outer
        if not statement.forever and not self._truth(thread, node, statement.cond):
            return node.next
        if rounds is not None:
            if rounds >= statement.max_iterations:
                return self._too_many(thread, node, statement.max_iterations)
            self._frames = [*outer, Frame(node.name, rounds + 1)]
        # A thread that enters a loop for a second time in a round has had no outcome in between; the answers of the loops
        # and branches on its way will be the same again, unless time has passed for it (a timer that was due for long
        # fired: ``since`` is another instant now), or a loop around has begun a new round.
        visit: tuple[Any, ...] = (node.index, thread.since)
        if outer:
            visit += tuple([frame.index for frame in outer])
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

    def _too_many(self, thread: Thread, node: Node, limit: int) -> Node | None:
        message = f"{node.label} has begun {limit} rounds, which is its max_iterations, and would begin another one"
        return self._fail(thread, node, FinalError(message), ErrorInfo("FinalError", message, node.name))

    def _forget_inside(self, thread: Thread, loop: Node) -> None:
        """What a thread has visited inside of a loop, or Wait, says nothing about its next round."""
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
        items = self._items(thread, node, self.values[node.index].items)
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
            part = self._id_part(thread, node, "id", self._value(thread, node, "id", statement.id))
            thread_id = f"{node.name}:{part}"
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
        self._start(thread, node, thread_id, arg)
        return node.next

    def _at_condition(self, thread: Thread, node: Node) -> None:
        self._park(thread, node, WAITING_CONDITION)

    def _at_sleep(self, thread: Thread, node: Node) -> None:
        due_at = self._instant(thread, node, "duration", self.values[node.index].duration, self._now)
        self._park(thread, node, WAITING_TIME, due_at)

    def _at_return(self, thread: Thread, node: Node) -> Node | None:
        exit_: dict[str, Any] = {"exit": "return"}
        # Nobody would see what a plain thread returns.
        if thread.name == MAIN or self.program.by_name[thread.name].kind is not Go:
            given = self._value(thread, node, "value", self.values[node.index].value)
            exit_["value"] = self._plain(thread, node, "its value", given)
        return self._unwind(thread, node, exit_)

    def _at_fail(self, thread: Thread, node: Node) -> Node | None:
        statement = self.values[node.index]
        message = self._value(thread, node, "message", statement.message)
        if not isinstance(message, str):
            raise self._failed(thread, node, f"its message must be a text, not {quoted(message)}")
        return self._fail(thread, node, FinalError(message), ErrorInfo(statement.name, message, node.name))

    def _at_try(self, thread: Thread, node: Node) -> Node:
        self._frames = [*self._frames, Frame(node.name)]
        return node.entry


_Arrival = Callable[[Moves, Thread, Node], "Node | None"]
_PAST: dict[type[Statement[Any, Any, Any]], _Arrival] = {
    Parallel: Moves._after_fanout,
    Map: Moves._after_fanout,
    Wait: Moves._after_wait,
    Approval: Moves._after_wait,
    Call: Moves._after_wait,
    Compensation: Moves._after_compensation,
    RunEnd: Moves._at_run_end,
}
"""What a thread does that is past one of these; past all others it goes to the node that follows."""
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
    Approval: Moves._at_approval,
    Call: Moves._at_wait,
    WaitFor: Moves._at_condition,
    Sleep: Moves._at_sleep,
    End: Moves._at_end,
    Try: Moves._at_try,
    FinallyEnd: Moves._at_finally_end,
    Unwind: Moves._at_unwind,
    Back: Moves._at_back,
    Fail: Moves._at_fail,
    Saga: Moves._at_saga,
    Parallel: Moves._at_fanout,
    Map: Moves._at_fanout,
}
"""What a thread that reaches a statement does: park (None), or go on to the next node."""
