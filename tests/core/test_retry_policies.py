"""Retry policies: how long a thread waits for its next attempt, and who pays for being able to try again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import If, Retry, S, State, Statement, Step, Try, dump, load, resume, rounds
from flowstmt.backup import Dumped
from flowstmt.testing import START

SECOND = timedelta(seconds=1)


def refuse() -> None:
    raise OSError("no answer")


@dataclass
class Call:
    def definition(self) -> Statement:
        policy = Retry(max_attempts=6, initial=8 * SECOND, multiplier=1, jitter=0.5)
        return Step("call", refuse, retry=policy)


def delays(run_id: str, *, killed: bool = False) -> list[timedelta]:
    """How long a run waits after each of its attempts."""
    work, state = Call(), State.new(run_id, "Call", START)
    found: list[timedelta] = []
    while True:
        if killed:  # in the attempt: it is made again
            blob = dump(work, state)
            resume(work, state, now=state.wake_at)
            work, state = load(Call, blob)
        now = state.wake_at
        resume(work, state, now=now)
        if state.wake_at is None:
            return found
        assert now is not None
        found.append(state.wake_at - now)


def test_jitter_takes_its_share_of_each_delay_and_is_the_same_after_a_crash():
    waited = delays("run-1")
    assert len(set(waited)) == 5
    assert all(4 * SECOND <= delay <= 8 * SECOND for delay in waited)
    assert delays("run-1", killed=True) == waited
    assert set(delays("run-2")).isdisjoint(waited)  # many runs don't come back at once


@pytest.mark.parametrize("multiplier", [10, 2.5])
def test_a_delay_that_grows_past_all_numbers_is_the_longest(multiplier: float):
    assert Retry(max_attempts=9999, multiplier=multiplier).delay_after(2000, "") == 30 * SECOND


def test_only_steps_whose_failure_somebody_may_take_pay_for_a_dump(monkeypatch: pytest.MonkeyPatch):
    paid = []

    class Noted(Dumped):
        def __init__(self, workflow: Any, thread: Any) -> None:
            paid.append(thread.position)
            super().__init__(workflow, thread)

    def step(name: str, **options: Any) -> Step:
        return Step(name, lambda: None, **options)

    @dataclass
    class Work:
        def definition(self) -> Statement:
            return S(
                step("plain"),
                step("retried", retry=Retry()),
                Try("caught", step("tried"), If("so", True, step("deep in"))).catch(OSError, step("in a catch")),
                Try("cleaned", step("not caught")).finally_(step("in a finally")),
                step("undone", compensate=lambda: None),
            )

    monkeypatch.setattr(rounds, "Dumped", Noted)
    assert resume(Work(), State.new("run-1", "Work", START), now=START) == "Finished"
    assert paid == ["retried", "tried", "deep in"]
