"""Whose turn it is among threads at steps: found without a look at all of them, and the same as if all were looked at."""

from __future__ import annotations

import asyncio
import random
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from flowstmt import (
    For,
    ForEach,
    Go,
    Join,
    On,
    S,
    State,
    Statement,
    Step,
    StepError,
    Thread,
    Wait,
    WaitFor,
    WorkflowStatus,
    dump,
    handle_callback,
    load,
    resume,
    resume_async,
)
from flowstmt.core.agenda import Agenda
from flowstmt.core.machine import Machine
from flowstmt.core.program import program_for
from flowstmt.core.state import ENDED, EXECUTING, RESUMING, WAITING_CONDITION
from tests.core.test_agenda import Touched, executed
from tests.meaning.flows import Player, expected
from tests.meaning.trees import Taste, scripts, starts, trees

START = datetime(2026, 1, 1, tzinfo=UTC)


def at_steps(state: State) -> list[Thread]:
    """The threads at a step, whose turn is next first: the rule, word for word."""
    return sorted((thread for thread in state.threads if thread.status is EXECUTING), key=lambda thread: thread.ready)


def may_begin(machine: Machine, most: int) -> list[Thread]:
    """The threads whose actions may begin beside each other: each is asked, in the order of their turns."""
    found: list[Thread] = []
    alone = False
    for thread in at_steps(machine.state):
        if len(found) < most and thread.birth not in machine.in_flight:
            concurrent = machine.is_concurrent(thread)
            if concurrent or not alone:
                found.append(thread)
            alone = alone or not concurrent
    return found


@pytest.fixture
def held_against_the_rule(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Whatever is run: after each round the turn is asked of all threads as well, and how many stood at steps is counted."""
    settle, up_next = Machine.settle, Machine.up_next
    most_of_them = {"at steps": 0, "up next": 0}

    def checked_settle(machine: Machine, now: datetime) -> bool:
        moved = settle(machine, now)
        line = at_steps(machine.state)
        assert machine.turn is (line[0] if line else None)
        most_of_them["at steps"] = max(most_of_them["at steps"], len(line))
        live = [thread for thread in machine.state.threads if thread.status is not ENDED]
        agenda = machine._agenda
        if agenda is not None:
            assert [agenda.thread(thread.id) for thread in live] == live
            assert all(thread.status is not ENDED or thread.events for thread in machine.state.threads)
        return moved

    def checked_up_next(machine: Machine, most: int) -> list[Thread]:
        found = up_next(machine, most)
        assert list(map(id, found)) == list(map(id, may_begin(machine, most)))
        most_of_them["up next"] = max(most_of_them["up next"], len(found))
        return found

    monkeypatch.setattr(Machine, "settle", checked_settle)
    monkeypatch.setattr(Machine, "up_next", checked_up_next)
    return most_of_them


def test_the_turn_in_random_trees_is_that_of_who_arrived_first(held_against_the_rule):
    @settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(tree=trees(Taste(threads=True, size=24)), start=starts(), script=scripts())
    def check(tree, start, script):
        says = expected(tree, start, script)
        Player(tree, start, "class").play(says.calls, says.stuck)

    check()
    assert held_against_the_rule["at steps"] > 2


@dataclass
class Mixed:
    """Threads of some steps each, concurrent and not, and Waits with something to tear down between; drawn from ``seed``."""

    log: list[str] = field(default_factory=list)
    seed: ClassVar[int] = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        draw = random.Random(cls.seed)
        names = [f"t{i}" for i in range(12)]
        return S(*[Go(name, *cls.body(draw, name)) for name in names], Step("first", cls.say), Join("all", *names))

    @classmethod
    def body(cls, draw: random.Random, thread: str) -> list[Statement[Self]]:
        statements: list[Statement[Self]] = []
        for i in range(draw.randint(1, 4)):
            name = f"{thread} {i}"
            kind = draw.choice(["step", "step", "concurrent", "concurrent", "condition", "child"])
            if kind == "condition":
                enough = draw.randint(0, 20)
                statements.append(WaitFor(name, lambda w, enough=enough: len(w.log) >= enough))
            elif kind == "child":
                statements.append(Go(name, Step(f"{name} step", cls.late, into=cls.store, concurrent=draw.random() < 0.5)))
            elif kind == "concurrent":
                statements.append(Step(name, cls.late, into=cls.store, concurrent=True))
            else:
                statements.append(Step(name, cls.say))
        return statements

    def say(self) -> None:
        self.log.append("said")

    async def late(self) -> str:
        for _ in range(len(self.log) % 3):
            await asyncio.sleep(0)
        return "late"

    def store(self, what: str) -> None:
        self.log.append(what)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("concurrency", [1, 2, 5, 20])
def test_what_begins_beside_each_other_is_what_the_rule_says(seed, concurrency, held_against_the_rule):
    cls = type("Seeded", (Mixed,), {"seed": seed})
    workflow, state = cls(), State.new("r", "Mixed")
    while asyncio.run(resume_async(workflow, state, max_steps=7, concurrency=concurrency)) == WorkflowStatus.Resuming:
        pass
    assert at_steps(state) == []
    assert held_against_the_rule["up next"] <= concurrency
    assert concurrency < 5 or held_against_the_rule["up next"] > 1


@dataclass
class Team:
    """Threads that all stand at steps at once."""

    size: int
    done: list[int] = field(default_factory=list)
    rounds: ClassVar[int] = 1

    @classmethod
    def definition(cls) -> Statement[Self]:
        steps = [Step(f"step {i}", cls.step) for i in range(cls.rounds)]
        return S(ForEach("start", lambda w: range(w.size), Go("worker", *steps, id=lambda w, i: i)), Join("all", "worker"))

    def step(self, item: int) -> None:
        self.done.append(item)


class Thorough(Team):
    rounds = 3


@dataclass
class Shared:
    """Where some step is concurrent, all rounds take another way. (Data that grow would be copied for each step.)"""

    size: int
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        looks = Go("looks", Step("look", lambda w, i: i, into=cls.count, concurrent=True), id=lambda w, i: i)
        works = Go("works", Step("work", cls.count), id=lambda w, i: i)
        return S(ForEach("start", lambda w: range(w.size), looks, works), Join("all", "looks", "works"))

    def count(self, what: int) -> None:
        self.done += 1


@pytest.mark.parametrize("cls", [Team, Thorough, Shared])
@pytest.mark.parametrize("save", [None, lambda kind: None], ids=["without save", "with save"])
def test_the_work_of_a_team_grows_with_its_size_not_with_its_square(cls: type[Team | Shared], save: Any) -> None:
    work = []
    for size in (1, 100, 200):  # the first one links the class
        workflow, state = cls(size), State.new("r", "Team")
        work.append(executed(lambda workflow=workflow, state=state: resume(workflow, state, save, now=START)))  # type: ignore[misc]
        assert state.status is WorkflowStatus.Finished
    assert work[2] < 2.1 * work[1]


def test_the_work_of_a_team_beside_each_other_grows_with_its_size_as_well() -> None:
    work = []
    for size in (1, 100, 200):
        workflow, state = Shared(size), State.new("r", "Team")
        resumed = resume_async(workflow, state, now=START, concurrency=5)
        work.append(executed(lambda resumed=resumed: asyncio.run(resumed)))  # type: ignore[misc]
        assert state.status is WorkflowStatus.Finished
    assert work[2] < 2.2 * work[1]


def test_nobody_looks_at_the_others_in_line_while_one_has_its_turn() -> None:
    workflow, state = Thorough(50), State.new("r", "Team")
    resume(workflow, state, max_steps=0, now=START)
    others = at_steps(state)[20:]

    def looks(max_steps: int) -> int:
        """How often a resume looks at those whose turn doesn't come."""
        for thread in others:
            thread.__class__ = Touched
        Touched.touches = 0
        try:
            resume(workflow, state, max_steps=max_steps, now=START)
            return Touched.touches
        finally:
            for thread in others:
                thread.__class__ = Thread

    once = looks(0)
    assert once > 0
    assert looks(18) == once
    assert workflow.done == list(range(18))


def test_turns_go_round_in_start_order() -> None:
    workflow = Thorough(4)
    resume(workflow, State.new("r", "Team"), now=START)
    assert workflow.done == [0, 1, 2, 3] * 3


def test_a_team_that_is_loaded_for_each_step_takes_the_same_turns() -> None:
    workflow, state = Thorough(5), State.new("r", "Team")
    while resume(workflow, state, max_steps=1, now=START) is WorkflowStatus.Resuming:
        workflow, state = load(Thorough, dump(workflow, state))
    assert workflow.done == [0, 1, 2, 3, 4] * 3


def test_a_snapshot_with_a_ready_that_is_no_revision_yet_is_taken_at_its_word() -> None:
    workflow, state = Thorough(4), State.new("r", "Team")
    resume(workflow, state, max_steps=0, now=START)
    plain = orjson.loads(dump(workflow, state))
    for thread, ready in zip(plain["state"]["threads"][1:], (9, 7, 9, 2), strict=True):
        thread["ready"] = ready
    workflow, state = load(Thorough, orjson.dumps(plain))
    while at_steps(state):
        turn = at_steps(state)[0].arg
        resume(workflow, state, max_steps=1, now=START)
        assert workflow.done[-1] == turn
    assert sorted(workflow.done) == sorted([0, 1, 2, 3] * 3)


@dataclass
class Leaving:
    """Many that are parked, and after them some that end: one by one, or all at once."""

    parked: int = 30
    open: bool = False
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            ForEach("for the park", lambda w: range(w.parked), Go("parked", Wait("wait", On("event")), id=cls.item)),
            ForEach("for one", range(5), Go("one by one", Step("step", cls.step), id=cls.item)),
            ForEach("for some", range(3), Go("some", WaitFor("gate", lambda w: w.open), id=cls.item)),
            ForEach("for all", range(20), Go("all at once", WaitFor("other gate", lambda w: w.done > 6), id=cls.item)),
            Step("unlock", cls.unlock),
            For("again", lambda w: w.done < 9, Step("last", cls.step)),
            Wait("end", On("go")),
        )

    def item(self, item: int) -> int:
        return item

    def step(self) -> None:
        self.done += 1

    def unlock(self) -> None:
        self.open = True


def test_those_that_end_leave_the_list_wherever_they_stand_and_however_many(held_against_the_rule) -> None:
    workflow, state = Leaving(), State.new("r", "Leaving")
    lives: list[dict[str, int]] = []

    def save(kind: object) -> None:
        names = [thread.name for thread in state.threads]
        lives.append({name: names.count(name) for name in dict.fromkeys(names)})
        assert names == sorted(names, key=["main", "parked", "one by one", "some", "all at once"].index)

    resume(workflow, state, save, now=START)
    assert [live.get("one by one", 0) for live in lives] == [5, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0]
    assert [live.get("some", 0) for live in lives] == [3] + [0] * 10
    assert [live.get("all at once", 0) for live in lives] == [20] * 8 + [0] * 3
    assert lives[-1] == {"main": 1, "parked": 30}


def test_what_a_round_leaves_when_it_fails_is_as_it_was_and_the_turns_go_on() -> None:
    @dataclass
    class Raises(Team):
        fail: bool = True

        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                ForEach("start", range(4), Go("worker", Step("step", cls.step), Step("again", cls.step), id=lambda w, i: i)),
                Go("asks", WaitFor("gate", cls.gate)),
                Join("all", "worker"),
            )

        def gate(self) -> bool:
            if self.fail and len(self.done) == 2:
                raise ValueError("not now")
            return False

    workflow, state = Raises(4), State.new("r", "Raises")
    saved: list[State] = []
    with pytest.raises(StepError, match="not now"):
        resume(workflow, state, lambda kind: saved.append(deepcopy(state)), now=START)
    before, after = saved[-2:]
    # The second worker had moved on before the condition was asked: only that its action is done is left of the round.
    assert [(thread.id, thread.status, thread.position) for thread in after.threads] == [
        ("main", WAITING_CONDITION, "all"),
        ("worker:0", EXECUTING, "again"),
        ("worker:1", RESUMING, "step"),
        ("worker:2", EXECUTING, "step"),
        ("worker:3", EXECUTING, "step"),
        ("asks", WAITING_CONDITION, "gate"),
    ]
    before.threads[2].status = after.threads[2].status
    assert (before.threads, before.revision + 1) == (after.threads, after.revision)
    workflow.fail = False
    assert resume(workflow, state, now=START) is WorkflowStatus.Finished
    assert workflow.done == [0, 1, 2, 3, 0, 1, 2, 3]


class Outside:
    """Something that is to be torn down, which takes several tries."""

    def __init__(self) -> None:
        self.tries = 0

    def teardown(self, request: Any, handled: bool) -> None:
        self.tries += 1
        if self.tries < 3:
            raise OSError("not yet")


def test_one_that_has_something_to_tear_down_keeps_its_place_in_line() -> None:
    outside = Outside()

    @dataclass
    class Tidy(Team):
        @classmethod
        def definition(cls) -> Statement[Self]:
            wait = Wait("wait", On("event", via=outside))
            return S(
                Go("first", wait, Step("one", cls.note), Step("two", cls.note)),
                ForEach("start", range(2), Go("worker", Step("three", cls.step), Step("four", cls.step), id=lambda w, i: i)),
                Join("all", "first", "worker"),
            )

        def note(self) -> None:
            self.done.append(9)

    workflow, state = Tidy(2), State.new("r", "Tidy")
    resume(workflow, state, max_steps=0, now=START)
    handle_callback("event", workflow, state, now=START)
    for _ in range(6):  # each tries the teardown once
        resume(workflow, state, max_steps=1, now=START)
    assert workflow.done == [0, 1, 9, 0, 1, 9]
    assert state.status is WorkflowStatus.Finished


def test_what_has_ended_stays_on_the_list_until_it_is_torn_down() -> None:
    outside = Outside()

    @dataclass
    class Ends(Team):
        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(
                ForEach("start", range(12), Go("waits", Wait("wait", On("event", via=outside)), id=lambda w, i: i)),
                Go("worker", Step("step", lambda w: None), Step("next", lambda w: None)),
                Wait("end", On("go")),
            )

    workflow, state = Ends(0), State.new("r", "Ends")
    resume(workflow, state, max_steps=0, now=START)
    event = state.threads[11].events[0]
    handle_callback(event.request, workflow, state, now=START)
    for left in (12, 12, 11):
        resume(workflow, state, max_steps=1, now=START)
        assert sum(thread.name == "waits" for thread in state.threads) == left
    assert [thread.arg for thread in state.threads if thread.name == "waits"] == [*range(10), 11]


# --- what statements that move other threads tell the agenda ---


@dataclass
class Five:
    """A thread for each letter, at a step; that of c and of e is concurrent."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        steps = [Step(f"step {name}", lambda w: None, concurrent=name in "ce") for name in "abcde"]
        return S(*[Go(name, step) for name, step in zip("abcde", steps, strict=True)], Join("all", *"abcde"))


def five() -> tuple[State, Agenda, dict[str, Thread]]:
    workflow, state = Five(), State.new("r", "Five")
    resume(workflow, state, max_steps=0, now=START)
    agenda = Agenda(state, program_for(workflow, "r")[0].by_name)
    return state, agenda, {thread.id: thread for thread in state.threads}


def line(agenda: Agenda, most: int = 9, in_flight: frozenset[str] = frozenset()) -> str:
    return "".join(thread.id for thread in agenda.up_next(most, in_flight))


def leaves(agenda: Agenda, *threads: Thread) -> None:
    for thread in threads:
        thread.status = RESUMING
        agenda.wake(thread)


def test_who_leaves_its_step_has_lost_its_turn() -> None:
    _, agenda, threads = five()
    assert (agenda.turn(), line(agenda)) == (threads["a"], "ace")
    leaves(agenda, threads["a"], threads["c"], threads["e"])
    assert (agenda.turn(), line(agenda)) == (threads["b"], "b")
    agenda.rouse()
    assert agenda.awake == [threads["a"], threads["c"], threads["e"]]


def test_who_is_woken_at_its_step_keeps_its_turn() -> None:
    _, agenda, threads = five()
    agenda.wake(threads["a"])
    agenda.rouse()
    assert (agenda.awake, agenda.turn()) == ([threads["a"]], threads["a"])
    agenda.settled()
    assert (agenda.awake, agenda.turn(), line(agenda)) == ([], threads["a"], "ace")


def test_who_is_woken_twice_or_out_of_order_is_looked_at_once_and_in_start_order() -> None:
    _, agenda, threads = five()
    leaves(agenda, *[threads[name] for name in "dbdab"])
    agenda.rouse()
    assert agenda.awake == [threads["a"], threads["b"], threads["d"]]
    agenda.wake(threads["a"])
    agenda.wake(threads["main"])
    agenda.rouse()
    assert agenda.awake == [threads["main"], threads["a"], threads["b"], threads["d"]]


def test_who_comes_to_a_step_again_gets_in_line_behind_the_others() -> None:
    state, agenda, threads = five()
    leaves(agenda, threads["c"], threads["a"])
    agenda.rouse()
    for name in "ac":
        threads[name].status = EXECUTING
        threads[name].ready = state.revision + 1
    agenda.settled()
    assert (agenda.awake, agenda.turn(), line(agenda)) == ([], threads["b"], "bec")


def test_who_comes_to_a_step_in_the_same_round_as_others_stands_among_them_in_start_order() -> None:
    _, agenda, threads = five()
    leaves(agenda, threads["b"], threads["c"])
    agenda.rouse()
    for name in "bc":
        threads[name].status = EXECUTING
    agenda.settled()
    assert (agenda.turn(), line(agenda)) == (threads["a"], "ace")
    leaves(agenda, threads["a"])
    assert (agenda.turn(), line(agenda)) == (threads["b"], "bce")


def test_what_is_in_flight_keeps_its_place_in_line_but_does_not_begin_again() -> None:
    _, agenda, threads = five()
    flying = frozenset([threads["c"].birth])
    assert (line(agenda, 9, flying), line(agenda, 1, flying), line(agenda, 0, flying)) == ("ae", "a", "")
    leaves(agenda, threads["a"], threads["b"])
    assert (line(agenda, 1, flying), line(agenda, 2, flying)) == ("d", "de")
    leaves(agenda, threads["d"])
    assert agenda.turn() is threads["c"]
    leaves(agenda, threads["c"], threads["e"])
    assert agenda.turn() is None


def test_who_is_ended_while_in_line_is_gone() -> None:
    state, agenda, threads = five()
    for name in "abc":
        threads[name].status = ENDED
        agenda.ended(threads[name])
    agenda.remove_ended()
    assert [thread.id for thread in state.threads] == ["main", "d", "e"]
    assert (agenda.turn(), line(agenda)) == (threads["d"], "de")
    assert agenda.thread("c") is None
    assert agenda.thread("d") is threads["d"]


def test_an_id_that_is_free_again_leads_to_its_new_thread() -> None:
    state, agenda, threads = five()
    assert agenda.thread("a") is threads["a"]
    agenda.ended(threads["a"])
    assert agenda.thread("a") is None
    again = Thread("a", "a", EXECUTING, "step a")
    state.threads.append(again)
    agenda.started(again)
    assert agenda.thread("a") is again
