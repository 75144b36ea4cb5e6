"""How branches start, what becomes of their outcomes, and when their Parallel or Map goes on.

Theory: the thread that reached the statement stands there and has a frame for it, whose ``data`` is the book: ``count`` of
the branches, ``next`` to start, how many ``live``, ``succeeded`` and ``failed``, the ``errors``, and the ``results`` where
somebody wants them. Each end of a branch is entered there; nobody looks at the branches again. Once the join is decided, the
other branches are told to end, and the thread goes on when all have ended and cleaned up: a teardown that was tried and
failed does not hold it up.

In a Map with ``max_concurrency`` the next branch starts when one has ended, so the book stays as small as its live branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flowstmt.core.exits import CANCEL, Exit, failure_exit
from flowstmt.core.fanout import ALL, AtLeast, Map, Parallel, Percent
from flowstmt.core.journal import keep
from flowstmt.core.nodes import Node
from flowstmt.core.state import (
    ENDED,
    EXECUTING,
    PENDING_TEARDOWN,
    RESUMING,
    WAITING_CONDITION,
    ErrorInfo,
    Frame,
    Thread,
    birth_of,
)
from flowstmt.core.statements import Go, Step
from flowstmt.core.undoing import Undoing, sagas_of
from flowstmt.errors import DefinitionError, ParallelError, a_kind_of, listed, quoted, said

if TYPE_CHECKING:
    from flowstmt.core.agenda import Agenda

__all__ = ["Joins"]


_SEQUENCES = frozenset((list, tuple, range))


class Joins(Undoing):
    """Parallel and Map."""

    __slots__ = ()

    # --- starting ---

    def _at_fanout(self, thread: Thread, node: Node) -> None:
        count = len(node.children) if node.kind is Parallel else 0
        data: dict[str, Any] = {"count": count, "next": 0, "live": 0, "succeeded": 0, "failed": 0}
        if self.values[node.index].into is not None:
            data["results"] = []
        self._frames = [*self._frames, Frame(node.name, data=data)]
        self._park(thread, node, WAITING_CONDITION)
        if node.kind is Parallel:
            for branch in node.children:
                key = branch.name.removeprefix(branch.scope)
                arg = (
                    None
                    if branch.item is None
                    else self._adapted(thread, branch, "the item that it hands on", self._item(thread, branch))
                )
                self._start(thread, branch, f"{_own_part(thread)}{node.name}:{key}", arg)
            data["next"] = data["live"] = count
            if "results" in data:
                data["results"] = [None] * count
                # As they are now: the definition may have more branches, or in another order, when their results come.
                data["places"] = {branch.name.removeprefix(branch.scope): at for at, branch in enumerate(node.children)}
        else:
            self._start_more(thread, node, data)

    def _start_more(self, thread: Thread, node: Node, data: dict[str, Any]) -> bool:
        """Start as many branches of a Map as there is room for; whether any was."""
        statement = self.values[node.index]
        items = self._items(thread, node, statement.items)
        first: int = data["next"]
        count = max(len(items), first)  # those that have begun count, also if the items have become fewer since
        data["count"] = count
        room = count if statement.max_concurrency is None else statement.max_concurrency - data["live"]
        last = min(count, first + room)
        results = data.get("results")
        if results is not None and len(results) < count:
            self._journal.append((None, results.__delitem__, slice(len(results), None)))
            results.extend([None] * (count - len(results)))
        beginning = f"{_own_part(thread)}{node.name}:"
        for index in range(first, last):
            try:
                found = items[index]
            except Exception as error:
                raise self._failed(thread, node, f"its items raised {said(error)}") from error
            item = self._adapted(thread, node, "its item", found)
            key = index if statement.key is None else self._key(thread, node, statement.key, item)
            self._start(thread, node, f"{beginning}{key}", item)
            if results is not None and statement.key is not None:
                places = data.setdefault("index", {})
                self._journal.append((None, places.pop, str(key), None))
                places[str(key)] = index
        data["next"] = max(first, last)
        data["live"] += max(0, last - first)
        return last > first

    def _items(self, thread: Thread, node: Node, given: Any) -> Sequence[Any]:
        items: Sequence[Any] = given if type(given) in _SEQUENCES else self._value(thread, node, "items", given)
        if type(items) not in _SEQUENCES and not isinstance(items, Sequence):
            raise self._failed(thread, node, f"its items must be a Sequence (list, tuple, range ...), not {a_kind_of(items)}")
        return items

    def _key(self, thread: Thread, node: Node, key: Any, item: Any) -> str | int:
        try:
            found = key(*self._arguments(thread, node, key, (*self._base, item)))
        except Exception as error:
            raise self._failed(thread, node, f"its key raised {said(error)}") from error
        return self._id_part(thread, node, "key", found)

    def _id_part(self, thread: Thread, node: Node, role: str, found: Any) -> str | int:
        """What tells the threads of one statement apart. By way of JSON: a UUID becomes its text."""
        part = self._plain(thread, node, f"its {role}", found)
        if not isinstance(part, str | int) or isinstance(part, bool) or part == "":
            raise self._failed(thread, node, f"its {role} must be a text, a whole number or a UUID, not {quoted(part)}")
        return part

    def _start(self, parent: Thread, node: Node, thread_id: str, arg: Any) -> None:
        """Start the thread of a Go, a Branch or a Map."""
        agenda = self._agenda
        assert agenda is not None  # every round of a program that can start a thread makes one
        if agenda.thread(thread_id) is not None:
            raise DefinitionError(
                f"{self._where(parent)}: {node.label} would start a second thread with the id {thread_id!r} while the "
                f"first one lives: tell them apart with {'key' if node.kind is Map else 'id'}=, or Join the first one before"
            )
        birth = birth_of(parent.birth, parent.pc, thread_id)
        entry = node.entry
        # A step is reached without asking anybody anything: on the spot.
        if entry.kind is Step:
            status, position, pc, ready = EXECUTING, entry.name, 1, self.state.revision + 1
        else:
            status, position, pc, ready = RESUMING, "", 0, 0
        # By position: by name takes half as long again.
        started = Thread(
            thread_id, node.name, status, position, None, [], pc, birth, parent.id, ready, self._now, None, 1, None, arg, []
        )
        if node.in_saga:
            # Who is at a Go has not parked yet: its frames are on their way.
            started.sagas = sagas_of(parent, self._frames if node.kind is Go else parent.frames)
        self.state.threads.append(started)
        agenda.started(started)

    # --- results ---

    def _keep_result(self, thread: Thread, result: Any, *, moving: bool) -> None:
        """Note the value of a branch's last step, or of its Return, where the join collects them."""
        node = self.program.by_name[thread.name]
        join = node.join
        if join is None or self.values[join.index].into is None:
            return
        parent = self._parent_of(thread)
        book = None if parent is None else parent.frames[-1].data
        if book is None or "results" not in book:
            return
        index = self._index_of(thread, node, book)
        value = self._plain(thread, join, f"the result of its branch {thread.id!r}", result)
        results, before = book["results"], book["results"][index]
        if moving:
            self._journal.append((None, results.__setitem__, index, before))
        results[index] = value

    def _index_of(self, thread: Thread, node: Node, book: dict[str, Any]) -> int:
        if node.kind is not Map:
            place: int = book["places"][node.name.removeprefix(node.scope)]
            return place
        key = _key_of(thread, node.name)
        index: int | None = book.get("index", {}).get(key)
        return int(key) if index is None else index  # started when the Map had no key=, whatever it has now

    def _parent_of(self, thread: Thread) -> Thread | None:
        """The thread that stands at the join of a branch."""
        agenda = self._agenda
        assert agenda is not None  # every round of a program that has branches makes one
        return agenda.thread(thread.parent)

    def _results(self, data: dict[str, Any]) -> list[Any]:
        errors = {error["index"]: error for error in data.get("errors", ())}
        return [asdict(_info_of(errors[index])) if index in errors else value for index, value in enumerate(data["results"])]

    # --- ends ---

    def _end_branch(self, thread: Thread, node: Node, exit_: Exit) -> None:
        """Enter the end of a branch into the book of its join."""
        parent = self._parent_of(thread)
        if parent is None or not parent.frames:
            return
        frame = parent.frames[-1]
        data = frame.data
        self._journal.append((None, _put_back, data, data.copy()))
        data["live"] -= 1
        kind = exit_["exit"]
        over = frame.exit is not None or "met" in data
        if kind == "failure":
            data["failed"] += 1
            join = node.join
            assert join is not None  # the thread is a branch
            found = {"branch": _key_of(thread, join.name), **exit_["error"]}
            if "results" in data:
                found["index"] = self._index_of(thread, node, data)
            data["errors"] = [*data.get("errors", ()), found]
        elif kind != "cancel" and not over:
            data["succeeded"] += 1
        if kind == "return" and "value" in exit_:
            self._keep_result(thread, exit_["value"], moving=True)
        elif kind == "cancel":
            self._keep_result(thread, None, moving=True)
        key = _key_of(thread, node.name)
        if key in data.get("index", ()):
            self._forget_key(data["index"], key)
        if data["live"] and kind != "failure" and (over or self._stays_open(node, data)):
            return  # nobody has to look at the book
        assert self._agenda is not None  # every round of a program that has branches makes one
        self._agenda.wake(parent)

    def _ends_quietly(self, agenda: Agenda, thread: Thread, root: Node) -> bool:
        """The end of a thread that succeeds, where its join stays open, or has only to start the next branch."""
        if root.kind is not Go:
            parent = agenda.thread(thread.parent)
            join = root.join
            if parent is None or not parent.frames or join is None or self.values[join.index].join is not ALL:
                return False
            frame = parent.frames[-1]
            data = frame.data
            if frame.exit is not None or "index" in data:
                return False
            if data["next"] < data["count"]:
                return self._makes_room(agenda, thread, parent, join)
            if data["live"] == 1:
                return False
            data["live"] -= 1
            data["succeeded"] += 1
        thread.status = ENDED
        agenda.woken.clear()
        agenda.gone(thread)
        return True

    def _makes_room(self, agenda: Agenda, thread: Thread, parent: Thread, node: Node) -> bool:
        """The end of a branch of a Map, after which the next one starts."""
        data = parent.frames[-1].data
        if node.entry.kind is not Step or data["live"] != self.values[node.index].max_concurrency:
            return False
        count = data["count"]
        self._journal += ((None, setattr, thread, "status", thread.status), (None, _put_back, data, data.copy()))
        data["live"] -= 1
        data["succeeded"] += 1
        thread.status = ENDED
        agenda.woken.clear()
        agenda.ended(thread)
        self._frames = parent.frames
        self._start_more(parent, node, data)
        if data["count"] == count and len(agenda.awake) == 1:
            agenda.replaced()
        else:
            agenda.wake(parent)
        return True

    def _stays_open(self, node: Node, data: dict[str, Any]) -> bool:
        """Whether a success, or a branch less, neither decides a join nor makes room for another branch."""
        join = node.join
        assert join is not None  # asked of branches only
        return self.values[join.index].join is ALL and data["next"] >= data["count"]

    def _forget_key(self, index: dict[str, int], key: str) -> None:
        at = index.pop(key)
        self._journal.append((None, index.__setitem__, key, at))

    # --- the join ---

    def _tend(self, thread: Thread, node: Node) -> bool:
        """Decide the join of a thread that stands at it, as far as it can be; whether anything changed."""
        frame = thread.frames[-1]
        data = frame.data
        changed = False
        if frame.exit is None and "met" not in data:
            statement = self.values[node.index]
            is_met = self._is_met(statement, data)
            if is_met is None:
                if node.kind is not Map or data["next"] >= data["count"] or data["live"] == statement.max_concurrency:
                    return False
                self._journal.append((None, _put_back, data, data.copy()))
                self._frames = thread.frames
                if self._start_more(thread, node, data):
                    return True
                is_met = self._is_met(statement, data)  # its items may have become fewer
            if is_met is None:
                return False
            keep(self._journal, thread)
            if is_met:
                thread.frames = [*thread.frames[:-1], Frame(frame.statement, data={**data, "met": True})]
            else:
                error, info = self._join_error(node, data)
                exit_ = failure_exit(info, self._catch_for(thread, node, error, info.type))
                thread.frames = [*thread.frames[:-1], Frame(frame.statement, exit=exit_, data=data)]
            self._cancel_branches(thread, node, f"{node.label} was decided")
            data = thread.frames[-1].data
            changed = True
        if data["live"] or self._tears_down(thread, node):
            return changed
        keep(self._journal, thread)
        thread.status = RESUMING
        thread.since = self._now
        return True

    def _is_met(self, statement: Parallel | Map, data: dict[str, Any]) -> bool | None:
        """Whether the join is met, or can't be met any more (False); None while it is open."""
        count, good, bad = data["count"], data["succeeded"], data["failed"]
        ended = good + bad == count
        needed = statement.join.count if isinstance(statement.join, AtLeast) else None
        allowed = self._tolerated(statement, count)
        if needed is None:
            if ended and bad <= allowed:
                return True
            lost = bad > allowed
        else:
            if good >= needed:
                return True
            lost = count - bad < needed or (statement.tolerate is not None and bad > allowed)
        return False if lost and (ended or statement.fail_fast) else None

    def _tolerated(self, statement: Parallel | Map, count: int) -> int:
        tolerate = statement.tolerate
        if isinstance(tolerate, Percent):
            return int(count * tolerate.share // 100)
        return tolerate or 0

    def _join_error(self, node: Node, data: dict[str, Any]) -> tuple[ParallelError, ErrorInfo]:
        errors = {error["branch"]: _info_of(error) for error in data.get("errors", ())}
        lines = [f"{branch}: {error.type} at {error.step!r}: {error.message}" for branch, error in errors.items()]
        shown = listed(lines, "; ")
        message = (
            f"{data['succeeded']} of {data['count']} branches of {node.label} succeeded, {data['failed']} failed, which is "
            f"not enough for its join{': ' if shown else ''}{shown}"
        )
        return ParallelError(message, errors), ErrorInfo("ParallelError", message, node.name)

    def _would_tolerate(self, thread: Thread, error: ErrorInfo) -> bool:
        """Whether the join of a branch lets its failure pass, or something around the join would take its own."""
        node = self.program.by_name.get(thread.name)
        join = None if node is None else node.join
        parent = None if join is None else self._parent_of(thread)
        if node is None or join is None or parent is None:
            return False
        statement = self.values[join.index]
        if statement.tolerate or statement.join is not ALL:
            return True
        key = _key_of(thread, join.name)
        info = ErrorInfo("ParallelError", f"{key}: {error.type}: {error.message}", join.name)
        failure = ParallelError(info.message, {key: error})
        return self._catch_for(parent, join, failure, info.type) is not None or self._would_tolerate(parent, info)

    def _cancel_branches(self, thread: Thread, node: Node, why: str) -> bool:
        """Tell the live branches of a thread's join to end; whether one of them is still alive."""
        data = thread.frames[-1].data
        if data["live"]:  # a look at all threads: not for each Parallel that comes to its end in a Map of thousands
            names = _branch_names(node)
            for each in self.state.threads.copy():
                if each.parent == thread.id and each.name in names and each.status is not ENDED:
                    self._cancel(each, CANCEL, why)
        return bool(data["live"])

    def _tears_down(self, thread: Thread, node: Node) -> bool:
        """Whether a branch that has ended has still to be cleaned up after."""
        names = _branch_names(node)
        assert self._agenda is not None  # every round of a program that has branches makes one
        return any(
            each.parent == thread.id and each.name in names and any(event.status is PENDING_TEARDOWN for event in each.events)
            for each in self._agenda.leaving()
        )

    def _after_fanout(self, thread: Thread, node: Node) -> Node:
        """Past the join: its results go where they are wanted."""
        data = self._frames[-1].data
        self._frames = self._frames[:-1]
        into = self.values[node.index].into
        if into is not None and "results" in data:
            self._store_moving(thread, node, into, self._results(data))
        return node.next

    def _leave_fanout(self, thread: Thread, node: Node, exit_: Exit) -> Node | None:
        """Leave a join by another way than its own end: its branches first."""
        thread.frames = self._frames
        if self._cancel_branches(thread, node, "its parent ended") or self._tears_down(thread, node):
            thread.status = WAITING_CONDITION
            self._frames = thread.frames
            return None
        self._frames = thread.frames[:-1]
        return self._unwind(thread, node, exit_)


def _put_back(data: dict[str, Any], before: dict[str, Any]) -> None:
    data.clear()
    data.update(before)


def _branch_names(node: Node) -> set[str]:
    """The names of the threads that a Parallel or Map starts."""
    return {node.name} if node.kind is Map else {branch.name for branch in node.children}


def _info_of(entry: dict[str, Any]) -> ErrorInfo:
    """The failure of a branch, as data, of what the book has about it."""
    return ErrorInfo(**{key: entry[key] for key in ErrorInfo.__slots__})


def _own_part(parent: Thread) -> str:
    """What the ids of branches begin with: that of their parent, where it is one of several that run the same statements."""
    return f"{parent.id}/" if ":" in parent.id else ""


def _key_of(branch: Thread, join: str) -> str:
    """What tells a branch from the others of its join."""
    parent = branch.parent or ""
    return branch.id[(len(parent) + 1 if ":" in parent else 0) + len(join) + 1 :]
