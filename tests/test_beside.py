"""Concurrent steps, and callbacks beside a running ``resume_async``: nothing lost, nothing doubled, whatever the order."""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstmt import (
    CallbackError,
    ConflictError,
    Current,
    DefinitionError,
    FlowstmtError,
    For,
    ForEach,
    Go,
    If,
    Join,
    NotWaitingError,
    On,
    RefusedError,
    Return,
    S,
    SetupError,
    Sleep,
    State,
    StateError,
    Step,
    StepError,
    Timeout,
    Wait,
    WaitFor,
    WorkflowFinishedError,
    current,
    dump,
    handle_callback_async,
    load,
    resume,
    resume_async,
    validate,
)
from flowstmt import drive as drivers
from flowstmt.testing import START, Callback, CrashError, Harness, explore
from tests.interleavings import Loop, World, every_interleaving


@pytest.fixture(autouse=True)
def nobody_has_anything_in_hand_afterwards():
    yield
    assert drivers._moving == {}


# --- every order ---


@dataclass
class Talk:
    """Two waits with an action between them that changes two fields, with an await in the middle."""

    asked: list[str] = field(default_factory=list)
    left: int = 0
    right: int = 0
    pages: list[str] = field(default_factory=list)
    world: Any = field(default=None, metadata={"transient": True})

    def definition(self):
        return S(
            Go("reader", Step("read", self.read, into=self.pages.append, concurrent=True)),
            Wait("first", On("a", self.ask)),
            Step("work", self.work),
            Wait("second", On("b", self.ask)),
            Join("all read", "reader"),
            Return("over"),
        )

    async def ask(self, who: str) -> str:
        self.asked.append(who)
        await self.world.gate(f"handler of {who}")
        return f"thanks, {who}"

    async def work(self) -> None:
        self.left += 1
        await self.world.gate("work")
        self.right += 1

    async def read(self) -> str:
        await self.world.gate("read")
        return "page"


class Server:
    """One process with one database row, as a web application would have it."""

    def __init__(self, world: World, concurrency: int, slow_saves: bool) -> None:
        self.world = world
        self.concurrency = concurrency
        self.slow_saves = slow_saves
        flow = Talk()
        self.row = dump(flow, State.new("run", "Talk"))
        self.revision = 0
        self.saves: list[str] = []
        self.running: tuple[Talk, State] | None = None
        self.resume_task: asyncio.Task[Any] | None = None
        self.answers: dict[str, Any] = {}
        self.failures: list[BaseException] = []

    def open(self) -> tuple[Talk, State]:
        flow, state = load(Talk, self.row)
        flow.world = self.world
        return flow, state

    def saver(self, flow: Talk, state: State) -> Callable[[Any], Any]:
        loaded = state.revision

        async def save(kind: Any) -> None:
            nonlocal loaded
            row = dump(flow, state)
            if self.slow_saves:
                await self.world.gate(f"save {kind}")
            assert self.revision == loaded, "somebody else has moved the run"
            self.row, self.revision, loaded = row, state.revision, state.revision
            self.saves.append(str(kind))
            assert flow.left == flow.right, "a snapshot holds half of an action"

        return save

    async def resume(self, flow: Talk, state: State, save: Any) -> None:
        self.running = flow, state
        try:
            await resume_async(flow, state, save, concurrency=self.concurrency)
        except BaseException as error:
            self.failures.append(error)
            raise
        finally:
            self.running = None

    def start(self) -> None:
        flow, state = self.open()
        self.resume_task = self.world.spawn(self.resume(flow, state, self.saver(flow, state)))

    async def call(self, event: str, who: str) -> None:
        try:
            if self.running is not None:
                self.answers[who] = await handle_callback_async(event, *self.running, who)
                return
            flow, state = self.open()
            save = self.saver(flow, state)
            self.running = flow, state  # others must not load the row while this one moves it
            try:
                answer = await handle_callback_async(event, flow, state, who)
                await save("afterCallback")
            finally:
                self.running = None
            self.answers[who] = answer
            self.resume_task = self.world.spawn(self.resume(flow, state, save))
        except BaseException as error:
            self.answers[who] = error
            if isinstance(error, asyncio.CancelledError):
                raise

    def stored(self) -> Any:
        return json.loads(self.row)


def check_answers(server: Server) -> None:
    """Whoever was thanked is in the row once, whoever was refused is not."""
    asked = server.stored()["data"]["asked"]
    for who, answer in server.answers.items():
        if answer == f"thanks, {who}":
            assert asked.count(who) == 1
        elif isinstance(answer, asyncio.CancelledError):
            assert asked.count(who) <= 1
        else:
            assert isinstance(answer, CallbackError | ConflictError), answer
            assert asked.count(who) == 0


@pytest.mark.parametrize(("concurrency", "slow_saves"), [(1, False), (2, False), (1, True), (2, True)])
def test_no_callback_is_lost_or_doubled_whatever_the_interleaving(concurrency: int, slow_saves: bool):
    outcomes: set[tuple[str, ...]] = set()

    def scenario(world: World) -> Callable[[], None]:
        server = Server(world, concurrency, slow_saves)
        server.start()
        world.may("call ann", lambda: world.spawn(server.call("a", "ann")))
        world.may("call bob", lambda: world.spawn(server.call("b", "bob")))
        world.may("call cid", lambda: world.spawn(server.call("a", "cid")))

        def check() -> None:
            assert server.failures == []
            check_answers(server)
            thanked = tuple(sorted(who for who, answer in server.answers.items() if isinstance(answer, str)))
            outcomes.add(thanked)
            assert len(server.answers) == 3
            assert sorted(server.stored()["data"]["asked"]) == list(thanked)
            if "bob" in thanked:
                assert server.stored()["state"]["status"] == "Finished"
                assert server.stored()["data"]["pages"] == ["page"]

        return check

    assert every_interleaving(scenario, most=60_000) > 90
    # All of these happen in some order: one of the two that want the first wait, and bob if he was not too early.
    assert outcomes == {("ann",), ("ann", "bob"), ("cid",), ("bob", "cid")}


@pytest.mark.parametrize("slow_saves", [False, True])
@pytest.mark.parametrize("cancelled", ["the resume", "ann"])
def test_a_cancellation_at_any_await_loses_and_doubles_nothing(cancelled: str, slow_saves: bool):
    cancelled_with: set[str] = set()

    def scenario(world: World) -> Callable[[], None]:
        server = Server(world, 2, slow_saves)
        server.start()
        resuming = server.resume_task
        calls: dict[str, asyncio.Task[None]] = {}

        def call(event: str, who: str) -> None:
            calls[who] = world.spawn(server.call(event, who))

        def cancel() -> None:
            task = resuming if cancelled == "the resume" else calls.get("ann")
            if task is not None:
                task.cancel()

        world.may("call ann", lambda: call("a", "ann"))
        world.may("call bob", lambda: call("b", "bob"))
        world.may("cancel", cancel)

        def check() -> None:
            assert all(task.done() for task in calls.values())
            if resuming is not None and resuming.cancelled():
                cancelled_with.add(",".join(f"{who}: {type(answer).__name__}" for who, answer in server.answers.items()))
            check_answers(server)
            if isinstance(server.answers.get("ann"), asyncio.CancelledError):
                cancelled_with.add("ann")
            finish(server)

        return check

    assert every_interleaving(scenario, most=60_000) > 90
    assert cancelled_with  # the cancellation did hit something, at least in some order


def finish(server: Server) -> None:
    """Whatever happened, the row is good for going on: those who got no answer call once more."""
    world = World(lambda options: 0)
    server.world = world
    if server.stored()["state"]["status"] != "Finished":
        server.start()
        world.play()
    for event, who in (("a", "ann"), ("b", "bob")):
        if not isinstance(server.answers.get(who), str):
            world.spawn(server.call(event, who))
            world.play()
    data, state = server.stored()["data"], server.stored()["state"]
    assert state["status"] == "Finished"
    assert (sorted(data["asked"]), data["left"], data["right"], data["pages"]) == (["ann", "bob"], 1, 1, ["page"])


# --- concurrent steps ---


class Barrier:
    """Counts who is inside at once, and lets them out when told."""

    def __init__(self) -> None:
        self.inside: list[Any] = []
        self.most = 0
        self.trace: list[str] = []
        self.open = asyncio.Event()

    async def pass_through(self, who: Any) -> None:
        self.inside.append(who)
        self.most = max(self.most, len(self.inside))
        self.trace.append(f"in {who}")
        try:
            await self.open.wait()
            self.trace.append(f"out {who}")
        except asyncio.CancelledError:
            self.trace.append(f"cancelled {who}")
            raise
        finally:
            self.inside.remove(who)


async def until(condition: Callable[[], bool]) -> None:
    """Give other tasks their turns until something is so; they have a thousand."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


@dataclass
class Fetch:
    """A page for each of ``wanted``, fetched at once; ``found`` in the order in which they came in."""

    wanted: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    found: list[int] = field(default_factory=list)

    def definition(self):
        return S(
            ForEach(
                "pages",
                self.wanted,
                Go("fetch", Step("get", self.get, into=self.found.append, concurrent=True), id=lambda page: page),
            ),
            Join("all", "fetch"),
            Return(lambda: sorted(self.found)),
        )

    async def get(self, page: int) -> int:
        barrier = current().deps
        if barrier is not None and barrier != "none":
            await barrier.pass_through(page)
        return page * 10


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (2, 2), (3, 3), (5, 5), (9, 5)])
def test_as_many_concurrent_steps_run_at_once_as_were_asked_for(concurrency: int, most: int):
    async def main() -> None:
        barrier = Barrier()
        flow, state = Fetch(), State.new("r", "Fetch")
        kinds: list[str] = []
        task = asyncio.create_task(
            resume_async(flow, state, lambda kind: kinds.append(str(kind)), deps=barrier, concurrency=concurrency)
        )
        await until(lambda: len(barrier.inside) == most)
        barrier.open.set()
        assert await task == "Finished"
        assert (barrier.most, state.result, flow.found) == (most, [0, 10, 20, 30, 40], [0, 10, 20, 30, 40])
        assert kinds == ["afterResume"] + 5 * ["afterStep"]  # each outcome has a save of its own
        assert barrier.trace[0] == "in 0"

    asyncio.run(main())


@dataclass
class Plain:
    """A concurrent step whose action is a plain function."""

    total: int = 3
    doubled: int = 0
    client: Any = field(default=None, metadata={"transient": True})

    def definition(self):
        return Step("double", self.double, into="doubled", concurrent=True)

    def double(self) -> int:
        return self.total * 2


@dataclass
class PlainClassStyle:
    total: int = 3
    doubled: int = 0

    @classmethod
    def definition(cls):
        return Step("double", cls.double, into="doubled", concurrent=True)

    def double(self) -> int:
        return self.total * 2


@pytest.mark.parametrize("cls", [Plain, PlainClassStyle])
@pytest.mark.parametrize("concurrency", [0, 1, 4])
def test_a_concurrent_step_means_the_same_in_every_driver(cls: Any, concurrency: int):
    flow, state = cls(), State.new("r", cls.__name__)
    kinds: list[str] = []

    def save(kind: str) -> None:
        assert current().workflow is flow
        kinds.append(str(kind))

    drive(flow, state, concurrency, save)
    assert (state.status, flow.doubled, kinds) == ("Finished", 6, ["afterResume", "afterStep"])


@dataclass
class Meddler:
    """A concurrent step that does what ``how`` says to what it was given."""

    how: str
    numbers: list[Any] = field(default_factory=lambda: [1])
    name: str = "x"
    prices: dict[str, int] = field(default_factory=lambda: {"a": 1, "b": 2})
    shared: list[int] = field(default_factory=list, metadata={"transient": True})

    def definition(self):
        return S(
            ForEach(
                "each",
                [{"count": 1}],
                Go("go", Step("meddle", self.meddle, concurrent=True), arg=lambda: {"given": 1}),
                Join("gone", "go"),
                Step("meddle more", self.meddle_item, concurrent=True),
            ),
        )

    def meddle(self, arg: dict[str, int]) -> None:
        if self.how == "arg":
            arg["given"] = 2
        elif self.how == "list":
            self.numbers.append(2)
        elif self.how == "both":
            self.numbers, self.name = [], "y"
        elif self.how == "kind":
            self.numbers = [True]
        elif self.how == "order":
            self.prices = {"b": 2, "a": 1}
        elif self.how == "broken":
            self.name = object()  # type: ignore[assignment]
        self.shared.append(1)

    def meddle_item(self, item: dict[str, int]) -> None:
        if self.how == "item":
            item["count"] = 2


def drive(flow: Any, state: State, concurrency: int, save: Any = None) -> None:
    """By the sync driver, or by the async one with that many actions at once."""
    if concurrency:
        asyncio.run(resume_async(flow, state, save, concurrency=concurrency))
    else:
        resume(flow, state, save)


@pytest.mark.parametrize("concurrency", [0, 1, 2])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("arg", "changed its arg in its copy"),
        ("item", "changed its item in its copy"),
        ("list", "changed field 'numbers' in its copy"),
        ("both", "changed field 'numbers', field 'name' in its copy"),
        ("kind", "changed field 'numbers' in its copy"),
        ("order", "changed field 'prices' in its copy"),
        ("broken", "changed something, so that Meddler.name can't be saved"),
    ],
)
def test_a_concurrent_step_that_changes_data_is_an_error_that_says_what(how: str, said: str, concurrency: int):
    flow, state = Meddler(how), State.new("r", "Meddler")
    with pytest.raises(StepError, match="must not change data") as caught:
        drive(flow, state, concurrency)
    assert said in str(caught.value)
    step = "meddle more" if how == "item" else "meddle"
    assert (caught.value.step, caught.value.run_id) == (step, "r")
    assert f"run 'r', thread {caught.value.thread_id!r}, step {step!r}" in str(caught.value)
    assert (flow.numbers, flow.name) == ([1], "x")
    thread = next(thread for thread in state.threads if thread.position == step)
    assert (thread.status, thread.arg) == ("Executing", {"given": 1} if step == "meddle" else None)


def test_transient_fields_are_shared_with_the_copy():
    flow, state = Meddler("nothing"), State.new("r", "Meddler")
    assert resume(flow, state) == "Finished"
    assert flow.shared == [1]


@dataclass
class Uncopied:
    lock: Any

    def definition(self):
        return Step("go", print, concurrent=True)


def test_data_that_cannot_be_copied_are_refused_by_name_before_a_concurrent_step():
    flow, state = Uncopied(threading.Lock()), State.new("r", "Uncopied")
    with pytest.raises(StateError, match=r"run 'r', thread 'main', step 'go': Uncopied.lock can't be copied .*transient"):
        resume(flow, state)


def test_data_that_cannot_be_saved_are_refused_before_a_concurrent_step():
    flow, state = Uncopied(object()), State.new("r", "Uncopied")
    with pytest.raises(StateError, match=r"run 'r', thread 'main', step 'go': Uncopied.lock can't be saved"):
        resume(flow, state)


def test_a_field_without_a_value_is_refused_before_a_concurrent_step():
    @dataclass
    class Unset:
        later: int = field(init=False)

        def definition(self):
            return Step("go", print, concurrent=True)

    with pytest.raises(StateError, match=r"run 'r', thread 'main', step 'go': Unset.later has no value: give it a default"):
        resume(Unset(), State.new("r", "Unset"))


def test_an_arg_that_became_unsaveable_is_refused_before_a_concurrent_step():
    @dataclass
    class Spoilt:
        def definition(self):
            return S(
                Go("go", Step("spoil", self.spoil), Step("read", lambda arg: None, concurrent=True), arg=dict),
                Join("done", "go"),
            )

        def spoil(self, arg: Any) -> None:
            arg["x"] = object()

    with pytest.raises(StateError, match="run 'r', thread 'go', step 'read': its arg or item can't be saved"):
        resume(Spoilt(), State.new("r", "Spoilt"))


def test_concurrent_must_be_a_flag():
    with pytest.raises(DefinitionError, match="Step 'a': concurrent must be True or False, not 1"):
        validate(Step("a", print, concurrent=1))  # type: ignore[call-overload] # the fault


@pytest.mark.parametrize("wrong", [0, -1, True, "2", None, 1.5])
def test_concurrency_must_be_a_whole_number_from_one(wrong: Any):
    with pytest.raises(StateError, match="run 'r': concurrency must be a whole number from 1"):
        asyncio.run(resume_async(Plain(), State.new("r", "Plain"), concurrency=wrong))


def test_more_than_one_at_a_time_needs_the_loop_of_asyncio():
    coroutine = resume_async(Plain(), State.new("r", "Plain"), concurrency=2)
    with pytest.raises(StateError, match="run 'r': concurrency=2 needs the event loop of asyncio"):
        coroutine.send(None)
    # One at a time needs nothing but somebody who awaits.
    coroutine = resume_async(Plain(), State.new("r", "Plain"))
    with pytest.raises(StopIteration):
        coroutine.send(None)


@dataclass
class Mixed:
    """Two threads with concurrent steps, two with plain ones."""

    done: list[str] = field(default_factory=list)

    def definition(self):
        return S(
            Go("a", Step("a1", self.act("a1"), into=self.done.append)),
            Go("b", Step("b1", self.act("b1"), into=self.done.append, concurrent=True)),
            Go("c", Step("c1", self.act("c1"), into=self.done.append)),
            Go("d", Step("d1", self.act("d1"), into=self.done.append, concurrent=True)),
            Join("all", "a", "b", "c", "d"),
        )

    def act(self, name: str):
        async def action() -> str:
            await current().deps.pass_through(name)
            return name

        return action


def test_other_steps_have_the_data_to_themselves_but_run_beside_concurrent_ones():
    async def main() -> None:
        barrier = Barrier()
        flow, state = Mixed(), State.new("r", "Mixed")
        task = asyncio.create_task(resume_async(flow, state, deps=barrier, concurrency=4))
        await until(lambda: len(barrier.inside) == 3)
        assert sorted(barrier.inside) == ["a1", "b1", "d1"]  # c1 waits for a1
        barrier.open.set()
        await task
        assert flow.done[0] == "a1"  # what landed meanwhile waited for its checkpoint
        assert sorted(flow.done) == ["a1", "b1", "c1", "d1"]

    asyncio.run(main())


def test_whose_turn_is_next_begins_first_when_there_is_not_room_for_all():
    async def main() -> None:
        barrier = Barrier()
        task = asyncio.create_task(resume_async(Mixed(), State.new("r", "Mixed"), deps=barrier, concurrency=2))
        await until(lambda: len(barrier.inside) == 2)
        assert sorted(barrier.inside) == ["a1", "b1"]
        barrier.open.set()
        await task
        assert [line for line in barrier.trace if line.startswith("in")] == ["in b1", "in a1", "in c1", "in d1"] or [
            line for line in barrier.trace if line.startswith("in")
        ] == ["in a1", "in b1", "in c1", "in d1"]

    asyncio.run(main())


def test_max_steps_counts_concurrent_steps_and_what_has_begun_is_saved():
    async def main() -> None:
        barrier = Barrier()
        barrier.open.set()
        flow, state = Fetch(), State.new("r", "Fetch")
        kinds: list[str] = []
        status = await resume_async(flow, state, lambda kind: kinds.append(str(kind)), deps=barrier, concurrency=4, max_steps=3)
        assert (status, flow.found) == ("Resuming", [0, 10, 20])
        assert kinds == ["afterResume", "afterStep", "afterStep", "afterStep"]
        assert await resume_async(flow, state, deps=barrier, concurrency=4) == "Finished"
        assert state.result == [0, 10, 20, 30, 40]

    asyncio.run(main())


@dataclass
class Race:
    """main ends, or fails, while others fetch."""

    how: str = "end"
    found: list[str] = field(default_factory=list)

    def definition(self):
        return S(
            Go("fast", Step("one", self.fetch("one"), into=self.found.append, concurrent=True)),
            Go("slow", Step("two", self.fetch("two"), into=self.found.append, concurrent=True)),
            Step("decide", self.decide),
            Return("decided"),
        )

    def fetch(self, name: str):
        async def action() -> str:
            await current().deps.pass_through(name)
            return name

        return action

    async def decide(self) -> None:
        barrier = current().deps
        await until(lambda: len(barrier.inside) == 2)
        if self.how == "fail":
            raise ValueError("no")


def test_when_main_ends_actions_in_flight_are_cancelled_and_noted():
    async def main() -> None:
        barrier = Barrier()
        flow, state = Race(), State.new("r", "Race")
        saved: list[bytes] = []
        assert await resume_async(flow, state, lambda kind: saved.append(dump(flow, state)), deps=barrier, concurrency=3)
        assert (state.status, state.result, flow.found, state.threads) == ("Finished", "decided", [], [])
        assert sorted(barrier.trace) == ["cancelled one", "cancelled two", "in one", "in two"]
        # Already in the save that says that the run is over.
        notes = json.loads(saved[-1])["state"]["notes"]
        assert [(note["note"], note["thread"], note["step"], note["pc"]) for note in notes] == [
            ("dropped", "fast", "one", 1),
            ("dropped", "slow", "two", 1),
        ]
        assert all("may have taken effect" in note["message"] for note in notes)
        births = {thread["id"]: thread["birth"] for thread in json.loads(saved[0])["state"]["threads"]}
        assert [note["birth"] for note in notes] == [births["fast"], births["slow"]]
        assert all(datetime.fromisoformat(note["at"]).utcoffset() is not None for note in notes)
        assert load(Race, saved[-1])[1].notes == notes

    asyncio.run(main())


@dataclass
class Greedy:
    """main loops until another thread, which arrived later, is through."""

    log: list[str] = field(default_factory=list)

    def definition(self):
        def step(name: str, **options: Any) -> Step:
            return Step(name, lambda: name, into=self.log.append, **options)

        return S(Go("t", step("a"), step("b"), step("c", concurrent=True)), For("busy", lambda: "c" not in self.log, step("x")))


def test_a_thread_that_loops_does_not_starve_another_where_some_step_is_concurrent():
    flow = Greedy()
    assert resume(flow, State.new("r", "Greedy"), max_steps=20) == "Finished"
    assert flow.log == ["x", "a", "x", "b", "x", "c", "x"]


@dataclass
class Polling:
    """main loops, without ever waiting, until the answer of another thread is there."""

    answers: list[str] = field(default_factory=list)
    is_async: bool = False

    def definition(self):
        return S(
            Go("asks", Step("ask", self.ask, into=self.answers.append, concurrent=True)),
            For("no answer", lambda: not self.answers, Step("poll", self.poll_later if self.is_async else self.poll)),
        )

    async def ask(self) -> str:
        await asyncio.sleep(0)
        return "yes"

    def poll(self) -> None: ...

    async def poll_later(self) -> None: ...


@pytest.mark.parametrize("is_async", [False, True])
def test_actions_that_never_wait_do_not_starve_those_in_flight(is_async: bool):
    flow = Polling(is_async=is_async)
    assert asyncio.run(resume_async(flow, State.new("r", "Polling"), max_steps=50, concurrency=2)) == "Finished"
    assert flow.answers == ["yes"]


def test_what_is_in_flight_has_come_to_its_end_before_an_error_leaves():
    async def main() -> None:
        barrier = Barrier()
        with pytest.raises(StepError, match="step 'decide': its action raised ValueError: no"):
            await resume_async(Race("fail"), State.new("r", "Race"), deps=barrier, concurrency=3)
        assert barrier.inside == []
        assert sorted(barrier.trace) == ["cancelled one", "cancelled two", "in one", "in two"]

    asyncio.run(main())


def test_what_is_in_flight_has_come_to_its_end_before_an_error_of_save_leaves():
    async def main() -> None:
        barrier = Barrier()

        def save(kind: str) -> None:
            if kind == "afterStep":
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await resume_async(Race(), State.new("r", "Race"), save, deps=barrier, concurrency=3)
        assert barrier.inside == []

    asyncio.run(main())


@dataclass
class Flaky:
    """Three concurrent steps of which ``bad`` fails."""

    bad: list[str]
    found: list[str] = field(default_factory=list)
    how: str = "error"

    def definition(self):
        return S(
            *(
                Go(f"go {name}", Step(name, self.fetch(name), into=self.found.append, concurrent=True))
                for name in ("one", "two", "three")
            ),
            Join("all", "go one", "go two", "go three"),
        )

    def fetch(self, name: str):
        async def action() -> Any:
            await asyncio.sleep(0)
            if name not in self.bad:
                return name
            if self.how == "error":
                raise KeyError(name)
            if self.how == "exit":
                raise Exit
            if self.how == "cancel":
                raise asyncio.CancelledError
            return asyncio.sleep(0)

        return action


class Exit(BaseException):
    """Neither workflow nor driver may do anything about it."""


def test_a_concurrent_step_that_fails_is_raised_after_the_outcomes_of_others_are_saved():
    flow, state = Flaky(["two"]), State.new("r", "Flaky")
    saved: list[list[str]] = []
    with pytest.raises(StepError, match="run 'r', thread 'go two', step 'two': its action raised KeyError: 'two'") as caught:
        asyncio.run(resume_async(flow, state, lambda kind: saved.append(flow.found.copy()), concurrency=3))
    assert isinstance(caught.value.__cause__, KeyError)
    assert saved == [[], ["one"], ["one", "three"]]
    assert [thread.position for thread in state.threads] == ["all", "two"]
    flow.bad = []
    assert resume_in_a_loop(flow, state) == "Finished"
    assert flow.found == ["one", "three", "two"]


def resume_in_a_loop(flow: Any, state: State) -> str:
    return asyncio.run(resume_async(flow, state, concurrency=3))


def test_of_several_failures_the_first_is_raised_and_the_others_are_logged(caplog: pytest.LogCaptureFixture):
    with pytest.raises(StepError, match="step 'two'"):
        resume_in_a_loop(Flaky(["two", "three"]), State.new("r", "Flaky"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "step 'three': its action raised KeyError: 'three'" in caplog.text


@pytest.mark.parametrize(("how", "raised"), [("exit", Exit), ("cancel", asyncio.CancelledError)])
def test_what_is_no_exception_passes_through_from_an_action_in_flight(how: str, raised: type[BaseException]):
    with pytest.raises(raised):
        resume_in_a_loop(Flaky(["two"], how=how), State.new("r", "Flaky"))


def test_an_action_in_flight_that_forgets_an_await_is_told_so():
    with pytest.raises(StepError, match="action at 'two' returned a coroutine, instead of awaiting it"):
        resume_in_a_loop(Flaky(["two"], how="forget"), State.new("r", "Flaky"))


def test_a_failure_in_flight_is_logged_when_main_ends_before_it_is_raised(caplog: pytest.LogCaptureFixture):
    @dataclass
    class Over:
        def definition(self):
            return S(
                Go("bad", Step("fail", self.fail, concurrent=True)),
                Step("last", self.last, concurrent=True),
            )

        async def fail(self) -> None:
            raise ValueError("too late")

        async def last(self) -> None:
            await asyncio.sleep(0)

    async def main() -> None:
        state = State.new("r", "Over")
        assert await resume_async(Over(), state, concurrency=2) == "Finished"
        assert [note["step"] for note in state.notes] == ["fail"]

    asyncio.run(main())
    assert "step 'fail': its action raised ValueError: too late" in caplog.text


def test_each_action_in_flight_has_a_current_of_its_own():
    @dataclass
    class Keys:
        seen: list[Any] = field(default_factory=list)

        def definition(self):
            return S(
                ForEach(
                    "each",
                    [1, 2],
                    Go("go", Step("look", self.look, into=self.seen.append, concurrent=True), id=lambda item: item),
                ),
                Join("all", "go"),
            )

        async def look(self, item: int) -> list[Any]:
            before = current()
            await asyncio.sleep(0)
            assert current() is before
            assert before.workflow is self
            return [before.thread_id, before.position, before.item(), before.idempotency_key]

    flow, state = Keys(), State.new("r", "Keys")
    asyncio.run(resume_async(flow, state, concurrency=2))
    assert [seen[:3] for seen in flow.seen] == [["go:1", "look", 1], ["go:2", "look", 2]]
    keys = {seen[3] for seen in flow.seen}
    alone, state = Keys(), State.new("r", "Keys")
    asyncio.run(resume_async(alone, state))
    assert keys == {seen[3] for seen in alone.seen}
    assert len(keys) == 2


def test_invoke_wraps_actions_in_flight():
    wrapped: list[str] = []

    async def invoke(at: Any, call: Callable[[], Any]) -> Any:
        wrapped.append(at.thread_id)
        return await call()

    flow, state = Fetch(), State.new("r", "Fetch")
    asyncio.run(resume_async(flow, state, deps="none", concurrency=5, invoke=invoke))
    assert wrapped == [f"fetch:{i}" for i in range(5)]
    assert flow.found == [0, 10, 20, 30, 40]


def test_the_outcome_of_a_concurrent_step_lets_others_go_on_while_the_rest_is_in_flight():
    @dataclass
    class Pipeline:
        first: str = ""
        log: list[str] = field(default_factory=list)

        def definition(self):
            return S(
                Go("go slow", Step("slow", self.slow, into=self.log.append, concurrent=True)),
                Go("go fast", Step("fast", lambda: "fast", into="first", concurrent=True)),
                WaitFor("first is there", lambda: bool(self.first)),
                Step("next", lambda: "next", into=self.log.append),
                Step("release", self.release),
                Join("all", "go slow"),
            )

        async def slow(self) -> str:
            await current().deps.wait()
            return "slow"

        def release(self) -> None:
            current().deps.set()

    async def main() -> None:
        flow, state = Pipeline(), State.new("r", "Pipeline")
        assert await resume_async(flow, state, deps=asyncio.Event(), concurrency=2) == "Finished"
        assert flow.log == ["next", "slow"]

    asyncio.run(main())


def test_a_crash_while_actions_are_in_flight_leaves_them_to_be_run_again():
    async def main() -> None:
        barrier = Barrier()
        flow, state = Fetch(), State.new("r", "Fetch")
        saved = [dump(flow, state)]
        task = asyncio.create_task(
            resume_async(flow, state, lambda kind: saved.append(dump(flow, state)), deps=barrier, concurrency=5)
        )
        await until(lambda: len(barrier.inside) == 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert barrier.inside == []
        again, state = load(Fetch, saved[-1])
        assert json.loads(saved[-1])["state"]["status"] == "Resuming"
        assert await resume_async(again, state, deps="none", concurrency=5) == "Finished"
        assert state.result == [0, 10, 20, 30, 40]

    asyncio.run(main())


# --- callbacks beside a running resume ---


@dataclass
class Job:
    """A step that takes as long as its barrier, then a wait."""

    notes: list[str] = field(default_factory=list)
    how: str = ""

    def definition(self):
        return S(
            Go("other", Wait("other wait", On("note", self.note), On("bad", self.refuse))),
            Step("work", self.work),
            Wait("end", On("end")),
        )

    def note(self, text: str) -> str:
        self.notes.append(text)
        if self.how == "whoever":
            return WHO.get()
        return f"noted {text}"

    def refuse(self) -> None:
        self.notes.append("half")
        raise RefusedError("not now")

    async def work(self) -> None:
        await current().deps.pass_through("work")
        if self.how == "fail":
            raise ValueError("broken")


async def at_work(flow: Any, state: State, save: Any = None) -> tuple[Barrier, asyncio.Task[Any]]:
    """A resume that is inside of its action."""
    barrier = Barrier()
    task = asyncio.create_task(resume_async(flow, state, save, deps=barrier))
    await until(lambda: barrier.inside == ["work"])
    return barrier, task


def test_a_callback_beside_a_resume_is_taken_between_two_checkpoints_and_saved_before_its_answer():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        trace: list[Any] = []

        def save(kind: str) -> None:
            found = json.loads(dump(flow, state))
            trace.append((str(kind), found["state"]["revision"], found["data"]["notes"]))
            assert (current().kind, current().thread_id) == ("save", "" if kind != "afterStep" else "main")

        barrier, task = await at_work(flow, state, save)
        call = asyncio.create_task(handle_callback_async("note", flow, state, "hello"))
        call.add_done_callback(lambda _: trace.append("answered"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert flow.notes == []  # the action has the data to itself
        assert not call.done()
        barrier.open.set()
        assert (await call, await task) == ("noted hello", "Waiting")
        # One save for the callback, one for the moves that follow from it; the revision rises by one with each.
        assert [entry for entry in trace if entry != "answered"] == [
            ("afterResume", 1, []),
            ("afterStep", 2, []),
            ("afterCallback", 3, ["hello"]),
            ("afterResume", 4, ["hello"]),
        ]
        assert trace.index("answered") > 2

    asyncio.run(main())


def test_a_callback_beside_a_resume_is_refused_as_always_and_nothing_is_saved_for_it():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        kinds: list[str] = []
        barrier, task = await at_work(flow, state, lambda kind: kinds.append(str(kind)))
        calls = [
            asyncio.create_task(handle_callback_async(*call))
            for call in (("note", flow, state, 5), ("bad", flow, state), ("nothing", flow, state))
        ]
        await asyncio.sleep(0)
        barrier.open.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["InvalidPayloadError", "RefusedError", "UnknownEventError"]
        assert await task == "Waiting"
        assert (flow.notes, kinds) == ([], ["afterResume", "afterStep"])

    asyncio.run(main())


def test_resume_does_not_return_while_a_callback_waits():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        calls: list[asyncio.Task[Any]] = []

        async def save(kind: str) -> None:
            # The last moment: the save of the last step is under way.
            if kind == "afterStep":
                calls.append(outside.create_task(handle_callback_async("end", flow, state)))
                for _ in range(5):
                    await asyncio.sleep(0)

        outside = Outside()
        barrier = Barrier()
        barrier.open.set()
        assert await resume_async(flow, state, save, deps=barrier) == "Finished"
        assert await calls[0] is None

    asyncio.run(main())


class Outside:
    """Makes tasks in the context of whoever made it: what they call is not called from inside of a save."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return self._context.run(asyncio.create_task, coroutine)


def test_a_callback_that_waits_while_max_steps_are_used_up_is_taken_before_the_return():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        barrier = Barrier()
        task = asyncio.create_task(resume_async(flow, state, deps=barrier, max_steps=1))
        await until(lambda: barrier.inside == ["work"])
        call = asyncio.create_task(handle_callback_async("end", flow, state))
        await asyncio.sleep(0)
        barrier.open.set()
        assert (await task, await call) == ("Finished", None)

    asyncio.run(main())


def test_a_callback_is_told_when_the_resume_beside_it_fails():
    async def main() -> None:
        flow, state = Job(how="fail"), State.new("r", "Job")
        barrier, task = await at_work(flow, state)
        call = asyncio.create_task(handle_callback_async("note", flow, state, "hello"))
        await asyncio.sleep(0)
        barrier.open.set()
        with pytest.raises(StepError) as failed:
            await task
        with pytest.raises(ConflictError, match=re.escape("run 'r': this callback was not taken")) as caught:
            await call
        assert "was not taken: load the run again, and hand it in once more" in str(caught.value)
        assert caught.value.__cause__ is failed.value
        assert flow.notes == []

    asyncio.run(main())


@dataclass
class Stubborn:
    """An action in flight that takes its time to clean up, beside a step that fails if told so, and a wait."""

    fails: bool
    noted: list[str] = field(default_factory=list)

    def definition(self):
        return S(
            Go("slow", Step("slow step", self.slow, concurrent=True)),
            Step("work", self.work),
            Wait("w", On("note", self.note)),
        )

    async def slow(self) -> None:
        slow, _ = current().deps
        try:
            await slow.pass_through("slow")
        finally:
            slow.trace.append("cleaning")
            await slow.open.wait()

    async def work(self) -> None:
        await current().deps[1].pass_through("work")
        if self.fails:
            raise ValueError("broken")

    async def note(self, text: str) -> None:
        self.noted.append(text)
        if text == "handled":
            await current().deps[1].pass_through("handler")


class Desk:
    """A run in a store, resumed by one, while another one brings a note as often as it takes."""

    def __init__(self, when: str, snapshot: bytes, deps: Any) -> None:
        self.when = when
        self.snapshot = snapshot
        self.deps = deps
        self.running: list[tuple[Stubborn, State]] = []
        self.refused: list[ConflictError] = []

    async def go_on(self) -> None:
        flow, state = load(Stubborn, self.snapshot)
        self.running.append((flow, state))

        def save(kind: str) -> None:
            if kind == "afterCallback" and self.when == "being saved":
                raise OSError("disk full")
            self.snapshot = dump(flow, state)

        try:
            await resume_async(flow, state, save, deps=self.deps, concurrency=2)
        finally:
            self.running.clear()

    async def deliver(self) -> None:
        while True:
            is_running = bool(self.running)
            flow, state = self.running[0] if is_running else load(Stubborn, self.snapshot)
            try:
                await handle_callback_async("note", flow, state, self.when, deps=self.deps)
            except ConflictError as error:
                self.refused.append(error)
                assert len(self.refused) < 10
            except NotWaitingError:
                assert not is_running  # the run that was loaded says so: it failed before it came to its wait
                return
            else:
                assert not is_running
                self.snapshot = dump(flow, state)
                return


@pytest.mark.parametrize("when", ["waits", "comes later", "handled", "being saved"])
def test_a_callback_beside_a_failed_resume_is_told_once_it_may_be_handed_in_again(when: str):
    """What was in flight has come to its end by then: who loads the run at once and goes on is not beside it."""

    async def main() -> None:
        fails = when in ("waits", "comes later")
        slow, work = Barrier(), Barrier()
        desk = Desk(when, dump(Stubborn(fails), State.new("r", "Stubborn")), (slow, work))
        resuming = asyncio.create_task(desk.go_on())
        await until(lambda: slow.inside == ["slow"] and work.inside == ["work"])
        [(flow, state)] = desk.running
        calls = [] if when == "comes later" else [asyncio.create_task(desk.deliver())]
        await asyncio.sleep(0)
        if when == "handled":
            work.open.set()
            await until(lambda: "out work" in work.trace)
            work.open.clear()
            await until(lambda: work.inside == ["handler"])
            resuming.cancel()
        work.open.set()
        await until(lambda: "cleaning" in slow.trace)
        if when == "comes later":
            calls.append(asyncio.create_task(desk.deliver()))
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.refused == []
        resuming.cancel()  # in a hurry: the action in flight must come to its end nevertheless
        await asyncio.sleep(0)
        assert not resuming.done()
        assert not calls[0].done()
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            await resume_async(flow, state)
        slow.open.set()
        with pytest.raises(asyncio.CancelledError):
            await resuming
        await calls[0]
        [error] = desk.refused
        cause = {"handled": asyncio.CancelledError, "being saved": OSError}.get(when, StepError)
        assert isinstance(error.__cause__, cause)
        assert ("was taken, but not saved" if when == "being saved" else "was not taken") in str(error)
        assert load(Stubborn, desk.snapshot)[0].noted == ([] if fails else [when])

    asyncio.run(main())


def test_a_callback_that_is_cancelled_while_a_failed_resume_waits_for_what_is_in_flight_is_gone_at_once():
    async def main() -> None:
        flow, state = Stubborn(fails=True), State.new("r", "Stubborn")
        slow, work = deps = Barrier(), Barrier()
        resuming = asyncio.create_task(resume_async(flow, state, deps=deps, concurrency=2))
        await until(lambda: slow.inside == ["slow"] and work.inside == ["work"])
        call = asyncio.create_task(handle_callback_async("note", flow, state, "hello"))
        work.open.set()
        await until(lambda: "cleaning" in slow.trace)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not resuming.done()
        slow.open.set()
        with pytest.raises(StepError, match="broken"):
            await resuming

    asyncio.run(main())


def test_a_callback_whose_save_fails_is_not_to_be_acknowledged():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")

        def save(kind: str) -> None:
            if kind == "afterCallback":
                raise OSError("disk full")

        barrier, task = await at_work(flow, state, save)
        call = asyncio.create_task(handle_callback_async("note", flow, state, "hello"))
        await asyncio.sleep(0)
        barrier.open.set()
        with pytest.raises(OSError, match="disk full") as failed:
            await task
        with pytest.raises(ConflictError, match=r"taken, but not saved.* Its save raised OSError: disk full") as caught:
            await call
        assert caught.value.__cause__ is failed.value

    asyncio.run(main())


def test_a_callback_whose_consequences_fail_is_answered_since_it_is_saved():
    @dataclass
    class Divider:
        amount: int = 1

        def definition(self):
            return S(
                Go("watch", Wait("w", On("set", into="amount")), WaitFor("ratio", lambda: 1 / self.amount > 2)),
                Step("work", self.work, concurrent=True),
            )

        async def work(self) -> None:
            await current().deps.pass_through("work")

    async def main() -> None:
        flow, state, barrier = Divider(), State.new("r", "Divider"), Barrier()
        saved: list[Any] = []
        task = asyncio.create_task(
            resume_async(flow, state, lambda kind: saved.append((str(kind), flow.amount)), deps=barrier, concurrency=2)
        )
        await until(lambda: barrier.inside == ["work"])
        # Only an action in flight: the callback is taken at once.
        assert await handle_callback_async("set", flow, state, 0) is None
        with pytest.raises(StepError, match="thread 'watch': WaitFor 'ratio': its condition raised ZeroDivisionError"):
            await task
        assert saved == [("afterResume", 1), ("afterCallback", 0)]
        assert barrier.trace == ["in work", "cancelled work"]

    asyncio.run(main())


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def test_a_handler_sees_the_context_of_its_caller():
    async def main() -> None:
        flow, state = Job(how="whoever"), State.new("r", "Job")
        barrier, task = await at_work(flow, state)
        WHO.set("ann")
        call = asyncio.create_task(handle_callback_async("note", flow, state, "x"))
        WHO.set("bob")
        await asyncio.sleep(0)
        barrier.open.set()
        assert await call == "ann"
        await task

    asyncio.run(main())


def test_a_callback_from_inside_the_runs_own_action_is_an_error_and_not_a_deadlock():
    @dataclass
    class Inner:
        outer: Any = field(default=None, metadata={"transient": True})

        def definition(self):
            return Wait("w", On("go", self.call_back))

        async def call_back(self) -> None:
            await handle_callback_async("note", *self.outer)

    @dataclass
    class Outer:
        how: str
        state: Any = field(default=None, metadata={"transient": True})
        left: Any = field(default=None, metadata={"transient": True})

        def definition(self):
            return S(
                Go("o", Wait("ow", On("note"))),
                Step("act", self.act, concurrent=self.how == "in flight"),
                Step("later", self.later),
                Wait("end", On("end")),
            )

        async def act(self) -> None:
            if self.how == "in another run":
                inner, state = Inner((self, self.state)), State.new("inner", "Inner")
                await resume_async(inner, state)
                await handle_callback_async("go", inner, state)
            elif self.how == "resume":
                await resume_async(self, self.state)
            elif self.how == "in a task":
                await asyncio.create_task(handle_callback_async("note", self, self.state))
            elif self.how == "left behind":
                self.left = asyncio.create_task(self.knock())
            else:
                await handle_callback_async("note", current().workflow, self.state)

        async def knock(self) -> None:
            await until(lambda: current().over)
            await handle_callback_async("note", self, self.state)

        async def later(self) -> None:
            for _ in range(20):
                await asyncio.sleep(0)

    async def main(how: str) -> Any:
        flow, state = Outer(how), State.new("outer", "Outer")
        flow.state = state
        await resume_async(flow, state, concurrency=2 if how == "in flight" else 1)
        return flow

    for how in ("plainly", "in another run", "resume", "in a task", "in flight"):
        with pytest.raises(StepError) as caught:
            asyncio.run(main(how))
        cause: Any = caught.value.__cause__
        assert isinstance(cause, ConflictError)
        assert "run 'outer': called from inside its own action at 'act'. Nothing was changed" in str(cause)
    # A task that the action left behind is not inside of it any more.
    left = asyncio.run(main("left behind")).left
    assert left.done()
    assert left.exception() is None


def test_a_callback_from_inside_save_is_an_error_and_not_a_deadlock():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")

        async def save(kind: str) -> None:
            await handle_callback_async("note", flow, state, "x")

        with pytest.raises(ConflictError, match="run 'r': called from inside its own save"):
            await resume_async(flow, state, save)

    asyncio.run(main())


def test_what_a_task_left_behind_by_a_save_calls_is_not_called_from_inside():
    @dataclass
    class Noted:
        notes: int = 0

        def definition(self):
            return S(Go("o", Wait("ow", On("note", self.note))), Step("work", self.work), Wait("end", On("end")))

        def note(self) -> None:
            self.notes += 1

        async def work(self) -> None:
            for _ in range(5):
                await asyncio.sleep(0)

    told: list[Any] = []

    async def main() -> None:
        flow, state = Noted(), State.new("r", "Noted")

        async def tell(checkpoint: Current) -> None:
            await asyncio.sleep(0)
            with pytest.raises(FlowstmtError, match=r"current\(\) is valid inside"):
                current()
            await handle_callback_async("note", flow, state)
            told.append(checkpoint.kind)

        async def save(kind: str) -> None:
            if not tasks:
                tasks.append(asyncio.create_task(tell(current())))

        tasks: list[asyncio.Task[None]] = []
        await resume_async(flow, state, save)
        await tasks[0]
        assert flow.notes == 1

    asyncio.run(main())
    assert told == ["save"]


def test_what_a_task_left_behind_by_a_condition_calls_is_not_called_from_inside():
    @dataclass
    class Eager:
        state: Any = field(default=None, metadata={"transient": True})
        call: Any = field(default=None, metadata={"transient": True})

        def definition(self):
            return S(Wait("w", On("go")), WaitFor("cond", self.start), Step("work", self.work), Wait("w2", On("go")))

        def start(self) -> bool:
            self.call = asyncio.create_task(handle_callback_async("go", self, self.state))
            return True

        async def work(self) -> None:
            for _ in range(5):
                await asyncio.sleep(0)

    async def main() -> None:
        flow, state = Eager(), State.new("r", "Eager")
        flow.state = state
        await resume_async(flow, state)
        await handle_callback_async("go", flow, state)
        assert await resume_async(flow, state) == "Finished"
        await flow.call

    asyncio.run(main())


def test_others_than_the_objects_of_the_resume_are_refused():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        barrier, task = await at_work(flow, state)
        with pytest.raises(ConflictError, match="another workflow object than the resume that runs on the same state"):
            await handle_callback_async("note", Job(), state, "x")
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            await resume_async(flow, state)
        # From another loop one can't take turns.
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            await asyncio.to_thread(asyncio.run, handle_callback_async("note", flow, state, "x"))
        barrier.open.set()
        await task
        assert flow.notes == []

    asyncio.run(main())


def test_two_callbacks_at_once_without_a_resume_are_a_conflict():
    @dataclass
    class Slow:
        def definition(self):
            return Wait("w", On("go", self.go))

        async def go(self) -> None:
            await current().deps.pass_through("go")

    async def main() -> None:
        flow, state = Slow(), State.new("r", "Slow")
        await resume_async(flow, state)
        barrier = Barrier()
        first = asyncio.create_task(handle_callback_async("go", flow, state, deps=barrier))
        await until(lambda: barrier.inside == ["go"])
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            await handle_callback_async("go", flow, state, deps=barrier)
        barrier.open.set()
        await first

    asyncio.run(main())


def test_bad_arguments_are_refused_when_the_turn_comes():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        barrier, task = await at_work(flow, state)
        naive = asyncio.create_task(handle_callback_async("note", flow, state, "x", now=datetime(2030, 1, 1)))
        unnamed = asyncio.create_task(handle_callback_async(5, flow, state, "x"))  # type: ignore[call-overload] # the fault
        with pytest.raises(StateError, match="invoke must be a callable"):
            await handle_callback_async("note", flow, state, "x", invoke=5)  # type: ignore[call-overload] # the fault
        barrier.open.set()
        answers = await asyncio.gather(naive, unnamed, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["StateError", "CallbackError"]
        await task

    asyncio.run(main())


def test_a_handler_that_cancels_itself_cancels_its_caller_only():
    @dataclass
    class Quitter:
        notes: list[str] = field(default_factory=list)

        def definition(self):
            return S(Go("other", Wait("w", On("quit", self.quit))), Step("work", self.work))

        async def quit(self) -> None:
            self.notes.append("half")
            raise asyncio.CancelledError

        async def work(self) -> None:
            await current().deps.pass_through("work")

    async def main() -> None:
        flow, state, barrier = Quitter(), State.new("r", "Quitter"), Barrier()
        kinds: list[str] = []
        task = asyncio.create_task(resume_async(flow, state, lambda kind: kinds.append(str(kind)), deps=barrier))
        await until(lambda: barrier.inside == ["work"])
        call = asyncio.create_task(handle_callback_async("quit", flow, state))
        await asyncio.sleep(0)
        barrier.open.set()
        await task
        with pytest.raises((asyncio.CancelledError, WorkflowFinishedError)):
            await call

    asyncio.run(main())


def test_a_setup_that_fails_does_not_keep_a_callback_from_being_taken():
    class Door:
        async def setup(self, request: Any) -> None:
            await current().deps.pass_through("setup")
            raise OSError("no door")

    @dataclass
    class Visit:
        def definition(self):
            return Wait("w", On("open", via=Door()), On("knock"))

    async def main() -> None:
        flow, state, barrier = Visit(), State.new("r", "Visit"), Barrier()
        task = asyncio.create_task(resume_async(flow, state, deps=barrier))
        await until(lambda: barrier.inside == ["setup"])
        call = asyncio.create_task(handle_callback_async("knock", flow, state))
        await asyncio.sleep(0)
        barrier.open.set()
        with pytest.raises(SetupError, match="no door"):
            await task
        assert await call is None
        assert state.status == "Finished"

    asyncio.run(main())


def test_a_dropped_resume_lets_nobody_wait_for_ever():
    async def main() -> None:
        flow, state, barrier = Race(), State.new("r", "Race"), Barrier()
        outside = Outside()
        coroutine = resume_async(flow, state, deps=barrier, concurrency=3)
        # Driven by hand, then dropped: it is closed by whoever collects it.
        for _ in range(50):
            coroutine.send(None)
            await asyncio.sleep(0)
            if len(barrier.inside) == 2:
                break
        call = outside.create_task(handle_callback_async("x", flow, state))
        await asyncio.sleep(0)
        coroutine.close()
        with pytest.raises(ConflictError, match="ended with GeneratorExit"):
            await call
        await until(lambda: barrier.inside == [])

    asyncio.run(main())


def test_a_resume_that_is_dropped_while_it_takes_a_callback_ends_its_handler_and_tells_its_caller():
    async def main() -> None:
        flow, state = Picky(), State.new("r", "Picky")
        outside, inner = Outside(), Barrier()
        coroutine = resume_async(flow, state, lambda kind: asyncio.sleep(0), deps=Barrier())
        coroutine.send(None)  # it is at its first save
        call = outside.create_task(handle_callback_async("bad", flow, state, deps=inner))
        await asyncio.sleep(0)
        coroutine.send(None)
        await until(lambda: inner.inside == ["handler"])
        coroutine.close()
        with pytest.raises(ConflictError, match=r"this callback was not taken.* ended with GeneratorExit"):
            await call
        await until(lambda: inner.trace == ["in handler", "cancelled handler"])
        assert flow.notes == []

    asyncio.run(main())


def test_a_resume_without_save_takes_callbacks_too():
    async def main() -> None:
        flow, state = Job(), State.new("r", "Job")
        barrier, task = await at_work(flow, state)
        call = asyncio.create_task(handle_callback_async("end", flow, state))
        await asyncio.sleep(0)
        barrier.open.set()
        assert (await task, await call) == ("Finished", None)

    asyncio.run(main())


def test_an_action_beside_which_others_could_fly_is_told_of_a_forgotten_await_too():
    @dataclass
    class Forgetful:
        def definition(self):
            return S(Step("one", lambda: None, concurrent=True), Step("two", lambda: asyncio.sleep(0, asyncio.sleep(0))))

    with pytest.raises(StepError, match="action at 'two' returned a coroutine, instead of awaiting it"):
        resume_in_a_loop(Forgetful(), State.new("r", "Forgetful"))


def test_the_outcome_of_a_concurrent_step_is_saved_though_its_consequences_fail():
    @dataclass
    class Ratio:
        amount: int = 1

        def definition(self):
            return S(Step("zero", lambda: 0, into="amount", concurrent=True), If("ratio", lambda: 1 / self.amount > 2))

    flow, state, saved = Ratio(), State.new("r", "Ratio"), []
    with pytest.raises(StepError, match="ZeroDivisionError"):
        asyncio.run(resume_async(flow, state, lambda kind: saved.append((str(kind), flow.amount)), concurrency=2))
    assert saved == [("afterResume", 1), ("afterStep", 0)]
    assert [thread.status for thread in state.threads] == ["Resuming"]


def test_what_a_concurrent_step_leads_to_is_set_up():
    class Door:
        def setup(self, request: Any) -> str:
            return "open"

    @dataclass
    class Visit:
        def definition(self):
            return S(Step("walk", lambda: None, concurrent=True), Wait("at the door", On("enter", via=Door())))

    flow, state, kinds = Visit(), State.new("r", "Visit"), []
    asyncio.run(resume_async(flow, state, lambda kind: kinds.append(str(kind)), concurrency=2))
    assert kinds == ["afterResume", "afterStep", "afterSetup"]
    assert state.threads[0].events[0].request.setup_data == "open"


@dataclass
class Picky:
    """In class style; its handler refuses, whatever happens to it."""

    notes: list[str] = field(default_factory=list)

    @classmethod
    def definition(cls):
        return S(Go("other", Wait("w", On("bad", cls.refuse))), Step("work", cls.work), Wait("end", On("end")))

    async def refuse(self) -> None:
        self.notes.append("half")
        try:
            await current().deps.pass_through("handler")
        except asyncio.CancelledError:
            raise RefusedError("not now") from None

    async def work(self) -> None:
        await current().deps.pass_through("work")


def test_a_handler_that_refuses_while_its_caller_is_cancelled_changes_nothing():
    async def main() -> None:
        flow, state = Picky(), State.new("r", "Picky")

        barrier, inner = Barrier(), Barrier()
        task = asyncio.create_task(resume_async(flow, state, deps=barrier, max_steps=1))
        await until(lambda: barrier.inside == ["work"])
        call = asyncio.create_task(handle_callback_async("bad", flow, state, deps=inner))
        await asyncio.sleep(0)
        barrier.open.set()
        await until(lambda: inner.inside == ["handler"])
        assert flow.notes == ["half"]
        call.cancel()
        assert await task == "Waiting"
        assert (flow.notes, call.cancelled()) == ([], True)

    asyncio.run(main())


# --- many threads, in random orders ---


@dataclass
class Many:
    """``plan`` has a list of steps for each thread; True is a concurrent one."""

    plan: list[list[bool]]
    log: list[list[int]] = field(default_factory=list)
    world: Any = field(default=None, metadata={"transient": True})
    inside: list[bool] = field(default_factory=list, metadata={"transient": True})

    def definition(self):
        return S(
            ForEach(
                "threads",
                lambda: range(len(self.plan)),
                Go(
                    "thread",
                    For(
                        "steps",
                        lambda thread: len(self.done(thread)) < len(self.plan[thread]),
                        If(
                            "kind",
                            lambda thread: self.plan[thread][len(self.done(thread))],
                            Step("beside", self.beside, into=self.log.append, concurrent=True),
                        ).else_(Step("alone", self.alone)),
                    ),
                    id=lambda thread: thread,
                ),
            ),
            Join("all", "thread"),
        )

    def done(self, thread: int) -> list[int]:
        return [number for of, number in self.log if of == thread]

    async def beside(self, thread: int) -> list[int]:
        seen = len(self.done(thread))
        self.inside.append(True)
        await self.world.gate(f"beside {thread}")
        self.inside.remove(True)
        assert len(self.done(thread)) == seen  # its copy stays as it was
        return [thread, seen]

    async def alone(self, thread: int) -> None:
        assert False not in self.inside  # no other plain step at the same time
        self.inside.append(False)
        before = [list(entry) for entry in self.log]
        await self.world.gate(f"alone {thread}")
        assert self.log == before  # nobody else has changed anything meanwhile
        self.inside.remove(False)
        self.log.append([thread, len(self.done(thread))])


@settings(max_examples=150, deadline=None)
@given(
    plan=st.lists(st.lists(st.booleans(), max_size=4), max_size=4),
    concurrency=st.integers(1, 4),
    data=st.data(),
)
def test_threads_beside_each_other_each_do_their_steps_in_order(plan: list[list[bool]], concurrency: int, data: Any):
    most = 0

    def choose(options: list[str]) -> int:
        nonlocal most
        most = max(most, len(flow.inside))
        return int(data.draw(st.integers(0, len(options) - 1)))

    world = World(choose)
    flow, state, saved = Many(plan), State.new("r", "Many"), []
    flow.world = world

    def save(kind: str) -> None:
        blob = dump(flow, state)
        _, again = load(Many, blob)
        assert dump(load(Many, blob)[0], again) == blob
        saved.append(blob)

    task = world.spawn(resume_async(flow, state, save, concurrency=concurrency))
    try:
        world.play()
    finally:  # hypothesis may break off where it chooses
        task.cancel()
        world.loop.run_until_idle()
    assert task.result() == "Finished"
    assert [flow.done(i) for i in range(len(plan))] == [list(range(len(steps))) for steps in plan]
    assert most <= concurrency
    assert len(saved) == 1 + sum(map(len, plan))  # the first moves, and each outcome


# --- killed wherever a process can die ---


@dataclass
class Gather:
    """Pages by number, fetched at once, with a plain step beside them."""

    pages: dict[int, str] = field(default_factory=dict)
    counted: int = 0

    def definition(self):
        return S(
            ForEach("pages", [0, 1], Go("fetch", Step("get", self.get, into=self.keep, concurrent=True), id=lambda page: page)),
            Step("count", self.count),
            Wait("more", On("more", into="counted")),
            Join("all", "fetch"),
            Return(lambda: sorted(self.pages)),
        )

    async def get(self, page: int) -> str:
        for _ in range(page + 1):
            await asyncio.sleep(0)
        return f"page {page}"

    def keep(self, text: str, page: int) -> None:
        self.pages[page] = text

    async def count(self) -> None:
        self.counted += 1
        await asyncio.sleep(0)
        self.counted += 1


@pytest.mark.parametrize("concurrency", [2, 3])
def test_killed_anywhere_with_actions_in_flight_the_run_ends_as_if_nothing_had_happened(concurrency: int):
    found = explore(Gather, [Callback("more", 7)], concurrency=concurrency)
    assert found.undisturbed.result == [0, 1]
    assert "at await 2 of action at 'get' (thread fetch:1)" in found.points
    assert "at await 1 of action at 'count' (thread main)" in found.points
    alone = explore(Gather, [Callback("more", 7)])
    assert sorted(alone.points) == sorted(found.points)  # the same instants, in another order


SEEN: list[int] = []


class Forgetting(Gather):
    """Does its work outside once, and counts on that."""

    async def get(self, page: int) -> str:
        SEEN.append(page)
        await asyncio.sleep(0)
        return f"page {page}, asked {SEEN.count(page)} times"


def make_forgetting() -> Forgetting:
    SEEN.clear()
    return Forgetting()


def test_a_failure_with_actions_in_flight_is_told_as_a_test_with_that_concurrency():
    with pytest.raises(CrashError) as caught:
        explore(make_forgetting, [Callback("more", 7)], concurrency=3)
    assert "    concurrency=3,\n" in str(caught.value)
    assert "asked 2 times" in str(caught.value)


def test_a_round_trip_after_each_wave_of_actions_changes_nothing():
    ends = []
    for round_trip in (False, True):
        harness = Harness(Gather(), round_trip=round_trip, concurrency=3)
        harness.run()
        harness.callback("more", 7)
        ends.append((harness.result, harness.workflow.pages, harness.status))
    assert ends[0] == ends[1] == ([0, 1], {0: "page 0", 1: "page 1"}, "Finished")


def test_an_action_that_ends_in_the_moment_in_which_main_does_is_dropped_for_good():
    class Page:
        async def teardown(self, request: Any, handled: bool) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    @dataclass
    class Photo:
        found: list[str] = field(default_factory=list)

        def definition(self):
            return S(
                Go("page", Wait("w", On("never", via=Page()))),
                Go("go", Step("fetch", self.fetch, into=self.found.append, concurrent=True)),
                Step("look", self.look),
            )

        async def fetch(self) -> str:
            await asyncio.sleep(0)
            current().deps.set()  # main is woken first, and ends before the end of this action is noticed
            return "too late"

        async def look(self) -> None:
            await current().deps.wait()

    async def main() -> None:
        flow, state = Photo(), State.new("r", "Photo")
        kinds: list[str] = []
        status = await resume_async(flow, state, lambda kind: kinds.append(str(kind)), deps=asyncio.Event(), concurrency=2)
        assert (status, flow.found, kinds) == ("Finished", [], ["afterResume", "afterStep", "afterTeardown"])
        assert [note["step"] for note in state.notes] == ["fetch"]

    asyncio.run(main())


def test_what_is_due_before_the_first_concurrent_step_is_set_up_first():
    class Door:
        def setup(self, request: Any) -> str:
            return "open"

    @dataclass
    class Visit:
        looked: str = ""

        def definition(self):
            return S(
                Go("guest", Wait("at the door", On("enter", via=Door()))),
                Step("look", lambda: "looked", into="looked", concurrent=True),
                Wait("end", On("end")),
            )

    flow, state, kinds = Visit(), State.new("r", "Visit"), []
    asyncio.run(resume_async(flow, state, lambda kind: kinds.append(str(kind)), concurrency=2))
    assert (flow.looked, kinds) == ("looked", ["afterResume", "afterSetup", "afterStep"])


def test_an_object_that_cannot_be_copied_is_refused_before_a_concurrent_step():
    @dataclass
    class Single:
        def definition(self):
            return Step("go", print, concurrent=True)

        def __copy__(self):
            raise TypeError("there is only one")

    with pytest.raises(
        StateError,
        match=r"run 'r', thread 'main', step 'go': copying a Single .* raised TypeError: there is only one",
    ):
        resume(Single(), State.new("r", "Single"))


# --- timers beside actions in flight ---


class Closed:
    def setup(self, request: Any) -> None:
        raise OSError("closed")


@dataclass
class Hasty:
    """An answer that may take longer than anybody wants to wait."""

    after: timedelta
    via: Any = field(default=None, metadata={"transient": True})
    sleeps: bool = False
    world: Any = field(default=None, metadata={"transient": True})

    def definition(self):
        return S(
            Go("asker", Step("ask", self.ask, concurrent=True)),
            If("sleeps", self.sleeps, Sleep("nap", self.after)).else_(
                Wait("patience", On("enough", via=self.via), Timeout("late", self.after))
            ),
            Step("give up", lambda: None),
            Return("late"),
        )

    async def ask(self) -> None:
        if self.world is None:
            await asyncio.Event().wait()
        else:
            await self.world.gate("ask")


def test_a_timer_fires_while_only_actions_in_flight_go_on():
    flow, state, saves = Hasty(timedelta(milliseconds=5)), State.new("r", "Hasty"), []

    async def main() -> None:
        async with asyncio.timeout(60):
            await resume_async(flow, state, lambda kind: saves.append(str(kind)), concurrency=2)

    asyncio.run(main())
    assert (state.status, state.result) == ("Finished", "late")
    assert saves == ["afterResume", "afterResume", "afterStep"]
    assert [note["step"] for note in state.notes] == ["ask"]


class Eager(Loop):
    """Its alarms ring too early, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms: list[float] = []

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        self.alarms.append(delay)
        self.call_soon(callback, *args)
        return asyncio.Future(loop=self)  # type: ignore[arg-type] # something that can be cancelled


def eagerly(flow: Hasty, state: State, now: datetime | None = None) -> tuple[list[float], BaseException | None]:
    """Resume where alarms ring too early; the action in flight ends when nothing else can happen."""
    flow.world = World(lambda options: 0)
    flow.world.loop = loop = Eager()
    task = flow.world.spawn(resume_async(flow, state, concurrency=2, now=now))
    flow.world.play()
    return loop.alarms, task.exception()


def test_an_alarm_that_rings_too_early_is_set_again():
    flow, state = Hasty(timedelta(milliseconds=5)), State.new("r", "Hasty")
    alarms, error = eagerly(flow, state)
    assert (error, state.status, state.result) == (None, "Finished", "late")
    assert len(alarms) > 1
    assert all(0 <= seconds <= 0.005 for seconds in alarms)


def test_with_a_given_now_no_timer_fires_beside_actions_in_flight():
    flow, state = Hasty(timedelta(milliseconds=5)), State.new("r", "Hasty", START)
    assert eagerly(flow, state, START) == ([], None)
    assert (state.status, state.wake_at) == ("Waiting", START + timedelta(milliseconds=5))


def test_the_next_try_of_a_setup_is_no_timer():
    class Patient(Hasty):
        def definition(self):
            return S(Go("asker", Step("ask", self.ask, concurrent=True)), Wait("patience", On("enough", via=self.via)))

    alarms, error = eagerly(Patient(timedelta(), Closed()), State.new("r", "Patient"))
    assert alarms == []
    assert isinstance(error, SetupError)


def test_a_timer_fires_beside_a_setup_that_failed():
    state = State.new("r", "Hasty")
    alarms, error = eagerly(Hasty(timedelta(milliseconds=5), Closed()), state)
    assert alarms
    assert isinstance(error, SetupError)
    assert state.result == "late"


def test_a_sleep_is_over_beside_actions_in_flight():
    flow, state = Hasty(timedelta(milliseconds=5), sleeps=True), State.new("r", "Hasty")
    assert eagerly(flow, state)[1] is None
    assert state.result == "late"


def test_a_sleep_is_over_beside_a_teardown_that_failed_and_actions_in_flight():
    class Open:
        def teardown(self, request: Any, handled: bool) -> None:
            raise OSError("stuck")

    class Napping(Hasty):
        def definition(self):
            return S(
                Go("asker", Step("ask", self.ask, concurrent=True)),
                Wait("door", On("enter", via=self.via)),
                Sleep("nap", self.after),
                Return("late"),
            )

    flow, state = Napping(timedelta(milliseconds=5), Open()), State.new("r", "Napping")

    async def enter() -> None:
        await resume_async(flow, state, max_steps=0)
        await handle_callback_async("enter", flow, state)

    asyncio.run(enter())
    alarms, error = eagerly(flow, state)
    assert (error, state.result) == (None, "late")
    assert alarms
    assert state.threads[0].events[0].status == "TeardownError"
