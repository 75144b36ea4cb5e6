"""What cancelling would undo: said beforehand, in the order in which it is done."""

from __future__ import annotations

from typing import Any

import pytest

from flowstmt import (
    Branch,
    ForEach,
    Go,
    Join,
    Map,
    On,
    Parallel,
    PositionError,
    Retry,
    S,
    Saga,
    State,
    Step,
    Try,
    UndoStep,
    Wait,
    cancel,
    compensation_plan,
    dump,
    load,
)
from tests.control.acting import NOW, after, checkpoints, go_on, workflow_class


def done(w, name, **options):
    return Step(name, w.say(name), compensate=w.unsay(name), **options)


def stop(work, state):
    cancel(work, state, "enough", now=NOW)


def plan_of(work: Any, state: State) -> list[str]:
    return [f"un{step.step}" for step in compensation_plan(work, state)]


def branches(w):
    return S(
        done(w, "a"),
        Saga(
            "outer",
            done(w, "b"),
            Go("aside", Saga("s", done(w, "g1"), done(w, "g2"), Wait("gw", On("x")))),
            Parallel(
                "both",
                Branch("one", Saga("s1", done(w, "o1"), done(w, "o2"), Wait("ow", On("x")))),
                Branch("two", done(w, "t0"), Saga("s2", done(w, "t1"), done(w, "t2"), done(w, "t3"), Wait("tw", On("x")))),
            ),
        ),
    )


def beside(w):
    return S(
        Go("aside", Saga("s", done(w, "g1"), done(w, "g2"), Wait("gw", On("x")))),
        Saga("own", done(w, "m1"), done(w, "m2"), done(w, "m3"), Wait("mw", On("x"))),
    )


def deep(w):
    inner = Map("m", [1, 2], Saga("is", done(w, "i1"), Wait("iw", On("x"))))
    return Saga("outer", Map("outer map", [1], Saga("os", done(w, "o1"), inner)))


@pytest.mark.parametrize("tree", [branches, beside, deep])
def test_a_plan_has_the_order_in_which_threads_with_sagas_undo(tree):
    cls = workflow_class(tree)
    for blob in checkpoints(cls):
        work, state = load(cls, blob)
        plan = plan_of(work, state)
        assert dump(work, state) == blob
        ended = after(cls, blob, stop)
        assert ended.status == "Cancelled"
        assert [word for word in ended.log if word.startswith("un")] == plan


def test_a_plan_tells_what_was_recorded():
    def tree(w):
        def undo(result, item):
            w.log.append(f"{result} of {item}")

        each = Step("each", lambda item: f"r{item}", compensate=undo)
        bare = Step("bare", w.say("bare"), compensate=lambda: None)
        return S(ForEach("items", [1, 2], each), bare, Wait("w", On("x")))

    cls = workflow_class(tree)
    work, state = load(cls, checkpoints(cls)[-1])
    assert compensation_plan(work, state) == [
        UndoStep("bare", "main"),
        UndoStep("each", "main", "r2", 2),
        UndoStep("each", "main", "r1", 1),
    ]


def test_what_could_not_be_undone_is_left_out_and_a_run_that_is_over_has_no_plan():
    def tree(w):
        broken = Step("b", w.say("b"), compensate=w.fail, retry=Retry(max_attempts=1))
        fail = Step("fail", w.fail, retry=Retry(max_attempts=1))
        caught = Try("t", Saga("s", broken, fail)).catch(ValueError)
        return S(done(w, "a"), caught, Wait("w", On("x")))

    cls = workflow_class(tree)
    work, state = load(cls, checkpoints(cls)[-1])
    assert [record["step"] for record in state.undo] == ["a", "b"]
    assert plan_of(work, state) == ["una"]
    stop(work, state)
    assert plan_of(work, state) == ["una"]
    ended = go_on(cls, dump(work, state))
    assert (ended.status, compensation_plan(work, ended.state)) == ("Cancelled", [])


def test_a_step_that_the_definition_can_no_longer_undo_is_told():
    cls = workflow_class(lambda w: S(done(w, "a"), Wait("w", On("x"))))
    lost = workflow_class(lambda w: S(Step("a", w.say("a")), Wait("w", On("x"))))
    work, state = load(lost, checkpoints(cls)[-1])
    with pytest.raises(PositionError, match="the step 'a' could not be undone: the definition of Work has no compensate"):
        compensation_plan(work, state)


def test_a_step_that_has_another_name_now_is_undone_under_that():
    cls = workflow_class(lambda w: S(done(w, "a"), Saga("s", done(w, "b"), Wait("w", On("x")))))
    new = workflow_class(
        lambda w: S(done(w, "a2", was=("a",)), Saga("s2", done(w, "b2", was=("b",)), Wait("w", On("x")), was=("s",)))
    )
    work, state = load(new, checkpoints(cls)[-1])
    before = dump(work, state)
    assert plan_of(work, state) == ["unb2", "una2"]
    assert dump(work, state) == before
    assert after(new, before, stop).log == ["a", "b", "unb2", "una2"]


def test_a_thread_that_a_saga_started_ends_before_the_saga_undoes():
    def tree(w):
        go = Go("g", Saga("gs", done(w, "g1"), Wait("gw", On("x"))))
        return Saga("s", done(w, "a"), go, Join("j", "g"))

    cls = workflow_class(tree)
    work, state = load(cls, checkpoints(cls)[-1])
    assert plan_of(work, state) == ["ung1", "una"]
    assert after(cls, dump(work, state), stop).log == ["a", "g1", "ung1", "una"]
