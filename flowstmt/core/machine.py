"""The machine: what may run next in each thread, and what an outcome does to the state.

Rules:

1. The machine does no I/O, reads no clock, awaits nothing. A driver asks it what to run, runs that, and hands back the
   outcome and the instant.
2. Every status transition of threads and events is made here, along the tables of ``state.py``.
3. ``settle`` either succeeds or leaves the state as it was: whatever the user's conditions raise.

Theory: a round is one outcome followed by ``settle``, which moves threads until nothing moves by itself. A thread that
moves follows the links of its program from node to node. Statements that decide (If, For ...) answer with the next node;
statements that stop (Step, Wait ...) park the thread and answer None. A condition is asked only here, so whoever loads a
snapshot finds the decision already taken, and saved, before the action that it led to.

Copy on write: while threads move, frames, lists of events and the events in them are replaced, never changed, and what
they replace is kept in a journal; that is what makes rule 3 cheap.

What this module must not know: how values become JSON (``adapt`` and ``restore`` are handed in), who saves, what a
payload looks like.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowstmt.core.agenda import Agenda
from flowstmt.core.events import TO_DO_NOW, is_timer
from flowstmt.core.journal import keep, roll_back
from flowstmt.core.nodes import FANOUT, End, Node, RunEnd
from flowstmt.core.outcomes import Outcomes
from flowstmt.core.positions import check_positions
from flowstmt.core.recovery import Saga
from flowstmt.core.renames import Undo, take_back
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    MAIN,
    OVER,
    RESUMING,
    RUN_PAUSED,
    RUN_RESUMING,
    RUN_WAITING,
    SET_UP,
    WAITING_CONDITION,
    WAITING_EVENT,
    WAITING_TIME,
    Thread,
)
from flowstmt.core.state_json import check_kept
from flowstmt.core.statements import ForEach, Join, Sleep, Step, WaitFor
from flowstmt.errors import StateError

__all__ = ["Machine"]


class Machine(Outcomes):
    """One run and its program, between two calls of a driver.

    ``values`` are the statements of the latest build: a driver replaces them after data may have changed.
    """

    __slots__ = ("_begun", "_reconciled", "turn")
    _reconciled: bool
    _begun: Undo | None
    turn: Thread | None
    """Whose action is next: of the threads at a step, the one that arrived first. Known after ``settle``."""

    def executing(self) -> list[Thread]:
        """The threads whose actions may begin, whose turn is next first."""
        in_flight = self.in_flight
        found = [thread for thread in self.state.threads if thread.status is EXECUTING and thread.birth not in in_flight]
        found.sort(key=_arrival)
        return found

    def up_next(self, most: int) -> list[Thread]:
        """``most`` of them at most, without a look at all; of those that don't stand at a concurrent step only the first."""
        agenda = self._agenda
        if agenda is not None and agenda.revision == self.state.revision:
            return agenda.up_next(most, self.in_flight)
        return self.executing()[:most]  # there is main alone, or nobody: the run is over

    def is_concurrent(self, thread: Thread) -> bool:
        """Whether a thread stands at a step whose action may run beside others."""
        return self.program.by_name[thread.position].concurrent

    def begin(self) -> None:
        """Check that the state fits the definition, before anything runs. Raises ``StateError``, and changes nothing then."""
        self._agenda = None
        self._journal = []
        self._begun = None
        self.rename()
        try:
            check_positions(self.program, self.values, self.state)
            self._reconciled = not self._has_other_events()
            if self.state.raw:
                self._restore_items()
        except BaseException:
            self.take_back_begin()
            raise

    def rename(self) -> None:
        """Give what was saved under old names the present ones. ``begin`` does that, for a run that is not over."""
        if self.state.raw:
            check_kept(self.state)
        if self.program.renames is not None:
            self._begun = self.program.renames.apply(self.state)

    def take_back_begin(self) -> None:
        """Undo what ``begin`` did to the state: what it led to was refused, and nothing may have changed."""
        if self.state.status not in OVER and self._begun is not None:
            take_back(self._begun)

    def _restore_items(self) -> None:
        """Give the args and items of a state that was loaded the types of their consumers.

        Their JSON may change by that: fields with defaults that an older version of a type did not have are in it then.
        """
        restored: list[tuple[Any, str, Any]] = []
        by_name = self.program.by_name
        for i, thread in enumerate(self.state.threads):
            if thread.status is ENDED:
                continue
            path = f"$.state.threads[{i}]"
            if thread.name != MAIN:
                restored.append((thread, "arg", self._restored(by_name[thread.name], thread.arg, f"{path}.arg")))
            for k, frame in enumerate(thread.frames):
                node = by_name.get(frame.statement)
                if node is None or node.kind is not ForEach:  # None: it was told to end before it began
                    continue
                item = self._restored(node, frame.item, f"{path}.frames[{k}].item")
                restored.append((frame, "item", item))
        begun = self._begun = self._begun if self._begun is not None else []
        for owner, key, value in (*restored, (self.state, "raw", False)):
            begun.append((owner, key, getattr(owner, key)))
            setattr(owner, key, value)

    def _restored(self, node: Node, plain: Any, path: str) -> Any:
        scope = node.own_item
        if scope is None or scope.type is Any:
            return plain
        try:
            return self._adapt.restore(plain, scope.type)
        except ValueError as error:
            raise StateError(
                f"run {self.state.run_id!r}: {path}: the item of {node.label}: {error}. Nothing was run: let the type "
                "that its consumers annotate take what was saved, or change the snapshot"
            ) from error

    # --- one round ---

    def settle(self, now: datetime) -> bool:
        """Move threads until nothing moves by itself; whether anything moved. Raises with the state as it was."""
        state = self.state
        threads = state.threads
        self._now = now
        self._visited = {}
        self.turn = None
        if self.program.moves_once and self._reconciled and len(threads) == 1:
            self._agenda = None
            return self._settle_main(threads[0])
        self._journal = []
        self._joins_may_hold = False
        agenda = self._agenda
        if agenda is None or agenda.revision != state.revision:
            agenda = self._agenda = Agenda(state, self.program.by_name, self.program.asking)
            if any(self._joined(agenda, name) for name in agenda.joins):
                agenda.wake_joins()
        moved = False
        before = len(threads)
        try:
            if not self._reconciled:
                moved = self._reconcile()
            if moved or (agenda.due_at is not None and agenda.due_at <= now):
                agenda.wake_all()
            elif agenda.woken:
                if len(agenda.woken) == 1 and not agenda.awake and self._moves_alone(agenda, agenda.woken[0]):
                    moved = True
                    if not agenda.woken:
                        self.turn = agenda.turn()
                        return True
                agenda.rouse()
                if len(agenda.awake) == 1 and self._pass(agenda):
                    moved = True
                    if state.status not in OVER and agenda.settled_alone():
                        self.turn = agenda.turn()
                        return True
            while self._pass(agenda):
                moved = True
        except BaseException:
            self._agenda = None
            del threads[before:]
            roll_back(self._journal)
            raise
        self._reconciled = True
        agenda.remove_ended()
        if state.status in OVER:
            self._agenda = None  # the threads that main ended were not all on it
            return moved
        if moved:
            agenda.settled()
        self.turn = agenda.turn()
        return moved

    def settle_again(self) -> None:
        """``settle`` at the instant of the last round: data may have changed since, but for timers no time has passed.

        With the time of now, a loop around a Wait whose Timeout is shorter than its setup would go round for ever.
        """
        self.settle(self._now)

    def _moves_alone(self, agenda: Agenda, thread: Thread) -> bool:
        """The whole round where one thread is past a step and comes to the next one, or to an end that nobody waits for.

        False where there is more to it: nothing has changed then. It is what most rounds are while a Map works.
        """
        node = self.program.by_name.get(thread.position)
        if node is None or node.kind is not Step or thread.frames or thread.events or thread.status is not RESUMING:
            return False
        following = node.next
        if following.kind is Step:
            self._frames = thread.frames
            self._park(thread, following, EXECUTING)
            agenda.woken.clear()
            agenda.line_up(thread)
            return True
        root = following.parent
        if following.kind is not End or root is None or agenda.joins:
            return False
        return self._ends_quietly(agenda, thread, root)

    def _settle_main(self, main: Thread) -> bool:
        """The whole round where no thread but ``main`` can move, nor ``main`` twice: nothing to roll back, or to ask again."""
        if main.status is not RESUMING:
            waits = main.status is WAITING_TIME and self._wakes(main)
            if main.status is EXECUTING:
                self.turn = main
            return waits
        self._move(main)
        if main.status is EXECUTING:
            self.turn = main
        elif main.status is ENDED and not main.events:
            self.state.threads = []
        return True

    def _pass(self, agenda: Agenda) -> bool:
        """Let each thread move that can, in start order; whether any did."""
        moved = False
        at = 0
        # The list grows while threads start threads: those move in the same pass.
        while at < len(agenda.awake):
            thread = agenda.awake[at]
            status = thread.status
            if status is not EXECUTING and status is not ENDED and (status is RESUMING or self._wakes(thread)):
                moved = True
                if thread.status is RESUMING:
                    keep(self._journal, thread)
                    self._move(thread)
                    if self.state.status in OVER:
                        break
                if self._joins_may_hold:
                    self._joins_may_hold = False
                    agenda.wake_joins()
                if agenda.woken:
                    agenda.rouse()
                    at = agenda.place(thread)
            at += 1
        return moved

    def next_timer(self) -> datetime | None:
        """The first instant from which time alone lets a thread move."""
        threads = self._not_quiet()
        due = [] if self._agenda is None or threads is self.state.threads else [self._agenda.due_at]
        for thread in threads:
            if thread.status is WAITING_TIME:
                due.append(thread.due_at)
            elif thread.status is WAITING_EVENT:
                due += [event.due_at for event in thread.events if is_timer(event) and event.wait == thread.position]
        return min(filter(None, due), default=None)

    def checkpoint(self, now: datetime) -> None:
        """Bring what the outside reads (status, ``wake_at``, revision) up to date, before a save."""
        state = self.state
        agenda = self._agenda
        state.revision += 1
        if agenda is not None:
            agenda.revision += 1
        if state.status is RUN_PAUSED:
            state.wake_at = None
            return
        if self.turn is not None:
            state.status = RUN_RESUMING
            state.wake_at = now
            return
        runnable = outside = False
        threads = self._not_quiet()
        earliest = None if agenda is None or threads is state.threads else agenda.due_at
        for thread in threads:
            status = thread.status
            # One at a step has no turn yet where moving on was refused.
            runnable = runnable or status is RESUMING or status is EXECUTING
            due = [thread.due_at] if status is WAITING_TIME else []
            for event in thread.events:
                outside = outside or event.status in TO_DO_NOW
                # Those of a Wait to which the thread has to come back first wake nobody.
                if event.due_at is not None and (
                    event.status is not SET_UP or (event.wait == thread.position and status is WAITING_EVENT)
                ):
                    due.append(event.due_at)
            for instant in due:
                if instant is not None and (earliest is None or instant < earliest):
                    earliest = instant
        if state.status not in OVER:
            state.status = RUN_RESUMING if runnable else RUN_WAITING
        state.wake_at = now if runnable or outside else earliest

    def checkpoint_from_outside(self, now: datetime) -> None:
        """``checkpoint`` after what may have made conditions true from outside: only a round asks them, so the run is due."""
        self.checkpoint(now)
        state, asking = self.state, self.program.asking
        if state.status is RUN_WAITING and any(
            thread.status is WAITING_CONDITION or (thread.status is WAITING_EVENT and thread.position in asking)
            for thread in state.threads
        ):
            state.status = RUN_RESUMING
            state.wake_at = now

    def _wakes(self, thread: Thread) -> bool:
        """Whether what a parked thread waits for has come by itself: an instant, or a condition."""
        status = thread.status
        if status is WAITING_EVENT:
            case = self._due_case(thread)
            if case is None:
                return False
            keep(self._journal, thread)
            self._fire(thread, case)
            return True
        if status is WAITING_TIME:
            if thread.due_at is None or thread.due_at > self._now:
                return False
        elif self.program.by_name[thread.position].kind in FANOUT:
            return self._tend(thread, self.program.by_name[thread.position])
        elif not self._holds(thread):
            return False
        keep(self._journal, thread)
        thread.due_at = None
        node = self.program.by_name[thread.position]
        if status is WAITING_TIME and node.kind is not Sleep:  # the next attempt: what it waits for is no outcome
            thread.status = EXECUTING
            thread.ready = self.state.revision + 1
            return True
        thread.since = self._now
        if node.kind is WaitFor and self.values[node.index].handler is not None:
            thread.status = EXECUTING
            thread.ready = self.state.revision + 1
        else:
            thread.status = RESUMING
        return True

    def _holds(self, thread: Thread) -> bool:
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        if node.kind is Join:
            assert self._agenda is not None  # every round of a program that has a Join makes one
            return self._joined(self._agenda, node.name)
        if node.kind is RunEnd:
            return self._holds_run_end()
        if node.kind is Saga:
            return self._holds_saga(thread)
        self._frames = thread.frames
        return self._truth(thread, node, statement.cond)

    def _joined(self, agenda: Agenda, name: str) -> bool:
        """Whether a Join holds: no thread lives that it waits for."""
        node = self.program.by_name[name]
        names = self.values[node.index].go_names
        if node.scope:
            names = [node.go_names.get(each, each) for each in names]
        return not any(map(agenda.lives, names))


def _arrival(thread: Thread) -> int:
    return thread.ready
