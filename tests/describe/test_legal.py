"""What may happen to a run now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstmt import (
    AmbiguousCallbackError,
    CallbackError,
    CallbackRequest,
    ControlError,
    DefinitionError,
    Fail,
    For,
    ForEach,
    Go,
    Join,
    On,
    PositionError,
    Return,
    S,
    SetupError,
    Sleep,
    State,
    StateError,
    Step,
    ThreadStatus,
    Timeout,
    Wait,
    WaitFor,
    cancel,
    dump,
    goto,
    handle_callback,
    legal,
    load,
    pause,
    resume,
    retry_now,
    unpause,
)
from flowstmt.core.callbacks import accept
from flowstmt.core.program import program_for
from flowstmt.describe import Legal
from flowstmt.testing import START
from tests.core.styles import STYLES, play
from tests.core.styles import Case as CoreCase
from tests.core.test_cases import CASES
from tests.meaning.flows import Player, at, expected
from tests.meaning.test_meaning import ANY, EXAMPLES, SCRIPTS, STARTS, thorough

HOUR = timedelta(hours=1)


def checked(workflow: Any, state: State, now: datetime = START) -> Legal:
    """What ``legal`` says, held against the rule by which callbacks are accepted, for every event and every thread."""
    before = dump(workflow, state)
    found = legal(workflow, state, now)
    assert dump(workflow, state) == before
    orjson.dumps(found.to_json())
    program, _ = program_for(workflow, state.run_id)
    pinned = [callback.request for callback in found.callbacks]
    assert all(pinned.count(request) == 1 for request in pinned)
    # A thread that is two Waits deep may be waiting for one event at both: the inner one is meant, unless a stop is named.
    listed = {(callback.event, callback.thread_id) for callback in found.callbacks}
    for name in [*program.events, "no such event"]:
        for thread_id in [*{thread.id for thread in state.threads}, "no such thread"]:
            assert taken(program, state, CallbackRequest(name, thread_id)) is ((name, thread_id) in listed)
        waiting = [event for event, _ in listed if event == name]
        assert taken(program, state, CallbackRequest(name)) is (len(waiting) == 1)
        if len(waiting) > 1:
            with pytest.raises(AmbiguousCallbackError):
                accept(program, state, CallbackRequest(name))
    for callback in found.callbacks:
        thread, node = accept(program, state, callback.request)
        assert (thread.id, node.name, node.parent and node.parent.name) == (callback.thread_id, callback.event, callback.wait)
        assert (callback.request.pc, thread.birth) == (callback.pc, callback.birth)
        assert callback.pc <= thread.pc
    return found


def controls_that_work(workflow: Any, state: State) -> list[str]:
    """Which controls are not refused, tried on copies."""
    blob = dump(workflow, state)
    calls: dict[str, Any] = {
        "pause": lambda w, s: pause(w, s, now=START),
        "unpause": lambda w, s: unpause(w, s, now=START),
        "cancel": lambda w, s: cancel(w, s, "no reason", now=START),
        "retry_now": lambda w, s: retry_now(w, s, now=START),
    }
    found = []
    for name, call in calls.items():
        copy = load(type(workflow), blob)
        try:
            call(*copy)
        except ControlError:
            assert dump(*copy) == blob
        else:
            found.append(name)
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_controls_listed_are_those_that_are_not_refused(case: CoreCase):
    def look(work: Any, state: State) -> None:
        told = legal(work, state, START).controls
        assert [name for name in told if name not in ("goto", "set_data")] == controls_that_work(work, state)
        assert ("set_data" in told) is (state.status in ("Resuming", "Waiting", "Paused"))
        if state.status in ("Resuming", "Waiting"):
            paused = load(type(work), dump(work, state))
            pause(*paused, now=START)
            told = legal(*paused, START).controls
            assert [name for name in told if name not in ("goto", "set_data")] == controls_that_work(*paused)

    play(case, "class", invariant=look)


def test_goto_is_listed_while_there_is_a_thread_that_may_be_moved():
    @dataclass
    class Trip:
        def definition(self):
            return S(Step("s", self.act, compensate=self.undo), Wait("w", On("go")), Fail("f", "no"))

        def act(self): ...
        def undo(self):
            raise OSError("down")

    trip, state = Trip(), State.new("t-1", "Trip", START)
    resume(trip, state, now=START)
    assert legal(trip, state, START).controls == ("pause", "cancel", "goto", "set_data")
    handle_callback("go", trip, state, now=START)
    resume(trip, state, now=START)
    assert legal(trip, state, START).controls == ("pause", "retry_now", "set_data")
    with pytest.raises(ControlError):
        goto(trip, state, "main", "w", now=START)
    for hours in range(1, 4):
        resume(trip, state, now=START + hours * HOUR)
    assert (state.status, legal(trip, state).controls) == ("Failed", ())


def taken(program: Any, state: State, request: CallbackRequest) -> bool:
    try:
        accept(program, state, request)
    except CallbackError:
        return False
    return True


class Watched(Player):
    def _save(self, kind: str) -> None:
        super()._save(kind)
        found = checked(self.w, self.state, at(0))
        timers = [timer.due_at for timer in found.timers]
        assert None not in timers
        if found.status == "Waiting":
            # What resume could do by itself is what it waits for.
            assert self.state.wake_at == min((due for due in timers if due is not None), default=None)
            assert (found.actions, found.moves) == ((), ())
        if found.status == "Finished":
            assert (found.callbacks, found.timers, found.conditions, found.actions, found.moves) == ((), (), (), (), ())
        turns = [thread for thread in self.state.threads if thread.status == "Executing"]
        assert [action.thread_id for action in found.actions] == [
            thread.id for thread in sorted(turns, key=lambda thread: thread.ready)
        ]


@settings(thorough, max_examples=EXAMPLES or 40)
@given(tree=ANY, start=STARTS, script=SCRIPTS, style=st.sampled_from(("instance", "class")))
def test_the_callbacks_listed_are_those_that_are_accepted(tree, start, script, style):
    says = expected(tree, start, script)
    Watched(tree, start, style).play(says.calls, says.stuck)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_so_are_those_of_every_case(case: CoreCase, style: str):
    play(case, style, invariant=lambda work, state: checked(work, state) is not None)


class Page:
    def setup(self, request):
        raise OSError("no page today")

    def teardown(self, request, handled):
        raise OSError("no page today either")


@dataclass
class Order:
    lines: list[int] = field(default_factory=lambda: [7, 8])
    ready: bool = False

    def definition(self):
        return S(
            Step("begin", self.begin),
            ForEach(
                "each",
                self.lines,
                Go("ship", Step("pack", self.pack, concurrent=True), Wait("courier", On("taken")), id=self.id),
            ),
            Go("clock", Sleep("nap", HOUR), WaitFor("ready", self.is_ready, self.begin)),
            Go("plain", WaitFor("plainly", self.ready)),
            Wait("answer", On("yes", self.take, via=Page()), Timeout("late", 2 * HOUR, Return("late"))),
            Join("shipped", "ship"),
        )

    def begin(self): ...
    def pack(self, line: int): ...
    def id(self, line: int) -> int:
        return line

    def is_ready(self):
        raise AssertionError("legal asks no condition")

    def take(self, amount: int = 1) -> str:
        return "thanks"


def fresh() -> tuple[Order, State]:
    return Order(), State.new("o-1", "Order", START)


def settled(order: Order, state: State, now: datetime = START) -> None:
    with pytest.raises(SetupError):
        resume(order, state, now=now)


def test_a_run_that_has_not_begun_moves():
    found = checked(*fresh())
    assert [(move.thread_id, move.position, move.event) for move in found.moves] == [("main", "", None)]
    assert (found.run_id, found.status, found.revision, found.now) == ("o-1", "Resuming", 0, START)


def test_actions_are_told_in_the_order_of_their_turns():
    order, state = fresh()
    resume(order, state, now=START, max_steps=0)
    [action] = checked(order, state).actions
    assert (action.type, action.name, action.thread_id, action.action) == ("Step", "begin", "main", "Order.begin")
    with pytest.raises(SetupError):
        resume(order, state, now=START, max_steps=1)
    found = checked(order, state)
    assert [(action.name, action.thread_id, action.concurrent) for action in found.actions] == [
        ("pack", "ship:7", True),
        ("pack", "ship:8", True),
    ]


def test_callbacks_carry_what_is_needed_to_make_them():
    order, state = fresh()
    settled(order, state)
    found = checked(order, state)
    assert [(callback.event, callback.wait, callback.thread_id) for callback in found.callbacks] == [
        ("yes", "answer", "main"),
        ("taken", "courier", "ship:7"),
        ("taken", "courier", "ship:8"),
    ]
    yes, _, taken_8 = found.callbacks
    assert (yes.payload, yes.payload_required, yes.output) == ({"type": "integer"}, False, {"type": "string"})
    assert handle_callback(taken_8.request, order, state) is None
    assert checked(order, state).moves[0].thread_id == "ship:8"
    assert CallbackRequest(**found.to_json()["callbacks"][0]["request"]) == yes.request


class Till:
    def setup(self, request):
        return f"/till/{request.pc}"

    def teardown(self, request, handled):
        raise OSError("the till is stuck")


@dataclass
class Sale:
    def definition(self):
        return For("for ever", Wait("paying", On("paid", via=Till()), On("asked")))


@dataclass
class RenamedSale:
    def definition(self):
        return For("for ever", Wait("paying", On("settled", via=Till(), was=("paid",)), On("asked"), On("gained", via=Till())))


def test_a_request_says_what_its_setup_returned_and_not_what_an_earlier_one_did():
    sale, state = Sale(), State.new("s-1", "Sale", START)
    resume(sale, state, now=START)
    first, asked = checked(sale, state).callbacks
    assert (first.request.setup_data, asked.request.setup_data) == ("/till/1", None)
    handle_callback(first.request, sale, state, now=START)
    resume(sale, state, now=START)
    assert [event.status for event in state.threads[0].events] == ["TeardownError", "Setup", "Setup"]
    paid, _ = checked(sale, state).callbacks
    assert paid.request.setup_data == f"/till/{paid.pc}" != "/till/1"
    stored = state.threads[0].events[1].request
    assert paid.request == stored
    assert paid.request is not stored
    renamed, again = load(RenamedSale, dump(sale, state))
    assert [(callback.event, callback.request.setup_data) for callback in checked(renamed, again).callbacks] == [
        ("settled", f"/till/{paid.pc}"),
        ("asked", None),
        ("gained", None),
    ]


def test_timers_say_when_and_whether_they_are_due():
    order, state = fresh()
    settled(order, state)
    timers = checked(order, state).timers
    assert [(timer.type, timer.name, timer.wait, timer.thread_id, timer.due_at, timer.is_due) for timer in timers] == [
        ("Timeout", "late", "answer", "main", START + 2 * HOUR, False),
        ("Sleep", "nap", None, "clock", START + HOUR, False),
    ]
    assert [timer.is_due for timer in checked(order, state, START + HOUR).timers] == [False, True]
    assert legal(order, state).now.tzinfo is UTC
    with pytest.raises(StateError, match="now must be an aware datetime"):
        legal(order, state, datetime(2030, 1, 1))


def test_conditions_say_what_is_waited_for_and_are_not_asked():
    order, state = fresh()
    settled(order, state)
    [plainly] = checked(order, state).conditions
    assert (plainly.type, plainly.name, plainly.thread_id, plainly.condition) == ("WaitFor", "plainly", "plain", None)
    clock = next(thread for thread in state.threads if thread.id == "clock")
    clock.status, clock.position, clock.due_at = ThreadStatus.WaitingCondition, "ready", None
    ready, _ = checked(order, state).conditions
    assert (ready.type, ready.name, ready.thread_id, ready.condition) == ("WaitFor", "ready", "clock", "Order.is_ready")


def test_a_join_names_the_threads_that_still_live():
    order, state = fresh()
    settled(order, state)
    handle_callback("yes", order, state, now=START)
    resume(order, state, now=START)
    handle_callback(CallbackRequest("taken", "ship:7"), order, state, now=START)
    resume(order, state, now=START)
    found = {condition.type: condition for condition in checked(order, state).conditions}
    assert found["Join"].threads == ("ship:8",)
    assert found["Join"].condition is None


@dataclass
class Gate:
    open: bool = False

    def definition(self):
        return WaitFor("gate", self.is_open, self.enter)

    def is_open(self) -> bool:
        return self.open

    def enter(self): ...


def test_the_handler_of_a_condition_is_an_action():
    gate, state = Gate(), State.new("g-1", "Gate", START)
    resume(gate, state, now=START)
    [condition] = checked(gate, state).conditions
    assert condition.condition == "Gate.is_open"
    gate.open = True
    resume(gate, state, now=START, max_steps=0)
    [action] = checked(gate, state).actions
    assert (action.type, action.action) == ("WaitFor", "Gate.enter")


def test_setups_and_teardowns_that_are_left_to_do_are_told():
    order, state = fresh()
    settled(order, state)
    [setup] = checked(order, state).outside
    assert (setup.type, setup.event, setup.wait, setup.thread_id, setup.due_at) == (
        "setup",
        "yes",
        "answer",
        "main",
        START + timedelta(seconds=1),
    )
    assert setup.error is not None
    assert setup.error.message == "no page today"
    resume(order, state, now=START + 2 * HOUR)
    assert state.status == "Finished"
    found = checked(order, state)
    assert [(outside.type, outside.event) for outside in found.outside] == [("teardown", "yes")]
    assert (found.callbacks, found.timers, found.conditions, found.actions, found.moves) == ((), (), (), (), ())


def test_nothing_is_left_of_a_run_that_is_over():
    gate, state = Gate(True), State.new("g-1", "Gate", START)
    resume(gate, state)
    found = checked(gate, state)
    assert found == Legal("g-1", "Finished", state.revision, START, None)


@dataclass
class Before:
    def definition(self):
        return Wait("once", On("fired"), On("lost"))


@dataclass
class After:
    kept: Any = None

    def definition(self):
        return Wait("now", On("fires", was=("fired",)), On("gained", into="kept"), Timeout("new", HOUR), was=("once",))


def test_a_changed_definition_says_what_it_would_take_now():
    state = State.new("r-1", "Before", START)
    resume(Before(), state, now=START)
    after, before = After(), dump(After(), state)
    found = legal(after, state, START)
    assert [(callback.event, callback.wait) for callback in found.callbacks] == [("fires", "now"), ("gained", "now")]
    [timer] = found.timers
    assert (timer.name, timer.due_at, timer.is_due) == ("new", None, False)
    assert dump(after, state) == before
    for callback in found.callbacks:
        loaded, again = load(After, before)
        handle_callback(callback.request, loaded, again)
    for refused in ("lost", "new"):
        with pytest.raises(CallbackError):
            handle_callback(refused, *load(After, before))


def test_items_that_were_loaded_stay_as_they_were():
    order, state = fresh()
    settled(order, state)
    loaded, again = load(Order, dump(order, state))
    assert again.raw
    checked(loaded, again)
    assert again.raw


def test_of_a_paused_run_only_what_its_threads_wait_for_is_told():
    order, state = fresh()
    settled(order, state)
    pause(order, state, now=state.threads[0].since)
    found = legal(order, state)
    assert (found.status, found.wake_at) == ("Paused", None)
    assert [*found.callbacks, *found.actions, *found.moves, *found.outside] == []
    unpause(order, state, now=state.threads[0].since)
    assert legal(order, state).callbacks


def test_what_the_drivers_refuse_is_refused():
    order, state = fresh()
    settled(order, state)
    state.threads[0].position = "lost"
    before = dump(order, state)
    with pytest.raises(PositionError, match="position 'lost'"):
        legal(order, state)
    assert dump(order, state) == before
    with pytest.raises(DefinitionError, match="expected a workflow object"):
        legal(Order, state)
    with pytest.raises(StateError, match="expected a State"):
        legal(order, "state")  # type: ignore[arg-type]
