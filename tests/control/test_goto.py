"""Threads moved to other stops: as if they had just got there, or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    Answer,
    Approval,
    Branch,
    CallbackRequest,
    ControlError,
    ErrorInfo,
    EventStatus,
    Every,
    For,
    ForEach,
    Go,
    Join,
    Map,
    On,
    Parallel,
    Retry,
    Return,
    S,
    Saga,
    Sleep,
    State,
    Step,
    StepError,
    Timeout,
    Try,
    Wait,
    WaitEvent,
    WaitFor,
    When,
    cancel,
    dump,
    goto,
    handle_callback,
    load,
    pause,
    resume,
    unpause,
)
from tests.control.acting import NOW, after, check, checkpoints, go_on, workflow_class

HOUR = timedelta(hours=1)


class Desk:
    """Something outside that events have."""

    def setup(self, request):
        return "desk"

    def teardown(self, request, handled):
        pass


def tree(w):
    return S(
        Step("a", w.say("a")),
        ForEach(
            "each",
            [1, 2],
            Step("x", w.say("x")),
            Try("t", Step("b", w.say("b")), Wait("w", On("e", via=Desk()), Timeout("late", HOUR)))
            .catch(ValueError, Step("k", w.say("k")))
            .finally_(Step("f", w.say("f")), Sleep("fs", HOUR)),
        ),
        Map("m", [1, 2], Step("m1", w.say("m1")), Wait("mw", On("y"))),
        Parallel("p", Branch("one", Step("p1", w.say("p1"))), Branch("two", Step("p2", w.say("p2"))), into="kept"),
        WaitFor("wf", w.n == 0),
        Go("g", Wait("gw", Timeout("soon", HOUR)), Step("gs", w.say("gs"))),
        Join("j", "g"),
        Step("z", w.say("z")),
    )


NAMES = (
    "a",
    "x",
    "b",
    "w",
    "k",
    "f",
    "fs",
    "m",
    "m1",
    "mw",
    "p",
    "p1",
    "wf",
    "gw",
    "gs",
    "j",
    "z",
    "t",
    "each",
    "late",
    "main",
    "",
)


def at(position, tree=tree, *callbacks):
    """A run whose main thread stands there."""
    cls = workflow_class(tree)
    for blob in checkpoints(cls, *callbacks):
        work, state = load(cls, blob)
        if state.threads[0].position == position:
            return work, state
    raise AssertionError(f"it does not get to {position!r}")


def moved(work, state, thread, position) -> Any:
    """The position of a thread after a move that worked."""
    goto(work, state, thread, position, by="ann", reason="to see", now=NOW)
    check(work, state)
    return next(each for each in state.threads if each.id == thread)


def test_every_move_at_every_checkpoint_is_refused_without_a_trace_or_makes_a_run_that_goes_on():
    cls = workflow_class(tree)
    done = refused = 0
    for blob in checkpoints(cls, "e"):
        _, state = load(cls, blob)
        for thread in state.threads:
            for name in NAMES:
                work, state = load(cls, blob)
                try:
                    goto(work, state, thread.id, name, now=NOW)
                except ControlError:
                    assert dump(work, state) == blob
                    refused += 1
                    continue
                done += 1
                check(work, state)
                ended = after(cls, dump(work, state), lambda work, state: None)
                assert ended.status in ("Waiting", "Finished")
    assert done > 50 < refused


def test_a_thread_stands_at_its_new_stop_as_if_it_had_just_got_there():
    work, state = at("w")
    main = state.threads[0]
    pc, revision = main.pc, state.revision
    main = moved(work, state, "main", "z")
    assert (str(main.status), main.position, main.pc, main.frames) == ("Executing", "z", pc + 1, [])
    assert (main.since, main.ready, state.revision) == (NOW, revision + 1, revision + 1)
    assert [(event.name, str(event.status)) for event in main.events] == [("e", "PendingTeardown")]
    assert (str(state.status), state.wake_at) == ("Resuming", NOW)
    assert state.notes == [
        {
            "note": "moved",
            "thread": "main",
            "step": "w",
            "birth": main.birth,
            "pc": pc,
            "at": NOW.isoformat(),
            "by": "ann",
            "what": "WaitingEvent at 'w', now at 'z'",
            "reason": "to see",
        }
    ]


def test_the_events_of_a_wait_are_made_anew_and_the_old_ones_torn_down():
    work, state = at("w")
    resume(work, state, now=NOW)
    before = state.threads[0].pc
    goto(work, state, "main", "w", now=NOW + HOUR / 2)
    [old, new, late] = state.threads[0].events
    assert (old.request.pc, old.status, old.handled) == (before, EventStatus.PendingTeardown, False)
    assert (new.request.pc, new.status) == (before + 1, EventStatus.PendingSetup)
    assert (late.request.pc, late.due_at) == (before + 1, NOW + HOUR * 1.5)
    resume(work, state, now=NOW + HOUR)
    assert [event.name for event in state.threads[0].events] == ["e", "late"]
    handle_callback("e", work, state, now=NOW + HOUR)


def test_a_thread_keeps_the_item_of_a_loop_that_it_stays_in():
    cls = workflow_class(tree)
    work, state = at("fs", tree, "e")
    resume(work, state, now=NOW + HOUR)
    assert (state.threads[0].position, state.threads[0].frames[0].index) == ("w", 1)
    main = moved(work, state, "main", "x")
    assert [(frame.statement, frame.index, frame.item) for frame in main.frames] == [("each", 1, 2)]
    main = moved(work, state, "main", "a")
    assert main.frames == []
    assert go_on(cls, dump(work, state)).log[-3:] == ["f", "m1", "m1"]


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        ("a", "x", "Step 'x' is inside ForEach 'each', and thread 'main' is not: move it to a stop before that"),
        ("x", "w", "Wait 'w' is inside Try 't', and thread 'main' is not"),
        ("a", "f", "Step 'f' is inside ForEach 'each', and"),
        ("a", "m1", "Step 'm1' is in the thread of 'm', and thread 'main' runs another body"),
        ("a", "t", "position 't': no thread can be put at Try 't'"),
        ("a", "late", "position 'late': the definition has no such statement"),
        ("a", "zz", "position 'zz': the definition has no such statement; did you mean 'z'"),
        ("a", "main", "position 'main': no thread can be put at RunEnd 'main'"),
        ("m", "z", "thread 'main' is WaitingCondition at 'm', whose branches live and would be left without it"),
        ("a", 7, "position must be the name of a statement, a text, not 7"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused_and_says_why(here, there, why):
    work, state = at("w" if here == "m" else here)
    if here == "m":
        goto(work, state, "main", "m", now=NOW)
        resume(work, state, now=NOW)
    before = dump(work, state)
    with pytest.raises(ControlError) as raised:
        goto(work, state, "main", there, now=NOW)
    assert str(raised.value).startswith(f"run 'run': goto refused: {why}")
    assert str(raised.value).endswith(" Nothing was changed")
    assert dump(work, state) == before


def test_only_threads_that_live_can_be_moved():
    work, state = at("a")
    with pytest.raises(ControlError, match="no thread 'nobody' lives; alive: 'main'"):
        goto(work, state, "nobody", "a")
    with pytest.raises(ControlError, match="thread must be the id of one, a text, not None"):
        goto(work, state, None, "a")  # type: ignore[arg-type]


def test_a_thread_that_ends_or_undoes_can_not_be_moved():
    def ending(w):
        return S(
            Go("g", Try("t", Wait("gw", On("x"))).finally_(Step("f", w.say("f")), Sleep("nap", HOUR))),
            Saga("s", Step("a", w.say("a"), compensate=w.unsay("a")), Step("fail", w.fail, retry=Retry(max_attempts=1))),
        )

    for position, thread, why in (
        ("a:compensate", "main", "thread 'main' is Executing at 'a:compensate', where it ends, or undoes what was done"),
        ("main", "main", "thread 'main' is WaitingCondition at 'main', where it ends, or undoes"),
        ("main", "g", "thread 'g' is WaitingTime at 'nap', and has been told to end"),
    ):
        work, state = at(position, ending)
        resume(work, state, now=NOW) if thread == "g" else None
        before = dump(work, state)
        with pytest.raises(ControlError, match=why):
            goto(work, state, thread, "f" if thread == "g" else "a")
        assert dump(work, state) == before


def test_a_run_that_is_cancelled_can_not_be_moved_away_from_it():
    work, state = at("w")
    cancel(work, state, "enough", now=NOW)
    with pytest.raises(ControlError, match="thread 'main' is Resuming at 'w', and has been told to end"):
        goto(work, state, "main", "z")


def test_what_a_try_was_left_for_is_forgotten_by_who_goes_back_into_it():
    def leaving(w):
        return S(Try("t", Step("a", w.say("a")), Return("left")).finally_(Step("f", w.say("f"))), Step("z", w.say("z")))

    work, state = at("f", leaving)
    assert state.threads[0].frames[0].exit == {"exit": "return", "value": "left"}
    stay = moved(*load(type(work), dump(work, state)), "main", "f")
    assert stay.frames[0].exit == {"exit": "return", "value": "left"}
    back = moved(work, state, "main", "a")
    assert back.frames[0].exit is None
    assert go_on(type(work), dump(work, state)).log == ["a", "a", "f"]


def test_attempts_begin_anew():
    def trying(w):
        return S(Step("a", w.fail, retry=Retry(max_attempts=5, initial=HOUR)), Step("z", w.say("z")))

    work, state = at("a", trying)
    resume(work, state, now=NOW)
    assert (state.threads[0].attempt, state.threads[0].error) == (2, ErrorInfo("ValueError", "no", "a"))
    main = moved(work, state, "main", "a")
    assert (main.attempt, main.error, main.due_at, str(main.status)) == (1, None, None, "Executing")


def test_a_parallel_and_a_map_are_started_from_the_beginning():
    work, state = at("a")
    moved(work, state, "main", "p")
    assert [thread.id for thread in state.threads] == ["main", "p:one", "p:two"]
    ended = go_on(type(work), dump(work, state))
    assert ended.status == "Finished"
    assert ended.log == ["p1", "p2", "gs", "z"]


@pytest.mark.parametrize("what", ["items", "key"])
def test_what_a_statement_raises_when_a_thread_gets_there_changes_nothing(what):
    def breaking(w):
        if what == "items":
            return Map("m", lambda: [1 // w.n], Step("m1", print))
        return Map("m", [1, 0], Step("m1", print), key=lambda item: str(1 // item))

    cls = workflow_class(breaking)
    work, state = cls(), State.new("run", "Work", NOW)
    before = dump(work, state)
    with pytest.raises(StepError, match=f"its {what} raised ZeroDivisionError"):
        goto(work, state, "main", "m")
    assert dump(work, state) == before


def test_a_condition_is_asked_by_the_next_resume():
    work, state = at("a")
    moved(work, state, "main", "wf")
    assert (str(state.status), state.wake_at) == ("Resuming", NOW)
    work, state = at("a")
    moved(work, state, "main", "j")
    assert go_on(type(work), dump(work, state)).log == ["z"]


def test_a_thread_of_a_paused_run_can_be_moved_and_the_run_stays_paused():
    work, state = at("w")
    pause(work, state, now=NOW)
    moved(work, state, "main", "z")
    assert (str(state.status), state.wake_at) == ("Paused", None)
    unpause(work, state, now=NOW)
    assert resume(work, state, now=NOW) == "Finished"


def test_old_names_are_found():
    def before(w):
        return S(Go("g", Wait("w", On("e")), Step("b", w.say("b"))), Join("j", "g"))

    def renamed(w):
        wait = Wait("w2", On("e"), was=("w",))
        return S(Go("g2", wait, Step("b2", w.say("b"), was=("b",)), was=("g",)), Join("j", "g2"))

    cls, new = workflow_class(before), workflow_class(renamed)
    blob = checkpoints(cls)[-1]
    work, state = load(new, blob)
    goto(work, state, "g", "b", now=NOW)
    assert [(thread.id, thread.position) for thread in state.threads] == [("main", "j"), ("g2", "b2")]
    work, state = load(new, blob)
    with pytest.raises(ControlError):
        goto(work, state, "g", "nowhere")
    assert dump(work, state) == blob


def test_the_first_rounds_of_a_loop_that_counts_are_kept():
    def counting(w):
        return For("tries", Step("a", w.say("a")), Step("b", w.say("b")), Wait("w", On("e")), max_iterations=2)

    work, state = at("w", counting, "e")
    main = moved(work, state, "main", "a")
    assert [(frame.statement, frame.index) for frame in main.frames] == [("tries", 1)]


def test_a_run_that_has_not_begun_can_begin_elsewhere():
    cls = workflow_class(tree)
    work, state = cls(), State.new("run", "Work", NOW)
    main = moved(work, state, "main", "z")
    assert (main.position, state.notes[0]["what"]) == ("z", "about to start, now at 'z'")


# --- Waits whose cases stay, and Approvals ---


def asking(w):
    hourly = Every("hourly", HOUR, Step("r", w.say("r")), Wait("rw", On("x")))
    once = On("ask", None, Step("s", w.say("s")), Wait("sw", On("x")), stay=True)
    approval = Approval(
        "ok",
        ["ann", "bob"],
        Step("yes", w.say("yes")),
        timeout=9 * HOUR,
        remind=Every("remind", HOUR, Step("rm", w.say("rm")), Wait("rmw", On("x"))),
    )
    return S(
        Step("a", w.say("a")),
        Wait("w", On("e", via=Desk()), once, hourly, When("later", w.n > 5, Step("l", w.say("l")))),
        approval.rejected(Step("no", w.say("no"))),
        Step("z", w.say("z")),
    )


ASKING = ("a", "w", "r", "rw", "s", "sw", "l", "ok", "yes", "rm", "rmw", "no", "z")


def asked(*events) -> tuple[Any, State]:
    """A run of that tree to which these happened: names of callbacks, or hours that pass."""
    cls = workflow_class(asking)
    work, state, now = cls(), State.new("run", "Work", NOW), NOW
    resume(work, state, now=now)
    for event in events:
        if isinstance(event, str):
            handle_callback(event, work, state, now=now)
        else:
            now += event * HOUR
        resume(work, state, now=now)
    return work, state


RUNS = ((), ("ask",), ("ask", "x"), (1,), ("ask", "ask"), ("ask", "e"), ("e",), ("e", 1))


@pytest.mark.parametrize("events", RUNS, ids=str)
@pytest.mark.parametrize("name", ASKING)
def test_a_thread_is_moved_between_waits_that_stay_or_stays_where_it_is(events, name):
    work, state = asked(*events)
    blob = dump(work, state)
    try:
        goto(work, state, "main", name, now=NOW)
    except ControlError:
        assert dump(work, state) == blob
        return
    check(work, state)
    ended = after(type(work), dump(work, state), lambda work, state: None)
    assert ended.status in ("Waiting", "Finished", "Failed")
    work, state = load(type(work), dump(*load(type(work), blob)))
    goto(work, state, "main", name, now=NOW)
    cancel(work, state, "enough", now=NOW)
    check(work, state)
    assert after(type(work), dump(work, state), lambda work, state: None).status == "Cancelled"


def test_a_thread_that_waits_can_not_be_moved_into_the_body_of_a_case():
    work, state = asked()
    with pytest.raises(ControlError, match="Step 's' is inside Wait 'w', and thread 'main' is not"):
        goto(work, state, "main", "s")


def test_a_frame_says_in_which_case_a_thread_is_from_now_on():
    work, state = asked("ask")
    [frame] = moved(work, state, "main", "r").frames
    assert (frame.statement, frame.data["event"]) == ("w", "hourly")
    work, state = asked("e")
    [frame] = moved(work, state, "main", "rm").frames
    assert (frame.statement, frame.data["event"]) == ("ok", "remind")


def test_inside_of_a_case_that_stays_the_wait_goes_on():
    work, state = asked("ask")
    before = [(event.name, event.request) for event in state.threads[0].events if event.wait == "w"]
    main = moved(work, state, "main", "s")
    assert [(event.name, event.request) for event in main.events if event.wait == "w"] == before
    assert [frame.statement for frame in main.frames] == ["w"]
    resume(work, state, now=NOW)
    handle_callback("x", work, state, now=NOW)
    resume(work, state, now=NOW)
    assert (main.position, work.log) == ("w", ["a", "s", "s"])


def test_an_approval_is_asked_anew_without_the_answers_that_it_had():
    work, state = asked("e")
    handle_callback("approve", work, state, Answer("ann"), now=NOW)
    for _ in range(2):
        main = moved(work, state, "main", "ok")
        assert [(frame.statement, frame.data["answers"]) for frame in main.frames] == [("ok", [])]
    assert moved(work, state, "main", "z").frames == []


def test_callbacks_that_were_taken_and_not_acted_upon_are_noted():
    work, state = asked("ask", "ask", "e")
    assert state.threads[0].frames[0].data["then"] == ["ask", "e"]
    moved(work, state, "main", "z")
    assert state.notes[-1]["what"] == "WaitingEvent at 'sw', now at 'z'; given up: 'ask', 'e' of 'w', which were taken"


def test_what_is_left_of_a_wait_that_the_definition_has_lost_does_not_close_the_wait_around():
    cls = workflow_class(
        lambda w: Wait("w", On("ask", Step("one", lambda: None), Step("two", lambda: None), stay=True, via=Desk()), On("end"))
    )
    work, state = cls(), State.new("run", "Work", NOW)
    resume(work, state, now=NOW)
    handle_callback("ask", work, state, now=NOW)
    resume(work, state, now=NOW, max_steps=0)
    state.threads[0].events.append(WaitEvent("old", "lost", "Desk", CallbackRequest("old"), EventStatus.TeardownError))
    goto(work, state, "main", "two", now=NOW)
    assert [(event.name, event.status) for event in state.threads[0].events] == [
        ("ask", "Setup"),
        ("end", "Setup"),
        ("old", "TeardownError"),
    ]
