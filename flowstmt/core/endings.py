"""How threads and runs end.

Theory: a thread ends at the root of its body, with an exit: it came to its end or returned, it failed, or it was told to end.
A branch tells its join; the failure of a plain ``Go`` thread is that of the run; and when ``main`` ends, so does the run: the
other threads are told to end, ``main`` stands at the end of the run (its position is ``main``) until they have, then it undoes
what is to be undone. Where nobody has anything left to do all of this is one move.
"""

from __future__ import annotations

from datetime import datetime

from flowstmt.core.exits import CANCEL, Exit, interruptible, is_undoing, mark_ending
from flowstmt.core.joins import Joins
from flowstmt.core.journal import keep
from flowstmt.core.nodes import WAITS, Node
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    RUN_CANCELLED,
    RUN_FAILED,
    RUN_FINISHED,
    WAITING_CONDITION,
    WAITING_EVENT,
    ErrorInfo,
    Frame,
    Thread,
)
from flowstmt.core.statements import For, ForEach, Go
from flowstmt.core.undoing import records_to_undo

__all__ = ["Endings"]

_END: Exit = {"exit": "end"}

_WITHOUT_CLEANUP = frozenset((For, ForEach, *WAITS))
"""What can be left behind as it is: the events of Waits are torn down when their thread has ended."""


class Endings(Joins):
    """The ends of threads, and of the run."""

    # Whether a thread that has ended in this round was the last that a Join may have waited for.
    __slots__ = ("_joins_may_hold",)
    _joins_may_hold: bool

    def _at_end(self, thread: Thread, node: Node) -> None:
        self._end(thread, _END)

    def _end(self, thread: Thread, exit_: Exit) -> None:
        if thread.name == MAIN:
            self._end_main(thread, exit_)
            return
        node = self.program.by_name[thread.name]
        if node.kind is not Go:
            self._end_branch(thread, node, exit_)
        self._end_thread(thread)
        if node.kind is Go and exit_["exit"] == "failure":
            self._fail_run(thread, exit_)

    def _end_thread(self, thread: Thread) -> None:
        if thread.events:
            thread.events = self._closed(thread.events)
        thread.status = ENDED
        thread.event = None
        thread.due_at = None
        thread.frames = []
        agenda = self._agenda
        if agenda is not None:
            agenda.ended(thread)
            if agenda.joins and thread.name != MAIN and not agenda.lives(thread.name):
                self._joins_may_hold = True

    def _cancel(self, thread: Thread, exit_: Exit, why: str) -> None:
        """Tell a thread to end. What has nothing to clean up ends here and now."""
        keep(self._journal, thread)
        by_name = self.program.by_name
        agenda = self._agenda
        assert agenda is not None  # every round in which somebody is told to end makes one
        agenda.told_to_end = True
        if thread.status is EXECUTING and thread.birth in self.in_flight:
            self._note("dropped", thread, f"{why} while this action was in flight: it was cancelled, and may have taken effect")
        tried = self._tried(thread)
        # One that was told to end before it began has a frame that bears no name.
        around = [by_name[frame.statement].kind for frame in thread.frames if frame.statement]
        if thread.name != MAIN and _WITHOUT_CLEANUP.issuperset(around):
            self._note_tried(thread, tried, why)
            self._end(thread, exit_)
            return
        mark_ending(thread, by_name, exit_)
        if thread.attempt == 1:  # else it goes on with its attempts first
            self._note_tried(thread, tried, why)
        agenda.wake(thread)

    def _tried(self, thread: Thread) -> int:
        """How often a thread has tried, in vain, a step that could be undone."""
        node = self.program.by_name.get(thread.position)
        return 0 if node is None or node.compensation is None else thread.attempt - 1

    def _note_tried(self, thread: Thread, tried: int, why: str) -> None:
        """An attempt that failed may have taken effect all the same, but only a step that completed leaves a record of it."""
        if tried:
            self._note(
                "not undone", thread, f"{why} after {tried} of its attempts, which may have taken effect: nothing undoes them"
            )

    def end_all(self, exit_: Exit, now: datetime) -> None:
        """Somebody outside tells the run to end: main with this exit, all other threads as well."""
        self._now = now
        for each in interruptible(self.state.threads, self.program.by_name):
            waits = each.status is WAITING_EVENT
            tried = self._tried(each)
            mark_ending(each, self.program.by_name, exit_ if each.name == MAIN else CANCEL)
            if each.attempt == 1:
                self._note_tried(each, tried, "the run was cancelled")
            if waits and each.status is not WAITING_EVENT:
                each.events = self._closed(each.events)

    def _fail_run(self, thread: Thread, exit_: Exit) -> None:
        """A thread that nobody waits for has failed for good, and with it the run."""
        why = f"thread {thread.id!r} failed"
        failure = {"exit": "failure", "error": exit_["error"], "sticky": True}
        for each in interruptible(self.state.threads, self.program.by_name):
            self._cancel(each, failure if each.name == MAIN else CANCEL, why)

    def _end_main(self, main: Thread, exit_: Exit) -> None:
        alone = True
        for each in interruptible(self.state.threads, self.program.by_name):
            if each is not main:
                self._cancel(each, CANCEL, "main ended")
                alone = alone and each.status is ENDED
        if alone and not (is_undoing(exit_) and records_to_undo(self.state)):
            self._finish(main, exit_)
            return
        self._frames = [Frame(MAIN, exit=exit_)]
        if alone:
            self._undo(main)
        else:
            self._park(main, self.program.by_name[MAIN], WAITING_CONDITION)

    def _finish(self, main: Thread, exit_: Exit) -> None:
        """The run is over."""
        self._end_thread(main)
        state = self.state
        kind = exit_["exit"]
        self._put(state, "status", RUN_FAILED if kind == "failure" else RUN_CANCELLED if kind == "cancel" else RUN_FINISHED)
        if "value" in exit_:
            self._put(state, "result", exit_["value"])
        if "error" in exit_:
            self._put(state, "error", ErrorInfo(**exit_["error"]))
        if state.undo and not is_undoing(exit_):
            self._put(state, "undo", [record for record in state.undo if "error" in record])

    def _at_run_end(self, main: Thread, node: Node) -> None:
        """All other threads have ended: what was to be undone is undone, and the run is over."""
        frame = self._frames[-1]
        if is_undoing(frame.exit):
            self._undo(main)
        else:
            self._finish(main, frame.exit)

    def _holds_run_end(self) -> bool:
        """Whether ``main`` is the only thread that lives."""
        assert self._agenda is not None  # main alone ends at once
        return self._agenda.one_lives()
