"""Which threads a round has to look at, and whose turn it is at a step.

Three kinds of threads are not looked at by a round:

* A quiet one is parked at a Wait, a Sleep, a Join, or a Parallel or Map with live branches, and has no event to be set up or
  torn down, nor a When to be asked. Nothing in a round wakes it but an instant from ``due_at`` on, or the end of another
  thread.
* One at a step waits for its turn in a queue: by ``ready``, then in start order. It moves when its action has an outcome.
* One that has ended and has nothing to be torn down is on its way off the run's list.

Leaving them out changes neither what moves nor in which order: that is what makes thousands of threads cost nothing while
another one works.

Whoever changes a thread that a round does not look at says so: ``wake``, or ``ended``. The agenda is an index of
``state.threads`` and knows nothing of its own: whoever can't vouch for it drops it, and the next round makes another one,
in one scan.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import islice
from typing import TypeAlias

from flowstmt.core.nodes import FANOUT, Node
from flowstmt.core.state import ENDED, EXECUTING, SET_UP, WAITING_CONDITION, WAITING_EVENT, WAITING_TIME, State, Thread
from flowstmt.core.statements import Join

__all__ = ["Agenda"]

_Entry: TypeAlias = tuple[int, Thread]
"""A place in the queue: ``ready`` when the thread got in line, and the thread."""

_NEAR = 8
"""How far a thread is looked for before its place is worked out."""

_FEW = 8
"""Up to so many threads that end at once are taken off a list one by one, before a new list is made."""


class Agenda:
    """The threads of a run by what could wake them, between one driver's checkpoints.

    ``asking`` are the names of the Waits that have conditions of their own.
    """

    __slots__ = (
        "_alone",
        "_asking",
        "_beside",
        "_by_name",
        "_ended",
        "_entries",
        "_latest",
        "_living",
        "_names",
        "_next_place",
        "_places",
        "_state",
        "awake",
        "due_at",
        "joins",
        "revision",
        "told_to_end",
        "woken",
    )

    def __init__(self, state: State, by_name: Mapping[str, Node], asking: AbstractSet[str] = frozenset()) -> None:
        self._state = state
        self._by_name = by_name
        self._asking = asking
        self.revision = state.revision
        """That of the state as the agenda knows it: at another one, somebody else has moved the run."""
        self.due_at: datetime | None = None
        """The first instant at which a quiet thread is due."""
        self.joins: dict[str, list[Thread]] = {}
        """The quiet threads at Joins, by the names of these."""
        self.woken: list[Thread] = []
        """Threads that are to be looked at as well: ``rouse`` puts them where they belong."""
        self.told_to_end = False
        """Whether a thread has been told to end that may have waited for an instant."""
        self._ended: list[Thread] = []
        # Those at a step whose action has the data to itself, and those at a concurrent one. What is no thread's entry any
        # more stays until it comes to the front.
        self._alone: deque[_Entry] = deque()
        self._beside: deque[_Entry] = deque()
        # By the identity of the thread, which its entry keeps alive.
        self._entries: dict[int, _Entry] = {}
        self._latest = -1
        # Made when first asked for: names and ids of the threads that live, and the places of all in start order.
        self._names: Counter[str] | None = None
        self._living: dict[str, Thread] | None = None
        self._places: dict[int, int] | None = None
        self._next_place = 0
        self.awake = self._not_quiet(state.threads)
        """The threads that a round looks at, in start order; what they start is added at the end."""

    def _not_quiet(self, threads: list[Thread]) -> list[Thread]:
        by_name = self._by_name
        entries, asking = self._entries, self._asking
        awake = []
        arrived = []
        first = self.due_at
        for thread in threads:
            status = thread.status
            if status is EXECUTING:
                if id(thread) not in entries:
                    arrived.append(thread)
                if thread.events:
                    awake.append(thread)
            elif status is WAITING_EVENT:
                due = first
                for event in thread.events:
                    if event.status is not SET_UP:
                        awake.append(thread)
                        break
                    if event.due_at is not None and (due is None or event.due_at < due) and event.wait == thread.position:
                        due = event.due_at
                else:
                    if asking and thread.position in asking:
                        awake.append(thread)
                    else:
                        first = due
            elif thread.events:
                awake.append(thread)
            elif status is WAITING_TIME:
                if thread.due_at is not None and (first is None or thread.due_at < first):
                    first = thread.due_at
            elif status is WAITING_CONDITION and by_name[thread.position].kind is Join:
                self.joins.setdefault(thread.position, []).append(thread)
            elif status is WAITING_CONDITION and by_name[thread.position].kind in FANOUT and thread.frames[-1].data["live"]:
                continue  # the end of a branch wakes it
            elif status is not ENDED:
                awake.append(thread)
        self.due_at = first
        if arrived:
            self._get_in_line(arrived)
        return awake

    # --- what a round looks at ---

    def settled(self) -> None:
        """Nothing on the agenda moves by itself any more: those that are parked for good become quiet, or get in line."""
        if self.told_to_end and self.due_at is not None:
            # The first instant may have been that of a thread which does not wait for it any more.
            self.due_at = None
            self.joins.clear()
            self.awake = self._not_quiet(self._state.threads)
        else:
            self.awake = self._not_quiet(self.awake)
        self.told_to_end = False

    def settled_alone(self) -> bool:
        """``settled`` where only one thread was looked at, if it has come to a step or to its end: nobody can move after it.

        It is what most rounds come to where thousands of threads stand at steps, and takes a third of the time.
        """
        thread = self.awake[0]
        if len(self.awake) > 1 or thread.events or self.told_to_end:
            return False
        if thread.status is EXECUTING and not self._ended:
            self.line_up(thread)
        elif thread.status is ENDED and len(self._ended) == 1:
            self._ended.clear()
            self._remove(thread)
        else:
            return False
        self.awake = []
        return True

    def line_up(self, thread: Thread) -> None:
        """The only thread that has come to a step in this round gets in line."""
        ready = thread.ready
        if ready > self._latest:  # as in ``_get_in_line``, spelt out where most rounds pass
            self._latest = ready
            entry = self._entries[id(thread)] = (ready, thread)
            (self._beside if self._by_name[thread.position].concurrent else self._alone).append(entry)
        else:
            self._get_in_line([thread])

    def wake_all(self) -> None:
        """Look at every thread: an instant has come, or events were exchanged."""
        self.awake = self._state.threads.copy()
        self.due_at = None
        self.joins.clear()
        self.woken.clear()

    def wake_joins(self) -> None:
        """Look at the threads at a Join as well: one may hold."""
        for threads in self.joins.values():
            self.woken += threads
        self.joins.clear()

    def wake(self, thread: Thread) -> None:
        """Look at this thread as well: it was quiet, or at a step, and may move now."""
        if thread.status is not EXECUTING:
            entry = self._entries.pop(id(thread), None)
            if self._alone and self._alone[0] is entry:
                self._alone.popleft()
        self.woken.append(thread)

    def rouse(self) -> None:
        """Put those that were woken among those that a round looks at."""
        awake, woken = self.awake, self.woken
        self.woken = []
        if not awake and len(woken) == 1:
            self.awake = woken
            return
        known = set(map(id, awake))
        for thread in woken:
            if id(thread) not in known and (thread.status is not ENDED or thread.events):
                known.add(id(thread))
                insort(awake, thread, key=self._place)

    def leaving(self) -> Iterator[Thread]:
        """The threads that have ended, as far as they have not been cleaned up after."""
        yield from self._ended
        for thread in self.awake:
            if thread.status is ENDED:
                yield thread

    def place(self, thread: Thread) -> int:
        """Where a thread stands on the agenda."""
        return next(i for i, other in enumerate(self.awake) if other is thread)

    def _place(self, thread: Thread) -> int:
        """Where a thread stands in start order; there may be gaps."""
        if self._places is None:
            self._places = {id(thread): i for i, thread in enumerate(self._state.threads)}
            self._next_place = len(self._places)
        return self._places[id(thread)]

    # --- who stands at a step ---

    def turn(self) -> Thread | None:
        """The first in line."""
        first = self._alone[0] if self._alone else None
        if first is not None and self._entries.get(id(first[1])) is not first:
            first = self._front(self._alone)
        if self._beside:
            beside = self._front(self._beside)
            if first is None or (beside is not None and self._order(beside) < self._order(first)):
                first = beside
        return None if first is None else first[1]

    def up_next(self, most: int, in_flight: AbstractSet[str]) -> list[Thread]:
        """Those in line whose actions may begin beside each other, in the order of their turns; ``most`` of them at most.

        One whose action has the data to itself keeps all others of its kind from beginning: only the first is among them.
        """
        found: list[_Entry] = []
        passed: list[_Entry] = []
        while self._beside and len(found) < most:
            entry = self._beside.popleft()
            if self._entries.get(id(entry[1])) is entry:
                passed.append(entry)
                if entry[1].birth not in in_flight:
                    found.append(entry)
        self._beside.extendleft(reversed(passed))
        first = self._front(self._alone)
        if first is not None:
            found.append(first)
            if len(found) > 1:
                found.sort(key=self._order)
        return [thread for _, thread in found[: max(most, 0)]]

    def _get_in_line(self, arrived: list[Thread]) -> None:
        """Threads, in start order, that have come to a step: behind those that came in an earlier round."""
        if len(arrived) > 1:
            arrived.sort(key=_ready)
        for thread in arrived:
            entry = self._entries[id(thread)] = (thread.ready, thread)
            (self._beside if self._by_name[thread.position].concurrent else self._alone).append(entry)
        if arrived[0].ready <= self._latest:
            # Nothing that a driver does leads here; a snapshot with a ``ready`` that is no revision yet does.
            for queue in (self._alone, self._beside):
                line = [entry for entry in queue if self._entries.get(id(entry[1])) is entry]
                queue.clear()
                queue.extend(sorted(line, key=self._order))
        self._latest = max(self._latest, arrived[-1].ready)

    def _front(self, queue: deque[_Entry]) -> _Entry | None:
        entries = self._entries
        while queue:
            entry = queue[0]
            if entries.get(id(entry[1])) is entry:
                return entry
            queue.popleft()
        return None

    def _order(self, entry: _Entry) -> tuple[int, int]:
        return entry[0], self._place(entry[1])

    # --- who lives ---

    def started(self, thread: Thread) -> None:
        """A thread has been added to those of the run."""
        self.awake.append(thread)
        if self._names is not None:
            self._names[thread.name] += 1
        self._by_id()[thread.id] = thread
        if self._places is not None:
            self._places[id(thread)] = self._next_place
            self._next_place += 1

    def ended(self, thread: Thread) -> None:
        """A thread has ended; its id is free."""
        self._ended.append(thread)
        self._entries.pop(id(thread), None)
        if thread.events:
            self.woken.append(thread)  # it may have been quiet, and is to be cleaned up after
        if self._names is not None:
            self._names[thread.name] -= 1
        if self._living is not None:
            self._living.pop(thread.id, None)

    def lives(self, name: str) -> bool:
        """Whether a thread of this name lives."""
        if self._names is None:
            self._names = Counter([thread.name for thread in self._state.threads if thread.status is not ENDED])
        return self._names[name] > 0

    def one_lives(self) -> bool:
        """Whether no thread lives but one."""
        return len(self._by_id()) == 1

    def thread(self, thread_id: str | None) -> Thread | None:
        """The thread with this id, if one lives."""
        living = self._living
        if living is None:
            living = self._by_id()
        return None if thread_id is None else living.get(thread_id)

    def _by_id(self) -> dict[str, Thread]:
        if self._living is None:
            self._living = {thread.id: thread for thread in self._state.threads if thread.status is not ENDED}
        return self._living

    def gone(self, thread: Thread) -> None:
        """The only thread that has ended in this round, with nothing to be torn down, is off all lists."""
        if self._names is not None:
            self._names[thread.name] -= 1
        if self._living is not None:
            self._living.pop(thread.id, None)
        self._remove(thread)

    def replaced(self) -> None:
        """The only thread that has ended is off the list, and the only one that was started, at a step, gets in line."""
        self._remove(self._ended.pop())
        self.line_up(self.awake.pop())

    def remove_ended(self) -> None:
        """Take those that have ended off the list of the run's threads, unless events of theirs are to be torn down."""
        gone = [thread for thread in self._ended if not thread.events]
        self._ended.clear()
        if len(gone) <= _FEW:
            for thread in gone:
                self._remove(thread)
        else:
            state = self._state
            state.threads = [thread for thread in state.threads if thread.status is not ENDED or thread.events]
            self._places = None

    def forget(self, thread: Thread) -> None:
        """The last event of a thread that has ended is torn down: take it off all lists."""
        del self.awake[self.place(thread)]
        self._remove(thread)

    def _remove(self, thread: Thread) -> None:
        threads = self._state.threads
        # Those that end are mostly among the first.
        at = 0
        for other in islice(threads, _NEAR):
            if other is thread:
                break
            at += 1
        else:
            at = bisect_left(threads, self._place(thread), key=self._place)
        del threads[at]
        if self._places is not None:
            del self._places[id(thread)]


def _ready(thread: Thread) -> int:
    return thread.ready
