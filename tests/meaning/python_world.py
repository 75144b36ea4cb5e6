"""What the Python source of a tree calls: actions with their policies, conditions, catches, sagas. No control flow.

It knows nothing of flowstmt but the classes of its errors.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from flowstmt import ErrorInfo, FinalError
from tests.meaning.failing_trees import (
    CAUGHT,
    RAISED,
    Attempt,
    Course,
    Errors,
    Limited,
    Policy,
    Quit,
    Taking,
    Task,
    short,
    told,
)
from tests.meaning.python_source import Source
from tests.meaning.trees import (
    Await,
    Body,
    Call,
    Cond,
    Each,
    Into,
    Until,
    Val,
    apply,
    number,
    plain_number,
    truth,
)

__all__ = ["End", "FailedError", "World", "in_python"]


class FailedError(FinalError):
    """What a Fail raises."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Cancelled(BaseException):
    """Somebody cancels the run."""


class Enough(BaseException):
    """The trace is as long as anybody wants it."""


@dataclass(frozen=True)
class End:
    """How a run ended; "" if it was not watched to its end."""

    status: str
    result: Any = None
    error: Any = None
    data: Any = None
    not_undone: tuple[str, ...] = ()


@dataclass
class Record:
    """A completed step that can be undone."""

    task: Task
    result: int
    item: Any


class World:
    """One run. ``cancel_at``: how many entries the trace has when the run is cancelled, at the next stop."""

    def __init__(self, course: Course, limit: int, cancel_at: int | None = None) -> None:
        self.course = course
        self.data = course.fresh()
        self.limit = limit
        self.cancel_at = cancel_at
        self.trace: list[tuple[Any, ...]] = []
        self.takers: list[Attempt] = []
        self.shields = 0
        self.cancelled = False
        self.sagas: list[list[Record]] = [[]]
        self.not_undone: list[str] = []
        self.known: dict[int, ErrorInfo] = {}
        self.kept: list[BaseException] = []

    # --- actions ---

    def log(self, *entry: Any) -> None:
        self.goes_on()
        self.trace.append(entry)

    def goes_on(self) -> bool:
        if len(self.trace) >= self.limit:
            raise Enough
        return True

    def stop(self) -> None:
        """A place at which a thread can stand."""
        self.goes_on()
        if self.cancel_at is not None and len(self.trace) >= self.cancel_at and not self.cancelled:
            self.cancelled = True
            if not self.shields:
                raise Cancelled

    def act(self, node: Task | Until, item: Any) -> None:
        task = node.handler if isinstance(node, Until) else node
        assert isinstance(task, Task)
        policy = task.policy or self.course.policy
        attempt, waited = 1, 0
        while True:
            self.stop()
            before = deepcopy(self.data), deepcopy(item)
            try:
                result = self.call("action", node.name, task, attempt, item)
            except Exception as error:
                self.put_back(*before, item)
                if policy is None and not any(self.takes(taker, error) for taker in self.takers):
                    self.log("StepError", node.name, type(error).__name__)
                    continue
                delay = None if policy is None else self.delay(policy, error, attempt)
                if policy is None or delay is None or (policy.total is not None and waited + delay > policy.total):
                    raise self.knowing(error, ErrorInfo(type(error).__name__, str(error), node.name, attempt)) from None
                waited += delay
                attempt += 1
                continue
            self.put(task.into, result, item)
            if task.undo is not None:
                self.sagas[-1].append(Record(task, result, deepcopy(item)))
            return

    def call(self, kind: str, name: str, task: Task, attempt: int, item: Any) -> int:
        """The action itself."""
        item = item if task.use else None
        before = None if item is None else plain_number(item)
        apply(task.ops, self.data, item)
        calls = sum(entry[:2] == (kind, name) for entry in self.trace)
        self.log(kind, name, attempt, before, self.data.shown())
        self.raise_if_scripted(task.faults, calls, name)
        return number(task.result, self.data, item)

    def raise_if_scripted(self, faults: tuple[str, ...], calls: int, name: str) -> None:
        if calls < len(faults) and faults[calls]:
            raise RAISED[faults[calls]](f"call {calls} of {name}")

    def delay(self, policy: Policy, error: Exception, attempt: int) -> int | None:
        """How long to wait before the next attempt; None if there is none."""
        if isinstance(error, FinalError) or attempt >= policy.max_attempts or not self.means(policy.on, error):
            return None
        if self.means(policy.unless, error) or (policy.when is not None and not isinstance(error, CAUGHT[policy.when])):
            return None
        return int(min(policy.initial * policy.multiplier ** (attempt - 1), policy.max_delay))

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

    def wait(self, node: Await, item: Any) -> str:
        self.stop()
        event = node.events[self.course.pick(len(self.trace), len(node.events))]
        if isinstance(event, Call) and event.handler is not None:
            handler = event.handler
            given = item if handler.use else None
            before = None if given is None else plain_number(given)
            apply(handler.ops, self.data, given)
            self.log("handler", node.name, 1, before, self.data.shown())
        return event.name

    # --- failures ---

    def knowing(self, error: BaseException, info: ErrorInfo) -> BaseException:
        self.known[id(error)] = info
        self.kept.append(error)
        return error

    def quit(self, node: Quit, item: Any) -> BaseException:
        message = "told to" if node.val is None else f"told to by {number(node.val.expr, self.data, item)}"
        return self.knowing(FailedError(short(node.name), message), ErrorInfo(short(node.name), message, node.name, 1))

    def too_many(self, node: Limited) -> BaseException:
        message = f"For {node.name!r} has begun {node.most} rounds, which is its max_iterations, and would begin another one"
        return self.knowing(FinalError(message), ErrorInfo("FinalError", message, node.name, 1))

    @contextmanager
    def taking(self, node: Attempt) -> Iterator[None]:
        self.takers.append(node)
        try:
            yield
        finally:
            self.takers.pop()

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
        info = self.known[id(error)]
        if case.into == "field":
            self.data.caught = info
        elif case.into == "setter":
            self.data.x = info.attempts

    # --- ends ---

    @contextmanager
    def shield(self) -> Iterator[None]:
        """The body of a ``finally``: a cancellation waits for its end, and nothing in it can hold one up."""
        self.shields += 1
        try:
            yield
        finally:
            self.shields -= 1
            if self.cancelled and not self.shields:
                raise Cancelled

    @contextmanager
    def saga(self) -> Iterator[None]:
        self.sagas.append([])
        try:
            yield
        except (Exception, Cancelled):
            self.undo(self.sagas.pop())
            raise
        except BaseException:
            self.sagas.pop()
            raise
        else:
            done = self.sagas.pop()
            self.sagas[-1] += done

    @contextmanager
    def whole_run(self) -> Iterator[None]:
        try:
            yield
        except (Exception, Cancelled):
            self.undo(self.sagas[0])
            raise

    def undo(self, records: list[Record]) -> None:
        with self.shield():
            while records:
                self.compensate(records.pop())

    def compensate(self, record: Record) -> None:
        task, undo = record.task, record.task.undo
        assert undo is not None
        policy = task.policy or self.course.policy or Policy()
        attempt = 1
        while True:
            self.stop()
            before = deepcopy(self.data)
            calls = sum(entry[:2] == ("undo", task.name) for entry in self.trace)
            apply(undo.ops, self.data, None)
            result = None if undo.takes == "" else record.result
            item = plain_number(record.item) if undo.takes == "item" else None
            self.log("undo", task.name, attempt, (result, item), self.data.shown())
            try:
                self.raise_if_scripted(undo.faults, calls, task.name)
            except Exception as error:
                self.put_back(before, None, None)
                if self.delay(policy, error, attempt) is None:
                    self.not_undone.append(task.name)
                    return
                attempt += 1
            else:
                return


def in_python(tree: Body, course: Course, limit: int, cancel_at: int | None = None) -> tuple[World, End, str]:
    """Run a tree as Python; what happened, how it ended, and the source."""
    source = Source(tree)
    world = World(course, limit, cancel_at)
    names: dict[str, Any] = {"world": world, "things": source.things, **CAUGHT}
    with warnings.catch_warnings():
        # Newer Pythons don't like jumps in a finally, but do them.
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(source.text, names)
    status, result, error = "Finished", None, None
    try:
        result = names["main"]()
    except Enough:
        return world, End(""), source.text
    except Cancelled:
        status = "Cancelled"
    except Exception as raised:
        status, error = "Failed", told(world.known[id(raised)])
    if len(world.trace) >= world.limit:
        return world, End(""), source.text
    return world, End(status, result, error, world.data.shown(), tuple(sorted(world.not_undone))), source.text
