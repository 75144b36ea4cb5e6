"""Which threads a round has to look at: all but the quiet ones.

A quiet thread is parked at a Wait, a Sleep or a Join, and has no event to be set up or torn down. Nothing in a round wakes
it but an instant from ``due_at`` on, or, at a Join, the end of another thread. Leaving it out changes neither what moves nor
in which order: that is what makes thousands of parked threads cost nothing while another one works.

The agenda is an index of ``state.threads`` and knows nothing of its own: whoever can't vouch for it drops it, and the next
round makes another one, in one scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from flowstmt.core.nodes import FANOUT, Node
from flowstmt.core.state import ENDED, SET_UP, WAITING_CONDITION, WAITING_EVENT, WAITING_TIME, State, Thread
from flowstmt.core.statements import Join

__all__ = ["Agenda"]


class Agenda:
    """The threads of a run by what could wake them, between one driver's checkpoints."""

    __slots__ = ("_by_name", "_ids", "_names", "_state", "awake", "due_at", "joins", "revision")

    def __init__(self, state: State, by_name: Mapping[str, Node]) -> None:
        self._state = state
        self._by_name = by_name
        self.revision = state.revision
        """That of the state as the agenda knows it: at another one, somebody else has moved the run."""
        self.due_at: datetime | None = None
        """The first instant at which a quiet thread is due."""
        self.joins: set[str] = set()
        """The Joins at which quiet threads stand."""
        # Names and ids of the threads that live: made when first asked for.
        self._names: Counter[str] | None = None
        self._ids: set[str] | None = None
        self.awake = self._not_quiet(state.threads)
        """The threads that are not quiet, in start order."""

    def _not_quiet(self, threads: list[Thread]) -> list[Thread]:
        by_name = self._by_name
        awake = []
        first = self.due_at
        for thread in threads:
            status = thread.status
            if status is WAITING_EVENT:
                due = first
                for event in thread.events:
                    if event.status is not SET_UP:
                        awake.append(thread)
                        break
                    if event.due_at is not None and (due is None or event.due_at < due):
                        due = event.due_at
                else:
                    first = due
            elif thread.events:
                awake.append(thread)
            elif status is WAITING_TIME:
                if thread.due_at is not None and (first is None or thread.due_at < first):
                    first = thread.due_at
            elif status is WAITING_CONDITION and by_name[thread.position].kind is Join:
                self.joins.add(thread.position)
            elif status is WAITING_CONDITION and by_name[thread.position].kind in FANOUT and thread.frames[-1].data["live"]:
                continue  # the end of a branch wakes it
            elif status is not ENDED:
                awake.append(thread)
        self.due_at = first
        return awake

    def settled(self) -> None:
        """Nothing on the agenda moves by itself any more: those that are parked for good become quiet."""
        self.awake = self._not_quiet(self.awake)

    def wake_all(self) -> None:
        """Look at every thread: an instant has come, or events were exchanged."""
        self.awake = self._state.threads.copy()
        self.due_at = None
        self.joins.clear()

    def wake_joins(self) -> None:
        """Look at the threads at a Join as well: one may hold."""
        known = set(map(id, self.awake))
        self.awake = [thread for thread in self._state.threads if thread.status is WAITING_CONDITION or id(thread) in known]
        self.joins.clear()

    def wake(self, thread: Thread) -> None:
        """Look at a thread as well."""
        if not any(other is thread for other in self.awake):
            known = set(map(id, self.awake)) | {id(thread)}
            self.awake = [each for each in self._state.threads if id(each) in known]

    def thread(self, thread_id: str | None) -> Thread | None:
        """The live thread of this id."""
        return next((each for each in self._state.threads if each.id == thread_id and each.status is not ENDED), None)

    def place(self, thread: Thread) -> int:
        """Where a thread stands on the agenda."""
        return next(i for i, other in enumerate(self.awake) if other is thread)

    def started(self, thread: Thread) -> None:
        """A thread has been added."""
        self.awake.append(thread)
        if self._names is not None:
            self._names[thread.name] += 1
        self._living_ids().add(thread.id)

    def ended(self, thread: Thread) -> None:
        """A thread has ended; its id is free."""
        if self._names is not None:
            self._names[thread.name] -= 1
        if self._ids is not None:
            self._ids.discard(thread.id)

    def lives(self, name: str) -> bool:
        """Whether a thread of this name lives."""
        if self._names is None:
            self._names = Counter([thread.name for thread in self._state.threads if thread.status is not ENDED])
        return self._names[name] > 0

    def is_taken(self, thread_id: str) -> bool:
        """Whether a thread with this id lives."""
        return thread_id in self._living_ids()

    def _living_ids(self) -> set[str]:
        if self._ids is None:
            self._ids = {thread.id for thread in self._state.threads if thread.status is not ENDED}
        return self._ids
