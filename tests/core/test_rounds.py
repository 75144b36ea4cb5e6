"""Rounds: who runs next, what is one save, when the run wants to wake, what makes no progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from flowstmt import (
    Break,
    Continue,
    DefinitionError,
    FlowstmtError,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Timeout,
    Wait,
    WaitFor,
    current,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.testing import START, Harness

HOUR = timedelta(hours=1)


class Run:
    """A run of one tree, under a clock that the test moves."""

    def __init__(self, tree: Any, born: datetime | None = START, **data: Any) -> None:
        @dataclass
        class Work:
            log: list[str] = field(default_factory=list)
            n: int = 0
            items: list[Any] = field(default_factory=list)

            def definition(self) -> Statement:
                return tree(self)

        self.work, self.state = Work(**data), State.new("run", "Work", born)
        self.kinds: list[str] = []
        self.blob = dump(self.work, self.state)

    def save(self, kind: Any) -> None:
        self.kinds.append(str(kind))
        self.blob = dump(self.work, self.state)

    def resume(self, now: datetime | None = START, **options: Any) -> str:
        return str(resume(self.work, self.state, self.save, now=now, **options))

    def callback(self, name: str, now: datetime | None = START) -> None:
        handle_callback(name, self.work, self.state, now=now)
        self.save("callback")

    def reload(self) -> None:
        self.work, self.state = load(type(self.work), self.blob)


def step(work: Any, name: str) -> Step:
    return Step(name, lambda: work.log.append(name))


# --- turns ---


def test_the_turn_survives_a_reload_after_every_step():
    def tree(w: Any) -> Statement:
        return S(
            *[Go(f"t{i}", *[step(w, f"{i}.{k}") for k in range(4)]) for i in range(3)],
            Join("j", "t0", "t1", "t2"),
        )

    straight = Run(tree)
    straight.resume()
    broken = Run(tree)
    while broken.resume(max_steps=1) != "Finished":
        broken.reload()
    assert straight.work.log == broken.work.log == [f"{i}.{k}" for k in range(4) for i in range(3)]


def test_a_thread_that_loops_without_end_does_not_starve_another():
    run = Run(lambda w: S(Go("t", For("ever", step(w, "greedy"))), step(w, "a"), step(w, "b"), step(w, "c")))
    assert run.resume() == "Finished"
    assert run.work.log == ["a", "greedy", "b", "greedy", "c"]


def test_all_moves_after_an_outcome_are_one_save():
    run = Run(
        lambda w: S(
            Go("t", WaitFor("n", lambda: w.n), Sleep("z", -HOUR), Wait("past", Timeout("at once", timedelta(0)))),
            Go("u", Join("ju", "t"), Go("v", S()), Sleep("zz", HOUR)),
            Step("a", lambda: setattr(w, "n", 1)),
            Join("j", "t", "v"),
            Wait("w", On("e")),
        )
    )
    run.resume()
    assert run.kinds == ["afterResume", "afterStep"]
    assert [(t.id, str(t.status), t.position) for t in run.state.threads] == [
        ("main", "WaitingEvent", "w"),
        ("u", "WaitingTime", "zz"),
    ]


def test_resume_saves_only_when_something_moved():
    run = Run(lambda w: S(Wait("w", On("e"), Timeout("late", HOUR)), step(w, "a")))
    run.resume()
    assert run.kinds == ["afterResume"]
    for now in (START, START + HOUR / 2):
        assert run.resume(now) == "Waiting"
    assert run.kinds == ["afterResume"]
    assert run.state.revision == 1
    run.resume(START + HOUR)
    assert run.kinds == ["afterResume", "afterResume", "afterStep"]
    run.resume(START + 9 * HOUR)
    assert len(run.kinds) == 3


def test_a_step_left_over_needs_no_save_before_it():
    run = Run(lambda w: S(step(w, "a"), step(w, "b")))
    run.resume(max_steps=1)
    run.reload()
    run.resume()
    assert run.kinds == ["afterResume", "afterStep", "afterStep"]


# --- max_steps ---


def test_max_steps_counts_actions_and_handlers_of_waitfor():
    run = Run(lambda w: S(step(w, "a"), WaitFor("c", True, lambda: w.log.append("c")), WaitFor("d", True), step(w, "b")))
    for done in (["a"], ["a", "c"], ["a", "c", "b"]):
        assert run.resume(max_steps=1) == ("Finished" if len(done) == 3 else "Resuming")
        assert run.work.log == done
        assert dump(run.work, run.state) == run.blob
    assert run.kinds == ["afterResume", "afterStep", "afterCondition", "afterStep"]


def test_max_steps_of_none_moves_but_runs_nothing():
    run = Run(lambda w: S(step(w, "a")))
    assert run.resume(max_steps=0) == "Resuming"
    assert run.work.log == []
    assert run.kinds == ["afterResume"]
    assert run.state.wake_at == START


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", None, True])
def test_max_steps_must_be_a_whole_number(wrong: Any):
    with pytest.raises(StateError, match="max_steps must be a whole number from 0"):
        Run(lambda w: S()).resume(max_steps=wrong)


# --- wake_at ---


def test_a_run_is_due_at_birth():
    assert State.new("r", "W", START).wake_at == START
    unclocked = State.new("r", "W").wake_at
    assert unclocked is not None
    assert unclocked <= datetime.now(UTC)


def test_wake_at_follows_what_the_run_waits_for():
    run = Run(
        lambda w: S(
            Go("t", Sleep("s", 3 * HOUR)),
            Wait("w", On("e"), Timeout("late", 2 * HOUR), Timeout("later", START + 9 * HOUR)),
            Wait("v", On("f")),
            Join("j", "t"),
            Wait("x", On("g")),
        )
    )
    run.resume()
    assert (run.state.status, run.state.wake_at) == ("Waiting", START + 2 * HOUR)
    run.callback("e", START + HOUR)
    assert (run.state.status, run.state.wake_at) == ("Resuming", START + HOUR)
    run.resume(START + HOUR)
    assert (run.state.status, run.state.wake_at) == ("Waiting", START + 3 * HOUR)
    run.callback("f")
    run.resume()
    assert (run.state.status, run.state.wake_at) == ("Waiting", START + 3 * HOUR)
    run.resume(START + 4 * HOUR)
    assert (run.state.status, run.state.wake_at) == ("Waiting", None)
    run.callback("g")
    assert (run.resume(), run.state.wake_at) == ("Finished", None)


def test_wake_at_of_a_run_with_steps_left_is_the_instant_of_the_save():
    run = Run(lambda w: S(Go("t", Sleep("s", -9 * HOUR), step(w, "x")), step(w, "a")))
    run.resume(START + HOUR, max_steps=1)
    assert run.state.wake_at is None  # main has ended
    run = Run(lambda w: S(step(w, "a"), step(w, "b")))
    run.resume(START + HOUR, max_steps=1)
    assert run.state.wake_at == START + HOUR


# --- time ---


@pytest.mark.parametrize("first", ["sooner first", "later first"])
def test_of_several_due_events_the_earliest_wins(first: str):
    def tree(w: Any) -> Statement:
        timeouts = [Timeout("sooner", HOUR, step(w, "sooner")), Timeout("later", START + 2 * HOUR, step(w, "later"))]
        return Wait("w", *(timeouts if first == "sooner first" else reversed(timeouts)))

    run = Run(tree)
    run.resume()
    run.resume(START + 9 * HOUR)
    assert run.work.log == ["sooner"]


def test_of_events_due_at_one_instant_the_first_declared_wins():
    run = Run(lambda w: Wait("w", Timeout("b", HOUR, step(w, "b")), Timeout("a", START + HOUR, step(w, "a"))))
    run.resume()
    run.resume(START + 9 * HOUR)
    assert run.work.log == ["b"]


def test_a_duration_counts_from_the_last_outcome_of_the_thread_not_from_the_resume_that_reaches_it():
    run = Run(lambda w: S(Wait("w", On("e")), Sleep("s", HOUR)))
    run.resume()
    run.callback("e", START + HOUR)
    run.resume(START + 9 * HOUR)
    assert run.state.status == "Finished"
    run = Run(lambda w: Sleep("s", HOUR))
    run.resume(START + HOUR)
    assert run.state.status == "Finished"


def test_durations_of_a_run_born_without_a_clock_count_from_its_first_resume():
    run = Run(lambda w: S(Go("t", Sleep("s1", HOUR)), Sleep("s2", 2 * HOUR)), born=None)
    run.resume(START + HOUR)
    assert run.state.wake_at == START + 2 * HOUR


def test_after_is_evaluated_once_on_arrival():
    asked: list[int] = []

    def after() -> timedelta:
        asked.append(1)
        return HOUR

    run = Run(lambda w: S(Wait("w", On("e"), Timeout("late", after))))
    for _ in range(3):
        run.resume()
        run.reload()
    assert len(asked) == 1


def test_a_thread_that_a_late_timer_wakes_counts_from_then():
    run = Run(lambda w: S(Sleep("a", HOUR), Sleep("b", HOUR)))
    run.resume()
    run.resume(START + 5 * HOUR)
    assert run.state.wake_at == START + 6 * HOUR


def test_instants_of_any_zone_are_kept_in_utc():
    zone = timezone(timedelta(hours=5))
    run = Run(lambda w: S(Sleep("a", (START + HOUR).astimezone(zone))))
    run.resume(START.astimezone(zone))
    assert run.state.wake_at == START + HOUR
    assert run.state.wake_at.tzinfo is UTC
    assert run.state.threads[0].due_at is not None


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (5, "must be a timedelta or an aware datetime, not 5"),
        (None, "must be a timedelta or an aware datetime, not None"),
        (datetime(2030, 1, 1), "must be a timedelta or an aware datetime"),
        (timedelta.max, "past the end of the calendar"),
        (datetime.max.replace(tzinfo=timezone(-HOUR)), "past the end of the calendar"),
    ],
)
@pytest.mark.parametrize("kind", ["Sleep", "Timeout"])
def test_an_instant_that_is_none_is_the_statements_error(given: Any, part: str, kind: str):
    run = Run(
        lambda w: S(step(w, "a"), Sleep("z", lambda: given) if kind == "Sleep" else Wait("w", Timeout("z", lambda: given)))
    )
    with pytest.raises(StepError) as caught:
        run.resume()
    assert caught.value.step == "z"
    assert part in str(caught.value)
    assert run.kinds == ["afterResume", "afterStep"]


def test_without_now_the_clock_is_read_at_each_outcome():
    seen: list[datetime] = []
    run = Run(
        lambda w: S(Step("a", lambda: seen.append(current().now)), Step("b", lambda: seen.append(current().now))), born=None
    )
    before = datetime.now(UTC)
    resume(run.work, run.state)
    assert before <= seen[0] <= seen[1] <= datetime.now(UTC)


@pytest.mark.parametrize("wrong", [datetime(2030, 1, 1), "now", 5])
def test_now_must_be_aware(wrong: Any):
    run = Run(lambda w: S())
    with pytest.raises(StateError, match="run 'run': now must be an aware datetime"):
        run.resume(wrong)


# --- no progress ---


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(lambda w: For("l", WaitFor("c", True)), id="a condition that holds"),
        pytest.param(lambda w: For("l", Sleep("s", timedelta(0))), id="no sleep"),
        pytest.param(lambda w: For("l", Wait("w", Timeout("t", -HOUR))), id="an event in the past"),
        pytest.param(lambda w: For("l", If("no", lambda: False, step(w, "x"))), id="a step never reached"),
        pytest.param(lambda w: For("l", Go("t", step(w, "x")), If("n", False, Join("j", "t")), Continue()), id="threads only"),
        pytest.param(lambda w: For("o", For("l", ForEach("e", [1, 2], For("i", False, step(w, "x"))))), id="nested"),
        pytest.param(lambda w: For("o", ForEach("e", [1], For("i", Sleep("s", -HOUR), Break()))), id="by way of Break"),
    ],
)
def test_a_loop_without_progress_is_an_error_not_a_hang(tree: Any):
    run = Run(tree)
    before = run.blob
    with pytest.raises(DefinitionError, match=r"makes no progress|a second thread"):
        run.resume()
    assert dump(run.work, run.state) == before


def test_a_loop_that_makes_no_progress_after_a_step_keeps_the_outcome():
    run = Run(lambda w: S(step(w, "a"), For("l", True, WaitFor("c", True))))
    with pytest.raises(DefinitionError, match="For 'l' makes no progress"):
        run.resume()
    run.reload()
    assert run.work.log == ["a"]


def test_two_threads_in_loops_of_their_own_make_progress():
    run = Run(
        lambda w: S(
            ForEach(
                "e", [1, 2, 3], Go("t", For("l", lambda: w.n < 9, Step("s", lambda: setattr(w, "n", w.n + 1))), id=lambda i: i)
            ),
            Join("j", "t"),
        )
    )
    assert run.resume() == "Finished"


def test_a_loop_reached_once_for_each_item_makes_progress():
    run = Run(lambda w: S(ForEach("e", range(3), For("l", lambda: False, step(w, "x"))), step(w, "a")))
    assert run.resume() == "Finished"


def test_a_loop_over_a_fresh_item_makes_progress():
    """Plain Python runs this: the inner loop ends because its item was used up, and the next round has a new one."""
    run = Run(
        lambda w: For(
            "rounds",
            lambda: w.n < 4,
            ForEach("e", [{"left": 2}], For("l", lambda item: item["left"] > 0, Step("use", lambda item: use(w, item)))),
        )
    )

    def use(w: Any, item: Any) -> None:
        w.n += 1
        item["left"] -= 1

    assert run.resume() == "Finished"
    assert run.work.n == 4


# --- what statements' values may be ---


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        pytest.param(
            lambda w: If("c", lambda: len, step(w, "x")), "Case 'c': its condition returned a builtin", id="a function"
        ),
        pytest.param(lambda w: If("c", NoTruth, step(w, "x")), "Case 'c': its condition raised Value", id="no truth"),
        pytest.param(lambda w: For("c", lambda: 1 / 0, step(w, "x")), "For 'c': its condition raised Zero", id="raises"),
        pytest.param(lambda w: WaitFor("c", lambda: 1 / 0), "WaitFor 'c': its condition raised Zero", id="WaitFor raises"),
        pytest.param(lambda w: ForEach("c", lambda: {1, 2}, step(w, "x")), "must be a Sequence", id="a set"),
        pytest.param(lambda w: ForEach("c", lambda: iter([1]), step(w, "x")), "must be a Sequence", id="an iterator"),
        pytest.param(
            lambda w: ForEach("c", lambda: [object()], step(w, "x")), "ForEach 'c': its item can't be kept", id="an item"
        ),
        pytest.param(lambda w: Go("c", step(w, "x"), arg=object), "Go 'c': its arg can't be kept", id="an arg"),
        pytest.param(
            lambda w: Go("c", step(w, "x"), id=lambda: 1.5), "its id must be a text, a whole number or a UUID", id="a float id"
        ),
        pytest.param(lambda w: Go("c", step(w, "x"), id=lambda: True), "its id must be", id="a bool id"),
        pytest.param(lambda w: Go("c", step(w, "x"), id=lambda: ""), "its id must be", id="an empty id"),
        pytest.param(lambda w: Go("c", step(w, "x"), id=object), "Go 'c': its id can't be kept", id="an object as id"),
        pytest.param(lambda w: Return(object), "Return: its value can't be kept", id="a result"),
    ],
)
def test_a_value_that_cant_be_used_is_the_statements_error_and_changes_nothing(tree: Any, part: str):
    run = Run(tree)
    before = run.blob
    with pytest.raises(StepError) as caught:
        run.resume()
    assert part in str(caught.value)
    assert "run 'run', thread 'main'" in str(caught.value)
    assert (caught.value.run_id, caught.value.thread_id) == ("run", "main")
    assert dump(run.work, run.state) == before
    assert run.kinds == []


class NoTruth:
    def __bool__(self) -> bool:
        raise ValueError("neither")


@pytest.mark.parametrize(
    ("given", "id"),
    [(7, "t:7"), ("a b", "t:a b"), (0, "t:0"), (UUID(int=1), "t:00000000-0000-0000-0000-000000000001"), (None, "t")],
)
def test_ids_of_threads(given: Any, id: str):
    run = Run(lambda w: S(Go("t", Wait("w", On("e")), id=given), Join("j", "t")))
    run.resume()
    thread = run.state.threads[1]
    assert (thread.id, thread.name, thread.parent) == (id, "t", "main")


def test_two_live_threads_with_one_id_are_an_error():
    run = Run(lambda w: S(ForEach("l", [7, "7"], Go("t", step(w, "x"), id=lambda i: i)), Join("j", "t")))
    before = run.blob
    with pytest.raises(DefinitionError) as caught:
        run.resume()
    for part in ("run 'run'", "Go 't'", "id 't:7'", "id=", "Join"):
        assert part in str(caught.value)
    assert dump(run.work, run.state) == before


def test_plain_values_that_are_truthy_count_as_true():
    run = Run(lambda w: S(If("i", [1], step(w, "a")), If("j", "", step(w, "no")), If("k", lambda: [0], step(w, "c"))))
    run.resume()
    assert run.work.log == ["a", "c"]


def test_a_lazy_sequence_is_read_one_item_at_a_time():
    read: list[int] = []

    class Rows(Sequence[int]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return index

    run = Run(lambda w: ForEach("l", Rows(), step(w, "a"), If("enough", lambda i: i == 1, Break())))
    run.resume()
    assert read == [0, 1]


# --- current() ---


def test_current_tells_what_is_being_called():
    seen: dict[str, Any] = {}

    def look(kind: str) -> None:
        at = current()
        seen[kind] = at
        assert at.kind == kind
        assert at.run_id == "run"
        assert at.attempt == 1
        assert at.now == START
        assert at.deps == "deps"

    class Desk:
        def setup(self, request: Any) -> None:
            look("setup")

        def teardown(self, request: Any, handled: bool) -> None:
            look("teardown")

    run = Run(lambda w: S(Step("a", lambda: look("action")), Wait("w", On("e", lambda: look("handler"), via=Desk()))))
    options: dict[str, Any] = {"now": START, "deps": "deps"}
    resume(run.work, run.state, lambda kind: look("save"), **options)
    handle_callback("e", run.work, run.state, **options)
    resume(run.work, run.state, lambda kind: look("save"), **options)
    assert {kind: (at.thread_id, at.position, at.pc) for kind, at in seen.items() if kind != "save"} == {
        "action": ("main", "a", 1),
        "setup": ("main", "w", 2),
        "handler": ("main", "w", 2),
        "teardown": ("main", "w", 2),
    }
    # What was handed out stays what it was.
    assert [at.kind for at in seen.values()] == list(seen)
    assert seen["action"].workflow is run.work
    keys = [at.idempotency_key for at in seen.values()]
    assert len(set(keys)) == len(keys)
    assert keys[0] != ""


def test_current_is_not_valid_outside_of_a_call():
    with pytest.raises(FlowstmtError, match="valid inside actions"):
        current()
    run = Run(lambda w: If("c", lambda: current().run_id, step(w, "x")))
    with pytest.raises(StepError) as caught:
        run.resume()
    assert isinstance(caught.value.__cause__, FlowstmtError)


def test_current_is_not_valid_in_the_conditions_of_a_run_inside_an_action_either():
    inner = Run(lambda w: S(step(w, "a"), If("c", lambda: current().run_id, step(w, "x"))))

    def move_inner() -> None:
        with pytest.raises(StepError, match=r"current\(\) is valid inside"):
            inner.resume()
        assert current().position == "outer"

    assert Run(lambda w: Step("outer", move_inner)).resume() == "Finished"


def test_deps_that_were_not_given_are_an_error_that_names_the_argument():
    run = Run(lambda w: Step("a", lambda: current().deps))
    with pytest.raises(StepError) as caught:
        run.resume()
    assert "deps=" in str(caught.value.__cause__)
    assert "action at 'a'" in str(caught.value.__cause__)


def test_items_by_name_and_the_innermost_one():
    seen: list[Any] = []

    def look() -> None:
        at = current()
        seen.append((at.item(), at.item("inner"), at.item("outer"), at.item("t")))
        for name in ("none", "w"):
            with pytest.raises(FlowstmtError, match="it has 't', 'outer', 'inner'"):
                at.item(name)

    run = Run(lambda w: S(Go("t", ForEach("outer", "a", ForEach("inner", [1], Step("s", look))), arg="arg"), Join("j", "t")))
    run.resume()
    assert seen == [(1, 1, "a", "arg")]

    def nothing() -> None:
        with pytest.raises(FlowstmtError, match="asked for an item; it has none"):
            current().item()

    assert Run(lambda w: Step("s", nothing)).resume() == "Finished"


def test_invoke_wraps_actions_handlers_setups_and_teardowns_but_no_save():
    seen: list[str] = []

    def invoke(at: Any, call: Any) -> Any:
        seen.append(f"{at.kind} {at.position}")
        return call()

    class Desk:
        def setup(self, request: Any) -> None: ...

        def teardown(self, request: Any, handled: bool) -> None: ...

    run = Run(lambda w: S(step(w, "a"), Wait("w", On("e", lambda: "out", via=Desk())), WaitFor("c", True, lambda: None)))
    resume(run.work, run.state, run.save, invoke=invoke)
    assert handle_callback("e", run.work, run.state, invoke=invoke) == "out"
    resume(run.work, run.state, run.save, invoke=invoke)
    assert seen == ["action a", "setup w", "handler w", "teardown w", "action c"]


def test_save_must_be_callable():
    run = Run(lambda w: S())
    with pytest.raises(StateError, match="run 'run': save must be a callable"):
        resume(run.work, run.state, 5)


def test_a_run_of_a_million_years_costs_what_its_first_round_cost():
    run = Run(lambda w: For("l", Step("s", lambda: None), Wait("w", On("e"))))
    sizes = set()
    for _ in range(300):
        run.resume()
        sizes.add(len(run.blob) - len(str(run.state.revision)) - 3 * len(str(run.state.threads[0].pc)))
        run.callback("e")
    assert max(sizes) - min(sizes) <= 6


def test_the_shape_of_the_harness_trace_is_that_of_the_saves():
    harness = Harness(Run(lambda w: S(step(w, "a"), Wait("w", On("e")))).work)
    harness.run()
    assert [str(saved.kind) for saved in harness.saves] == ["afterResume", "afterStep"]
    assert sum(line.startswith("save ") for line in harness.trace) == 2


def test_a_setter_that_is_async_is_an_error_of_its_step_and_is_closed():
    async def later(value: Any) -> None: ...

    def setter(value: Any) -> Any:
        return later(value)

    run = Run(lambda w: Step("a", lambda: 5, into=setter))
    with pytest.raises(StepError, match="Step 'a': its into raised TypeError: a setter can't be async") as caught:
        run.resume()
    assert isinstance(caught.value.__cause__, TypeError)
    assert run.kinds == ["afterResume"]


def test_a_go_that_has_an_arg_only_sometimes_is_an_error():
    tree = [None, 5]
    run = Run(lambda w: S(step(w, "a"), Go("t", step(w, "x"), arg=tree[w.log == ["a"]])))
    with pytest.raises(DefinitionError, match="run 'run', thread 'main': Go 't' has an arg now, but had none when its class"):
        run.resume()
    run.reload()
    assert run.work.log == ["a"]


def test_a_thread_without_arg_and_item_has_none():
    run = Run(lambda w: S(Go("t", Wait("u", On("e"))), Wait("w", On("f"))))
    run.resume()
    assert run.state.threads[1].arg is None


def test_the_value_of_a_return_is_asked_for_in_main_only():
    def value() -> int:
        run.work.log.append("asked")
        return 5

    run = Run(lambda w: S(Go("t", Return(value)), step(w, "a"), Return(value)))
    assert run.resume() == "Finished"
    assert (run.work.log, run.state.result) == (["a", "asked"], 5)


def test_a_now_past_the_end_of_the_calendar_is_an_error():
    with pytest.raises(StateError, match="past the end of the calendar"):
        Run(lambda w: S()).resume(datetime.max.replace(tzinfo=timezone(-HOUR)))


@pytest.mark.parametrize("wrong", [5, "invoke"])
def test_invoke_must_be_callable(wrong: Any):
    run = Run(lambda w: S())
    with pytest.raises(StateError, match="run 'run': invoke must be a callable"):
        run.resume(invoke=wrong)


@dataclass
class Nap:
    bad: bool = False

    def definition(self):
        return S(
            Step("work", lambda: None),
            Sleep("nap", timedelta(hours=1)),
            If("then", lambda: 1 / (0 if self.bad else 1) > 0, Step("more", lambda: None)),
        )


def test_a_duration_counts_from_the_last_outcome_and_not_from_the_arrival_before_it():
    nap, state = Nap(), State.new("r", "Nap", START)
    resume(nap, state, now=START, max_steps=0)
    later = START + timedelta(minutes=10)
    resume(nap, state, now=later)
    assert state.threads[0].due_at == later + timedelta(hours=1)


def test_a_thread_that_woke_and_could_not_go_on_sleeps_as_before():
    nap, state = Nap(bad=True), State.new("r", "Nap", START)
    resume(nap, state, now=START)
    before = dump(nap, state)
    with pytest.raises(StepError, match="ZeroDivisionError"):
        resume(nap, state, now=START + timedelta(hours=2))
    assert dump(nap, state) == before
