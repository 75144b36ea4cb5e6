"""The life of an event with something outside: set up, torn down, failing, tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstmt import (
    ANY,
    Branch,
    Break,
    CallbackRequest,
    CheckpointType,
    ErrorInfo,
    Fail,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Parallel,
    Return,
    S,
    SetupError,
    Sleep,
    Statement,
    Step,
    StepError,
    Timeout,
    Try,
    Wait,
    WaitEvent,
    WaitFor,
    WorkflowStatus,
    current,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.core.state import State
from flowstmt.testing import START, Advance, Callback, Harness, explore
from tests.core.orders import workflow

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class World:
    """Everything outside of the runs of a test: what was called, and what fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.broken: set[str] = set()
        self.requests: dict[str, CallbackRequest] = {}

    def desk(self, kind: str = "desk") -> Desk:
        return Desk(self, kind)

    def call(self, *what: Any) -> None:
        self.calls.append(what)
        if {str(what[0]), f"{what[0]} {what[1]}"} & self.broken:
            raise ConnectionError(f"{what[0]} is down")


class Desk:
    def __init__(self, world: World, kind: str) -> None:
        self.world = world
        self.type = kind

    def setup(self, request: CallbackRequest) -> str:
        self.world.requests[request.name] = request
        self.world.call("setup", request.name)
        return f"{request.name} is open"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self.world.call("teardown", request.name, request.setup_data, handled)


class Disk:
    """A run of one tree, saved at every checkpoint, under a clock that the test moves."""

    def __init__(self, tree: Any, world: World | None = None) -> None:
        @dataclass
        class Work:
            log: list[str] = field(default_factory=list)
            n: int = 0

            def definition(self) -> Statement:
                return tree(self)

        self.workflow, self.state = Work(), State.new("run", "Work", START)
        self.world = world or World()
        self.now: datetime = START
        self.kinds: list[str] = []
        self.blob = dump(self.workflow, self.state)

    def save(self, kind: CheckpointType | None = None) -> None:
        self.kinds.append(str(kind))
        self.blob = dump(self.workflow, self.state)

    def resume(self) -> WorkflowStatus:
        return resume(self.workflow, self.state, self.save, now=self.now)

    def failing(self) -> SetupError:
        with pytest.raises(SetupError) as caught:
            self.resume()
        return caught.value

    def callback(self, request: Any, payload: Any = None) -> Any:
        output = handle_callback(request, self.workflow, self.state, payload, now=self.now)
        self.save()
        return output

    def reload(self) -> None:
        self.workflow, self.state = load(type(self.workflow), self.blob)

    @property
    def events(self) -> list[WaitEvent]:
        return [event for thread in self.state.threads for event in thread.events]

    @property
    def statuses(self) -> list[str]:
        return [f"{event.name} {event.status}" for event in self.events]


def two(world: World) -> Any:
    return lambda work: S(
        Wait("w", On("a", via=world.desk("phone")), On("b", via=world.desk())),
        Step("after", lambda: work.log.append("after")),
    )


def start(world: World, tree: Any = None) -> Disk:
    return Disk(tree or two(world), world)


def test_a_setup_is_saved_as_pending_before_it_is_called_and_as_done_after():
    world = World()
    disk = start(world)
    seen: list[list[str]] = []

    def look(*what: Any) -> None:
        _, state = load(type(disk.workflow), disk.blob)
        seen.append([str(event.status) for event in state.threads[0].events])

    world.call = look  # type: ignore[method-assign]
    disk.resume()
    assert seen == [["PendingSetup", "PendingSetup"], ["Setup", "PendingSetup"]]
    assert disk.statuses == ["a Setup", "b Setup"]
    assert disk.kinds == ["afterResume", "afterSetup", "afterSetup"]
    assert [event.type for event in disk.events] == ["phone", "desk"]


def test_a_teardown_is_saved_as_pending_before_it_is_called():
    world = World()
    disk = start(world)
    disk.resume()
    snapshots: list[Any] = []
    world.call = lambda *what: snapshots.append((what, load(type(disk.workflow), disk.blob)[1].threads[0].events))  # type: ignore[method-assign]
    disk.callback("a")
    assert disk.statuses == ["a PendingTeardown", "b PendingTeardown"]
    assert disk.state.wake_at == disk.now
    disk.resume()
    assert [(what, [str(e.status) for e in events]) for what, events in snapshots] == [
        (("teardown", "a", "a is open", True), ["PendingTeardown", "PendingTeardown"]),
        (("teardown", "b", "b is open", False), ["PendingTeardown"]),
    ]
    assert disk.kinds[-4:] == ["afterResume", "afterTeardown", "afterTeardown", "afterStep"]


def test_requests_handed_to_a_setup_can_be_used_for_the_callback():
    world = World()
    disk = start(world)
    disk.resume()
    request = world.requests["b"]
    thread = disk.state.threads[0]
    assert (request.name, request.thread_id, request.pc, request.birth, request.run_id) == (
        "b",
        "main",
        thread.pc,
        thread.birth,
        "run",
    )
    assert request.setup_data is None
    disk.callback(CallbackRequest(request.name, request.thread_id, request.pc, request.birth, request.run_id))
    assert disk.resume() == "Finished"
    assert ("teardown", "b", "b is open", True) in world.calls


def test_a_sibling_that_fires_before_the_setups_ran_tears_them_down_without_setup_data():
    world = World()
    disk = start(world)
    world.call = lambda *what: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        disk.resume()
    del world.call
    disk.reload()
    assert disk.statuses == ["a PendingSetup", "b PendingSetup"]
    disk.callback("a")
    assert disk.resume() == "Finished"
    assert world.calls == [("teardown", "a", None, True), ("teardown", "b", None, False)]


def test_a_setup_that_fails_is_kept_and_its_siblings_are_set_up():
    world = World()
    world.broken = {"setup a"}
    disk = start(world)
    error = disk.failing()
    assert world.calls == [("setup", "a"), ("setup", "b")]
    assert disk.statuses == ["a SetupError", "b Setup"]
    assert disk.events[0].error == ErrorInfo("ConnectionError", "setup is down", "w", 1)
    assert disk.kinds == ["afterResume", "afterSetup", "afterSetup"]
    assert isinstance(error.__cause__, ConnectionError)
    assert len(error.failures) == 1
    for part in ("run 'run'", "thread 'main'", "wait 'w'", "event 'a'", "ConnectionError: setup is down"):
        assert part in error.failures[0]
        assert part in str(error)


def test_every_resume_tries_a_setup_once_more_and_says_when_it_would():
    world = World()
    world.broken = {"setup a"}
    disk = start(world)
    waits: list[timedelta] = []
    for attempt in range(1, 13):
        disk.failing()
        assert world.calls.count(("setup", "a")) == attempt
        assert disk.events[0].error is not None
        assert disk.events[0].error.attempts == attempt
        assert disk.state.wake_at is not None
        assert disk.state.wake_at == disk.events[0].due_at
        waits.append(disk.state.wake_at - disk.now)
        disk.reload()
        disk.now += HOUR
    assert waits[:4] == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert waits[-1] == waits[-2] == timedelta(minutes=5)
    assert world.calls.count(("setup", "b")) == 1
    world.broken.clear()
    assert disk.resume() == "Waiting"
    assert disk.statuses == ["a Setup", "b Setup"]
    assert disk.events[0].error is None
    assert disk.events[0].due_at is None
    assert disk.state.wake_at is None


def test_the_backoff_is_not_waited_for():
    world = World()
    world.broken = {"setup a"}
    disk = start(world)
    disk.failing()
    world.broken.clear()
    assert disk.resume() == "Waiting"
    assert disk.statuses == ["a Setup", "b Setup"]


def test_a_setup_error_is_raised_after_all_else_is_done():
    world = World()
    world.broken = {"setup"}
    disk = start(
        world, lambda work: S(Go("t", *[Step(f"s{i}", lambda: work.log.append("s")) for i in range(3)]), two(world)(work))
    )
    error = disk.failing()
    assert disk.workflow.log == ["s", "s", "s"]
    assert len(error.failures) == 2
    assert dump(disk.workflow, disk.state) == disk.blob
    assert disk.state.status == "Waiting"


def test_a_setup_error_of_a_run_that_has_finished_meanwhile_is_raised_too():
    world = World()
    world.broken = {"setup"}
    disk = start(world, lambda work: S(Go("t", two(world)(work)), Step("s1", lambda: None), Step("s2", lambda: None)))
    disk.failing()
    assert disk.state.status == "Finished"
    assert world.calls[-2:] == [("teardown", "a", None, False), ("teardown", "b", None, False)]


def test_an_event_can_be_called_before_its_setup_worked_and_is_torn_down():
    world = World()
    world.broken = {"setup a"}
    disk = start(world)
    disk.failing()
    disk.callback("a")
    assert disk.resume() == "Finished"
    assert world.calls[2:] == [("teardown", "a", None, True), ("teardown", "b", "b is open", False)]


def test_a_failing_teardown_is_kept_and_does_not_stop_the_run():
    world = World()
    disk = start(world, lambda work: S(two(world)(work), Wait("v", On("end"))))
    disk.resume()
    world.broken = {"teardown a"}
    disk.callback("b")
    assert disk.resume() == "Waiting"
    assert disk.workflow.log == ["after"]
    assert disk.statuses == ["a TeardownError", "end Setup"]
    assert disk.events[0].error == ErrorInfo("ConnectionError", "teardown is down", "w", 1)
    assert disk.state.wake_at == disk.now + SECOND
    disk.reload()
    disk.now += HOUR
    disk.resume()
    assert disk.events[0].error.attempts == 2
    assert disk.state.wake_at == disk.now + 2 * SECOND
    world.broken.clear()
    disk.resume()
    assert disk.statuses == ["end Setup"]
    assert disk.state.wake_at is None
    assert world.calls.count(("teardown", "a", "a is open", False)) == 3


def test_an_event_whose_teardown_failed_once_is_not_torn_down_again_by_its_siblings_end():
    world = World()
    disk = start(world, lambda work: For("l", Wait("w", On("again", via=world.desk()), On("stop", None, Break()))))
    disk.resume()
    world.broken = {"teardown"}
    disk.callback("again")
    disk.resume()
    assert disk.statuses == ["again TeardownError", "again Setup", "stop Setup"]
    disk.callback("again")
    assert disk.statuses == ["again TeardownError", "again PendingTeardown"]
    disk.resume()
    assert disk.statuses == ["again TeardownError", "again TeardownError", "again Setup", "stop Setup"]
    # Each of them is one of its own: both are tried by one resume.
    tried = len(world.calls)
    disk.reload()
    disk.resume()
    assert len(world.calls) == tried + 2
    world.broken.clear()
    disk.resume()
    assert disk.statuses == ["again Setup", "stop Setup"]
    assert [event.request.pc for event in disk.events] == [3, 3]


def test_a_callback_fires_the_round_that_waits_not_the_one_still_to_be_torn_down():
    world = World()
    world.broken = {"teardown"}
    got: list[Any] = []

    class Both(Desk):
        def handle(self, request: CallbackRequest, payload: Any) -> None:
            got.append((request.pc, request.setup_data, payload))

    both = Both(world, "both")
    disk = start(world, lambda work: For("l", Wait("w", On("again", both), On("stop", None, Break()))))
    disk.resume()
    for payload in range(3):
        disk.callback("again", payload)
        disk.resume()
    assert got == [(1, "again is open", 0), (2, "again is open", 1), (3, "again is open", 2)]


def test_a_thread_that_ended_stays_until_its_events_are_torn_down_and_its_id_is_free():
    world = World()
    world.broken = {"teardown"}
    disk = start(
        world,
        lambda work: S(
            For(
                "l",
                lambda: work.n < 2,
                Go("t", Wait("w", On("e", lambda: setattr(work, "n", work.n + 1), via=world.desk()))),
                Join("j", "t"),
            ),
            Wait("v", On("end")),
        ),
    )
    disk.resume()
    for _ in range(2):
        disk.callback("e")
        disk.resume()
        disk.reload()
    assert [(thread.id, str(thread.status)) for thread in disk.state.threads] == [
        ("main", "WaitingEvent"),
        ("t", "Ended"),
        ("t", "Ended"),
    ]
    assert len({thread.birth for thread in disk.state.threads}) == 3
    world.broken.clear()
    disk.resume()
    assert [thread.id for thread in disk.state.threads] == ["main"]


def test_resume_of_a_run_that_is_over_tears_down_what_is_left():
    world = World()
    disk = start(
        world,
        lambda work: S(Go("t", Wait("v", On("x", via=world.desk()))), Wait("w", On("a", None, Return(5), via=world.desk()))),
    )
    disk.resume()
    world.broken = {"teardown"}
    disk.callback("a")
    assert disk.resume() == "Finished"
    assert disk.statuses == ["a TeardownError", "x TeardownError"]
    assert disk.state.wake_at == disk.now + SECOND
    disk.reload()
    assert disk.resume() == "Finished"
    world.broken = {"teardown a"}
    disk.reload()
    assert disk.resume() == "Finished"
    assert disk.statuses == ["a TeardownError"]
    world.broken.clear()
    assert disk.resume() == "Finished"
    assert disk.state.threads == []
    assert disk.state.wake_at is None
    assert disk.state.result == 5
    before = disk.blob, len(disk.kinds)
    assert disk.resume() == "Finished"
    assert (disk.blob, len(disk.kinds)) == before


def test_a_run_that_ends_before_its_teardowns_ran_can_be_woken_at_once():
    world = World()
    disk = start(world, lambda work: Wait("w", On("a", via=world.desk())))
    disk.resume()
    disk.callback("a")
    world.call = lambda *what: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        disk.resume()
    disk.reload()
    assert disk.state.status == "Finished"
    assert disk.state.wake_at == disk.now


def test_a_timeout_that_fires_tears_down_its_siblings():
    world = World()
    disk = start(world, lambda work: Wait("w", On("a", via=world.desk()), Timeout("late", HOUR)))
    disk.resume()
    assert disk.state.wake_at == START + HOUR
    disk.now += HOUR
    disk.resume()
    assert world.calls == [("setup", "a"), ("teardown", "a", "a is open", False)]


def test_the_earliest_of_timers_and_backoffs_wakes_the_run():
    world = World()
    world.broken = {"setup"}
    disk = start(world, lambda work: Wait("w", On("a", via=world.desk()), Timeout("late", 3 * SECOND)))
    disk.failing()
    assert disk.state.wake_at == START + SECOND
    disk.failing()
    assert disk.state.wake_at == START + 2 * SECOND
    disk.failing()
    assert disk.state.wake_at == START + 3 * SECOND


def test_a_pending_teardown_whose_event_is_gone_from_the_definition_is_a_teardown_error_and_no_stop():
    world = World()
    old = start(world, lambda work: S(Wait("w", On("a", via=world.desk()), On("b")), Wait("v", On("end"))))
    old.resume()
    world.broken = {"teardown"}
    old.callback("a")
    old.resume()
    for tree in (
        lambda work: S(Wait("w", On("b")), Wait("v", On("end"))),
        lambda work: Wait("v", On("end")),
        lambda work: S(Step("w", lambda: None), Wait("v", On("end"))),
        lambda work: S(Wait("w", On("a"), On("b")), Wait("v", On("end"))),
        lambda work: S(Wait("w", Timeout("a", HOUR), On("b")), Wait("v", On("end"))),
    ):
        new = Disk(tree, world)
        new.workflow, new.state = load(type(new.workflow), old.blob)
        assert new.resume() == "Waiting"
        assert new.statuses == ["a TeardownError", "end Setup"]
        assert new.events[0].error is not None
        assert new.events[0].error.type == "LookupError"
        for part in ("no teardown", "event 'a'", "Wait 'w'", "bring it back"):
            assert part in new.events[0].error.message
    world.broken.clear()
    old.resume()
    assert old.statuses == ["end Setup"]


@pytest.mark.parametrize(
    ("returned", "why"),
    [(5, "TypeError: setup must return a text or None, not an int"), ("\ud800", "UnicodeEncodeError: ")],
)
def test_what_setup_returns_must_be_text_or_none(returned: Any, why: str):
    world = World()

    class Wrong(Desk):
        def setup(self, request: CallbackRequest) -> Any:
            return returned

    disk = start(world, lambda work: Wait("w", On("a", via=Wrong(world, "wrong"))))
    error = disk.failing()
    assert why in str(error)
    assert disk.statuses == ["a SetupError"]
    disk.reload()
    assert disk.statuses == ["a SetupError"]


def test_a_handler_object_is_function_and_via_at_once_and_its_type_is_its_class():
    world = World()
    got: list[Any] = []

    class Ticket:
        def setup(self, request: CallbackRequest) -> str:
            return "number 7"

        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            got.append(("teardown", request.setup_data, handled))

        def handle(self, request: CallbackRequest, payload: Any) -> str:
            got.append((request.name, request.setup_data, payload, current().kind))
            return "thanks"

    disk = start(world, lambda work: Wait("w", On("a", Ticket())))
    disk.resume()
    assert disk.events[0].type == "Ticket"
    assert disk.callback("a", b'{"raw": 1}') == "thanks"
    disk.resume()
    assert got == [("a", "number 7", b'{"raw": 1}', "handler"), ("teardown", "number 7", True)]


def test_a_handler_object_that_raises_is_refused_like_a_function():
    class Ticket:
        def handle(self, request: CallbackRequest, payload: Any) -> None:
            raise ValueError("no")

    disk = start(World(), lambda work: Wait("w", On("a", Ticket())))
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(ValueError, match="no"):
        disk.callback("a")
    assert dump(disk.workflow, disk.state) == before


def test_an_event_without_via_is_neither_set_up_nor_torn_down():
    disk = start(World(), lambda work: Wait("w", On("a"), On("b", lambda: None)))
    disk.resume()
    assert disk.kinds == ["afterResume"]
    assert [event.type for event in disk.events] == ["", ""]
    disk.callback("a")
    assert disk.events == []


def test_the_trace_of_a_harness_tells_of_setups_that_failed():
    world = World()
    world.broken = {"setup a"}
    harness = Harness(Disk(two(world), world).workflow)
    harness.run()
    assert any(line.startswith("SetupError: run 'run'") for line in harness.trace)
    assert harness.advance(2 * SECOND) == "Waiting"
    assert world.calls.count(("setup", "a")) == 3
    world.broken.clear()
    harness.advance(5 * SECOND)
    assert [str(event.status) for event in harness.state.threads[0].events] == ["Setup", "Setup"]


SCRIPTS: list[Sequence[Callback | Advance]] = [
    [Callback("again"), Callback("again"), Callback("stop")],
    [Callback("again"), Advance(HOUR)],
    [Advance(HOUR / 2), Callback("again"), Advance(HOUR)],
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_crash_leaves_anything_outside(script: Sequence[Callback | Advance]):
    """Setups and teardowns are idempotent here, as they should be; then nothing is left, wherever the run was killed."""
    worlds: list[set[Any]] = []

    class Outside:
        def setup(self, request: CallbackRequest) -> str:
            current().deps.add((request.birth, request.pc, request.name))
            return "open"

        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            current().deps.discard((request.birth, request.pc, request.name))

    def make_world() -> set[Any]:
        worlds.append(set())
        return worlds[-1]

    def tree(work: Any) -> Statement:
        return S(
            Go("beside", Wait("b", On("x", via=Outside()))),
            For(
                "l",
                Wait(
                    "w",
                    On("again", lambda: work.log.append("again"), via=Outside()),
                    On("stop", None, Break(), via=Outside()),
                    Timeout("late", HOUR, Return("late")),
                ),
            ),
        )

    cls = type(Disk(tree).workflow)
    found = explore(cls, script, deps=make_world)
    assert found.undisturbed.status == "Finished"
    assert len(worlds) == len(found.points) + 1
    assert not any(worlds)


# --- what a setup does to the data ---


class Writes:
    """A setup that writes what it got into the data, and may fail after that."""

    def __init__(self, work: Any, fails: bool = False) -> None:
        self.work = work
        self.fails = fails

    def setup(self, request: CallbackRequest) -> None:
        self.work.n = 5
        if self.fails:
            raise OSError("down")


def test_an_action_after_a_setup_sees_the_data_that_the_setup_left_crash_or_no_crash():
    def tree(work: Any) -> Statement:
        n = work.n
        return S(Go("t", Step("s", lambda: work.log.append(str(n)))), Wait("w", On("e", via=Writes(work))))

    explore(type(Disk(tree).workflow), [Callback("e")])


def test_a_condition_that_a_setup_made_true_lets_its_thread_go_on():
    disk = Disk(lambda work: S(Go("t", Wait("w", On("e", via=Writes(work)))), WaitFor("c", lambda: work.n == 5)))
    disk.resume()
    assert disk.state.status == "Finished" or disk.state.wake_at is not None


def test_a_setup_that_failed_leaves_no_half_of_its_changes():
    disk = Disk(lambda work: Wait("w", On("e", via=Writes(work, fails=True))))
    disk.failing()
    disk.reload()
    assert disk.workflow.n == 0


def test_an_event_that_has_lost_its_setup_needs_none():
    world = World()
    world.broken = {"setup"}
    disk = start(world, lambda work: Wait("w", On("a", via=world.desk())))
    disk.failing()
    new = Disk(lambda work: Wait("w", On("a")), world)
    new.workflow, new.state = load(type(new.workflow), disk.blob)
    assert new.resume() == "Waiting"


def test_a_setup_that_leads_to_a_condition_that_raises_is_saved_without_its_consequences():
    disk = Disk(lambda work: S(Go("t", Wait("w", On("e", via=Writes(work)))), WaitFor("c", lambda: 1 / (5 - work.n) < 0)))
    with pytest.raises(StepError, match="WaitFor 'c': its condition raised ZeroDivisionError"):
        disk.resume()
    assert disk.kinds == ["afterResume", "afterSetup"]
    disk.reload()
    assert disk.workflow.n == 5
    assert disk.statuses == ["e Setup"]


def test_a_run_with_a_step_to_do_is_due_at_once_though_what_a_setup_led_to_failed():
    disk = Disk(
        lambda work: S(
            Go("t", Wait("w", On("e", via=Writes(work)))),
            Go("u", WaitFor("c", lambda: 1 / (5 - work.n) < 0)),
            Step("s", lambda: work.log.append("s")),
        )
    )
    with pytest.raises(StepError, match="WaitFor 'c': its condition raised ZeroDivisionError"):
        disk.resume()
    disk.reload()
    # Or whoever looks for what is due would never see it again.
    assert (disk.state.status, disk.state.wake_at) == ("Resuming", START)
    assert disk.state.threads[0].status == "Executing"


def test_data_that_cant_be_copied_fails_the_setup_that_could_not_be_undone():
    world = World()

    class NoCopy:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("one of a kind")

    @dataclass
    class Unique:
        thing: Any = field(default_factory=NoCopy)

        def definition(self) -> Statement:
            return Wait("w", On("a", via=world.desk()))

    with pytest.raises(SetupError, match=r"Unique.thing can't be copied \(TypeError: one of a kind\)"):
        resume(Unique(), State.new("run", "Unique"))
    assert world.calls == []


def test_what_a_setup_does_to_its_request_does_not_change_the_event():
    class Rude:
        def setup(self, request: CallbackRequest) -> None:
            request.name, request.pc = "another", 99

        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            assert (request.name, request.pc) == ("a", 1)

    disk = Disk(lambda work: Wait("w", On("a", via=Rude())))
    disk.resume()
    disk.callback("a")
    assert disk.resume() == "Finished"
    assert disk.events == []


class EnoughError(BaseException):
    """Ends a test that would not end."""


def test_a_wait_in_a_loop_whose_timeout_is_over_before_its_setup_returns_does_not_keep_resume_from_returning():
    calls: list[int] = []

    class Slow:
        def setup(self, request: CallbackRequest) -> None:
            calls.append(1)
            if len(calls) > 100:
                raise EnoughError

    disk = Disk(lambda work: For("l", Wait("w", On("e", via=Slow()), Timeout("t", timedelta(microseconds=1)))))
    resume(disk.workflow, disk.state, disk.save, max_steps=3)


def test_a_timeout_that_leads_to_a_condition_that_fails_leaves_its_siblings_set_up():
    def broken() -> bool:
        raise OSError("out of order")

    world = World()
    disk = start(
        world, lambda work: S(Wait("w", On("a", via=world.desk()), Timeout("late", HOUR)), If("c", broken, Wait("v", On("b"))))
    )
    disk.resume()
    before, disk.now = disk.blob, START + 2 * HOUR
    with pytest.raises(StepError, match="Case 'c': its condition raised OSError"):
        disk.resume()
    assert dump(disk.workflow, disk.state) == before
    assert world.calls == [("setup", "a")]


def test_an_event_to_be_torn_down_carries_neither_the_error_of_its_setup_nor_its_next_try():
    world = World()
    world.broken = {"setup"}
    disk = start(world)
    disk.failing()
    assert all(event.error and event.due_at for event in disk.events)
    disk.callback("a")
    assert [(event.status, event.handled, event.error, event.due_at) for event in disk.events] == [
        ("PendingTeardown", True, None, None),
        ("PendingTeardown", False, None, None),
    ]


def test_a_thread_that_ended_holds_nothing_but_its_events():
    world = World()
    world.broken = {"teardown"}
    disk = start(
        world,
        lambda work: S(
            Go("loops", ForEach("l", [1], Wait("w", On("a", via=world.desk())))),
            Go("sleeps", Wait("x", On("b", via=world.desk())), Sleep("z", HOUR)),
            Go("fired", Wait("y", On("c", via=world.desk()), On("d"))),
            Wait("u", On("end")),
        ),
    )
    disk.resume()
    disk.callback("b")
    disk.resume()
    disk.callback("end")
    disk.callback("d")
    assert disk.resume() == "Finished"
    assert [
        (thread.id, str(thread.status), thread.event, thread.due_at, thread.frames, len(thread.events))
        for thread in disk.state.threads
    ] == [(name, "Ended", None, None, [], 1) for name in ("loops", "sleeps", "fired")]


def test_the_type_of_an_event_is_kept_as_text():
    class Numbered(Desk):
        def __init__(self, world: World) -> None:
            super().__init__(world, "numbered")
            self.type: Any = 7

    world = World()
    disk = start(world, lambda work: Wait("w", On("a", via=Numbered(world)), On("b"), Timeout("late", HOUR)))
    disk.resume()
    assert [event.type for event in disk.events] == ["7", "", "Timeout"]
    disk.reload()
    assert [event.type for event in disk.events] == ["7", "", "Timeout"]


def test_every_event_in_error_is_tried_once_by_each_resume():
    world = World()
    world.broken = {"setup"}
    disk = start(world)
    for _ in range(2):
        disk.failing()
    assert world.calls == [("setup", "a"), ("setup", "b")] * 2


def test_the_next_try_of_a_setup_is_no_timer_of_its_wait():
    world = World()
    world.broken = {"setup"}
    disk = start(world, lambda work: Wait("w", On("a", via=world.desk()), Timeout("late", HOUR)))
    disk.failing()
    disk.now += 10 * SECOND
    disk.failing()
    assert disk.statuses == ["a SetupError", "late Setup"]
    assert disk.state.threads[0].status == "WaitingEvent"


def test_a_teardown_still_to_be_done_when_the_next_wait_ends_knows_whether_its_event_fired():
    world = World()
    disk = start(world, lambda work: S(Wait("w", On("a", via=world.desk())), Wait("v", On("b")), Wait("u", On("c"))))
    disk.resume()
    disk.callback("a")

    def die(kind: CheckpointType) -> None:
        disk.save(kind)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume(disk.workflow, disk.state, die, now=disk.now)
    disk.reload()
    assert disk.statuses == ["a PendingTeardown", "b Setup"]
    disk.callback("b")
    disk.resume()
    assert world.calls == [("setup", "a"), ("teardown", "a", "a is open", True)]


def test_a_run_whose_condition_raises_after_a_setup_is_due_at_once():
    class Breaks:
        def __init__(self, work: Any) -> None:
            self.work = work

        def setup(self, request: CallbackRequest) -> None:
            self.work.kept = 0

    tree = lambda w: S(Go("g", WaitFor("c", lambda: 1 / w.kept > 2)), Wait("w", On("e", via=Breaks(w))))  # noqa: E731
    work, state = workflow(tree)(kept=1), State.new("run-1", "Order", START)
    with pytest.raises(StepError, match="division by zero"):
        resume(work, state, now=START)
    assert (state.status, state.wake_at) == ("Resuming", START)
    work.kept = 1
    work, state = load(workflow(tree), dump(work, state))
    kinds: list[str] = []
    assert resume(work, state, kinds.append, now=START) == "Waiting"
    assert (state.wake_at, kinds) == (None, ["afterResume"])  # else it would be due for ever


def test_a_branch_that_is_not_needed_any_more_is_cleaned_up_after_though_no_round_had_to_look_at_it():
    world = World()
    disk = Disk(
        lambda work: S(
            Parallel(
                "both",
                Branch("slow", Wait("w", On("e", via=world.desk()))),
                Branch("quick", Sleep("nap", HOUR)),
                join=ANY,
            ),
            Step("after", lambda: work.log.append("after")),
        ),
        world,
    )
    disk.resume()
    disk.now += HOUR
    disk.resume()
    assert [call[:2] for call in world.calls] == [("setup", "e"), ("teardown", "e")]
    assert (disk.state.status, disk.workflow.log) == ("Finished", ["after"])


def test_a_branch_whose_sibling_failed_is_cleaned_up_after_though_no_round_had_to_look_at_it():
    world = World()
    disk = Disk(
        lambda work: Try(
            "t",
            Parallel(
                "both",
                Branch("slow", Wait("w", On("e", via=world.desk()))),
                Branch("bad", Wait("v", On("go")), Fail("lost", "gone")),
            ),
        ).catch("ParallelError", Step("caught", lambda: work.log.append("caught"))),
        world,
    )
    disk.resume()
    disk.callback("go")
    disk.resume()
    assert [call[:2] for call in world.calls] == [("setup", "e"), ("teardown", "e")]
    assert (disk.state.status, disk.workflow.log) == ("Finished", ["caught"])
