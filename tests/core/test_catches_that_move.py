"""A failure goes to the catch that was decided on when it happened, also when new code has it in another place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstmt import Sleep, State, Statement, Step, StepError, Try, dump, load, resume
from flowstmt.testing import START
from tests.core.orders import HOUR, workflow


def is_busy(error: Exception) -> bool:
    return "busy" in str(error)


def fail() -> None:
    raise ValueError("busy")


def tree(*catches: Any) -> Any:
    """A failure that is on its way to its catch for an hour."""

    def made(w: Any) -> Statement:
        found = Try("out", Try("in", Step("a", fail)).finally_(Sleep("cool down", HOUR)))
        for i, errors in enumerate(catches):
            found = found.catch(errors, Step(f"step {i}", w.say(str(errors))))
        return found

    return made


def caught(before: tuple[Any, ...], after: tuple[Any, ...]) -> list[str]:
    work, state = workflow(tree(*before))(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    work, state = load(workflow(tree(*after)), dump(work, state))
    assert resume(work, state, now=START + timedelta(hours=1)) == "Finished"
    found: list[str] = work.log
    return found


@pytest.mark.parametrize(
    "errors",
    [ValueError, "ValueError", is_busy, (KeyError, ValueError, is_busy)],
    ids=["class", "name", "predicate", "several"],
)
def test_a_catch_in_front_of_it_does_not_get_the_failure(errors: Any):
    assert caught((errors,), (KeyError, errors)) == [str(errors)]
    assert caught((KeyError, errors), (errors,)) == [str(errors)]


def test_a_catch_that_is_gone_is_told_by_what_it_caught():
    with pytest.raises(StepError, match="it has lost the catch of ValueError that was to take a failure: bring it back"):
        caught((ValueError,), (KeyError,))


def test_a_snapshot_that_does_not_say_what_was_caught_goes_by_the_place():
    work, state = workflow(tree(ValueError))(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    del state.threads[0].frames[-1].exit["catch"]["errors"]
    assert resume(work, state, now=START + HOUR) == "Finished"
    assert work.log == [str(ValueError)]
