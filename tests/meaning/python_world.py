"""What the Python source of a tree calls: actions with their policies, conditions, catches, sagas. No control flow.

It knows nothing of flowstmt but the classes of its errors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from flowstmt import ErrorInfo, FinalError
from tests.meaning.failing_trees import (
    CAUGHT,
    RAISED,
    Attempt,
    Course,
    Deal,
    Errors,
    Limited,
    Policy,
    Quit,
    Taking,
    Task,
    short,
)
from tests.meaning.trees import (
    After,
    Await,
    Box,
    Call,
    Cond,
    Each,
    Gather,
    Into,
    Nap,
    Spawn,
    Timer,
    Until,
    Val,
    apply,
    number,
    plain_number,
    truth,
)

__all__ = ["Cancelled", "Enough", "Stop", "Stops", "Thread", "World"]


class FailedError(FinalError):
    """What a Fail raises."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Cancelled(BaseException):
    """A thread is told to end; ``status`` and ``error`` are those of the run, if it is ``main``."""

    def __init__(self, status: str = "", error: ErrorInfo | None = None) -> None:
        super().__init__()
        self.status = status
        self.error = error


class Enough(BaseException):
    """The trace is as long as anybody wants it."""


@dataclass(eq=False)
class Record:
    """A completed step that can be undone."""

    number: int
    task: Task
    result: int
    item: Any


@dataclass(eq=False)
class Saga:
    """The completed steps of one Saga that a thread is inside of, or of the run. ``around``: the next one outward, which has
    them once this one is ``over``."""

    around: Saga | None
    done: list[Record] = field(default_factory=list)
    over: bool = False

    def chain(self) -> Iterator[Saga]:
        """This one and those around."""
        saga: Saga | None = self
        while saga is not None:
            yield saga
            saga = saga.around


@dataclass
class Stop:
    """What a thread yields: where it stands. ``past``: nowhere; ``again``: where it stood."""

    kind: Literal["act", "again", "past", "time", "event", "cond"]
    node: Await | None = None
    due_at: int | None = None
    item: Any = None
    holds: Callable[[], bool] = lambda: False


Stops: TypeAlias = Generator[Stop, Any, Any]


@dataclass(eq=False)
class Thread:
    """One line of execution. ``cancelled``: it was told to end; ``told``: and does not know yet."""

    id: str
    name: str
    walk: Stops
    saga: Saga
    started_in: Saga
    stop: Stop = field(default_factory=lambda: Stop("past"))
    ready: int = 0
    event: str | None = None
    takers: list[Attempt] = field(default_factory=list)
    shields: int = 0
    cancelled: Cancelled | None = None
    told: bool = False
    lives: bool = True


class World:
    """One run: its data, what happened, and the thread that moves just now."""

    def __init__(self, course: Course, limit: int) -> None:
        self.course = course
        self.data = course.fresh()
        self.limit = limit
        self.now = 0
        self.trace: list[tuple[Any, ...]] = []
        self.threads: list[Thread] = []
        self.run_saga = Saga(None)
        self.not_undone: list[str] = []
        self.stuck = False
        self.records = 0
        self._known: dict[int, ErrorInfo] = {}
        self._kept: list[BaseException] = []
        self.thread: Thread

    def info(self, error: BaseException) -> ErrorInfo:
        """What is known of a failure."""
        return self._known[id(error)]

    # --- actions ---

    def log(self, *entry: Any) -> None:
        self.goes_on()
        self.trace.append(entry)

    def goes_on(self) -> bool:
        if len(self.trace) >= self.limit or self.stuck:
            raise Enough
        return True

    def begin(self) -> Stops:
        self.goes_on()
        yield from ()

    def act(self, node: Task | Until, item: Any) -> Stops:
        task = node.handler if isinstance(node, Until) else node
        assert isinstance(task, Task)
        policy = task.policy or self.course.policy
        attempt, since, kind = 1, self.now, "act"
        while True:
            self.goes_on()
            yield Stop("act" if kind == "act" else "again")
            kind = "act"
            before = deepcopy(self.data), deepcopy(item)
            try:
                result = self.call("action", node.name, task, attempt, item)
            except Exception as error:
                self.put_back(*before, item)
                if policy is None and not any(self.takes(taker, error) for taker in self.thread.takers):
                    self.log("StepError", node.name, type(error).__name__)
                    kind = "again"
                    continue
                delay = None if policy is None else self.delay(policy, error, attempt, self.now - since)
                if delay is None:
                    failure = self.knowing(error, ErrorInfo(type(error).__name__, str(error), node.name, attempt))
                    break
                yield Stop("time", due_at=self.now + delay)
                attempt += 1
                continue
            self.put(task.into, result, item)
            if task.undo is not None:
                self.records += 1
                saga = next(saga for saga in self.thread.saga.chain() if not saga.over)
                saga.done.append(Record(self.records, task, result, deepcopy(item)))
            yield Stop("past")
            return
        yield Stop("past")
        raise failure

    def call(self, kind: str, name: str, task: Task, attempt: int, item: Any) -> int:
        """The action itself."""
        item = item if task.use else None
        before = None if item is None else plain_number(item)
        apply(task.ops, self.data, item)
        calls = sum(entry[:2] == (kind, name) for entry in self.trace)
        self.log(kind, name, self.thread.id, attempt, before, self.data.shown())
        self.raise_if_scripted(task.faults, calls, name)
        return number(task.result, self.data, item)

    def raise_if_scripted(self, faults: tuple[str, ...], calls: int, name: str) -> None:
        if calls < len(faults) and faults[calls]:
            raise RAISED[faults[calls]](f"call {calls} of {name}")

    def delay(self, policy: Policy, error: Exception, attempt: int, waited: int = 0) -> int | None:
        """How long to wait before the next attempt; None if there is none."""
        if isinstance(error, FinalError) or attempt >= policy.max_attempts or not self.means(policy.on, error):
            return None
        if self.means(policy.unless, error) or (policy.when is not None and not isinstance(error, CAUGHT[policy.when])):
            return None
        delay = min(policy.initial * policy.multiplier ** (attempt - 1), policy.max_delay)
        return None if policy.total is not None and waited + delay > policy.total else delay

    def put_back(self, data: Any, item_before: Any, item: Any) -> None:
        for name in ("x", "y", "z", "caught"):
            setattr(self.data, name, getattr(data, name))
        # In place: Python's loops go on with the list that they have.
        self.data.items[:] = data.items
        self.data.boxes[:] = data.boxes
        if hasattr(item, "n"):
            item.n = item_before.n

    def put(self, into: Into | None, value: Any, item: Any) -> None:
        if into is not None and into.kind == "field":
            setattr(self.data, into.field, value)
        elif into is not None:
            extra = plain_number(item) if into.use else 0
            setattr(self.data, into.field, (plain_number(value) + extra) % 5)

    # --- values ---

    def truth(self, cond: Cond, item: Any) -> bool:
        return bool(truth(cond, self.data, item))

    def value(self, val: Val, item: Any) -> int:
        return number(val.expr, self.data, item)

    def items(self, node: Each, item: Any) -> Iterator[Any]:
        index = 0
        while True:
            self.goes_on()
            items: Any = {"ints": self.data.items, "boxes": self.data.boxes, "const": node.items.const}.get(node.items.kind)
            if items is None:
                items = range(number(node.items.val.expr, self.data, item))
            if index >= len(items):
                return
            yield deepcopy(items[index])
            index += 1

    def nap(self, node: Nap, item: Any) -> Stops:
        self.goes_on()
        yield Stop("time", due_at=self.due(node.after, item))

    def due(self, after: After, item: Any) -> int:
        n = number(after.val.expr, self.data, item)
        return n if after.kind == "instant" else self.now + n

    def until(self, node: Until, item: Any) -> Stops:
        self.goes_on()
        yield Stop("cond", holds=lambda: self.truth(node.cond, item))
        if node.handler is not None:
            yield from self.act(node, item)

    def wait(self, node: Await, item: Any) -> Stops:
        self.goes_on()
        timers = [self.due(event.after, item) for event in node.events if isinstance(event, Timer)]
        event = yield Stop("event", node, min(timers, default=None), item)
        return event

    def fire(self, thread: Thread, event: Call) -> None:
        """What a callback does."""
        handler, node, item = event.handler, thread.stop.node, thread.stop.item
        assert node is not None
        thread.event = event.name
        thread.stop.kind = "past"
        if handler is not None:
            given = item if handler.use else None
            before = None if given is None else plain_number(given)
            apply(handler.ops, self.data, given)
            self.log("handler", node.name, thread.id, 1, before, self.data.shown())

    # --- threads ---

    def go(self, node: Spawn, item: Any, body: Callable[[Any], Stops]) -> None:
        self.goes_on()
        thread_id = node.name if node.id is None else f"{node.name}:{self.value(node.id, item)}"
        if any(thread.id == thread_id and thread.lives for thread in self.threads):
            self.stuck = True
            raise Enough
        arg = deepcopy(item)
        if node.arg is not None:
            kind, val = node.arg
            n = self.value(val, item)
            arg = Box(n) if kind == "box" else n
        self.threads.append(Thread(thread_id, node.name, body(arg), self.thread.saga, self.thread.saga))

    def join(self, node: Gather) -> Stops:
        self.goes_on()
        yield Stop("cond", holds=lambda: not any(thread.lives and thread.name in node.go_names for thread in self.threads))

    # --- failures ---

    def knowing(self, error: BaseException, info: ErrorInfo) -> BaseException:
        self._known[id(error)] = info
        self._kept.append(error)
        return error

    def quit(self, node: Quit, item: Any) -> BaseException:
        message = "told to" if node.val is None else f"told to by {number(node.val.expr, self.data, item)}"
        return self.knowing(FailedError(short(node.name), message), ErrorInfo(short(node.name), message, node.name, 1))

    def too_many(self, node: Limited) -> BaseException:
        message = f"For {node.name!r} has begun {node.most} rounds, which is its max_iterations, and would begin another one"
        return self.knowing(FinalError(message), ErrorInfo("FinalError", message, node.name, 1))

    @contextmanager
    def taking(self, node: Attempt) -> Iterator[None]:
        thread = self.thread
        thread.takers.append(node)
        try:
            yield
        finally:
            thread.takers.pop()

    def takes(self, node: Attempt, error: Exception) -> bool:
        return any(self.means(case.errors, error) for case in node.cases)

    def means(self, errors: Errors, error: BaseException) -> bool:
        return any(
            name == getattr(error, "name", None) or name in [cls.__name__ for cls in type(error).__mro__]
            if kind == "name"
            else isinstance(error, CAUGHT[name])
            for kind, name in errors.parts
        )

    def meant(self, errors: Errors) -> Any:
        """What an ``except`` clause compares the exception with that has got to it."""
        error = sys.exc_info()[1]
        return Exception if isinstance(error, Exception) and self.means(errors, error) else ()

    def caught(self, case: Taking, error: BaseException, item: Any) -> None:
        info = self.info(error)
        if case.into == "field":
            self.data.caught = info
        elif case.into == "setter":
            self.data.x = info.attempts

    # --- ends ---

    @contextmanager
    def shield(self) -> Iterator[None]:
        """The body of a ``finally``: a cancellation waits for its end, and nothing in it can hold one up."""
        thread = self.thread
        thread.shields += 1
        try:
            yield
        finally:
            thread.shields -= 1
            if thread.cancelled is not None and not thread.shields:
                thread.told = False
                raise thread.cancelled

    def saga(self, node: Deal) -> Saga:
        self.goes_on()
        self.thread.saga = Saga(self.thread.saga)
        return self.thread.saga

    def leave(self, saga: Saga) -> None:
        assert saga.around is not None
        self.thread.saga = saga.around
        saga.over = True
        heir = next(each for each in saga.chain() if not each.over)
        heir.done += saga.done

    def undo(self, saga: Saga) -> Stops:
        with self.shield():
            for thread in self.started_inside(saga):
                self.tell(thread, Cancelled())
            yield Stop("cond", holds=lambda: not self.started_inside(saga))
            while saga.done:
                newest = max(saga.done, key=lambda record: record.number)
                saga.done.remove(newest)
                yield from self.compensate(newest)

    def started_inside(self, saga: Saga) -> list[Thread]:
        if saga.around is None:
            return []
        return [thread for thread in self.threads if thread.lives and saga in thread.started_in.chain()]

    def tell(self, thread: Thread, cancelled: Cancelled) -> None:
        """Tell a thread to end; the first to do so says why."""
        if thread.cancelled is None:
            thread.cancelled = cancelled
            thread.told = True

    def compensate(self, record: Record) -> Stops:
        task, undo = record.task, record.task.undo
        assert undo is not None
        policy = task.policy or self.course.policy or Policy()
        attempt = 1
        while True:
            self.goes_on()
            yield Stop("act")
            before = deepcopy(self.data)
            calls = sum(entry[:2] == ("undo", task.name) for entry in self.trace)
            apply(undo.ops, self.data, None)
            result = None if undo.takes == "" else record.result
            item = plain_number(record.item) if undo.takes == "item" else None
            self.log("undo", task.name, self.thread.id, attempt, (result, item), self.data.shown())
            try:
                self.raise_if_scripted(undo.faults, calls, task.name)
            except Exception as error:
                self.put_back(before, None, None)
                delay = self.delay(policy, error, attempt)
                if delay is None:
                    self.not_undone.append(task.name)
                    break
                yield Stop("time", due_at=self.now + delay)
                attempt += 1
            else:
                break
        yield Stop("past")
