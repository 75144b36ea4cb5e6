"""What a Map costs: the work of one branch whatever the others are, and a state of the size of its live branches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from flowstmt import (
    Branch,
    For,
    ForEach,
    Go,
    If,
    Join,
    Map,
    On,
    Parallel,
    S,
    State,
    Statement,
    Step,
    StepError,
    Try,
    Wait,
    WorkflowStatus,
    dump,
    load,
    resume,
)
from flowstmt.core.machine import Machine
from tests.core.test_agenda import executed

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Items:
    """A Map over so many items."""

    count: int
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), Step("step", cls.step))

    def step(self) -> None:
        self.done += 1


class Narrow(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), Step("step", cls.step), max_concurrency=10)


class Deciding(Items):
    """Whose branches begin with a condition."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), If("if", lambda w: True, Step("step", cls.step)), max_concurrency=10)


class Collected(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        steps = Step("step", cls.step), Step("value", lambda w, item: item)
        return Map("map", lambda w: range(w.count), *steps, max_concurrency=10, into=cls.check)

    def check(self, results: list[int]) -> None:
        assert results == list(range(self.count))


class ParallelInside(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map(
            "map",
            lambda w: range(w.count),
            Parallel("both", Branch("one", Step("step", cls.step)), Branch("two", Step("other", lambda w: None))),
        )


class CleanedUp(Items):
    """When main has ended, each of its threads has a step to do, one after the other."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        cleaned = Try("try", Wait("wait", On("never"))).finally_(Step("clean", cls.step))
        start = ForEach("each", lambda w: range(w.count), Go("go", cleaned, id=lambda w, item: item))
        return S(start, Step("last", lambda w: None))


class Started(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        go = Go("go", Step("other", lambda w: None), id=cls.number)
        return S(For("each", lambda w: w.done < w.count, Step("step", cls.step), go), Join("all", "go"))

    def number(self) -> int:
        return self.done


@pytest.mark.parametrize("cls", [Items, Narrow, Deciding, Collected, ParallelInside, CleanedUp, Started])
def test_the_work_of_a_map_grows_with_its_items_not_with_their_square(cls: type[Items]) -> None:
    work = []
    for count in (1, 100, 200):  # the first one links the class
        workflow, state = cls(count), State.new("r", "Items")
        work.append(executed(lambda workflow=workflow, state=state: resume(workflow, state, now=START)))  # type: ignore[misc]
        assert state.status is WorkflowStatus.Finished
        assert workflow.done == count
    assert work[2] < 2.1 * work[1]


@pytest.mark.parametrize("cls", [Items, Narrow])
def test_the_end_of_a_branch_takes_a_move_not_a_round(cls: type[Items], monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0
    one_pass = Machine._pass

    def counted(machine: Machine, agenda: Any) -> bool:
        nonlocal passes
        passes += 1
        return one_pass(machine, agenda)

    monkeypatch.setattr(Machine, "_pass", counted)
    workflow, state = cls(200), State.new("r", "Items")
    resume(workflow, state, now=START)
    assert workflow.done == 200
    assert passes < 50


@dataclass
class Many:
    """A hundred at once of very many."""

    count: int
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), Step("step", cls.step), max_concurrency=100)

    def step(self, item: int) -> None:
        assert item == self.done
        self.done += 1


def test_a_state_of_100_000_items_is_as_large_as_its_live_branches() -> None:
    many, state = Many(100_000), State.new("r", "Many")
    most = 0
    while resume(many, state, now=START, max_steps=9_999) is WorkflowStatus.Resuming:
        blob = dump(many, state)
        most = max(most, len(blob))
        assert len(state.threads) <= 101
        many, state = load(Many, blob)
    assert state.status is WorkflowStatus.Finished
    assert many.done == 100_000
    assert 10_000 < most < 30_000


@dataclass
class Growing:
    """Items that are asked for again whenever a branch starts."""

    items: list[str]
    seen: list[str]
    fail_at: int = -1

    def definition(self) -> Statement:
        return Map("map", self.current, Step("step", self.step), max_concurrency=2)

    def current(self) -> list[str]:
        if len(self.seen) == self.fail_at:
            raise OSError("no items now")
        return self.items

    def step(self, item: str) -> None:
        self.seen.append(item)
        if item == "grow":
            self.items = [*self.items, "more", "last"]
        if item == "shrink":
            self.items = self.items[:3]


@pytest.mark.parametrize(
    ("items", "seen"),
    [
        (["a", "grow", "b", "c"], ["a", "grow", "b", "c", "more", "last"]),
        (["a", "grow", "b"], ["a", "grow", "b"]),  # all have been started
        (["shrink", "a", "b", "c", "d"], ["shrink", "a", "b"]),
        (["a", "shrink", "b", "c", "d"], ["a", "shrink", "b"]),
    ],
)
def test_the_items_are_asked_for_again_when_a_branch_starts(items: list[str], seen: list[str]) -> None:
    growing, state = Growing(items, []), State.new("r", "Growing")
    assert resume(growing, state, now=START) is WorkflowStatus.Finished
    assert growing.seen == seen


def test_items_that_raise_when_the_next_branch_would_start_leave_the_end_of_the_last_one_to_be_seen_again() -> None:
    growing, state = Growing(["a", "b", "c", "d"], [], fail_at=1), State.new("r", "Growing")
    with pytest.raises(StepError, match="its items raised OSError: no items now"):
        resume(growing, state, now=START)
    assert [thread.id for thread in state.threads] == ["main", "map:0", "map:1"]
    assert state.threads[0].frames[0].data == {"count": 4, "next": 2, "live": 2, "succeeded": 0, "failed": 0}
    growing.fail_at = -1
    growing, state = load(Growing, dump(growing, state))
    assert resume(growing, state, now=START) is WorkflowStatus.Finished
    assert growing.seen == ["a", "b", "c", "d"]
