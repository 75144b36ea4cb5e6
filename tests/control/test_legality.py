"""What may be done when: the table, held against every action at every checkpoint of many runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstmt import (
    CallbackError,
    ControlError,
    DefinitionError,
    State,
    WorkflowStatus,
    cancel,
    compensation_plan,
    control,
    dump,
    goto,
    handle_callback,
    load,
    pause,
    resume,
    retry_now,
    set_data,
    unpause,
)
from flowstmt.control import CONDITIONS, LEGALITY
from flowstmt.core.program import program_for
from tests.control import test_cancel, test_goto, test_plan
from tests.control.acting import NOW, after, check, checkpoints, workflow_class
from tests.meaning.flows import Player, Record, expected, flow_class
from tests.meaning.test_meaning import ANY, SCRIPTS, STARTS, STYLES, thorough

HOUR = timedelta(hours=1)
TREES = (*test_cancel.TREES, test_goto.tree)
WHO: dict[str, Any] = {"by": "ann", "now": NOW}

ACTIONS: dict[str, Callable[[Any, State], Any]] = {
    "pause": lambda work, state: pause(work, state, reason="why", **WHO),
    "unpause": lambda work, state: unpause(work, state, reason="why", **WHO),
    "cancel": lambda work, state: cancel(work, state, "why", **WHO),
    "goto": lambda work, state: goto(work, state, "main", "a", reason="why", **WHO),
    "retry_now": lambda work, state: retry_now(work, state, reason="why", **WHO),
    "set_data": lambda work, state: set_data(work, state, {"n": 7}, reason="why", **WHO),
}


def test_the_table_has_a_row_for_every_action_and_conditions_for_some():
    assert set(LEGALITY) == set(ACTIONS) == {name for name in control.__all__ if name.islower()} - {"legal_controls"}
    assert set(CONDITIONS) < set(LEGALITY)
    assert {status for legal in LEGALITY.values() for status in legal} == set(WorkflowStatus)


def acted(work: Any, state: State, action: str) -> bool:
    """Whether an action was taken, and in either case that all is as it should be."""
    before, status, revision, notes = dump(work, state), state.status, state.revision, list(state.notes)
    try:
        ACTIONS[action](work, state)
    except ControlError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert dump(work, state) == before
        assert said.startswith(f"run 'run': {action} refused: ")
        assert (status in LEGALITY[action]) is ("has to be" not in said)
        assert status not in LEGALITY[action] or action in CONDITIONS
        return False
    assert status in LEGALITY[action]
    assert state.revision == revision + 1
    [*earlier, note] = state.notes
    assert earlier == notes
    assert {"note", "at", "by", "what", "reason"} <= set(note)
    assert (note["at"], note["by"], note["reason"]) == (NOW.isoformat(), "ann", "why")
    assert f"is {state.status}" in (legal := LEGALITY[action][status]) or "stay" in legal or f"or {state.status}" in legal
    assert (state.status == "Paused") is (action == "pause" or (status == "Paused" and action not in ("unpause", "cancel")))
    assert state.status != "Paused" or state.wake_at is None
    check(work, state)
    return True


@pytest.mark.parametrize("tree", TREES)
def test_every_action_at_every_checkpoint_is_taken_or_refused_as_the_table_says(tree):
    cls = workflow_class(tree)
    for blob in checkpoints(cls, *(["e"] if tree in (test_cancel.tries, test_cancel.sagas) else [])):
        for action in ACTIONS:
            work, state = load(cls, blob)
            if acted(work, state, action):
                after(cls, dump(work, state), lambda work, state: None)
        work, state = load(cls, blob)
        if acted(work, state, "pause"):
            paused = dump(work, state)
            for action in ACTIONS:
                acted(*load(cls, paused), action)


def test_every_cell_of_the_table_is_met():
    met = set()
    for tree in TREES:
        cls = workflow_class(tree)
        for blob in checkpoints(cls):
            for action in ACTIONS:
                work, state = load(cls, blob)
                status = state.status
                if acted(work, state, action):
                    met.add((action, status))
                work, state = load(cls, blob)
                if status in ("Resuming", "Waiting"):
                    pause(work, state)
                    if acted(work, state, action):
                        met.add((action, WorkflowStatus.Paused))
    # A run that is over, and has a teardown to be tried again, is in test_set_data.
    over = {("retry_now", status) for status in ("Finished", "Failed", "Cancelled")}
    assert met == {(action, status) for action, legal in LEGALITY.items() for status in legal} - over


def test_a_plan_changes_nothing_and_is_what_cancelling_undoes():
    for tree in TREES:
        cls = workflow_class(tree)
        for blob in checkpoints(cls):
            work, state = load(cls, blob)
            plan = compensation_plan(work, state)
            assert dump(work, state) == blob
            if state.status not in LEGALITY["cancel"]:
                assert plan == []


DRAWN = st.one_of(
    st.tuples(st.sampled_from(["pause", "unpause", "cancel", "retry_now"])),
    st.tuples(st.just("goto"), st.integers(0, 5), st.integers(0, 60)),
    st.tuples(st.just("set_data"), st.sampled_from(["x", "y", "items", "lost"]), st.one_of(st.integers(0, 4), st.just("word"))),
)


def draw_action(work: Any, state: State, drawn: tuple[Any, ...]) -> Any:
    """Do what was drawn to a run."""
    if drawn[0] == "goto":
        names = sorted(program_for(work, state.run_id)[0].by_name)
        threads = [thread.id for thread in state.threads] or ["main"]
        return goto(work, state, threads[drawn[1] % len(threads)], names[drawn[2] % len(names)], **WHO)
    if drawn[0] == "set_data":
        return set_data(work, state, {drawn[1]: drawn[2]}, **WHO)
    return ACTIONS[drawn[0]](work, state)


@thorough
@given(
    tree=ANY,
    start=STARTS,
    script=SCRIPTS,
    style=STYLES,
    pick=st.integers(0, 200),
    actions=st.lists(DRAWN, min_size=1, max_size=4),
)
def test_whatever_is_done_to_a_random_run_is_refused_without_a_trace_or_leaves_one_that_goes_on(
    tree, start, script, style, pick, actions
):
    says = expected(tree, start, script)
    player = Player(tree, start, style)
    blobs = [player.stored, *player.play(says.calls, says.stuck).blobs]
    # Of a class that remembers nothing: what was changed from outside has other effects with the same keys.
    cls: type[Any] = flow_class(tree, Record(), style)
    work, state = load(cls, blobs[pick % len(blobs)])
    cancelled = False
    for drawn in actions:
        before = dump(work, state)
        try:
            draw_action(work, state, drawn)
        except (ControlError, DefinitionError):  # a Go, a loop without progress
            assert dump(work, state) == before
            continue
        cancelled = cancelled or drawn[0] == "cancel"
        check(work, state)
        work, state = load(cls, dump(work, state))
    paused = state.status == "Paused"
    try:
        status = resume(work, state, now=NOW + HOUR, max_steps=50)
    except DefinitionError:
        # A thread was moved to before a Go whose thread lives, or the tree makes no progress by itself.
        assert not paused
        assert not cancelled
        return
    check(work, state)
    if paused:
        assert status == "Paused"
    elif cancelled:
        # Or it has to finish a finally_ first.
        assert status == "Cancelled" or any(frame.exit and frame.exit.get("sticky") for frame in state.threads[0].frames)
    else:
        assert status in ("Waiting", "Resuming", "Finished")


WALKED = (*TREES, test_goto.asking, test_plan.branches, test_plan.beside, test_plan.deep)
DEEDS = st.one_of(
    st.sampled_from([(name,) for name in (*ACTIONS, "hour")]),
    st.tuples(st.just("goto"), st.integers(0, 5), st.integers(0, 60)),
    st.tuples(st.just("callback"), st.sampled_from(["e", "x", "ask", "y"])),
    st.tuples(st.just("resume"), st.integers(0, 3)),
)


@thorough
@given(tree=st.sampled_from(WALKED), pick=st.integers(0, 40), deeds=st.lists(DEEDS, min_size=1, max_size=6))
def test_whatever_people_callbacks_and_time_do_to_a_run_it_goes_on_and_a_cancelled_one_ends(tree, pick, deeds):
    cls = workflow_class(tree)
    blobs = checkpoints(cls)
    work, state = load(cls, blobs[pick % len(blobs)])
    now, cancelled = NOW, False
    for deed in deeds:
        before = dump(work, state)
        now += HOUR * (deed[0] == "hour")
        try:
            if deed[0] in ("resume", "hour"):
                resume(work, state, now=now, max_steps=deed[1] if len(deed) > 1 else 2)
            elif deed[0] == "callback":
                handle_callback(deed[1], work, state, now=now)
            elif len(deed) > 1:
                draw_action(work, state, deed)
            else:
                ACTIONS[deed[0]](work, state)
        except (ControlError, CallbackError):
            assert dump(work, state) == before
            continue
        except DefinitionError:
            assert deed[0] in ("resume", "hour")
            return  # a thread was moved to before a Go whose thread lives
        cancelled = cancelled or deed[0] == "cancel"
        check(work, state)
        work, state = load(cls, dump(work, state))
    paused = state.status == "Paused"
    try:
        ended = after(cls, dump(work, state), lambda work, state: None)
    except DefinitionError:
        assert not cancelled
        return
    assert (ended.status == "Paused") is paused
    assert paused or (ended.status == "Cancelled") is cancelled
