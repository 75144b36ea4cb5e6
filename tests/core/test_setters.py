"""Setters that a move calls: what they did, when the moves after it can't be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from flowstmt import (
    APPROVE,
    Answer,
    Approval,
    Branch,
    ErrorInfo,
    Fail,
    Go,
    If,
    Parallel,
    S,
    State,
    Statement,
    Step,
    StepError,
    Try,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.testing import START
from tests.core.orders import nothing, workflow


@pytest.mark.parametrize("brings", ["a catch", "a join", "an approval"])
def test_what_a_setter_did_is_undone_when_the_moves_after_it_raise(brings: str):
    """It is called again by the next resume: what it appends would be there twice."""

    def tree(w):
        def keep(found: Any) -> None:
            w.log.append(type(found).__name__)

        statement: Statement = Parallel("p", Branch("b", Step("s", nothing)), into=keep)
        if brings == "a catch":
            statement = Try("t", Fail("f", "no")).catch("f", into=keep)
        elif brings == "an approval":
            statement = Approval("ok", ["ann"], into=keep)
        return S(statement, If("asked", lambda: bool(1 // w.kept), Step("end", nothing)))

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    if brings == "an approval":
        resume(work, state, now=START)
        handle_callback(APPROVE, work, state, Answer("ann"), now=START)
    for _ in range(2):
        with pytest.raises(StepError, match="ZeroDivisionError"):
            resume(work, state, now=START)
        work, state = load(workflow(tree), dump(work, state))
        assert work.log == []
    work.kept = 1
    assert resume(work, state, now=START) == "Finished"
    assert len(work.log) == 1


def test_a_field_that_can_not_be_set_by_a_catch_is_told_and_leaves_the_state_as_it_was():
    @dataclass(frozen=True)
    class Frozen:
        error: ErrorInfo | None = None

        def definition(self) -> Statement:
            return S(Go("g", Step("s", nothing)), Try("t", Fail("f", "no")).catch("f", into="error"))

    work, state = Frozen(), State.new("run-1", "Frozen", START)
    before = dump(work, state)
    with pytest.raises(StepError, match="its into raised FrozenInstanceError"):
        resume(work, state, now=START)
    assert dump(work, state) == before
