"""Random trees of branches that fail, wait and clean up: killed anywhere, cancelled anywhere, always the same end.

What a single thread does is held against Python (``test_failing.py``). Branches have no such oracle; what is asked of them
here is what has to hold of every run: a crash makes no difference, every Try that was entered has run its finally once, what a
failed run did is undone, and at the end nothing is left alive or set up.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from flowstmt import (
    ALL,
    ANY,
    AtLeast,
    Branch,
    ControlError,
    Fail,
    For,
    Go,
    If,
    Join,
    Map,
    On,
    Parallel,
    Percent,
    Retry,
    Return,
    S,
    Saga,
    Sleep,
    State,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
    cancel,
    current,
    dump,
    load,
    resume,
)
from flowstmt.testing import START, Advance, explore
from tests.meaning.test_meaning import EXAMPLES, thorough

MINUTE = timedelta(minutes=1)

# A shape is plain data: (kind, parts ...). Names are given in the order of the source.
Shape = tuple[Any, ...]


class Outside:
    """An event that has something outside."""

    def setup(self, request: Any) -> str:
        return "set up"

    def teardown(self, request: Any, handled: bool) -> None: ...


def bodies(parts: st.SearchStrategy[Shape]) -> st.SearchStrategy[list[Shape]]:
    return st.lists(parts, min_size=1, max_size=3)


joins = st.sampled_from([ALL, ALL, ANY, AtLeast(2)])
tolerances = st.sampled_from([None, None, 1, Percent(50)])
leaves = st.one_of(
    st.just(("step",)),
    st.just(("book",)),
    st.tuples(st.just("flaky"), st.integers(1, 3)),
    st.tuples(st.just("sleep"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.just(("fail",)),
    st.just(("return",)),
)
shapes = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.tuples(st.just("try"), bodies(parts), st.none() | bodies(parts), st.none() | bodies(leaves)),
        st.tuples(st.just("saga"), bodies(parts)),
        st.tuples(st.just("parallel"), st.lists(bodies(parts), min_size=2, max_size=3), joins, tolerances, st.booleans()),
        st.tuples(st.just("map"), st.integers(0, 4), bodies(parts), joins, tolerances, st.none() | st.integers(1, 2)),
        st.tuples(st.just("for"), bodies(parts), st.integers(1, 2)),
    ),
    max_leaves=10,
)
trees = bodies(shapes)


@dataclass
class Work:
    log: list[str] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def definition(self) -> Statement:
        """Each random tree is one of a class of its own."""
        raise NotImplementedError


class Builder:
    """Statements out of shapes. What is inside of branches takes an item where one is there: nothing here needs it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def say(self, word: str, raises: int = 0) -> Callable[[], str]:
        def action() -> str:
            if current().attempt <= raises:
                raise OSError(f"attempt {current().attempt}")
            self.work.log.append(f"{current().thread_id} {word}")
            return word

        return action

    def body(self, parts: list[Shape]) -> list[Statement]:
        return [self.statement(*part) for part in parts]

    def statement(self, kind: str, *parts: Any) -> Statement:
        made: Statement = getattr(self, kind + "_")(self.name(kind), *parts)
        return made

    def step_(self, name: str) -> Statement:
        return Step(name, self.say(name))

    def book_(self, name: str) -> Statement:
        return Step(name, self.say(name), compensate=self.undo)

    def undo(self, what: str) -> None:
        self.work.log.append(f"undo {what}")

    def flaky_(self, name: str, fails: int) -> Statement:
        return Step(name, self.say(name, fails), retry=Retry(max_attempts=2))

    def sleep_(self, name: str, minutes: int) -> Statement:
        return Sleep(name, minutes * MINUTE)

    def wait_(self, name: str, minutes: int) -> Statement:
        return Wait(name, On("never", via=Outside()), Timeout("late", minutes * MINUTE))

    def fail_(self, name: str) -> Statement:
        return Fail(name, "as planned")

    def return_(self, name: str) -> Statement:
        return S(Return(name))

    def try_(self, name: str, body: list[Shape], caught: list[Shape] | None, final: list[Shape] | None) -> Statement:
        enter = Step(f"enter-{name}", self.say(f"enter {name}"))
        made = Try(name, enter, *self.body(body))
        if caught is not None:
            made = made.catch(Exception, *self.body(caught))
        if final is not None or caught is None:
            made = made.finally_(Step(f"leave-{name}", self.say(f"leave {name}")), *self.body(final or []))
        return made

    def saga_(self, name: str, body: list[Shape]) -> Statement:
        return Saga(name, *self.body(body))

    def parallel_(self, name: str, branches: list[list[Shape]], join: Any, tolerate: Any, fail_fast: bool) -> Statement:
        made = [Branch(self.name("branch"), *self.body(body)) for body in branches]
        return Parallel(name, *made, join=join, tolerate=tolerate, fail_fast=fail_fast, into=self.work.kept.append)

    def map_(self, name: str, count: int, body: list[Shape], join: Any, tolerate: Any, most: int | None) -> Statement:
        return Map(name, range(count), *self.body(body), join=join, tolerate=tolerate, max_concurrency=most)

    def for_(self, name: str, body: list[Shape], rounds: int) -> Statement:
        pace = Sleep(f"pace-{name}", MINUTE)
        return Try(f"try-{name}", For(name, pace, *self.body(body), max_iterations=rounds)).catch(Exception)


def workflow(tree: list[Shape], background: list[Shape]) -> type[Work]:
    @dataclass
    class Random(Work):
        def definition(self) -> Statement:
            build = Builder(self)
            return S(Go("background", *build.body(background)), *build.body(tree), If("end", True, Join("all", "background")))

    return Random


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("flowstmt.rounds")
    logger.disabled = True
    yield
    logger.disabled = False


def entered_and_left(log: list[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each Try with a finally was entered and left, by thread."""
    entered = Counter(line.replace(" enter ", " ") for line in log if " enter " in line)
    left = Counter(line.replace(" leave ", " ") for line in log if " leave " in line)
    return entered, left


def check_end(cls: type[Work], work: Work, state: State, has_final: set[str]) -> None:
    assert state.threads == []
    assert state.status in ("Finished", "Failed", "Cancelled")
    assert state.wake_at is None
    entered, left = entered_and_left(work.log)
    # A thread may be told to end when it is in the Try already, but has not said so yet: it leaves without having entered.
    assert not Counter({key: count for key, count in entered.items() if key.split(" ")[-1] in has_final}) - left
    assert {key.split(" ")[-1] for key in left} <= has_final
    booked = [line.split(" ")[1] for line in work.log if " book" in line and not line.startswith("undo")]
    undone = [line.removeprefix("undo ") for line in work.log if line.startswith("undo")]
    assert not Counter(undone) - Counter(booked)
    if state.status != "Finished":
        assert Counter(undone) == Counter(booked)
    assert state.undo == []


def final_names(root: Any) -> set[str]:
    found: set[str] = set()
    for each in [root, *_nested(root)]:
        if isinstance(each, Try) and any(type(part).__name__ == "Finally" for part in each.body):
            found.add(each.name)
    return found


def _nested(root: Statement) -> Iterator[Statement]:
    for child in root.body:
        yield child
        yield from _nested(child)


def ended(cls: type[Work], work: Work, state: State) -> tuple[Work, State]:
    """Resumed, and loaded anew, until nothing is left to do."""
    now = START
    for _ in range(400):
        resume(work, state, now=now, max_steps=3)
        work, state = load(cls, dump(work, state))
        if state.wake_at is None:
            break
        now = max(now, state.wake_at)
    return work, state


@thorough
@given(tree=trees, background=bodies(leaves))
def test_a_run_ends_and_leaves_nothing_behind(tree: list[Shape], background: list[Shape]):
    cls = workflow(tree, background)
    work, state = ended(cls, cls(), State.new("run", "Random", START))
    event(state.status)
    note(work.log)
    check_end(cls, work, state, final_names(cls().definition()))


@thorough
@given(tree=trees, background=bodies(leaves), steps=st.integers(0, 12))
def test_a_run_cancelled_anywhere_cleans_up_and_undoes(tree: list[Shape], background: list[Shape], steps: int):
    cls = workflow(tree, background)
    work, state = cls(), State.new("run", "Random", START)
    now = START
    for _ in range(steps):
        resume(work, state, now=now, max_steps=1)
        if state.wake_at is None:
            break
        now = max(now, state.wake_at)
    if state.status in ("Finished", "Failed"):
        return
    try:
        cancel(work, state, "enough", now=now)
    except ControlError:  # it has failed, and is on its way to its end
        event("too late")
    work, state = ended(cls, *load(cls, dump(work, state)))
    event(state.status)
    note(work.log)
    check_end(cls, work, state, final_names(cls().definition()))


@settings(max_examples=EXAMPLES // 10 or 25, derandomize=not EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=st.lists(shapes, min_size=1, max_size=2), background=bodies(leaves))
def test_a_crash_at_any_instant_makes_no_difference(tree: list[Shape], background: list[Shape]):
    cls = workflow(tree, background)
    found = explore(cls, [Advance(timedelta(hours=3))])
    note(found.undisturbed.trace)
    check_end(cls, found.undisturbed.workflow, found.undisturbed.state, final_names(cls().definition()))
