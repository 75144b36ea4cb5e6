"""Ways through failures, joins and renamings that no table comes to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    ALL,
    Branch,
    Go,
    If,
    Map,
    Parallel,
    Retry,
    Return,
    S,
    Sleep,
    State,
    Statement,
    Step,
    Try,
    cancel,
    current,
    resume,
    step,
)
from flowstmt.testing import START
from tests.core.orders import HOUR, nothing, opened, saved, workflow


def first_fails() -> str:
    if current().attempt == 1:
        raise OSError("busy")
    return "done"


def test_all_is_shown_by_its_name():
    assert repr(ALL) == "ALL"


@pytest.mark.parametrize("outside", [False, True])
def test_what_nothing_interrupts_goes_on_with_its_attempts(outside: bool):
    late = Try("t", Step("work", nothing)).finally_(Step("tidy up", first_fails, retry=Retry(), compensate=nothing))
    cls = workflow(lambda w: S(Go("g", late), Step("a", nothing), Sleep("s", HOUR) if outside else Return(1)))
    work, state = cls(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    if outside:
        cancel(work, state, "enough", now=START)
    assert resume(work, state, now=START + HOUR) == ("Cancelled" if outside else "Finished")
    assert [note["note"] for note in state.notes] == ["cancelled"] * outside


def test_a_map_that_learns_to_keep_results_under_way_keeps_none_of_them():
    blob = saved(lambda w: Map("m", [1, 2], Sleep("w", HOUR), Step("a", lambda: 7)))
    work, state = opened(lambda w: Map("m", [1, 2], Sleep("w", HOUR), Step("a", lambda: 7), into="kept"), blob)
    assert resume(work, state, now=START + HOUR) == "Finished"
    assert work.kept == 0


def test_a_branch_whose_parent_somebody_has_removed_ends_alone():
    tree = lambda w: Map("m", [1], Map("n", [2], Sleep("s", HOUR)))  # noqa: E731
    document = json.loads(saved(tree))
    document["state"]["threads"] = [each for each in document["state"]["threads"] if each["id"] != "m:0"]
    work, state = opened(tree, json.dumps(document).encode())
    assert resume(work, state, now=START + HOUR) == "Waiting"
    assert [thread.id for thread in state.threads] == ["main"]


def test_a_narrow_map_whose_branches_begin_with_a_question_runs_all_of_them():
    cls = workflow(lambda w: Map("m", [1, 2, 3], If("c", True, Step("a", w.say("a"))), max_concurrency=1))
    work, state = cls(), State.new("run-1", "Order", START)
    assert resume(work, state, now=START) == "Finished"
    assert work.log == ["a", "a", "a"]


@pytest.mark.parametrize("asks", [False, True], ids=["a step first", "a question first"])
def test_a_map_goes_on_when_its_items_become_fewer(asks: bool):
    @dataclass
    class Order:
        items: list[int] = field(default_factory=lambda: [1, 2, 3, 4])
        done: list[int] = field(default_factory=list)

        def definition(self) -> Statement:
            first = Step("a", self.take)
            body = If("c", True, first) if asks else first
            return Map("m", self.items, body, Sleep("s", self.nap), Step("b", nothing), max_concurrency=2)

        def nap(self, item: int) -> timedelta:
            return item * HOUR

        def take(self, item: int) -> None:
            self.done.append(item)
            if item == 2:
                del self.items[2:]

    order, state = Order(), State.new("run-1", "Order", START)
    resume(order, state, now=START)
    while resume(order, state, now=state.wake_at) != "Finished":
        assert state.wake_at is not None
    assert order.done == [1, 2]


def test_a_field_that_has_no_value_yet_takes_what_a_join_keeps():
    @dataclass
    class Order:
        kept: Any = field(init=False)

        def definition(self) -> Statement:
            return Map("m", [1], Step("a", lambda: 7), into="kept")

    order, state = Order(), State.new("run-1", "Order", START)
    assert resume(order, state, now=START) == "Finished"
    assert order.kept == [7]


def test_an_action_that_the_data_choose_may_have_options_or_not():
    @dataclass
    class Order:
        kept: str = ""

        def definition(self) -> Statement:
            return S(Step("a", self.plain if self.kept else self.kept_one), Step("b", nothing))

        @step(into="kept")
        def kept_one(self) -> str:
            return "kept"

        def plain(self) -> str:
            return "lost"

    order, state = Order(), State.new("run-1", "Order", START)
    assert resume(order, state, now=START) == "Finished"
    assert order.kept == "kept"


@pytest.mark.parametrize("renamed", [False, True], ids=["the Parallel", "a branch as well"])
def test_a_parallel_under_way_is_renamed(renamed: bool):
    body = (Sleep("s", HOUR), Step("a", lambda: 1))
    blob = saved(lambda w: Parallel("p", Branch("x", *body), into="kept"))
    branch = Branch("z", *body, was=("x",)) if renamed else Branch("x", *body)
    tree = lambda w: Parallel("q", branch, into=lambda value: setattr(w, "log", value), was=("p",))  # noqa: E731
    work, state = opened(tree, blob)
    resume(work, state, now=START)
    assert [thread.id for thread in state.threads] == ["main", "q:z" if renamed else "q:x"]
    assert resume(work, state, now=START + HOUR) == "Finished"
    assert work.log == [1]
