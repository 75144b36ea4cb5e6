"""What random trees found out about sagas beside which other threads live."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flowstmt import CallbackRequest, Fail, ForEach, Go, If, On, Retry, S, Saga, Step, Try, Wait, compensation_plan, current
from flowstmt.testing import Harness


@dataclass
class Said:
    said: list[str] = field(default_factory=list)

    def say(self, word: str) -> Any:
        return lambda: self.said.append(word)


@dataclass
class Rounds(Said):
    def definition(self) -> Any:
        return S(
            ForEach(
                "rounds",
                [1, 2],
                Try(
                    "try",
                    Saga(
                        "saga",
                        Go(
                            "worker",
                            Wait("start", On("work")),
                            Step("work", self.work, compensate=self.say("work undone")),
                            Wait("stop", On("rest")),
                            id=lambda number: number,
                        ),
                        Wait("ready", On("go on")),
                        If("second", lambda number: number == 2, Fail("no second one", "one is enough")),
                    ),
                ).catch("no second one"),
            ),
            Wait("end", On("over")),
        )

    def work(self, number: int) -> None:
        self.said.append(f"work {number}")


def test_what_a_thread_does_belongs_to_the_round_of_the_saga_that_started_it():
    harness = Harness(Rounds())
    harness.run()
    harness.callback("go on")
    # The saga of the first round is over; its worker works while that of the second round goes on.
    harness.callback(CallbackRequest("work", thread_id="worker:1"))
    harness.callback(CallbackRequest("work", thread_id="worker:2"))
    harness.callback("go on")
    assert harness.workflow.said == ["work 1", "work 2", "work undone"]
    assert [(thread.id, thread.position) for thread in harness.state.threads] == [("main", "end"), ("worker:1", "stop")]
    assert [step.thread_id for step in compensation_plan(harness.workflow, harness.state)] == ["worker:1"]


@dataclass
class Grandchild(Said):
    def definition(self) -> Any:
        return Try(
            "try",
            Saga(
                "saga",
                Go(
                    "child", Go("grandchild", Step("work", self.say("work"), compensate=self.say("undone")), Wait("w", On("x")))
                ),
                Wait("ready", On("go on")),
                Fail("no", "no"),
            ),
        ).catch("no", Wait("end", On("over")))


def test_a_saga_ends_and_undoes_what_it_started_also_where_the_thread_between_has_ended():
    harness = Harness(Grandchild())
    harness.run()
    assert [thread.id for thread in harness.state.threads] == ["main", "grandchild"]
    harness.callback("go on")
    assert harness.workflow.said == ["work", "undone"]
    assert [(thread.id, thread.position) for thread in harness.state.threads] == [("main", "end")]


@dataclass
class Beside(Said):
    def definition(self) -> Any:
        return Saga(
            "outer",
            Go("other", Wait("start", On("work")), Step("work", lambda: "worked", compensate=self.undo_work)),
            Saga(
                "inner",
                Step("book", lambda: 7, compensate=self.cancel, retry=Retry(initial=timedelta(hours=1))),
                Fail("no", "no"),
            ),
        )

    def cancel(self, number: int) -> None:
        if current().attempt == 1:
            raise ValueError("not now")
        self.said.append(f"{number} cancelled")

    def undo_work(self, result: str) -> None:
        self.said.append(f"not {result}")


def test_a_compensation_is_handed_its_own_record_whatever_completes_meanwhile():
    harness = Harness(Beside())
    harness.run()
    harness.callback("work")
    harness.advance(timedelta(hours=1))
    assert harness.workflow.said == ["7 cancelled", "not worked"]
    assert harness.state.status == "Failed"


@dataclass
class Caught(Said):
    def definition(self) -> Any:
        return Try("try", Saga("saga", Step("book", lambda: None, compensate=self.cancel), Fail("no", "no"))).catch("no")

    retry = Retry(max_attempts=1)

    def cancel(self) -> None:
        raise ValueError("never")


def test_a_run_that_finishes_says_what_could_not_be_undone():
    harness = Harness(Caught())
    harness.run()
    assert harness.state.status == "Finished"
    assert [(record["step"], record["error"]["message"]) for record in harness.state.undo] == [("book", "never")]
