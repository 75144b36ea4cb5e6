"""Waits whose cases stay, and cases that conditions fire: what is set up, what is taken when, and what a change makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstmt import (
    ANY,
    AmbiguousCallbackError,
    Branch,
    Break,
    CallbackRequest,
    DefinitionError,
    Every,
    Fail,
    For,
    ForEach,
    Go,
    Join,
    NotWaitingError,
    On,
    Parallel,
    PositionError,
    RefusedError,
    Return,
    S,
    Sleep,
    StaleCallbackError,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Timeout,
    Try,
    UnknownEventError,
    Wait,
    WaitFor,
    When,
    current,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
    validate,
)
from flowstmt.testing import START, Harness
from tests.core.orders import HOUR, nothing, opened, saved
from tests.core.test_events import Disk, World

MINUTE = timedelta(minutes=1)


def reminding(world: World, *reminder: Statement) -> Callable[[Any], Statement]:
    return lambda work: S(
        Wait(
            "w",
            On("paid", via=world.desk()),
            On("note", stay=True, via=world.desk()),
            Every("remind", HOUR, *reminder),
        ),
        Step("after", lambda: work.log.append("after")),
    )


# --- outside ---


def test_a_sibling_is_set_up_once_and_torn_down_once_however_many_reminders_come():
    world = World()
    disk = Disk(reminding(world), world)
    disk.resume()
    token = world.requests["paid"]
    for _ in range(9):
        disk.now += HOUR
        disk.resume()
        disk.reload()
    disk.callback("note")
    disk.resume()
    assert world.calls == [("setup", "paid"), ("setup", "note")]
    assert token.pc == 1
    assert disk.state.threads[0].pc == 11
    disk.callback(token)
    disk.resume()
    assert world.calls[2:] == [("teardown", "paid", "paid is open", True), ("teardown", "note", "note is open", False)]
    assert disk.state.status == "Finished"


def test_a_setup_that_failed_is_tried_again_while_a_reminder_runs():
    world = World()
    disk = Disk(reminding(world, Sleep("nap", 3 * HOUR)), world)
    world.broken = {"setup paid"}
    disk.failing()
    disk.now += HOUR
    disk.failing()
    assert disk.state.threads[0].position == "nap"
    world.broken = set()
    disk.resume()
    assert world.calls == [("setup", "paid"), ("setup", "note"), ("setup", "paid"), ("setup", "paid")]
    assert {event.name: str(event.status) for event in disk.events} == {"paid": "Setup", "note": "Setup", "remind": "Setup"}
    disk.callback(world.requests["paid"])
    disk.resume()
    assert [call[:2] for call in world.calls[4:]] == [("teardown", "paid"), ("teardown", "note")]


def test_an_event_that_ends_the_wait_while_a_reminder_runs_tears_down_at_once():
    world = World()
    disk = Disk(reminding(world, Sleep("nap", 3 * HOUR)), world)
    disk.resume()
    disk.now += HOUR
    disk.resume()
    disk.callback("paid")
    assert disk.state.wake_at == disk.now
    disk.resume()
    assert [call for call in world.calls if call[0] == "teardown"] == [
        ("teardown", "paid", "paid is open", True),
        ("teardown", "note", "note is open", False),
    ]
    assert (disk.state.threads[0].position, disk.events) == ("nap", [])
    assert disk.state.wake_at == disk.now + 3 * HOUR
    disk.now += 3 * HOUR
    disk.resume()
    assert disk.workflow.log == ["after"]


def test_a_teardown_that_fails_is_tried_again_beside_the_events_of_the_next_round():
    world = World()
    disk = Disk(
        lambda work: For("l", Wait("w", On("again", Step("go on", nothing), stay=True), On("next", via=world.desk()))), world
    )
    disk.resume()
    world.broken = {"teardown next"}
    disk.callback("next")
    disk.resume()
    disk.callback("again")
    disk.resume()
    assert sorted((event.name, event.request.pc, str(event.status)) for event in disk.events) == [
        ("again", 2, "Setup"),
        ("next", 1, "TeardownError"),
        ("next", 2, "Setup"),
    ]
    world.broken = set()
    disk.callback("again")
    disk.resume()
    assert sorted((event.name, event.request.pc) for event in disk.events) == [("again", 2), ("next", 2)]


# --- callbacks at every position of a body ---


@dataclass
class Desk:
    """A Wait around everything at which a thread can stand."""

    log: list[str] = field(default_factory=list)
    n: int = 0
    keys: list[str] = field(default_factory=list)

    @classmethod
    def definition(cls) -> Statement[Any]:
        return S(
            Wait(
                "w",
                On("note", cls.note, Step("noted", lambda w: w.log.append("noted")), stay=True),
                On("step", Step("a", lambda w: w.log.append("a")), stay=True),
                On("sleep", Sleep("nap", HOUR), stay=True),
                On("condition", WaitFor("c", lambda w: w.n > 0), stay=True),
                On("join", Go("g", Sleep("g nap", HOUR)), Join("j", "g"), stay=True),
                On("parallel", Parallel("p", Branch("b", Sleep("b nap", HOUR))), stay=True),
                On("inner", Wait("v", On("on"), Timeout("t", HOUR)), stay=True),
                On("finally", Try("try", S()).finally_(Sleep("last nap", HOUR)), stay=True),
                On("items", ForEach("l", [1, 2], Sleep("item nap", HOUR / 2)), stay=True),
                On("nothing", stay=True),
                On("done", into="n"),
            ),
            Step("end", lambda w: w.log.append("end")),
        )

    def note(self, payload: int) -> int:
        self.n += payload
        self.keys.append(current().idempotency_key)
        return self.n


POSITIONS = {
    "step": "a",
    "sleep": "nap",
    "condition": "c",
    "join": "j",
    "parallel": "p",
    "inner": "v",
    "finally": "last nap",
    "items": "item nap",
    "nothing": "w",
}


def in_body(event: str, *, resumed: bool) -> tuple[Desk, State]:
    desk, state = Desk(), State.new("run", "Desk", START)
    resume(desk, state, now=START)
    handle_callback(event, desk, state, now=START)
    if resumed:
        resume(desk, state, now=START, max_steps=0)
        assert state.threads[0].position == POSITIONS[event]
    return load(Desk, dump(desk, state))


@pytest.mark.parametrize("resumed", [True, False], ids=["in the body", "before it"])
@pytest.mark.parametrize("event", POSITIONS)
def test_a_callback_is_taken_wherever_the_thread_is_in_the_body_and_acted_upon_when_that_is_done(event: str, resumed: bool):
    desk, state = in_body(event, resumed=resumed)
    before = [(thread.status, thread.position, thread.pc) for thread in state.threads]
    assert handle_callback("note", desk, state, 2, now=START) == 2
    assert handle_callback(CallbackRequest("note", pc=1), desk, state, 3, now=START) == 5
    if not (resumed and event == "nothing"):
        assert [(thread.status, thread.position, thread.pc) for thread in state.threads] == before
    desk, state = load(Desk, dump(desk, state))
    handle_callback("done", desk, state, 7, now=START)
    assert desk.n == 7
    blob = dump(desk, state)
    with pytest.raises(NotWaitingError):
        handle_callback("note", desk, state, 1, now=START)
    assert dump(desk, state) == blob
    if desk.n and event == "condition":
        resume(desk, state, now=START)
    for hours in range(4):
        resume(desk, state, now=START + hours * HOUR)
    assert state.status == "Finished"
    assert desk.log == ["a"] * (event == "step") + ["noted", "noted", "end"]


@pytest.mark.parametrize("event", POSITIONS)
def test_a_callback_that_is_refused_in_a_body_changes_nothing_and_is_told_what_would_be_taken(event: str):
    desk, state = in_body(event, resumed=True)
    blob = dump(desk, state)
    for request, error in (
        (CallbackRequest("note", pc=99), StaleCallbackError),
        (CallbackRequest("note", birth="none"), StaleCallbackError),
        ("t", UnknownEventError),
        ("nobody", UnknownEventError),
    ):
        with pytest.raises(error) as caught:
            handle_callback(request, desk, state, 1, now=START)
        assert dump(desk, state) == blob
    assert "did you mean" not in str(caught.value)
    with pytest.raises(StaleCallbackError, match=r"It would take: .*'note' \(thread 'main', pc 1\)"):
        handle_callback(CallbackRequest("note", pc=99), desk, state, 1, now=START)


def test_handlers_that_run_at_one_stop_have_keys_of_their_own():
    desk, state = in_body("sleep", resumed=False)
    blob = dump(desk, state)
    for _ in range(2):
        handle_callback("note", desk, state, 1, now=START)
    resume(desk, state, now=START)
    handle_callback("note", desk, state, 1, now=START)
    assert len(set(desk.keys)) == 3
    again, other = load(Desk, blob)
    handle_callback("note", again, other, 1, now=START)
    assert again.keys == desk.keys[:1]


def test_the_stop_of_a_thread_that_is_back_is_accepted_as_well_as_that_of_its_token():
    desk, state = in_body("nothing", resumed=True)
    assert state.threads[0].pc == 2
    for pc in (2, 1):
        handle_callback(CallbackRequest("nothing", pc=pc), desk, state, now=START)
        resume(desk, state, now=START)
    with pytest.raises(StaleCallbackError):
        handle_callback(CallbackRequest("note", pc=2), desk, state, now=START)


def test_a_handler_that_refuses_in_a_body_changes_nothing():
    def refuse() -> None:
        raise RefusedError("not now")

    disk = Disk(lambda work: Wait("w", On("nap", Sleep("nap", HOUR), stay=True), On("ask", refuse, stay=True)))
    disk.resume()
    disk.callback("nap")
    disk.resume()
    blob = dump(disk.workflow, disk.state)
    with pytest.raises(RefusedError):
        handle_callback("ask", disk.workflow, disk.state, now=disk.now)
    assert dump(disk.workflow, disk.state) == blob


def test_current_tells_a_handler_of_its_wait_and_the_items_around_that():
    told: list[Any] = []
    disk = Disk(
        lambda work: ForEach(
            "l",
            ["p"],
            Wait(
                "w",
                On("go", ForEach("m", [1], Wait("v", On("on"))), stay=True),
                On("ask", lambda: told.append((current().position, current().item(), current().pc)), stay=True),
            ),
        )
    )
    disk.resume()
    disk.callback("ask")
    disk.resume()
    disk.callback("go")
    disk.resume()
    disk.callback("ask")
    assert told == [("w", "p", 1), ("w", "p", 3)]


def test_the_item_of_an_action_is_that_of_a_loop_and_not_of_a_wait_around():
    told: list[Any] = []
    disk = Disk(
        lambda work: ForEach(
            "l",
            [None, "p"],
            Wait("w", On("go", Step("a", lambda: told.append(current().item())), stay=True), On("next")),
        )
    )
    disk.resume()
    for event in ("go", "next", "go"):
        disk.callback(event)
        disk.resume()
    assert told == [None, "p"]


# --- whose event is meant ---


def test_of_two_waits_that_know_an_event_the_inner_one_is_meant_unless_the_request_says_another_stop():
    disk = Disk(
        lambda work: Wait(
            "outer",
            On("go", Step("out", lambda: work.log.append("out")), stay=True),
            On("open", Wait("inner", On("go", Step("in", lambda: work.log.append("in")), stay=True), On("close")), stay=True),
        )
    )
    disk.resume()
    disk.callback("open")
    disk.resume()
    disk.callback(CallbackRequest("go", pc=1))
    disk.callback(CallbackRequest("go", pc=2))
    disk.callback("go")
    disk.resume()
    assert disk.workflow.log == ["in", "in"]
    disk.callback("close")
    disk.resume()
    assert disk.workflow.log == ["in", "in", "out"]


def test_threads_that_wait_for_one_event_are_told_apart_in_bodies_too():
    disk = Disk(
        lambda work: S(
            ForEach(
                "l",
                ["p", "q"],
                Go("g", Wait("w", On("nap", Sleep("nap", HOUR), stay=True), On("done")), id=lambda item: item),
            ),
            Join("j", "g"),
        )
    )
    disk.resume()
    disk.callback(CallbackRequest("nap", thread_id="g:p"))
    disk.resume()
    with pytest.raises(AmbiguousCallbackError, match=r"'g:p' \(pc 1\), 'g:q' \(pc 1\)"):
        disk.callback("done")
    disk.callback(CallbackRequest("done", thread_id="g:p"))
    disk.callback("done")
    disk.now += HOUR
    disk.resume()
    assert disk.state.status == "Finished"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("remind", "'remind' is an Every: time fires it, callbacks can't"),
        ("enough", "'enough' is a When: its condition fires it, callbacks can't"),
        ("late", "'late' is a Timeout: time fires it, callbacks can't"),
    ],
)
def test_what_time_or_a_condition_fires_can_not_be_called(event: str, why: str):
    disk = Disk(lambda work: Wait("w", Every("remind", HOUR), When("enough", work.n > 0), Timeout("late", HOUR), On("done")))
    disk.resume()
    with pytest.raises(UnknownEventError, match=why):
        disk.callback(event)


# --- what is about to be left takes nothing ---


def leaving(body: Statement) -> Disk:
    """A run in the finally of a body that stays."""
    disk = Disk(lambda work: S(For("l", Wait("w", On("go", body, stay=True), On("done"))), Step("after", nothing)))
    disk.resume()
    disk.callback("go")
    disk.resume()
    assert disk.state.threads[0].position == "nap"
    return disk


@pytest.mark.parametrize(
    "way",
    [Break(), Return(), Fail("lost", "gone")],
    ids=["Break", "Return", "failure"],
)
def test_a_wait_that_is_about_to_be_left_takes_no_callback(way: Statement):
    disk = leaving(Try("t", way).finally_(Sleep("nap", HOUR)))
    with pytest.raises(NotWaitingError, match="is WaitingTime at 'nap'"):
        disk.callback("done")


@pytest.mark.parametrize(
    "body",
    [
        For("m", Try("t", Break()).finally_(Sleep("nap", HOUR)), Step("s", nothing)),
        Try("c", Try("t", Fail("lost", "gone")).finally_(Sleep("nap", HOUR))).catch("lost"),
        Try("t", S()).finally_(Sleep("nap", HOUR)),
    ],
    ids=["Break of a loop inside", "failure caught inside", "end"],
)
def test_a_wait_to_which_the_thread_will_come_back_takes_it(body: Statement):
    disk = leaving(body)
    disk.callback("done")
    disk.now += HOUR
    disk.resume()
    assert (disk.state.threads[0].position, disk.state.threads[0].frames) == ("w", [])


def test_a_thread_that_was_told_to_end_takes_no_callback_for_the_waits_around_it():
    disk = Disk(
        lambda work: Parallel(
            "p",
            Branch(
                "slow", Wait("w", On("go", Try("t", Wait("v", On("on"))).finally_(Sleep("nap", HOUR)), stay=True), On("done"))
            ),
            Branch("quick", Wait("q", On("win"))),
            join=ANY,
        )
    )
    disk.resume()
    disk.callback("go")
    disk.resume()
    disk.callback("win")
    disk.resume()
    assert [thread.position for thread in disk.state.threads] == ["p", "nap"]
    with pytest.raises(NotWaitingError):
        disk.callback("done")
    disk.now += HOUR
    assert disk.resume() == "Finished"


# --- races of callback and timer ---


def test_a_due_reminder_does_not_refuse_a_callback_and_does_not_come_after_it():
    disk = Disk(reminding(World(), Step("nudge", nothing)))
    disk.resume()
    disk.now += HOUR
    disk.callback("paid")
    disk.resume()
    assert (disk.state.status, disk.workflow.log) == ("Finished", ["after"])


def test_a_reminder_that_is_due_comes_after_the_body_of_a_callback_that_came_first():
    disk = Disk(
        lambda work: Wait(
            "w",
            On("note", Step("noted", lambda: work.log.append("noted")), stay=True),
            Every("remind", HOUR, Step("nudge", lambda: work.log.append("nudge"))),
            When("enough", work.log.count("nudge") == 2),
        )
    )
    disk.resume()
    disk.now += 1.5 * HOUR
    disk.callback("note")
    disk.resume()
    assert disk.workflow.log == ["noted", "nudge"]
    assert disk.state.wake_at == START + 2 * HOUR


def test_many_missed_reminders_are_made_up_for_by_one_and_the_next_comes_at_a_multiple_of_the_period():
    disk = Disk(reminding(World(), Step("nudge", nothing)))
    disk.resume()
    disk.now += 1000.5 * HOUR
    before = disk.state.revision
    disk.resume()
    assert disk.state.revision - before == 2
    assert disk.state.wake_at == START + 1001 * HOUR
    disk.now = START + 1001 * HOUR
    disk.resume()
    assert disk.state.wake_at == START + 1002 * HOUR


# --- what users' callables answer ---


@pytest.mark.parametrize(
    ("period", "why"),
    [
        (lambda: 5, "its period must be a timedelta, not 5"),
        (lambda: timedelta(0), "its period must be longer than nothing, not datetime.timedelta\\(0\\)"),
        (lambda: timedelta.max, "ends past the end of the calendar"),
        (lambda: 1 / 0, "its period raised ZeroDivisionError"),
    ],
)
def test_a_period_that_makes_no_sense_is_an_error_that_leaves_everything_as_it_was(period: Any, why: str):
    given: list[Any] = [period]
    disk = Disk(lambda work: Wait("w", Every("remind", given[-1], Step("nudge", nothing)), On("on")))
    with pytest.raises(StepError, match=f"Every 'remind': .*{why}"):
        disk.resume()
    given.append(lambda: HOUR)
    disk.resume()
    given.pop()
    disk.now += HOUR
    blob = dump(disk.workflow, disk.state)
    with pytest.raises(StepError, match=f"Every 'remind': .*{why}"):
        disk.resume()
    assert dump(disk.workflow, disk.state) == blob
    given.append(lambda: HOUR)
    disk.resume()
    assert disk.state.wake_at == START + 2 * HOUR


def test_a_condition_that_raises_is_an_error_that_leaves_everything_as_it_was():
    broken = [True]

    def cond() -> bool:
        if broken:
            raise ValueError("no")
        return True

    disk = Disk(lambda work: Wait("w", When("enough", cond), On("on")))
    blob = dump(disk.workflow, disk.state)
    with pytest.raises(StepError, match="When 'enough': its condition raised ValueError: no"):
        disk.resume()
    assert dump(disk.workflow, disk.state) == blob
    broken.clear()
    assert disk.resume() == "Finished"


# --- faults ---


def wrong(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


class TypeOfWhen:
    type = "When"

    def setup(self, request: CallbackRequest) -> None: ...


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (
            Wait("w", Every("e", wrong(5))),
            "Every 'e' in Wait 'w': period must be a timedelta or a callable that returns one, not 5",
        ),
        (Wait("w", Every("e", timedelta(0))), "Every 'e' in Wait 'w': period must be longer than nothing"),
        (Wait("w", Every("e", wrong(S()))), "Every 'e' in Wait 'w': its period is a statement (S()): was the period left out?"),
        (Wait("w", When("e", wrong(S()))), "When 'e' in Wait 'w': its condition is a statement"),
        (Wait("w", On("e", stay=wrong("yes"))), "On 'e' in Wait 'w': stay must be True or False, not 'yes'"),
        (Every("e", HOUR), "Every 'e': stands only directly in Wait"),
        (When("e", True), "When 'e': stands only directly in Wait"),
        (Wait("w", Every("e", HOUR), On("e")), "On 'e' in Wait 'w': the event 'e' stands twice in its Wait"),
        (
            Wait("w", Every("e", HOUR, was=("f",)), When("g", True, was=("f",))),
            "When 'g' in Wait 'w': was: 'f' was the name of",
        ),
        (Wait("w", wrong(S())), "S in Wait 'w': a Wait holds only events: On, Timeout, Every and When"),
        (Wait("w", On("e", via=TypeOfWhen())), "On 'e' in Wait 'w': the type of its via is 'When'"),
        (Wait("w", Every("e", HOUR, Break())), "Break in Every 'e' in Wait 'w': stands outside of any loop"),
    ],
)
def test_faults(tree: Any, fault: str):
    with pytest.raises(DefinitionError) as caught:
        validate(tree)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(fault)


def test_in_class_style_a_condition_takes_the_workflow_and_a_period_too():
    @dataclass
    class Work:
        n: int = 0

        @classmethod
        def definition(cls) -> Statement[Any]:
            return Wait("w", When("e", True), Every("f", lambda: HOUR))

    with pytest.raises(DefinitionError) as caught:
        validate(Work)
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == ["When 'e' in Wait 'w'", "Every 'f' in Wait 'w'"]


# --- changes of the definition ---


def of(*cases: Any) -> Callable[[Any], Statement]:
    return lambda work: S(Wait("w", *cases), Step("after", work.say("after")))


def gone_on(tree: Any, blob: bytes, *events: str, hours: float = 0) -> tuple[Any, State]:
    """A saved run, resumed with another definition, in which events come after a time."""
    now = START + hours * HOUR
    work, state = opened(tree, blob)
    resume(work, state, now=now)
    for event in events:
        handle_callback(event, work, state, now=now)
        resume(work, state, now=now)
    return work, state


def called(tree: Any, blob: bytes, event: str) -> bytes:
    work, state = opened(tree, blob)
    handle_callback(event, work, state, now=START)
    return dump(work, state)


STAYING = of(On("nap", Sleep("nap", HOUR), stay=True), On("done"))
EMPTY = of(On("nap", stay=True), On("done"))


def in_nap(tree: Any = STAYING, *events: str) -> bytes:
    """A run of this tree in the body of ``nap``, in which events came."""
    work, state = opened(tree, saved(tree))
    handle_callback("nap", work, state, now=START)
    resume(work, state, now=START)
    assert state.threads[0].position == "nap"
    for event in events:
        handle_callback(event, work, state, now=START)
    return dump(work, state)


def test_an_every_and_a_when_that_appear_are_waited_for_and_those_that_are_lost_are_not():
    old, new = of(On("done")), of(On("done"), Every("remind", HOUR, Step("nudge", nothing)), When("enough", lambda: False))
    _, state = gone_on(new, saved(old))
    assert [(event.name, event.type) for event in state.threads[0].events] == [
        ("done", ""),
        ("remind", "Every"),
        ("enough", "When"),
    ]
    assert state.wake_at == START + HOUR
    _, state = gone_on(old, saved(new))
    assert [event.name for event in state.threads[0].events] == ["done"]
    assert state.wake_at is None


def test_a_timeout_that_becomes_a_reminder_and_an_event_that_becomes_a_condition():
    old = of(Timeout("t", 2 * HOUR), On("e", via=World().desk()))
    new = of(Every("t", HOUR), When("e", lambda: False))
    work, state = opened(new, saved(old))
    resume(work, state, now=START)
    events = {event.name: (event.type, event.due_at) for event in state.threads[0].events if event.status == "Setup"}
    assert events == {"t": ("Every", START + HOUR), "e": ("When", None)}
    assert [(event.name, event.status) for event in state.threads[0].events if event.status != "Setup"] == [
        ("e", "TeardownError")
    ]


def test_an_event_that_gains_stay_stays_from_now_on_and_one_that_loses_it_does_not():
    once = of(On("go"), On("done"))
    stays = of(On("go", stay=True), On("done"))
    assert gone_on(stays, saved(once), "go", "go", "done")[0].log == ["after"]
    assert gone_on(once, saved(stays), "go")[0].log == ["after"]


def test_in_the_body_of_a_case_that_no_longer_stays_a_thread_is_misplaced():
    with pytest.raises(PositionError, match="it is inside Wait 'w', but Sleep 'nap' is inside nothing"):
        gone_on(of(On("nap", Sleep("nap", HOUR)), On("done")), in_nap())


def test_in_the_body_of_a_case_that_stays_since_a_thread_is_misplaced():
    once = of(On("nap", Sleep("nap", HOUR)), On("done"))
    with pytest.raises(PositionError, match="it is inside nothing, but Sleep 'nap' is inside Wait 'w'"):
        gone_on(STAYING, in_nap(once))


def test_a_case_that_fired_and_gained_or_lost_stay_before_its_body_began():
    once, stays = of(On("go"), On("done")), of(On("go", stay=True), On("done"))
    work, state = gone_on(stays, called(once, saved(once), "go"))
    assert (work.log, state.threads[0].position, [event.name for event in state.threads[0].events]) == ([], "w", ["go", "done"])
    assert gone_on(once, called(stays, saved(stays), "go"))[0].log == ["after"]


def test_events_that_a_wait_gains_while_the_thread_is_in_a_body_are_taken_there_and_waited_for_when_it_is_back():
    new = of(On("nap", Sleep("nap", HOUR), stay=True), On("more", Step("m", nothing), stay=True), Every("e", HOUR), On("done"))
    work, state = opened(new, in_nap())
    handle_callback("more", work, state, now=START)
    resume(work, state, now=START + HOUR)
    assert sorted(event.name for event in state.threads[0].events) == ["done", "e", "more", "nap"]


def test_events_that_a_wait_loses_while_the_thread_is_in_a_body_are_torn_down_when_it_is_back():
    world = World()
    old = of(On("nap", Sleep("nap", HOUR), stay=True), On("lost", via=world.desk()), On("done"))
    _, state = gone_on(STAYING, in_nap(old))
    assert [event.name for event in state.threads[0].events] == ["nap", "lost", "done"]
    _, state = gone_on(STAYING, in_nap(old), hours=1)
    assert [(event.name, event.status) for event in state.threads[0].events if event.status != "Setup"] == [
        ("lost", "TeardownError")
    ]


def test_an_event_that_was_taken_and_is_gone_is_a_position_error_that_names_it():
    lost = of(On("nap", Sleep("nap", HOUR), stay=True), On("finished"))
    with pytest.raises(PositionError, match="Wait 'w' has no event 'done', which was taken"):
        gone_on(lost, in_nap(STAYING, "done"))


def test_an_event_that_was_taken_and_gained_or_lost_stay_before_it_was_acted_upon():
    both = of(On("nap", Sleep("nap", HOUR), stay=True), On("done", stay=True))
    work, state = gone_on(both, in_nap(STAYING, "done"), hours=1)
    assert (work.log, state.threads[0].position, [event.name for event in state.threads[0].events]) == (
        [],
        "w",
        ["nap", "done"],
    )
    assert gone_on(STAYING, in_nap(both, "done"), hours=1)[0].log == ["after"]


def test_old_names_of_waits_and_events_are_found_in_what_was_taken():
    def new(work: Any) -> Statement:
        return S(
            Wait("v", On("rest", Sleep("nap", HOUR), stay=True, was=("nap",)), On("end", was=("done",)), was=("w",)),
            Step("after", work.say("after")),
        )

    blob = in_nap(STAYING, "nap", "done")
    work, state = opened(new, blob)
    with pytest.raises(NotWaitingError):
        handle_callback("end", work, state, now=START)
    assert dump(work, state) == blob
    resume(work, state, now=START + HOUR)
    frame = state.threads[0].frames[0]
    assert (frame.statement, frame.data) == ("v", {"event": "rest", "then": ["end"], "decided": "end"})
    resume(work, state, now=START + 2 * HOUR)
    assert work.log == ["after"]


# --- beside a running resume ---


def test_a_callback_is_taken_while_a_step_of_the_body_is_in_flight():
    begun, go_on = asyncio.Event(), asyncio.Event()

    @dataclass
    class Work:
        log: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return Wait(
                "w",
                On("call", Step("ask", self.ask, concurrent=True, into=self.log.append), stay=True),
                On("note", lambda: self.log.append("note"), Step("noted", lambda: self.log.append("noted")), stay=True),
                On("done"),
            )

        async def ask(self) -> str:
            begun.set()
            await go_on.wait()
            return "answer"

    async def play() -> tuple[Work, State]:
        work, state = Work(), State.new("run", "Work", START)
        await resume_async(work, state, now=START)
        await handle_callback_async("call", work, state, now=START)
        running = asyncio.create_task(resume_async(work, state, now=START, concurrency=2))
        await begun.wait()
        await handle_callback_async("note", work, state, now=START)
        assert state.threads[0].position == "ask"
        await handle_callback_async("done", work, state, now=START)
        go_on.set()
        await running
        return work, state

    work, state = asyncio.run(play())
    assert work.log == ["note", "answer", "noted"]
    assert state.status == "Finished"


# --- against a model ---


@dataclass
class Model:
    """What a Wait with a reminder, an event that stays, one that does not and a deadline means, in plain Python."""

    period: int
    reminds: int
    adds: int
    deadline: int
    log: list[tuple[str, int]] = field(default_factory=list)
    now: int = 0
    busy: int | None = None
    queue: list[str] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        self.due = self.period

    def begin(self, name: str, lasts: int) -> None:
        self.log.append((name, self.now))
        self.busy = self.now + lasts

    def end(self, name: str) -> None:
        self.log.append((name, self.now))
        self.over = True

    def back(self) -> None:
        """At the Wait: what was taken meanwhile, then what is due."""
        self.busy = None
        if self.queue:
            self.act(self.queue.pop(0))
        elif min(self.due, self.deadline) <= self.now:
            if self.due <= self.deadline:
                while self.due <= self.now:
                    self.due += self.period
                self.begin("remind", self.reminds)
            else:
                self.end("late")
        self.settle()

    def act(self, event: str) -> None:
        if event == "add":
            self.begin("add", self.adds)
        else:
            self.end("done")

    def settle(self) -> None:
        if self.busy is not None and self.busy <= self.now and not self.over:
            self.back()

    def call(self, event: str) -> bool:
        if self.over or "done" in self.queue:
            return False
        if self.busy is None:
            self.act(event)
            self.settle()
        else:
            self.queue.append(event)
        return True

    def advance(self, by: int) -> None:
        target = self.now + by
        while not self.over:
            instant = min(self.due, self.deadline) if self.busy is None else self.busy
            if instant > target:
                break
            self.now = max(self.now, instant)
            self.back()
        self.now = target


def billed(model: Model) -> type[Any]:
    @dataclass
    class Billed:
        log: list[tuple[str, int]] = field(default_factory=list)

        def said(self, name: str) -> Step:
            return Step(name, lambda: self.log.append((name, (current().now - START) // MINUTE)))

        def definition(self) -> Statement:
            return Wait(
                "w",
                Every("reminder", model.period * MINUTE, self.said("remind"), Sleep("r nap", model.reminds * MINUTE)),
                On("add", self.said("add"), Sleep("a nap", model.adds * MINUTE), stay=True),
                On("done", self.said("done")),
                Timeout("deadline", model.deadline * MINUTE, self.said("late")),
            )

    return Billed


acts = st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["add", "add", "done"])), max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 7),
    st.sampled_from([0, 0, 1, 3, 8]),
    st.sampled_from([0, 1, 4]),
    st.integers(1, 60),
    acts,
    st.booleans(),
)
def test_any_sequence_of_callbacks_and_time_does_what_the_model_does(
    period: int, reminds: int, adds: int, deadline: int, script: list[Any], round_trip: bool
):
    model = Model(period, reminds, adds, deadline)
    harness = Harness(billed(model)(), round_trip=round_trip)
    harness.run()
    for act in script:
        if isinstance(act, int):
            model.advance(act)
            harness.advance(act * MINUTE)
        elif model.call(act):
            harness.callback(act)
        else:
            blob = harness.snapshot
            with pytest.raises(Exception, match=f"event '{act}'"):
                harness.callback(act)
            assert dump(harness.workflow, harness.state) == blob
        assert [tuple(line) for line in harness.workflow.log] == model.log
        assert (harness.status == "Finished") is model.over
        if not model.over:
            wakes = min(model.due, model.deadline) if model.busy is None else model.busy
            assert harness.state.wake_at == START + wakes * MINUTE


# --- states that were changed by hand ---


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize(
    "data", [None, 5, [], {}, {"then": None}, {"then": "done"}, {"then": [5]}, {"then": [["done"]], "event": 5}]
)
def test_a_frame_that_does_not_hold_what_a_wait_keeps_there_is_refused(data: Any, renamed: bool):
    new = of(On("nap", Sleep("nap", HOUR), stay=True), On("done", was=("finished",))) if renamed else STAYING
    work, state = opened(new, in_nap())
    state.threads[0].frames[0].data = data
    blob = dump(work, state)
    with pytest.raises(
        StateError,
        match=r"its frame of Wait 'w' does not hold what that keeps there|\$\.state\.threads\[0\]\.frames\[0\]\.data",
    ):
        resume(work, state, now=START)
    with pytest.raises(StateError):
        handle_callback("done", work, state, now=START)
    assert dump(work, state) == blob


@pytest.mark.parametrize("body", [Sleep("nap", HOUR), Wait("inner", On("never"))], ids=["asleep", "waiting"])
def test_a_callback_that_comes_while_a_body_runs_makes_a_run_due_in_which_conditions_are_asked(body: Statement):
    def tree(w):
        stays = On("more", lambda: setattr(w, "kept", w.kept + 1), body, stay=True)
        return S(Go("g", WaitFor("two", lambda: w.kept == 2)), Wait("w", stays, On("end")))

    blob = saved(tree)
    for _ in range(2):
        work, state = opened(tree, blob)
        handle_callback("more", work, state, now=START)
        assert (str(state.status), state.wake_at) == ("Resuming", START)
        resume(work, state, now=START)
        blob = dump(work, state)
    assert [thread.id for thread in state.threads] == ["main"]


def test_a_callback_that_was_taken_and_is_not_acted_upon_is_noted():
    stays = On("more", None, Sleep("nap", HOUR), Break(), stay=True)
    tree = lambda _: For("ever", Wait("w", stays, On("end", None, Step("never", nothing))))  # noqa: E731
    work, state = opened(tree, saved(tree))
    handle_callback("more", work, state, now=START)
    resume(work, state, now=START)
    handle_callback("end", work, state, now=START)
    assert resume(work, state, now=START + HOUR) == "Finished"
    assert [(note["note"], note["message"]) for note in state.notes] == [
        ("dropped", "taken, and not acted upon, since its thread left Wait 'w' from the body of On 'more': 'end'")
    ]
