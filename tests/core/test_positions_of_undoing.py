"""Where threads stand that undo what other threads have done."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstmt import Branch, Go, Join, Parallel, Retry, S, Saga, Sleep, Statement, Step, Try
from flowstmt.testing import Harness, explore
from tests.core.orders import HOUR


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
