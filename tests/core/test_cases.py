"""Every core case, in every style: directly, round-tripped, killed everywhere, sync against async."""

from __future__ import annotations

from typing import Any

import pytest

from flowstmt import CallbackRequest, Fail, On, S, Sleep, State, Step, Timeout, Try, Wait, cancel, pause, resume, unpause
from flowstmt.testing import START, Harness, explore
from tests.conftest import Watch
from tests.core.approval_cases import CASES as APPROVAL_CASES
from tests.core.call_cases import CASES as CALL_CASES
from tests.core.cases import CASES as FIRST_CASES
from tests.core.fanout_cases import CASES as FANOUT_CASES
from tests.core.orders import workflow
from tests.core.recovery_cases import CASES as RECOVERY_CASES
from tests.core.recovery_cases import HOUR
from tests.core.styles import STYLES, Case, Data, check_invariant, lines, play, short, workflow_class
from tests.core.wait_cases import CASES as WAIT_CASES

CASES = [*FIRST_CASES, *RECOVERY_CASES, *FANOUT_CASES, *WAIT_CASES, *APPROVAL_CASES, *CALL_CASES]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
every_style = pytest.mark.parametrize("style", STYLES)


def outcome(harness: Harness[Data]) -> dict[str, Any]:
    work, state = harness.workflow, harness.state
    return {
        "data": (work.log, work.n, work.items, work.kept),
        "result": harness.result,
        "threads": state.threads,
        "decisions": harness.decisions,
        "calls": sorted(harness.calls),
    }


def test_no_two_cases_have_one_name():
    assert len({case.name for case in CASES}) == len(CASES)


@every_case
@every_style
def test_a_case_leaves_its_trace_its_log_and_its_result(case: Case, style: str):
    harness = play(case, style)
    assert short(harness.trace) == lines(case.trace)
    assert " ".join(harness.workflow.log) == case.log
    assert harness.result == case.result
    for name, value in case.ends.items():
        assert getattr(harness.workflow, name) == value


@every_case
@every_style
def test_async_actions_leave_the_same_trace_and_the_same_snapshots(case: Case, style: str):
    sync, asynchronous = play(case, style), play(case, style, is_async=True)
    assert asynchronous.trace == sync.trace
    assert asynchronous.saves == sync.saves
    assert asynchronous.calls == sync.calls


@every_case
def test_all_styles_leave_the_same_trace_and_the_same_snapshots(case: Case):
    first, *others = [play(case, style) for style in STYLES]
    for other in others:
        assert other.trace == first.trace
        assert other.saves == first.saves
        assert other.calls == first.calls


@every_case
@every_style
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_dumping_and_loading_after_every_step_changes_nothing(case: Case, style: str, is_async: bool):
    direct, loaded = play(case, style), play(case, style, is_async=is_async, round_trip=True)
    assert outcome(loaded) == outcome(direct)
    assert loaded.saves == direct.saves


@every_case
@every_style
def test_a_crash_at_any_instant_makes_no_difference(case: Case, style: str):
    found = explore(case.make(style), case.script, invariant=check_invariant)
    assert short(found.undisturbed.trace)[-1] == lines(case.trace)[-1]


@every_case
def test_a_crash_of_an_async_run_makes_no_difference(case: Case):
    explore(case.make("bound", True), case.script, invariant=check_invariant)


@every_case
def test_every_checkpoint_raises_the_revision_by_one(case: Case):
    revisions: list[int] = []

    def note(work: Data, state: Any) -> None:
        revisions.append(state.revision)
        check_invariant(work, state)

    harness = Harness(case.make()(), invariant=note)
    harness.run()
    for step in case.script:
        if hasattr(step, "by"):
            harness.advance(step.by)
        else:
            harness.callback(step.request, step.payload)
    assert revisions == list(range(1, len(harness.saves) + 1))


def test_every_transition_of_the_tables_is_made(transitions: Watch):
    for case in CASES:
        play(case, "class")
    play_failures()
    play_controls()
    assert transitions.rows - transitions.made == set()


def play_controls() -> None:
    """What somebody outside does to a run that can go on, and to one that waits."""
    tree = Try("t", Step("a", lambda: None), Wait("w", On("e"))).finally_(Sleep("s", HOUR))
    for steps in (0, 10):
        work, state = workflow(lambda w: tree)(), State.new("r", "Work", START)
        resume(work, state, now=START, max_steps=steps)
        pause(work, state, now=START)
        unpause(work, state, now=START)
        cancel(work, state, "not wanted any more", now=START)
        while not state.status == "Cancelled":
            resume(work, state, now=state.wake_at)
    work, state = (
        workflow(lambda w: Wait("w", Timeout("late", HOUR, Fail("too late", "by an hour"))))(),
        State.new("r", "W", START),
    )
    resume(work, state, now=START)
    assert resume(work, state, now=START + HOUR) == "Failed"
    work, state = workflow(lambda w: tree)(), State.new("r", "W", START)
    cancel(work, state, "never begun", now=START)
    assert resume(work, state, now=START) == "Cancelled"


class Flaky:
    """Something outside that fails as often as the test says."""

    def __init__(self, setups: int, teardowns: int) -> None:
        self.setups = setups
        self.teardowns = teardowns

    def setup(self, request: CallbackRequest) -> None:
        self.setups -= 1
        if self.setups >= 0:
            raise OSError("down")

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self.teardowns -= 1
        if self.teardowns >= 0:
            raise OSError("down")


def play_failures() -> None:
    first, second = Flaky(2, 2), Flaky(9, 0)
    cls = workflow_class(lambda b: S(Wait("w", On("e", via=first), On("f", via=second)), Wait("v", On("g"))))
    harness = Harness(cls())
    for _ in range(3):
        harness.run()
    harness.callback("e")
    for _ in range(3):
        harness.run()
    assert [event.name for event in harness.state.threads[0].events] == ["g"]
