"""Where threads stand that undo what other threads have done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowstmt import (
    Branch,
    Go,
    Join,
    Map,
    Parallel,
    PositionError,
    Retry,
    S,
    Saga,
    Sleep,
    StateError,
    Statement,
    Step,
    Try,
    compensation_plan,
    legal,
    load,
    resume,
)
from flowstmt.describe import to_mermaid
from flowstmt.testing import Harness, explore
from tests.core.orders import HOUR, saved, workflow


@dataclass
class Work:
    """Its threads do something that main, or the thread of a Saga, undoes."""

    log: list[str] = field(default_factory=list)

    def say(self) -> None:
        self.log.append("done")

    def unsay(self) -> None:
        self.log.append("undone")

    def fail(self) -> None:
        raise ValueError("no")

    @property
    def failing(self) -> Step:
        return Step("fail", self.fail, retry=Retry(max_attempts=1))


@dataclass
class Started(Work):
    def definition(self) -> Statement:
        return S(Go("aside", Step("say", self.say, compensate=self.unsay)), Join("all", "aside"), self.failing)


@dataclass
class InSaga(Work):
    def definition(self) -> Statement:
        branches = Parallel("both", Branch("one", Step("say", self.say, compensate=self.unsay)))
        return Saga("outer", Saga("inner", branches), self.failing)


def test_main_undoes_what_another_thread_has_done_after_a_reload():
    harness = Harness(Started(), round_trip=True)
    assert harness.run() == "Failed"
    assert harness.workflow.log == ["done", "undone"]


def test_a_saga_undoes_what_its_branches_have_done_after_a_reload():
    harness = Harness(InSaga(), round_trip=True)
    assert harness.run() == "Failed"
    assert harness.workflow.log == ["done", "undone"]


def test_a_crash_while_another_threads_step_is_undone_makes_no_difference():
    explore(Started)
    explore(InSaga)


@dataclass
class Outlived(Work):
    def definition(self) -> Statement:
        first = Saga("first", Go("aside", Sleep("nap", HOUR), Step("say", self.say, compensate=self.unsay)))
        second = Saga("second", Sleep("sleep", 2 * HOUR), self.failing)
        return S(first, Try("try", second).catch(ValueError))


def test_a_saga_does_not_undo_what_a_thread_does_that_was_started_inside_of_an_earlier_one():
    harness = Harness(Outlived())
    harness.run()
    harness.advance(HOUR)
    harness.advance(HOUR)
    assert (harness.run(), harness.workflow.log) == ("Finished", ["done"])


ASLEEP = Sleep("nap", HOUR)
KEEPING: list[Statement] = [Saga("s", ASLEEP), Parallel("s", Branch("one", ASLEEP)), Map("s", [1], ASLEEP)]


@pytest.mark.parametrize("keeping", KEEPING, ids=["Saga", "Parallel", "Map"])
@pytest.mark.parametrize("kept", [None, {"then": []}], ids=["nothing", "what a Wait keeps"])
@pytest.mark.parametrize("look", [resume, legal, compensation_plan, to_mermaid])
def test_a_frame_that_does_not_hold_what_its_statement_keeps_is_refused(keeping: Statement, kept: Any, look: Any):
    cls = workflow(lambda w: keeping)
    document = json.loads(saved(lambda w: keeping))
    document["state"]["threads"][0]["frames"][0]["data"] = kept
    with pytest.raises(PositionError, match=f"its frame of {type(keeping).__name__} 's' does not hold what that keeps there"):
        look(*load(cls, json.dumps(document)))


def test_a_try_under_way_does_not_become_a_saga():
    blob = saved(lambda w: Try("s", ASLEEP).finally_(Step("a", print)))
    with pytest.raises(PositionError, match=r"its frame of Saga 's' .* The definition of Order has changed since"):
        resume(*load(workflow(lambda w: Saga("s", ASLEEP)), blob))


def test_a_record_that_is_none_is_refused_by_pictures_as_well():
    document = json.loads(saved(lambda w: ASLEEP))
    document["state"]["undo"] = [{"step": "nap"}]
    with pytest.raises(StateError, match=r"\$\.state\.undo\[0\]: the key 'thread' is missing"):
        to_mermaid(*load(workflow(lambda w: ASLEEP), json.dumps(document)))
