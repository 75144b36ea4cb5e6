"""A paused run: nothing moves it, and it goes on from where it was."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flowstmt import (
    ControlError,
    On,
    PausedError,
    PositionError,
    Retry,
    S,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    Timeout,
    Wait,
    WaitFor,
    cancel,
    dump,
    goto,
    handle_callback,
    handle_callback_async,
    load,
    pause,
    resume,
    resume_async,
    retry_now,
    set_data,
    unpause,
)
from flowstmt.testing import Harness
from tests.control.acting import NOW, check, checkpoints, go_on, workflow_class

HOUR = timedelta(hours=1)


def tree(w):
    return S(
        Step("a", w.say("a")), Wait("w", On("e", None, Step("b", w.say("b"))), Timeout("late", HOUR)), Step("c", w.say("c"))
    )


def waiting(tree=tree):
    cls = workflow_class(tree)
    work, state = cls(), State.new("run", "Work", NOW)
    resume(work, state, now=NOW)
    return work, state


def test_a_paused_run_does_nothing_and_says_so():
    work, state = waiting()
    pause(work, state, by="ann", reason="a fault in the shop", now=NOW)
    before = dump(work, state)

    def save(kind):
        raise AssertionError("nothing is saved")

    assert resume(work, state, save, now=NOW + 2 * HOUR) == "Paused"
    assert asyncio.run(resume_async(work, state, save, now=NOW + 2 * HOUR)) == "Paused"
    assert dump(work, state) == before
    assert (state.status, state.wake_at) == ("Paused", None)


def test_callbacks_of_a_paused_run_are_refused_and_say_why():
    work, state = waiting()
    pause(work, state, now=NOW)
    before = dump(work, state)
    with pytest.raises(PausedError, match=r"run 'run': event 'e' refused: the run is paused, .* when it has been unpaused"):
        handle_callback("e", work, state)
    with pytest.raises(PausedError):
        asyncio.run(handle_callback_async("no such event", work, state))
    assert dump(work, state) == before


def test_pausing_leaves_a_note_and_raises_the_revision_by_one():
    work, state = waiting()
    revision = state.revision
    pause(work, state, by="ann", reason="a fault in the shop", now=NOW)
    unpause(work, state, by="bob", reason="mended", now=NOW + HOUR)
    assert state.revision == revision + 2
    assert state.notes == [
        {
            "note": "paused",
            "at": "2030-01-01T00:00:00+00:00",
            "by": "ann",
            "what": "it was Waiting",
            "reason": "a fault in the shop",
        },
        {"note": "unpaused", "at": "2030-01-01T01:00:00+00:00", "by": "bob", "what": "it was Paused", "reason": "mended"},
    ]


def test_an_unpaused_run_goes_on_from_where_it_was_at_every_checkpoint():
    cls = workflow_class(tree)
    for blob in checkpoints(cls)[:-1]:
        undisturbed = go_on(cls, blob)
        work, state = load(cls, blob)
        status, wake_at = state.status, state.wake_at
        pause(work, state, now=NOW)
        check(work, state)
        work, state = load(cls, dump(work, state))
        unpause(work, state, now=NOW)
        assert (state.status, state.wake_at) == (status, wake_at)
        again = go_on(cls, dump(work, state))
        assert (again.status, again.log) == (undisturbed.status, undisturbed.log) == ("Finished", ["a", "c"])


def test_what_became_due_in_a_pause_is_done_after_it():
    work, state = waiting()
    pause(work, state, now=NOW)
    unpause(work, state, now=NOW + 2 * HOUR)
    assert (state.status, state.wake_at) == ("Waiting", NOW + HOUR)
    assert resume(work, state, now=NOW + 2 * HOUR) == "Finished"
    assert work.log == ["a", "c"]


def test_a_condition_that_came_true_in_a_pause_is_asked_after_it():
    work, state = waiting(lambda w: WaitFor("enough", w.n > 1, w.say("go")))
    pause(work, state, now=NOW)
    set_data(work, state, {"n": 2}, now=NOW)
    assert (state.status, state.wake_at) == ("Paused", None)
    unpause(work, state, now=NOW)
    assert (state.status, state.wake_at) == ("Resuming", NOW)
    assert resume(work, state, now=NOW) == "Finished"
    assert work.log == ["go"]


def test_a_run_that_is_due_for_nothing_waits_again_and_is_saved():
    work, state = waiting(lambda w: WaitFor("enough", w.n > 1))
    pause(work, state, now=NOW)
    unpause(work, state, now=NOW)
    kinds: list[str] = []
    assert resume(work, state, kinds.append, now=NOW) == "Waiting"
    assert (kinds, state.wake_at) == (["afterResume"], None)
    assert resume(work, state, kinds.append, now=NOW) == "Waiting"
    assert kinds == ["afterResume"]


def test_a_run_with_a_backoff_keeps_its_instant():
    def fail():
        raise ValueError("no")

    work, state = waiting(lambda w: Step("a", fail, retry=Retry(initial=HOUR, max_delay=HOUR)))
    assert state.wake_at == NOW + HOUR
    pause(work, state, now=NOW)
    unpause(work, state, now=NOW)
    assert (state.status, state.wake_at) == ("Waiting", NOW + HOUR)


def test_a_run_whose_definition_is_broken_can_be_paused_but_not_unpaused():
    work, state = waiting(lambda w: Sleep("nap", HOUR))
    work, state = load(workflow_class(tree), dump(work, state))
    pause(work, state, now=NOW)
    before = dump(work, state)
    with pytest.raises(PositionError, match="position 'nap'"):
        unpause(work, state, now=NOW)
    assert dump(work, state) == before


@pytest.mark.parametrize(
    ("act", "arguments", "options"),
    [
        (pause, (), {"now": NOW.replace(tzinfo=None)}),
        (pause, (), {"by": 3}),
        (unpause, (), {"reason": None}),
        (cancel, (7,), {}),
        (cancel, ("\ud800",), {}),
        (retry_now, (), {"by": b"ann"}),
    ],
)
def test_arguments_that_make_no_sense_are_refused_and_change_nothing(act, arguments, options):
    work, state = waiting()
    before = dump(work, state)
    with pytest.raises(StateError, match="run 'run': "):
        act(work, state, *arguments, **options)
    assert dump(work, state) == before
    with pytest.raises(StateError, match="expected a State, not a dict"):
        act(work, {}, *arguments, **options)


def test_nobody_controls_a_run_from_inside_its_own_action():
    def tree(w) -> Statement:
        return Step("a", lambda: pause(w, state))

    cls = workflow_class(tree)
    work, state = cls(), State.new("run", "Work", NOW)
    with pytest.raises(Exception, match="its action raised ConflictError: run 'run': called from inside its own action at 'a'"):
        resume(work, state, now=NOW)


def test_a_run_that_is_paused_twice_is_refused():
    work, state = waiting()
    with pytest.raises(ControlError, match="run 'run': unpause refused: the run is Waiting, and has to be Paused"):
        unpause(work, state)
    pause(work, state)
    with pytest.raises(ControlError, match="run 'run': pause refused: the run is Paused, and has to be Resuming or Waiting"):
        pause(work, state)


@pytest.mark.parametrize("round_trip", [False, True])
def test_a_harness_controls_its_run_and_does_not_wait_for_one_that_is_paused(round_trip):
    harness = Harness(workflow_class(lambda w: S(Step("a", w.say("a")), Step("b", w.say("b"))))(), round_trip=round_trip)
    harness.control(pause, by="ann")
    assert harness.run() == "Paused"
    assert harness.advance(HOUR) == "Paused"
    with pytest.raises(ControlError):
        harness.control(pause)
    harness.control(goto, "main", "b")
    harness.control(unpause)
    assert harness.run() == "Finished"
    assert harness.workflow.log == ["b"]
    assert [note["at"] for note in harness.state.notes] == [NOW.isoformat(), *[(NOW + HOUR).isoformat()] * 2]
    assert harness.trace[:2] == ["control pause", "save after the control: revision 1, Paused: main Resuming at 'its start'"]
