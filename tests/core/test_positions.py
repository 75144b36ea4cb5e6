"""A definition that changed since the run was saved: told at once and by name, or, where nothing is lost, lived with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator, PlainSerializer

from flowstmt import (
    CallbackRequest,
    For,
    ForEach,
    Frame,
    Go,
    If,
    Join,
    NotWaitingError,
    On,
    PositionError,
    S,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    ThreadStatus,
    Timeout,
    UnknownEventError,
    Wait,
    WaitFor,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.testing import START
from tests.core.orders import HOUR, Tree, nothing, saved, workflow


def step(name: str) -> Step:
    return Step(name, nothing)


def refused(blob: bytes, tree: Tree) -> str:
    """The message of the ``PositionError``, of both drivers, which change nothing and run nothing."""
    work, state = load(workflow(tree), blob)
    before = dump(work, state)
    saves: list[Any] = []
    with pytest.raises(PositionError) as caught:
        resume(work, state, saves.append, now=START)
    with pytest.raises(PositionError) as again:
        handle_callback("no such event", work, state, now=START)
    assert str(again.value) == str(caught.value)
    assert dump(work, state) == before
    assert saves == []
    assert "run 'run-1'" in str(caught.value)
    assert "Nothing was run" in str(caught.value)
    return str(caught.value)


WAITS = saved(lambda w: S(Wait("w", On("e")), step("after")))
STEPS = saved(lambda w: S(step("s"), step("after")), max_steps=0)
IN_LOOP = saved(lambda w: ForEach("l", [1], Wait("w", On("e"))))
IN_THREAD = saved(lambda w: S(Go("t", Wait("w", On("e"))), Join("j", "t")))


@pytest.mark.parametrize(
    ("blob", "tree", "parts"),
    [
        pytest.param(
            WAITS,
            lambda w: S(Wait("renamed", On("e")), step("after")),
            ("thread 'main', position 'w': the definition has no such statement",),
            id="renamed",
        ),
        pytest.param(
            STEPS,
            lambda w: S(Go("t", step("s")), step("after")),
            ("Step 's' is in the thread of 't' now",),
            id="a step moved into a thread",
        ),
        pytest.param(
            STEPS,
            lambda w: ForEach("l", [1], step("s")),
            ("it is inside nothing, but Step 's' is inside ForEach 'l'",),
            id="a step moved into a loop",
        ),
        pytest.param(STEPS, lambda w: step("after"), ("position 's': the definition has no such statement",), id="removed"),
        pytest.param(
            WAITS,
            lambda w: S(step("w"), Wait("v", On("e"))),
            ("a thread can't be WaitingEvent at Step 'w'",),
            id="of another kind",
        ),
        pytest.param(
            STEPS, lambda w: S(If("s", True, step("t"))), ("a thread can't be Executing at If 's'",), id="no stop any more"
        ),
        pytest.param(STEPS, lambda w: S(WaitFor("s", True)), ("WaitFor 's' has no handler to execute",), id="a handler gone"),
        pytest.param(
            WAITS,
            lambda w: S(Go("t", Wait("w", On("e"))), Join("j", "t")),
            ("Wait 'w' is in the thread of 't' now",),
            id="moved into a thread",
        ),
        pytest.param(
            IN_THREAD, lambda w: Wait("w", On("e")), ("position 'j': the definition has no such statement",), id="join gone"
        ),
        pytest.param(
            IN_THREAD,
            lambda w: S(Go("t", step("s")), Join("j", "t"), Wait("w", On("e"))),
            ("thread 't'", "position 'w'", "Wait 'w' is in the thread of 'main' now"),
            id="moved out of a thread",
        ),
        pytest.param(
            IN_THREAD,
            lambda w: S(Go("u", Wait("w", On("e"))), Join("j", "u")),
            ("thread 't'", "Wait 'w' is in the thread of 'u' now"),
            id="a Go renamed",
        ),
        pytest.param(
            IN_LOOP,
            lambda w: Wait("w", On("e")),
            ("it is inside 'l', but Wait 'w' is inside nothing",),
            id="a loop gone",
        ),
        pytest.param(
            WAITS,
            lambda w: ForEach("l", [1], ForEach("m", [1], Wait("w", On("e")))),
            ("it is inside nothing, but Wait 'w' is inside ForEach 'm' in ForEach 'l'",),
            id="loops come",
        ),
        pytest.param(
            IN_LOOP,
            lambda w: ForEach("m", [1], Wait("w", On("e"))),
            ("it is inside 'l', but Wait 'w' is inside ForEach 'm'",),
            id="a loop renamed",
        ),
    ],
)
def test_a_thread_that_stands_where_the_definition_has_nothing_is_refused(blob: bytes, tree: Tree, parts: tuple[str, ...]):
    message = refused(blob, tree)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("blob", "tree"),
    [
        pytest.param(WAITS, lambda w: S(step("new"), For("l", True, If("i", True, Wait("w", On("e"))))), id="into For and If"),
        pytest.param(STEPS, lambda w: S(Sleep("z", HOUR), step("s")), id="others come and go"),
        pytest.param(STEPS, lambda w: S(WaitFor("s", False, nothing)), id="a step becomes a WaitFor with a handler"),
        pytest.param(
            IN_LOOP, lambda w: ForEach("l", range(9), If("i", False, Wait("w", On("e")))), id="deeper in the same loop"
        ),
    ],
)
def test_a_statement_may_move_where_its_thread_and_loops_are_the_same(blob: bytes, tree: Tree):
    work, state = load(workflow(tree), blob)
    resume(work, state, now=START, max_steps=0)
    assert dump(work, state) == blob


def test_a_fired_event_that_is_gone_is_refused():
    work, state = load(workflow(lambda w: Wait("w", On("e", step("body")))), WAITS)
    handle_callback("e", work, state, now=START)
    message = refused(dump(work, state), lambda w: Wait("w", On("other")))
    assert "Wait 'w' has no event 'e', which fired" in message


@pytest.mark.usefixtures("odd_states")
def test_a_go_that_is_gone_is_refused_by_a_thread_that_has_not_started():
    work, state = load(
        workflow(lambda w: S(Go("t", step("x")), Join("j", "t"))),
        dump(workflow(lambda w: S())(), State.new("run-1", "O", START)),
    )
    state.threads.append(type(state.threads[0])(id="t", name="t", birth="b"))
    state.workflow = "Order"
    blob = dump(work, state)
    assert "the definition has no Go 't'" in refused(blob, lambda w: step("t"))
    assert "the definition has no Go 't'" in refused(blob, lambda w: step("x"))
    tree: Tree = lambda w: S(step("main's"), Go("t", step("x")))  # noqa: E731
    work, state = load(workflow(tree), saved(tree, max_steps=0))
    state.threads.append(type(state.threads[0])(id="t", name="t", birth="b"))
    assert resume(work, state, now=START, max_steps=0) == "Resuming"
    assert [thread.position for thread in state.threads] == ["main's", "x"]


def test_another_thread_may_not_stand_at_a_step_of_main():
    tree: Tree = lambda w: S(Go("t", step("x")), step("s"))  # noqa: E731
    work, state = load(workflow(tree), saved(tree, max_steps=0))
    state.threads[1].position = "s"
    assert "thread 't', position 's': Step 's' is in the thread of 'main' now" in refused(dump(work, state), tree)


@pytest.mark.usefixtures("odd_states")
def test_every_thread_is_looked_at_whatever_stands_before_it():
    tree: Tree = lambda w: S(Go("t", Wait("w", On("e"))), Go("u", Wait("v", On("f"))), step("s"))  # noqa: E731
    before: list[dict[str, Any]] = [
        {"status": ThreadStatus.Ended},
        {"status": ThreadStatus.Resuming, "position": "", "events": []},
    ]
    for main in ({}, {"status": ThreadStatus.Resuming, "position": ""}):
        for first in before:
            work, state = load(workflow(tree), saved(tree, max_steps=0))
            for thread, change in zip(state.threads, (main, first, {"position": "nowhere"}), strict=True):
                for key, value in change.items():
                    setattr(thread, key, value)
            message = refused(dump(work, state), tree)
            assert "thread 'u', position 'nowhere': the definition has no such statement" in message


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"event": "e"}, "the event 'e' has fired, but it is Executing at Step 's'"),
        ({"event": "e", "status": ThreadStatus.Resuming}, "the event 'e' has fired, but it is Resuming at Step 's'"),
        ({"id": "other"}, "its id and its name 'main' must both be 'main' or neither"),
        ({"name": "other"}, "its id and its name 'other' must both be 'main' or neither"),
        ({"frames": [Frame("l")]}, "it is inside 'l', but Step 's' is inside nothing"),
    ],
)
def test_a_first_thread_at_a_step_is_looked_at_as_closely_as_any_other(change: dict[str, Any], part: str):
    tree: Tree = lambda w: step("s")  # noqa: E731
    work, state = load(workflow(tree), saved(tree, max_steps=0))
    for key, value in change.items():
        setattr(state.threads[0], key, value)
    before = dump(work, state)
    with pytest.raises(StateError) as caught:
        resume(work, state, now=START)
    assert part in str(caught.value)
    assert dump(work, state) == before


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"status": ThreadStatus.Executing, "position": ""}, "the definition has no such statement"),
        ({"status": ThreadStatus.WaitingEvent, "position": ""}, "the definition has no such statement"),
        ({"frames": [Frame("l")], "position": "", "status": ThreadStatus.Resuming}, "the definition has no such statement"),
        ({"status": ThreadStatus.WaitingTime}, "a thread can't be WaitingTime at Wait 'w'"),
        ({"status": ThreadStatus.WaitingCondition}, "a thread can't be WaitingCondition at Wait 'w'"),
        ({"status": ThreadStatus.Resuming}, "has no event None, which fired"),
        ({"position": "e"}, "the definition has no such statement"),
    ],
)
def test_a_state_edited_by_hand_is_refused(change: dict[str, Any], part: str):
    work, state = load(workflow(lambda w: Wait("w", On("e"))), WAITS)
    for key, value in change.items():
        setattr(state.threads[0], key, value)
    assert part in refused(dump(work, state), lambda w: Wait("w", On("e")))


def test_threads_that_ended_are_not_looked_at():
    class Stubborn:
        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            raise OSError("down")

    work, state = load(workflow(lambda w: S(Go("t", Wait("w", On("e", via=Stubborn()))), Wait("v", On("f")))), WAITS)
    state = State.new("run-1", "Order", START)
    resume(work, state, now=START)
    handle_callback("e", work, state, now=START)
    resume(work, state, now=START)
    other, state = load(workflow(lambda w: Wait("v", On("f"))), dump(work, state))
    assert resume(other, state, now=START) == "Waiting"
    # Its events are not forgotten either, though no thread but main is left in the definition.
    handle_callback("f", other, state, now=START)
    assert resume(other, state, now=START) == "Finished"
    assert [f"{event.name} {event.status}" for thread in state.threads for event in thread.events] == ["e TeardownError"]


# --- items and args of a state that was loaded ---


@dataclass
class Line:
    sku: str


def test_items_and_args_that_dont_fit_their_consumers_any_more_are_refused_with_their_path():
    def old(w: Any) -> Statement:
        return S(Go("t", Wait("w", On("e")), arg=5), ForEach("l", ["tea"], Wait("v", On("f"))))

    def take(line: Any) -> None: ...

    take.__annotations__["line"] = Line  # neither item fits, which is the fault

    def new_item(w: Any) -> Statement:
        return S(Go("t", Wait("w", On("e")), arg=5), ForEach("l", ["tea"], Wait("v", On("f")), Step("take", take)))

    def new_arg(w: Any) -> Statement:
        return S(Go("t", Wait("w", On("e")), Step("take", take), arg=5), ForEach("l", ["tea"], Wait("v", On("f"))))

    blob = saved(old)
    for tree, path, label in (
        (new_item, "$.state.threads[0].frames[0].item", "ForEach 'l'"),
        (new_arg, "$.state.threads[1].arg", "Go 't'"),
    ):
        work, state = load(workflow(tree), blob)
        with pytest.raises(StateError) as caught:
            resume(work, state, now=START)
        assert not isinstance(caught.value, PositionError)
        assert f"run 'run-1': {path}: the item of {label}: " in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)
        assert dump(work, state) == blob


def test_a_thread_listed_after_one_that_ended_gets_its_arg_back_in_its_type():
    class Stubborn:
        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            raise OSError("down")

    taken: list[Any] = []

    def take(line: Line) -> None:
        taken.append(line)

    def tree(w: Any) -> Statement:
        return S(
            Go("ends", Wait("w", On("e", via=Stubborn()))),
            Go("lives", Wait("v", On("f")), Step("take", take), arg=Line("tea")),
            Wait("u", On("g")),
        )

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    handle_callback("e", work, state, now=START)
    resume(work, state, now=START)
    assert [str(thread.status) for thread in state.threads] == ["WaitingEvent", "Ended", "WaitingEvent"]
    work, state = load(type(work), dump(work, state))
    handle_callback("f", work, state, now=START)
    resume(work, state, now=START)
    assert taken == [Line("tea")]


@dataclass
class Colour:
    """What it is written as can't be told from the value alone: reading it twice would go wrong."""

    rgb: Annotated[int, PlainSerializer(lambda n: f"{n:x}"), BeforeValidator(lambda text: int(text, 16))]


def test_an_arg_is_turned_back_into_its_type_once_however_often_the_run_is_resumed():
    taken: list[Colour] = []

    def take(colour: Colour) -> None:
        taken.append(colour)

    def tree(w: Any) -> Statement:
        return S(Go("t", Wait("v", On("f")), Step("take", take), arg=Colour(255)), Wait("w", On("e")))

    blob = saved(tree)
    work, state = load(workflow(tree), blob)
    for _ in range(3):
        assert resume(work, state, now=START) == "Waiting"
    assert dump(work, state) == blob
    handle_callback("f", work, state, now=START)
    resume(work, state, now=START)
    assert taken == [Colour(255)]


# --- a Wait that has gained or lost events ---


class Desk:
    calls: list[Any]

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def setup(self, request: CallbackRequest) -> str:
        self.calls.append(("setup", request.name, request.pc))
        return "open"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self.calls.append(("teardown", request.name, request.setup_data, handled))


def test_a_wait_that_has_gained_events_sets_them_up_and_takes_their_callbacks():
    calls: list[Any] = []
    work, state = load(
        workflow(
            lambda w: S(Wait("w", On("new", None, step("n"), via=Desk(calls)), On("e"), Timeout("late", HOUR)), step("after"))
        ),
        WAITS,
    )
    kinds: list[str] = []
    assert resume(work, state, kinds.append, now=START) == "Waiting"
    assert kinds == ["afterResume", "afterSetup"]
    assert calls == [("setup", "new", 1)]
    assert state.wake_at == START + HOUR
    assert [event.name for event in state.threads[0].events] == ["e", "new", "late"]
    assert resume(work, state, kinds.append, now=START) == "Waiting"
    assert len(kinds) == 2
    handle_callback("new", work, state, now=START)
    assert resume(work, state, now=START) == "Finished"
    assert calls[1:] == [("teardown", "new", "open", True)]


def test_only_the_threads_whose_waits_have_changed_are_touched():
    def tree(*more: On) -> Tree:
        return lambda w: S(
            Go("same", Wait("v", On("f"))),
            Go("sleeper", Sleep("z", HOUR)),
            Go("changed", Wait("u", On("g"), *more)),
            Wait("w", On("e")),
        )

    work, state = load(workflow(tree(On("h"))), saved(tree()))
    before = [thread.events for thread in state.threads]
    assert resume(work, state, now=START) == "Waiting"
    assert [len(thread.events) for thread in state.threads] == [1, 1, 0, 2]
    assert [thread.events is events for thread, events in zip(state.threads, before, strict=True)] == [True, True, True, False]


def test_a_wait_that_has_gained_an_event_takes_its_callback_before_any_resume():
    calls: list[Any] = []

    class Ticket(Desk):
        def handle(self, request: CallbackRequest, payload: Any) -> Any:
            return (request.name, request.pc, request.thread_id, request.setup_data)

    work, state = load(workflow(lambda w: Wait("w", On("e"), On("new", Ticket(calls)))), WAITS)
    assert handle_callback("new", work, state, now=START) == ("new", 1, "main", None)
    assert resume(work, state, now=START) == "Finished"


def test_an_added_timeout_that_is_due_fires_at_once():
    work, state = load(workflow(lambda w: S(Wait("w", On("e"), Timeout("late", HOUR, step("l"))))), WAITS)
    assert resume(work, state, now=START + 5 * HOUR) == "Finished"


def test_a_wait_that_has_lost_events_tears_them_down_and_refuses_their_callbacks():
    calls: list[Any] = []
    blob = saved(lambda w: S(Wait("w", On("plain"), On("lost", via=Desk(calls)), On("e")), Wait("v", On("lost"))))
    work, state = load(workflow(lambda w: S(Wait("w", On("e")), Wait("v", On("lost")))), blob)
    with pytest.raises(NotWaitingError):
        handle_callback("lost", work, state, now=START)
    with pytest.raises(UnknownEventError):
        handle_callback("plain", work, state, now=START)
    resume(work, state, now=START)
    # The definition does not know any more how to tear it down: that is kept, and told.
    assert [f"{event.name} {event.status}" for event in state.threads[0].events] == ["e Setup", "lost TeardownError"]
    assert state.wake_at == START + timedelta(seconds=1)
    handle_callback("e", work, state, now=START)
    resume(work, state, now=START + 9 * HOUR)
    assert state.threads[0].position == "v"


def test_a_wait_that_has_lost_a_timeout_forgets_it():
    blob = saved(lambda w: Wait("w", On("e"), Timeout("late", HOUR)))
    work, state = load(workflow(lambda w: Wait("w", On("e"))), blob)
    assert resume(work, state, now=START) == "Waiting"
    assert [event.name for event in state.threads[0].events] == ["e"]
    assert state.wake_at is None


def test_a_wait_that_has_lost_one_of_two_plain_events_forgets_it():
    blob = saved(lambda w: Wait("w", On("e"), On("lost")))
    work, state = load(workflow(lambda w: Wait("w", On("e"))), blob)
    assert resume(work, state, now=START) == "Waiting"
    assert [event.name for event in state.threads[0].events] == ["e"]


def test_a_wait_whose_only_event_has_become_another_takes_that():
    work, state = load(workflow(lambda w: Wait("w", On("other"))), WAITS)
    resume(work, state, now=START)
    handle_callback("other", work, state, now=START)
    assert resume(work, state, now=START) == "Finished"


def test_an_event_that_stays_is_neither_torn_down_nor_set_up_again_when_its_wait_loses_another():
    calls: list[Any] = []
    blob = saved(lambda w: Wait("w", On("stays", via=Desk([])), On("lost")))
    work, state = load(workflow(lambda w: Wait("w", On("stays", via=Desk(calls)))), blob)
    assert resume(work, state, now=START) == "Waiting"
    assert [f"{event.name} {event.status}" for event in state.threads[0].events] == ["stays Setup"]
    assert calls == []


def test_a_thread_past_its_wait_gets_none_of_the_events_that_the_wait_has_gained():
    def tree(*more: On) -> Tree:
        return lambda w: S(Go("t", Wait("u", On("g"), *more), Wait("x", On("y"))), Wait("w", On("e"), *more))

    work, state = load(workflow(tree()), saved(tree()))
    handle_callback("g", work, state, now=START)
    work, state = load(workflow(tree(On("new"))), dump(work, state))
    assert resume(work, state, now=START) == "Waiting"
    assert [[event.name for event in thread.events] for thread in state.threads] == [["e", "new"], ["y"]]


def test_a_gained_event_is_told_from_one_of_its_name_that_is_still_to_be_torn_down():
    class Stubborn(Desk):
        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            raise OSError("down")

    def tree(*more: On) -> Tree:
        return lambda w: S(Wait("w", On("e", via=Stubborn([]))), Wait("v", On("f"), *more))

    work, state = load(workflow(tree()), saved(tree()))
    handle_callback("e", work, state, now=START)
    resume(work, state, now=START)
    kinds: list[str] = []
    resume(work, state, kinds.append, now=START)
    assert kinds == ["afterTeardown"]  # what is left to be torn down is no change of the Wait
    work, state = load(workflow(tree(On("e"))), dump(work, state))
    resume(work, state, now=START)
    assert [f"{event.name} {event.status}" for event in state.threads[0].events] == [
        "e TeardownError",
        "f Setup",
        "e Setup",
    ]
    handle_callback("e", work, state, now=START)


def test_the_order_of_events_may_change():
    blob = saved(lambda w: Wait("w", On("a"), On("b"), Timeout("late", HOUR)))
    work, state = load(workflow(lambda w: Wait("w", Timeout("late", HOUR), On("b"), On("a"))), blob)
    assert resume(work, state, now=START) == "Waiting"
    assert dump(work, state) == blob


def test_a_condition_that_fails_for_a_gained_event_changes_nothing():
    def broken() -> timedelta:
        raise OSError("out of order")

    work, state = load(workflow(lambda w: Wait("w", On("e"), Timeout("late", broken))), WAITS)
    with pytest.raises(Exception, match="Timeout 'late': its after raised OSError"):
        resume(work, state, now=START)
    assert dump(work, state) == WAITS


def test_a_gained_timeout_that_fires_into_a_condition_that_fails_changes_nothing():
    def broken() -> bool:
        raise OSError("out of order")

    tree: Tree = lambda w: Wait("w", On("e"), Timeout("late", HOUR, If("c", broken, step("s"))))  # noqa: E731
    work, state = load(workflow(tree), WAITS)
    with pytest.raises(StepError, match="Case 'c': its condition raised OSError"):
        resume(work, state, now=START + 5 * HOUR)
    assert dump(work, state) == WAITS


def test_a_gained_timeout_inside_a_foreach_gets_the_item():
    work, state = load(workflow(lambda w: ForEach("l", [1], Wait("w", On("e"), Timeout("late", lambda n: n * HOUR)))), IN_LOOP)
    assert resume(work, state, now=START) == "Waiting"
    assert state.wake_at == START + HOUR


def test_an_event_that_became_a_timeout_fires_by_time():
    work, state = load(workflow(lambda w: S(Wait("w", Timeout("e", HOUR)))), WAITS)
    resume(work, state, now=START)
    assert resume(work, state, now=START + 5 * HOUR) == "Finished"


def test_a_timeout_that_became_an_event_does_not_fire_by_time():
    blob = saved(lambda w: Wait("w", Timeout("e", HOUR)))
    work, state = load(workflow(lambda w: S(Wait("w", On("e")), Sleep("z", HOUR))), blob)
    resume(work, state, now=START + 5 * HOUR)
    assert state.threads[0].position == "w"


def test_an_event_that_has_lost_its_via_is_a_teardown_error():
    calls: list[Any] = []
    blob = saved(lambda w: S(Wait("w", On("e", via=Desk(calls)), On("f")), Wait("v", On("g"))))
    work, state = load(workflow(lambda w: S(Wait("w", On("e"), On("f")), Wait("v", On("g")))), blob)
    handle_callback("f", work, state, now=START)
    resume(work, state, now=START)
    assert [f"{event.name} {event.status}" for event in state.threads[0].events] == ["e TeardownError", "g Setup"]


def test_an_event_with_a_via_that_became_a_timeout_is_a_teardown_error_beside_its_timer():
    blob = saved(lambda w: Wait("w", On("e", via=Desk([])), On("f")))
    work, state = load(workflow(lambda w: Wait("w", Timeout("e", HOUR), On("f"))), blob)
    resume(work, state, now=START)
    assert [f"{event.name} {event.status}" for event in state.threads[0].events] == ["f Setup", "e TeardownError", "e Setup"]


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize(
    ("thread", "change", "part"),
    [
        (0, {"id": "other"}, "its id and its name 'main' must both be 'main' or neither"),
        (1, {"name": "main"}, "its id and its name 'main' must both be 'main' or neither"),
        (0, {"event": "e"}, "the event 'e' has fired, but it is WaitingEvent at Wait 'w'"),
        (1, {"due_at": None}, "it waits for an instant, but has no due_at"),
    ],
)
def test_a_thread_that_no_run_could_have_left_is_a_broken_state(thread: int, change: dict[str, Any], part: str):
    def tree(w: Any) -> Statement:
        return S(Go("t", Sleep("z", HOUR)), Wait("w", On("e")))

    work, state = load(workflow(tree), saved(tree))
    for key, value in change.items():
        setattr(state.threads[thread], key, value)
    before = dump(work, state)
    for call in (lambda: resume(work, state, now=START), lambda: handle_callback("e", work, state, now=START)):
        with pytest.raises(StateError) as caught:
            call()
        assert not isinstance(caught.value, PositionError)
        assert part in str(caught.value)
        assert f"run 'run-1', thread {state.threads[thread].id!r}: " in str(caught.value)
    assert dump(work, state) == before
