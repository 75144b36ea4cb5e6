"""Threads that are parked cost nothing while others work, and are still woken in the order in which all would be asked."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, ClassVar, Self

import pytest

from flowstmt import (
    ANY,
    Branch,
    Break,
    For,
    ForEach,
    Go,
    Join,
    On,
    Parallel,
    S,
    Sleep,
    State,
    Statement,
    Step,
    StepError,
    Thread,
    Timeout,
    Try,
    Wait,
    WaitFor,
    WorkflowStatus,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
)
from flowstmt.core.agenda import Agenda
from tests.core.orders import HOUR, nothing, workflow

START = datetime(2026, 1, 1, tzinfo=UTC)
A_DAY = timedelta(days=1)
MANY = 30


@dataclass
class Parked:
    """Threads parked in each way, and one that works."""

    done: int = 0
    asked: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Go("never ends", Wait("for ever", On("never"))),
            ForEach(
                "parked",
                range(MANY),
                Go("waits", Wait("wait", On("event", Step("after event", cls.step))), id=cls.item),
                Go("waits a day", Wait("wait a day", On("or event"), Timeout("day", A_DAY)), id=cls.item),
                Go("sleeps", Sleep("sleep", A_DAY), id=cls.item),
                Go("joins", Join("join", "never ends"), id=cls.item),
            ),
            For("ever", lambda w: True, Step("step", cls.step)),
        )

    def item(self, item: int) -> int:
        return item

    def step(self) -> None:
        self.done += 1


class Touched(Thread):
    """A thread that counts how often anybody looks at it."""

    __slots__ = ()
    touches: ClassVar[int] = 0

    def __getattribute__(self, name: str) -> Any:
        Touched.touches += 1
        return super().__getattribute__(name)


def touches(state: State, call: Callable[[], object]) -> int:
    """How often a call looks at the parked threads of a state."""
    parked = [thread for thread in state.threads if thread.status.startswith("Waiting")]
    assert len(parked) == 4 * MANY + 1
    for thread in parked:
        thread.__class__ = Touched
    Touched.touches = 0
    try:
        call()
        return Touched.touches
    finally:
        for thread in parked:
            thread.__class__ = Thread


@pytest.mark.parametrize("save", [None, lambda kind: None], ids=["without save", "with save"])
def test_nobody_looks_at_parked_threads_while_another_one_works(save: Any) -> None:
    workflow, state = Parked(), State.new("r", "Parked")
    resume(workflow, state, max_steps=1, now=START)
    once = touches(state, lambda: resume(workflow, state, save, max_steps=0, now=START))
    assert once > 0
    assert touches(state, lambda: resume(workflow, state, save, max_steps=100, now=START)) == once
    assert workflow.done == 101


def test_a_resume_looks_at_a_parked_thread_a_few_times_and_not_at_each_for_each() -> None:
    workflow, state = Parked(), State.new("r", "Parked")
    resume(workflow, state, max_steps=1, now=START)
    assert touches(state, lambda: resume(workflow, state, max_steps=0, now=START)) < 20 * len(state.threads)


def executed(call: Callable[[], object]) -> int:
    """How many bytecodes a call executes: its work, whatever else the machine does meanwhile."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@dataclass
class Crowd:
    """Threads that go through loops, are woken by one condition, end in one round, and are joined by some others."""

    size: int
    open: bool = False
    ended: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        loops = For("outer", lambda w: True, For("inner", lambda w: not w.open, WaitFor("gate", lambda w: w.open)), Break())
        return S(
            ForEach("join", lambda w: range(w.size), Go("joiner", Join("all", "worker"), id=lambda w, item: item)),
            ForEach("start", lambda w: range(w.size), Go("worker", loops, id=lambda w, item: item)),
            Step("unlock", cls.unlock),
            Join("everybody", "worker", "joiner"),
        )

    def unlock(self) -> None:
        self.open = True


def test_the_work_of_a_crowd_that_starts_and_ends_at_once_grows_with_its_size_not_with_its_square() -> None:
    work = []
    for size in (1, 40, 80):  # the first one links the class
        workflow, state = Crowd(size), State.new("r", "Crowd")
        work.append(executed(lambda workflow=workflow, state=state: resume(workflow, state, now=START)))  # type: ignore[misc]
        assert state.status is WorkflowStatus.Finished
    assert work[2] < 2.3 * work[1]


# --- woken as if all were asked ---


@dataclass
class Woken:
    """Whatever wakes threads, in a tree drawn from ``seed``; the time is the number of steps done."""

    log: list[str] = field(default_factory=list)
    seed: ClassVar[int] = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        draw = random.Random(cls.seed)
        names = [f"t{i}" for i in range(8)]
        return S(
            *[Go(name, *cls.body(draw, name, names[:i], i)) for i, name in enumerate(names)],
            Go("late", Join("all but one", *draw.sample(names, 7)), cls.says("late")),
            For("work", lambda w: len(w.log) < 60, cls.says("work")),
            Join("end", "late", *names),
        )

    @classmethod
    def says(cls, name: str) -> Statement[Self]:
        return Step(f"{name} says", lambda w: w.log.append(name))

    @classmethod
    def body(cls, draw: random.Random, thread: str, others: list[str], at: int) -> list[Statement[Self]]:
        statements: list[Statement[Self]] = []
        for i in range(draw.randint(1, 4)):
            name = f"{thread} {i}"
            after = timedelta(seconds=draw.randint(0, 9))
            kind = draw.choice(["step", "sleep", "timeout", "join", "later", "condition"])
            if kind == "sleep":
                statements.append(Sleep(name, after))
            elif kind == "timeout":
                statements.append(Wait(name, On(f"{name} on"), Timeout(f"{name} time", after, cls.says(f"{name} time"))))
            elif kind == "join" and others:
                statements.append(Join(name, *draw.sample(others, draw.randint(1, len(others)))))
            elif kind == "later":
                # A thread that starts late, and a Join that comes before it in start order.
                statements += [Go(f"{name} child", Sleep(f"{name} nap", after), cls.says(f"{name} child"))]
                statements += [Join(name, f"{name} child")]
            elif kind == "condition":
                threshold = draw.randint(0, 40)
                statements.append(WaitFor(name, lambda w, threshold=threshold: len(w.log) >= threshold, cls.handler(name)))
            else:
                statements.append(cls.says(name))
        return statements

    @staticmethod
    def handler(name: str) -> Callable[[Any], None]:
        def handle(w: Any) -> None:
            w.log.append(name)

        return handle


@pytest.mark.parametrize("seed", range(60))
def test_threads_are_woken_in_the_order_in_which_they_would_be_if_all_were_looked_at(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it matter whether a run goes on or is loaded for each step. All timers come due within one ``resume``."""
    cls = type("Seeded", (Woken,), {"seed": seed})
    now = START
    monkeypatch.setattr("flowstmt.run._now", lambda: now)

    def go_on(workflow: Any, state: State, max_steps: int) -> list[bytes]:
        saved: list[bytes] = []

        def save(kind: object) -> None:
            saved.append(dump(workflow, state))

        def invoke(current: Any, call: Callable[[], Any]) -> Any:
            nonlocal now
            result = call()
            now = START + timedelta(seconds=len(workflow.log))
            return result

        resume(workflow, state, save, max_steps=max_steps, invoke=invoke)
        return saved

    workflow, state = cls(), State.new("r", "Woken")
    carried = go_on(workflow, state, 10_000)
    now = START
    loaded = go_on(workflow := cls(), state := State.new("r", "Woken"), 0)
    while state.status is WorkflowStatus.Resuming:
        workflow, state = load(cls, dump(workflow, state))
        loaded += go_on(workflow, state, 1)
    assert loaded == carried
    assert len(carried) > 60

    now = START
    not_quiet = Agenda._not_quiet

    def everybody(agenda: Agenda, threads: list[Thread]) -> list[Thread]:
        not_quiet(agenda, threads)
        return agenda._state.threads.copy()

    monkeypatch.setattr(Agenda, "_not_quiet", everybody)
    assert go_on(cls(), State.new("r", "Woken"), 10_000) == carried


def test_wake_at_counts_the_timers_of_quiet_threads() -> None:
    @dataclass
    class Timers:
        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                Go("naps", Sleep("nap", 3 * A_DAY)),
                Go("waits", Wait("wait", On("event"), Timeout("time", 2 * A_DAY, Step("late", lambda w: None)))),
                Step("first", lambda w: None),
                Step("second", lambda w: None),
                Wait("end", On("go")),
            )

    workflow, state = Timers(), State.new("r", "Timers")
    assert resume(workflow, state, now=START) is WorkflowStatus.Waiting
    assert state.wake_at == START + 2 * A_DAY
    assert resume(workflow, state, now=START + 2 * A_DAY) is WorkflowStatus.Waiting
    assert [thread.id for thread in state.threads] == ["main", "naps"]
    assert state.wake_at == START + 3 * A_DAY


def test_a_join_that_comes_before_the_thread_that_ends_holds_after_those_that_come_later_have_moved() -> None:
    @dataclass
    class Order:
        open: bool = False

        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                Go("joins", Join("join", "ends"), Go("third", Wait("third wait", On("three")))),
                Go("joins too", Join("other join", "ends"), Go("fourth", Wait("fourth wait", On("four")))),
                Go("ends", Step("last", lambda w: True, into="open")),
                Go("follows", WaitFor("gate", lambda w: w.open), Go("first", Wait("first wait", On("one")))),
                Go("joins as well", Join("later join", "ends"), Go("second", Wait("second wait", On("two")))),
                Wait("end", On("go")),
            )

    workflow, state = Order(), State.new("r", "Order")
    resume(workflow, state, now=START)
    # In the pass after the step "ends" ends, and the later Join holds; in the next one the earlier ones do.
    assert [thread.id for thread in state.threads] == ["main", "first", "second", "third", "fourth"]


def test_a_join_that_holds_because_the_definition_has_changed_is_seen_by_the_next_resume() -> None:
    @dataclass
    class Before:
        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(Go("one", Wait("w", On("e"))), Go("other", Step("s", lambda w: None)), Join("join", *cls.names()))

        @classmethod
        def names(cls) -> list[str]:
            return ["one"]

    class After(Before):
        @classmethod
        def names(cls) -> list[str]:
            return ["other"]

    state = State.new("r", "Before")
    assert resume(Before(), state, now=START) is WorkflowStatus.Waiting
    assert resume(After(), state, now=START) is WorkflowStatus.Finished


def test_a_condition_that_raises_after_an_end_leaves_all_as_it_was_and_the_next_round_knows_that() -> None:
    @dataclass
    class Raises:
        fail: bool = True

        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                Go("joins", Join("join", "ends"), Step("joined", lambda w: None)),
                Go("ends", Step("last", lambda w: None)),
                Go("starts", Wait("wait", On("event", Go("child", Step("child step", lambda w: None))))),
                Go("asks", WaitFor("gate", cls.gate)),
                Join("all", "joins", "starts", "asks", "child"),
            )

        def gate(self) -> bool:
            if self.fail and not any(thread.id == "ends" and thread.status == "Executing" for thread in state.threads):
                raise ValueError("not now")
            return False

    workflow, state = Raises(), State.new("r", "Raises")
    with pytest.raises(StepError, match="not now"):
        resume(workflow, state, now=START)
    assert [(thread.id, thread.status) for thread in state.threads] == [
        ("main", "WaitingCondition"),
        ("joins", "WaitingCondition"),
        ("ends", "Resuming"),
        ("starts", "WaitingEvent"),
        ("asks", "WaitingCondition"),
    ]
    handle_callback("event", workflow, state, now=START)
    workflow.fail = False
    assert resume(workflow, state, now=START) is WorkflowStatus.Waiting
    assert [thread.id for thread in state.threads] == ["main", "asks"]


def test_a_callback_beside_a_running_resume_wakes_a_parked_thread() -> None:
    """It is taken by a machine of its own, behind the back of the one that works."""

    @dataclass
    class Beside(Parked):
        async def step(self) -> None:  # type: ignore[override]
            self.done += 1
            if self.done == 3:
                third.set()
            await asyncio.sleep(0)

        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                *[Go(f"waits {i}", Wait(f"wait {i}", On(f"event {i}"))) for i in range(5)],
                Go("is called", Wait("wait", On("or event", Step("called", cls.step)))),
                For("ever", lambda w: w.done < 10, Step("step", cls.step)),
                Wait("end", On("end")),
            )

    workflow, state = Beside(), State.new("r", "Beside")
    third = asyncio.Event()

    async def call() -> None:
        await third.wait()
        await handle_callback_async("or event", workflow, state)

    async def run() -> None:
        calling = asyncio.create_task(call())
        assert await resume_async(workflow, state) is WorkflowStatus.Waiting
        assert calling.done()
        await calling

    asyncio.run(run())
    assert "is called" not in [thread.id for thread in state.threads]
    assert workflow.done == 10


@pytest.mark.parametrize("left", [S(), Sleep("cool down", 5 * HOUR)], ids=["nothing to clean up", "something to clean up"])
def test_the_instant_of_a_thread_that_was_told_to_end_wakes_nobody(left: Statement):
    late = Try("t", Sleep("s", HOUR)).finally_(left)
    cancelled = Parallel("q", Branch("a", late), Branch("b", Step("go", nothing)), join=ANY)
    work, state = workflow(lambda w: S(cancelled, Sleep("long", 9 * HOUR)))(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    assert state.wake_at == START + (9 if isinstance(left, S) else 5) * HOUR


def test_a_quiet_branch_that_is_told_to_end_is_torn_down_by_the_same_resume() -> None:
    log: list[str] = []

    class Outside:
        def setup(self, request: Any) -> None:
            log.append("setup")

        def teardown(self, request: Any, handled: bool) -> None:
            log.append("teardown")

    outside = Outside()

    @dataclass
    class Race:
        @classmethod
        def definition(cls) -> Statement[Self]:
            quick = Branch("quick", Step("one", lambda w: None), Step("two", lambda w: log.append("two")))
            patient = Branch("patient", Wait("wait", On("event", via=outside)))
            return S(Parallel("race", quick, patient, join=ANY), Step("after", lambda w: log.append("after")))

    state = State.new("r", "Race")
    assert resume(Race(), state, now=START) is WorkflowStatus.Finished
    assert log == ["setup", "two", "teardown", "after"]
