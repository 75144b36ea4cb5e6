"""Cancelling: a run ends, wherever it is, and nothing that has to be done is left out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstmt import (
    Branch,
    ControlError,
    ErrorInfo,
    ForEach,
    Go,
    Join,
    Map,
    NotWaitingError,
    On,
    Parallel,
    Retry,
    Return,
    S,
    Saga,
    Sleep,
    State,
    Step,
    Try,
    Wait,
    WaitFor,
    WorkflowFinishedError,
    cancel,
    compensation_plan,
    dump,
    goto,
    handle_callback,
    load,
    pause,
    resume,
)
from tests.control.acting import NOW, after, checkpoints, go_on, workflow_class

HOUR = timedelta(hours=1)
ONCE = Retry(max_attempts=1)


def stop(work, state):
    cancel(work, state, "enough", by="ann", now=NOW)


def done(w, name):
    """A step that can be undone."""
    return Step(name, w.say(name), compensate=w.unsay(name))


def nothing(w):
    return done(w, "a")


def loops(w):
    return S(done(w, "a"), ForEach("items", [1, 2], Step("each", w.say("each")), Sleep("nap", HOUR)), Step("z", w.say("z")))


def tries(w):
    return S(
        done(w, "a"),
        Try("outer", Try("inner", done(w, "b"), Wait("w", On("e"))).catch(Exception, Step("caught", w.say("caught")))).finally_(
            Step("f", w.say("f")), Sleep("nap", HOUR), Step("g", w.say("g"))
        ),
        Return("fine"),
    )


def sagas(w):
    return S(
        done(w, "a"),
        Saga("outer", done(w, "b"), Saga("inner", done(w, "c"), done(w, "d"), Wait("w", On("e"))), done(w, "x")),
        Step("z", w.say("z")),
    )


def threads(w):
    return S(
        Go("plain", Sleep("nap", HOUR), Step("never", w.say("never"))),
        Go("tidy", Try("t", done(w, "t1"), Wait("tw", On("x"))).finally_(Step("tf", w.say("tf")), Step("tg", w.say("tg")))),
        done(w, "a"),
        Join("all", "tidy"),
    )


def fans(w):
    return S(
        done(w, "a"),
        Parallel(
            "both",
            Branch("one", Saga("s", done(w, "p1"), Wait("pw", On("e"))), Return("one")),
            Branch("two", Try("t", done(w, "p2"), Wait("pw2", On("x"))).finally_(Step("pf", w.say("pf")))),
            into="kept",
        ),
        Map("each", [1, 2, 3], Try("mt", Wait("mw", On("y"))).finally_(Step("mf", w.say("mf"))), max_concurrency=2),
    )


def failing(w):
    return S(
        Go("aside", Try("t", Wait("aw", On("x"))).finally_(Step("af", w.say("af")), Sleep("nap", HOUR), done(w, "ag"))),
        done(w, "a"),
        done(w, "b"),
        Step("fail", w.fail, retry=ONCE),
    )


def returning(w):
    return S(
        Go(
            "aside",
            Try("t", Wait("aw", On("x"))).finally_(Step("af", w.say("af")), Sleep("nap", HOUR), Step("ag", w.say("ag"))),
        ),
        done(w, "a"),
        Return("fine"),
    )


def waits(w):
    return S(done(w, "a"), WaitFor("never", w.n > 0, w.say("n")))


def retries(w):
    return S(done(w, "a"), Step("fail", w.fail, retry=Retry(max_attempts=2, initial=HOUR)))


def beside(w):
    return S(Go("bad", Step("fail", w.fail, retry=Retry(max_attempts=2, initial=HOUR))), done(w, "a"), done(w, "b"))


TREES = (beside, nothing, loops, tries, sagas, threads, fans, failing, returning, waits, retries)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("paused", [False, True], ids=["", "paused"])
def test_a_run_can_be_cancelled_at_every_checkpoint_and_killed_at_every_one_after_that(tree, paused):
    cls = workflow_class(tree)
    found = 0
    for blob in checkpoints(cls, *(["e"] if tree in (tries, sagas, fans) else [])):
        work, state = load(cls, blob)
        if state.status in ("Finished", "Failed"):
            continue
        if state.threads[0].position in ("main", "a:compensate", "b:compensate") and tree is failing:
            continue  # it has failed already
        if paused:
            pause(work, state, now=NOW)
        undone = [step.step for step in compensation_plan(work, state)]
        ended = after(cls, dump(work, state), stop)
        found += 1
        assert ended.status == "Cancelled"
        assert ended.state.error == ErrorInfo("Cancelled", "enough", state.threads[0].position)
        assert (ended.state.threads, ended.state.undo, ended.state.result) == ([], [], None)
        names = [word.removeprefix("un") for word in ended.log if word.startswith("un")]
        if tree not in (fans, threads, failing):  # there a finally_ does more that can be undone
            assert names == undone
        assert sorted(names) == sorted(word for word in ended.log if f"un{word}" in ended.log)
        assert ended.log.index("un" + names[0]) > ended.log.index(names[0]) if names else True
        assert "never" not in ended.log
        assert "caught" not in ended.log
    assert found > 1


def test_what_stands_in_finally_is_run_once_and_before_the_rest_is_undone():
    cls = workflow_class(tries)
    for k, blob in enumerate(checkpoints(cls, "e")[:-1]):
        log = after(cls, blob, stop).log
        begun = {"a": k > 1, "b": k > 2}
        assert log == [
            *(name for name, has in begun.items() if has),
            *(["f", "g"] if k > 1 else []),
            *(f"un{name}" for name, has in reversed(begun.items()) if has),
        ]


def test_sagas_are_undone_from_the_inside_out():
    cls = workflow_class(sagas)
    blobs = checkpoints(cls)
    assert after(cls, blobs[-1], stop).log == ["a", "b", "c", "d", "und", "unc", "unb", "una"]


def test_a_cancelled_run_takes_no_callback_and_tears_down_what_it_waited_for():
    torn = []

    class Desk:
        def setup(self, request):
            return "desk"

        def teardown(self, request, handled):
            torn.append((request.name, handled))

    cls = workflow_class(lambda w: Wait("w", On("e", via=Desk())))
    work, state = load(cls, checkpoints(cls)[-1])
    stop(work, state)
    with pytest.raises(NotWaitingError):
        handle_callback("e", work, state, now=NOW)
    assert torn == []
    assert resume(work, state, now=NOW) == "Cancelled"
    assert torn == [("e", False)]
    with pytest.raises(WorkflowFinishedError):
        handle_callback("e", work, state, now=NOW)


def test_who_cancelled_when_and_why_is_noted():
    cls = workflow_class(waits)
    work, state = load(cls, checkpoints(cls)[-1])
    revision = state.revision
    cancel(work, state, "out of stock", by="ann", now=NOW)
    assert (state.revision, state.status, state.wake_at) == (revision + 1, "Resuming", NOW)
    assert state.notes == [
        {
            "note": "cancelled",
            "at": "2030-01-01T00:00:00+00:00",
            "by": "ann",
            "what": "main WaitingCondition at 'never'",
            "reason": "out of stock",
        }
    ]


def test_of_many_threads_the_note_names_the_first():
    cls = workflow_class(
        lambda w: S(ForEach("many", range(30), Go("g", Wait("w", On("e")), id=lambda i: i)), Wait("end", On("x")))
    )
    work, state = load(cls, checkpoints(cls)[-1])
    stop(work, state)
    assert state.notes[0]["what"].endswith("g:18 WaitingEvent at 'w' and 11 more")
    assert go_on(cls, dump(work, state)).status == "Cancelled"


def test_a_run_can_be_cancelled_once_only_and_the_second_changes_nothing():
    for tree in TREES:
        cls = workflow_class(tree)
        for blob in checkpoints(cls):
            work, state = load(cls, blob)
            if state.status in ("Finished", "Failed"):
                break
            try:
                stop(work, state)
            except ControlError:
                continue
            for saved in (dump(work, state), *go_on(cls, dump(work, state)).blobs):
                work, state = load(cls, saved)
                why = "has to be" if state.status == "Cancelled" else "the run has been cancelled already"
                with pytest.raises(ControlError, match=why):
                    stop(work, state)
                assert dump(work, state) == saved


def test_a_run_that_has_failed_and_undoes_what_it_did_stays_failed():
    cls = workflow_class(failing)
    refused = 0
    for blob in checkpoints(cls):
        work, state = load(cls, blob)
        main = state.threads[0] if state.threads else None
        if state.status == "Waiting" and main is not None and main.position == "main":
            with pytest.raises(ControlError, match="cancel refused: the run has failed already, and is on its way to its end"):
                stop(work, state)
            assert dump(work, state) == blob
            refused += 1
    assert refused
    assert go_on(cls, blob).status == "Failed"


def test_a_run_that_failed_by_another_thread_stays_failed():
    def tree(w):
        return S(
            Go("bad", Step("fail", w.fail, retry=ONCE)),
            Try("t", Wait("w", On("e"))).finally_(Step("f", w.say("f")), Sleep("nap", HOUR)),
        )

    cls = workflow_class(tree)
    work, state = load(cls, checkpoints(cls)[-1])
    assert state.threads[0].position == "nap"
    with pytest.raises(ControlError, match="the run has failed already"):
        stop(work, state)
    assert go_on(cls, dump(work, state)).status == "Failed"


def test_a_run_that_returns_is_cancelled_all_the_same():
    cls = workflow_class(returning)
    work, state = load(cls, checkpoints(cls)[-1])
    assert [thread.position for thread in state.threads] == ["main", "nap"]
    ended = after(cls, dump(work, state), stop)
    assert (ended.status, ended.state.result, ended.log) == ("Cancelled", None, ["a", "af", "ag", "una"])


def test_a_compensation_that_is_under_way_is_finished_first():
    def tree(w):
        return S(
            done(w, "a"),
            Try("t", Saga("s", done(w, "b"), Step("c", w.say("c"), compensate=w.fail), Step("fail", w.fail, retry=ONCE))).catch(
                Exception, Step("caught", w.say("caught"))
            ),
        )

    cls = workflow_class(tree)
    blobs = [blob for blob in checkpoints(cls) if load(cls, blob)[1].threads[0].position == "c:compensate"]
    ended = after(cls, blobs[0], stop)
    # c can't be undone, and that is tried as often as ever; what is caught without the cancellation is not.
    assert (ended.status, ended.log) == ("Cancelled", ["a", "b", "c", "unb", "una"])
    assert [(record["step"], record["error"]["message"]) for record in ended.state.undo] == [("c", "no")]
    assert [note["note"] for note in ended.state.notes] == ["cancelled", "not undone"]


def test_a_run_that_was_never_started_is_cancelled():
    cls = workflow_class(nothing)
    work, state = cls(), State.new("run", "Work", NOW)
    stop(work, state)
    assert resume(work, state, now=NOW) == "Cancelled"
    assert (work.log, state.error) == ([], ErrorInfo("Cancelled", "enough"))


@pytest.mark.parametrize("name", ["both", "each"])
def test_branches_that_have_not_begun_are_cancelled(name):
    cls = workflow_class(fans)
    work, state = load(cls, checkpoints(cls)[0])
    goto(work, state, "main", name, now=NOW)
    assert {thread.position for thread in state.threads} == {name, ""}
    assert after(cls, dump(work, state), stop).status == "Cancelled"
