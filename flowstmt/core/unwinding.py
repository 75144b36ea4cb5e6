"""How a thread leaves statements before their end: Break, Continue, Return, failures and cancellation.

Theory: what a thread is leaving for is an ``Exit``, plain JSON. Unwinding asks the statements around a thread from the inside
out; each of them lets the exit pass (and its frame is dropped), or takes the thread: a loop its Break, a Try the failure that
it catches, a Finally everything, a Saga what has to be undone. A Wait lets all pass, and stops waiting. A statement that takes
the thread only for a while keeps the exit in its frame, and unwinding goes on from there when it is done.

Which catch takes a failure is decided when it happens, from the exception itself; the exit holds the decision. So it is the
same after a crash, however long the bodies of Finally took that came before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from flowstmt.core.events import Events
from flowstmt.core.exits import Exit, failure_exit, is_undoing
from flowstmt.core.nodes import FANOUT, WAITS, Node
from flowstmt.core.policies import filter_name, matches
from flowstmt.core.recovery import Catch, Finally, Saga, Try
from flowstmt.core.state import ErrorInfo, Thread, ThreadStatus
from flowstmt.core.statements import For, ForEach, On
from flowstmt.core.waits import Every
from flowstmt.errors import said

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["Unwinding"]

# What a rule answers that lets an exit pass.
_OUTWARD: Any = object()


class Unwinding(Events):
    """What happens to a thread that leaves statements before their end."""

    __slots__ = ("call_setter",)
    call_setter: Callable[[Callable[..., Any], tuple[Any, ...]], Any]
    """How to call a setter, with its arguments."""

    if TYPE_CHECKING:  # what the classes above this one do

        def _end(self, thread: Thread, exit_: Exit) -> None: ...
        def _undo(self, thread: Thread) -> Node | None: ...
        def _leave_fanout(self, thread: Thread, node: Node, exit_: Exit) -> Node | None: ...
        def _end_started_inside(self, thread: Thread, saga: Node) -> bool: ...
        def _store_moving(self, thread: Thread, node: Node, into: Any, value: Any) -> None: ...

    def _park(self, thread: Thread, node: Node, status: ThreadStatus, due_at: datetime | None = None) -> None:
        thread.status = status
        thread.position = node.name
        thread.event = None
        thread.pc += 1
        thread.ready = self.state.revision + 1
        thread.due_at = due_at
        thread.frames = self._frames

    def _fail(self, thread: Thread, node: Node, error: Exception, info: ErrorInfo) -> Node | None:
        """The failure of a statement that a moving thread has reached."""
        return self._unwind(thread, node, failure_exit(info, self._catch_for(thread, node, error, info.type)))

    def _catch_for(self, thread: Thread, node: Node, error: Exception, name: str) -> dict[str, Any] | None:
        """Which catch around a statement takes a failure that happens there."""
        for inner, around in node.outward():
            if around.kind is Try and inner.kind is not Catch and inner.kind is not Finally:
                for case, catch in enumerate(around.catches):
                    errors = self.values[catch.index].errors
                    try:
                        found = matches(errors, error, name)
                    except Exception as raised:
                        raise self._failed(thread, around, f"the predicate of a catch raised {said(raised)}") from raised
                    if found:
                        return {"try": around.name, "case": case, "errors": filter_name(errors)}
        return None

    def _leave(self, thread: Thread, exit_: Exit) -> Node | None:
        """Begin to unwind a thread from its position."""
        node = self.program.by_name.get(thread.position)
        if node is None:  # it has not begun
            self._end(thread, exit_)
            return None
        if node.kind in FANOUT:
            return self._leave_fanout(thread, node, exit_)
        if node.kind is Saga:
            onwards: Node | None = self._leave_saga(thread, node, node, exit_)
            return onwards
        if node.kind in WAITS:
            thread.events = self._closed(thread.events, node)
        self._frames = self._frames[:-1]
        return self._unwind(thread, node, exit_)

    def _unwind(self, thread: Thread, node: Node, exit_: Exit) -> Node | None:
        """Leave what is around ``node``; where to go on, or None if the thread has been parked or has ended."""
        for inner, around in node.outward():
            rule = _LEAVE.get(around.kind)
            if rule is not None:
                found = rule(self, thread, around, inner, exit_)
                if found is not _OUTWARD:
                    onwards: Node | None = found
                    return onwards
                if inner.kind is Finally:
                    exit_ = self._overruled(thread, exit_)
                if around.inside != around.frames:
                    self._frames = self._frames[:-1]
        self._end(thread, exit_)
        return None

    def _overruled(self, thread: Thread, exit_: Exit) -> Exit:
        """What goes on when the body of a Finally is left: nothing in it keeps a thread alive that has been told to end."""
        pending: Exit | None = self._frames[-1].exit
        if pending is None or not pending.get("sticky"):
            return exit_
        if exit_["exit"] == "failure":
            self._note("failed while ending", thread, f"{exit_['error']['type']}: {exit_['error']['message']}")
        return pending

    def _leave_loop(self, thread: Thread, loop: Node, inner: Node, exit_: Exit) -> Any:
        if exit_["exit"] == "continue":
            return loop
        return (loop.leave or loop.next) if exit_["exit"] == "break" else _OUTWARD

    def _leave_try(self, thread: Thread, node: Node, inner: Node, exit_: Exit) -> Any:
        if inner.kind is Finally:
            return _OUTWARD
        catch = exit_.get("catch")
        if catch is not None and catch["try"] == node.name and inner.kind is not Catch:
            return self._caught(thread, node, catch, exit_["error"])
        if node.final is None:
            return _OUTWARD
        self._pend(exit_)
        return node.final.entry

    def _caught(self, thread: Thread, node: Node, decided: dict[str, Any], error: dict[str, Any]) -> Node:
        case: int = decided["case"]
        wanted: str | None = decided.get("errors")
        names = [filter_name(self.values[catch.index].errors) for catch in node.catches]
        if wanted is not None and names[case : case + 1] != [wanted]:
            # New code has other catches, or has them in another order.
            case = names.index(wanted) if wanted in names else len(names)
        if case >= len(names):
            raise self._failed(thread, node, f"it has lost the catch of {wanted} that was to take a failure: bring it back")
        catch = node.catches[case]
        into = self.values[catch.index].into
        if into is not None:
            self._store_moving(thread, catch, into, ErrorInfo(**error))
        return catch.entry

    def _leave_saga(self, thread: Thread, node: Node, inner: Node, exit_: Exit) -> Any:
        if not is_undoing(exit_):
            return _OUTWARD
        self._pend(exit_)
        if self._end_started_inside(thread, node):
            return None
        return self._undo(thread)

    def _leave_case(self, thread: Thread, node: Node, inner: Node, exit_: Exit) -> Any:
        """Out of the body of a case that stays, and so out of its Wait, which nobody waits at any more."""
        if node.stays:
            assert node.parent is not None  # a case stands in its Wait
            thread.events = self._closed(thread.events, node.parent)
            taken = self._frames[-1].data["then"]
            if taken:
                why = f"its thread left {node.parent.label} from the body of {node.label}"
                self._note("dropped", thread, f"taken, and not acted upon, since {why}: {', '.join(map(repr, taken))}")
        return _OUTWARD

    def _pend(self, exit_: Exit) -> None:
        """Keep in the innermost frame what goes on when its statement is done."""
        self._frames = [*self._frames[:-1], replace(self._frames[-1], exit=exit_)]

    def _at_finally_end(self, thread: Thread, node: Node) -> Node | None:
        exit_ = self._frames[-1].exit
        self._frames = self._frames[:-1]
        if exit_ is None:
            return node.next
        assert node.parent is not None  # it was made with its Try
        return self._unwind(thread, node.parent, exit_)

    def _at_unwind(self, thread: Thread, node: Node) -> Node | None:
        """A Break or Continue that has to ask the frames on its way."""
        assert node.parent is not None  # it was made with its jump
        return self._unwind(thread, node.parent, {"exit": node.name})

    def _note(self, note: str, thread: Thread, message: str) -> None:
        """Tell people what happened to a thread: nothing is lost in silence."""
        self._put(
            self.state,
            "notes",
            [
                *self.state.notes,
                {
                    "note": note,
                    "thread": thread.id,
                    "step": thread.position,
                    "birth": thread.birth,
                    "pc": thread.pc,
                    "at": self._now.isoformat(),
                    "message": message,
                },
            ],
        )

    def _put(self, owner: Any, key: str, value: Any) -> None:
        """Set an attribute while threads move, so that it can be taken back."""
        self._journal.append((None, setattr, owner, key, getattr(owner, key)))
        setattr(owner, key, value)


_Rule: TypeAlias = "Callable[[Unwinding, Thread, Node, Node, Exit], Any]"
_LEAVE: dict[type[Any], _Rule] = {
    For: Unwinding._leave_loop,
    ForEach: Unwinding._leave_loop,
    Try: Unwinding._leave_try,
    Saga: Unwinding._leave_saga,
    On: Unwinding._leave_case,
    Every: Unwinding._leave_case,
}
"""What a statement does with an exit that reaches it from inside: take the thread, or let it pass (``_OUTWARD``)."""
