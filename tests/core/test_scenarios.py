"""What naive builds get wrong: decisions across a crash, keys and births in loops, whoever raises or is cancelled, SIGKILL."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowstmt import (
    Break,
    CallbackRequest,
    CheckpointType,
    ConflictError,
    DefinitionError,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    SetupError,
    StaleCallbackError,
    State,
    Step,
    StepError,
    Timeout,
    Wait,
    WaitFor,
    WorkflowStatus,
    current,
    drive,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
)
from flowstmt.testing import START, Advance, Callback, Harness, explore

HOUR = timedelta(hours=1)


class Disk:
    """Keeps the last snapshot, as a ``save`` does."""

    def __init__(self, workflow: Any, state: State) -> None:
        self.workflow, self.state = workflow, state
        self.kinds: list[CheckpointType] = []
        self.blob = dump(workflow, state)

    def save(self, kind: CheckpointType) -> None:
        self.kinds.append(kind)
        self.blob = dump(self.workflow, self.state)

    def load(self) -> Disk:
        """Another process."""
        workflow, state = load(type(self.workflow), self.blob)
        return Disk(workflow, state)

    def resume(self, **options: Any) -> WorkflowStatus:
        return resume(self.workflow, self.state, self.save, now=START, **options)


def begin(workflow: Any) -> Disk:
    return Disk(workflow, State.new("run", type(workflow).__name__, START))


def positions(state: State) -> list[tuple[str, str, str]]:
    return [(thread.id, str(thread.status), thread.position) for thread in state.threads]


# --- (a) the decision taken before a crash stands ---


@dataclass
class Decided:
    vip: bool = False
    log: list[str] = field(default_factory=list)
    crashes: int = field(default=0, metadata={"transient": True})

    def definition(self):
        return S(
            Go("promote", Wait("promotion", On("promote", self.promote))),
            Wait("order", On("order")),
            If("vip", self.vip, Step("gift", lambda: self.note("gift"))).else_(Step("bill", lambda: self.note("bill"))),
        )

    def promote(self):
        self.vip = True

    def note(self, what):
        if self.crashes:
            raise KeyboardInterrupt
        self.log.append(what)


def test_a_decision_that_was_saved_stands_though_a_callback_lands_between_a_crash_and_the_reload():
    first = begin(Decided(crashes=1))
    first.resume()
    handle_callback("order", first.workflow, first.state, now=START)
    with pytest.raises(KeyboardInterrupt):
        first.resume()
    second = first.load()
    assert positions(second.state)[0] == ("main", "Executing", "bill")
    handle_callback("promote", second.workflow, second.state, now=START)
    assert second.workflow.vip
    assert second.resume() == "Finished"
    assert second.workflow.log == ["bill"]


def test_a_decision_that_follows_a_step_is_saved_with_its_outcome():
    @dataclass
    class Stepped(Decided):
        def definition(self):
            return S(
                Go("promote", Wait("promotion", On("promote", self.promote))),
                Step("prepare", lambda: None),
                If("vip", self.vip, Step("gift", lambda: self.note("gift"))).else_(Step("bill", lambda: self.note("bill"))),
            )

    first = begin(Stepped(crashes=1))
    with pytest.raises(KeyboardInterrupt):
        first.resume()
    second = first.load()
    handle_callback("promote", second.workflow, second.state, now=START)
    second.resume()
    assert second.workflow.log == ["bill"]


def test_a_decision_after_a_timer_is_saved_before_its_action():
    @dataclass
    class Timed(Decided):
        def definition(self):
            return S(
                Go("promote", Wait("promotion", On("promote", self.promote))),
                Wait("patience", Timeout("late", HOUR)),
                If("vip", self.vip, Step("gift", lambda: self.note("gift"))).else_(Step("bill", lambda: self.note("bill"))),
            )

    first = begin(Timed(crashes=1))
    first.resume()
    with pytest.raises(KeyboardInterrupt):
        resume(first.workflow, first.state, first.save, now=START + HOUR)
    second = first.load()
    handle_callback("promote", second.workflow, second.state, now=START)
    second.resume()
    assert second.workflow.log == ["bill"]


def test_all_three_are_indifferent_to_crashes():
    explore(Decided, [Callback("order")])
    explore(Decided, [Callback("promote"), Callback("order")])


# --- (b) keys, and (c) births ---


@dataclass
class Rounds:
    keys: list[str] = field(default_factory=list)
    n: int = 0
    fails: bool = field(default=False, metadata={"transient": True})

    def definition(self):
        return For(
            "rounds",
            lambda: self.n < 3,
            Go("t", Step("charge", self.charge), Wait("w", On("done", self.done))),
            Join("all", "t"),
        )

    def charge(self):
        self.keys.append(current().idempotency_key)
        if self.fails:
            raise KeyboardInterrupt

    def done(self):
        self.keys.append(current().idempotency_key)
        self.n += 1


def test_a_thread_started_anew_in_each_round_has_new_keys_each_time():
    harness = Harness(Rounds())
    harness.run()
    for _ in range(3):
        harness.callback("done")
    assert len(set(harness.workflow.keys)) == 6
    assert harness.status == "Finished"


def test_an_action_that_runs_again_has_the_key_that_it_had():
    first = begin(Rounds(fails=True))
    with pytest.raises(KeyboardInterrupt):
        first.resume()
    second = first.load()
    second.resume()
    assert second.workflow.keys == first.workflow.keys
    # In the second round too, which is in another process.
    handle_callback("done", second.workflow, second.state, now=START)
    second.save(CheckpointType.afterResume)
    third, fourth = second.load(), second.load()
    third.resume()
    fourth.resume()
    assert third.workflow.keys == fourth.workflow.keys
    assert len(set(third.workflow.keys)) == 3


def test_two_runs_never_share_a_key():
    one, two = Rounds(), Rounds()
    resume(one, State.new("one", "Rounds"), now=START)
    resume(two, State.new("two", "Rounds"), now=START)
    assert one.keys[0] != two.keys[0]


def test_a_callback_with_the_birth_and_pc_of_an_earlier_incarnation_is_stale():
    harness = Harness(Rounds())
    harness.run()
    waiting = harness.state.threads[1]
    old = CallbackRequest("done", thread_id="t", pc=waiting.pc, birth=waiting.birth)
    harness.callback(old)
    anew = harness.state.threads[1]
    assert (anew.id, anew.pc) == (waiting.id, waiting.pc)
    before = harness.snapshot
    with pytest.raises(StaleCallbackError, match=f"birth '{waiting.birth}', pc 2"):
        harness.callback(old)
    assert dump(harness.workflow, harness.state) == before
    harness.callback(CallbackRequest("done", birth=anew.birth))


def test_keys_of_setups_and_teardowns_are_those_of_the_stop_that_made_them():
    seen: list[tuple[str, str, int, str]] = []

    class Desk:
        def setup(self, request):
            seen.append(("setup", request.name, request.pc, current().idempotency_key))

        def teardown(self, request, handled):
            seen.append(("teardown", request.name, request.pc, current().idempotency_key))

    @dataclass
    class Loop:
        n: int = 0

        def definition(self):
            return For("l", self.n < 2, Wait("w", On("e", self.count, via=Desk()), On("f", via=Desk())))

        def count(self):
            self.n += 1

    harness = Harness(Loop())
    harness.run()
    harness.callback("e")
    harness.callback("e")
    assert len({key for *_, key in seen}) == len(seen) == 8
    for kind, name, pc, key in seen:
        assert key == f"run:{harness.state.threads[0].birth if harness.state.threads else key.split(':')[1]}:{pc}:{kind}:{name}"


# --- somebody raises ---


@dataclass
class Long:
    """Every kind of call that a driver makes, and a log of them as data."""

    log: list[str] = field(default_factory=list)
    ready: bool = False
    probe: Callable[[str], Any] = field(default=lambda what: None, metadata={"transient": True})

    def definition(self):
        return S(
            Go("t", ForEach("l", [1, 2], Step("x", self.each))),
            Step("a", lambda: self.note("a")),
            Wait("w", On("go", self.handle, Step("b", lambda: self.note("b")), via=self), On("stop", via=self)),
            WaitFor("c", self.ready, lambda: self.note("c")),
            Return("end"),
        )

    def note(self, what):
        self.probe(f"before {what}")
        self.log.append(what)
        self.probe(f"after {what}")

    def each(self, item):
        self.note(f"x{item}")

    def handle(self):
        self.ready = True
        self.note("handle")

    def setup(self, request):
        self.probe(f"setup {request.name}")

    def teardown(self, request, handled):
        self.probe(f"teardown {request.name}")


def finish(disk: Disk) -> Disk:
    """Whatever was saved: to the end."""
    for _ in range(3):
        if disk.resume() == "Finished":
            return disk
        handle_callback("go", disk.workflow, disk.state, now=START)
        disk.save(CheckpointType.afterResume)
    raise AssertionError(positions(disk.state))


UNDISTURBED = ["a", "x1", "x2", "handle", "b", "c"]


def points() -> list[str]:
    seen: list[str] = []
    done = finish(begin(Long(probe=seen.append)))
    assert sorted(done.workflow.log) == sorted(UNDISTURBED)
    return seen


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("point", points())
def test_a_base_exception_passes_unwrapped_and_the_run_goes_on_from_its_last_checkpoint(point: str, error: type[BaseException]):
    raised = [False]

    def probe(what: str) -> None:
        if what == point and not raised[0]:
            raised[0] = True
            raise error

    disk = begin(Long(probe=probe))
    with pytest.raises(error):
        finish(disk)
    again = finish(disk.load())
    assert again.workflow.log == finish(begin(Long())).workflow.log
    assert again.state.result == "end"


@pytest.mark.parametrize(
    "error",
    [OSError("disk full"), RuntimeError("odd"), KeyboardInterrupt(), ConflictError("somebody else moved the run")],
)
def test_what_save_raises_at_any_checkpoint_passes_as_it_is_and_the_run_goes_on_from_the_last_one(error: BaseException):
    count = len(finish(begin(Long())).kinds)
    assert count > 10
    for nth in range(count):
        for late in (False, True):
            disk = begin(Long())
            calls = [0]
            inner = disk.save

            def save(
                kind: CheckpointType,
                disk: Disk = disk,
                calls: Any = calls,
                nth: int = nth,
                late: bool = late,
                inner: Any = inner,
            ):
                calls[0] += 1
                if calls[0] == nth + 1 and not late:
                    raise error
                inner(kind)
                if calls[0] == nth + 1 and late:
                    raise error

            disk.save = save  # type: ignore[method-assign] # what the test is about
            with pytest.raises(type(error)) as caught:
                finish(disk)
            assert caught.value is error
            again = finish(disk.load())
            assert again.workflow.log == finish(begin(Long())).workflow.log


def test_a_stop_iteration_of_save_passes_as_it_is():
    def save(kind: CheckpointType) -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        resume(Long(), State.new("run", "Long"), save)


def test_a_stop_iteration_of_a_handler_passes_as_it_is():
    def probe(what: str) -> None:
        if what == "before handle":
            raise StopIteration

    disk = begin(Long(probe=probe))
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(StopIteration):
        handle_callback("go", disk.workflow, disk.state)
    assert dump(disk.workflow, disk.state) == before


@pytest.mark.parametrize("error", [StopIteration(), ValueError("no"), StepError("own", step="own")])
def test_an_action_that_raises_is_a_step_error_and_nothing_is_saved(error: Exception):
    def probe(what: str) -> None:
        if what == "after x1":
            raise error

    disk = begin(Long(probe=probe))
    with pytest.raises(StepError) as caught:
        disk.resume()
    assert caught.value.__cause__ is error
    assert (caught.value.step, caught.value.run_id, caught.value.thread_id) == ("x", "run", "t")
    for part in ("run 'run'", "thread 't'", "step 'x'", type(error).__name__, "last checkpoint"):
        assert part in str(caught.value)
    assert disk.load().workflow.log == ["a"]
    assert ("t", "Executing", "x") in positions(disk.load().state)
    assert finish(disk.load()).workflow.log == finish(begin(Long())).workflow.log


def test_a_step_that_keeps_failing_keeps_its_turn_and_its_key():
    keys: list[str] = []

    def probe(what: str) -> None:
        if what == "before x1":
            keys.append(current().idempotency_key)
            raise OSError

    disk = begin(Long(probe=probe))
    for _ in range(3):
        with pytest.raises(StepError):
            disk.resume()
        disk = disk.load()
        disk.workflow.probe = probe
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("place", "step"),
    [("a setter", "put"), ("a field", "put")],
)
def test_what_cant_be_put_into_its_field_is_the_steps_error(place: str, step: str):
    @dataclass
    class Into:
        _n: int = 0

        def definition(self):
            return S(Step("first", lambda: None), Step("put", lambda: 5, into=self.refuse))

        def refuse(self, value):
            raise TypeError("no")

    disk = begin(Into())
    with pytest.raises(StepError) as caught:
        disk.resume()
    assert caught.value.step == step
    assert isinstance(caught.value.__cause__, TypeError)
    assert disk.kinds == ["afterResume", "afterStep"]


# --- if moving on raises, the outcome alone is saved ---


@dataclass
class Stuck:
    why: str = ""
    n: int = 0
    mended: bool = field(default=False, metadata={"transient": True})

    def definition(self):
        if self.n and self.why == "definition" and not self.mended:
            raise OSError("out of order")
        body = S(
            Step("a", self.count),
            If("asked", lambda: self.asked("condition"), Step("b", self.count)),
            ForEach("l", lambda: [1] if self.asked("items") else [], Step("c", lambda: None)),
            Go("t", Step("x", lambda: None), id=lambda: self.asked("id") or 1),
            If("shared", lambda: self.why == "twice" and not self.mended, Go("again", Step("y", lambda: None), id=1)),
            If(
                "shared 2",
                lambda: self.why == "twice" and not self.mended,
                ForEach("twins", [1, 2], Go("twin", S(Wait("w", On("e"))))),
            ),
            Join("j", "t", "again", "twin"),
            Wait("last", On("end"), Timeout("late", lambda: HOUR * (1 + self.asked("after")))),
            Return(lambda: self.asked("value")),
        )
        return body if not (self.n and self.why == "shape" and not self.mended) else S(body, Step("new", self.count))

    def count(self):
        self.n += 1

    def asked(self, what):
        if self.why == what and not self.mended:
            raise OSError("out of order")
        return what == "condition"


@pytest.mark.parametrize(
    ("why", "error", "part"),
    [
        ("condition", StepError, "Case 'asked': its condition raised OSError: out of order"),
        ("definition", DefinitionError, "definition() of Stuck raised OSError: out of order"),
        ("shape", DefinitionError, "changed its shape"),
    ],
)
def test_if_moving_on_raises_the_outcome_alone_is_saved(why: str, error: type[Exception], part: str):
    disk = begin(Stuck(why))
    with pytest.raises(error) as caught:
        disk.resume()
    assert part in str(caught.value)
    assert disk.kinds == ["afterResume", "afterStep"]
    saved = disk.load()
    assert saved.workflow.n == 1
    assert positions(saved.state) == [("main", "Resuming", "a")]
    assert saved.state.status == "Resuming"
    assert saved.state.wake_at == START
    # Again, in another process: the same error, and nothing is saved or run.
    with pytest.raises(error):
        saved.resume()
    assert saved.kinds == []
    assert dump(saved.workflow, saved.state) == disk.blob
    mended = disk.load()
    mended.workflow.mended = True
    assert mended.resume() == "Waiting"
    assert mended.workflow.n == 2


@pytest.mark.parametrize(
    ("why", "error", "part", "step"),
    [
        ("items", StepError, "ForEach 'l': its items raised OSError", "b"),
        ("id", StepError, "Go 't': its id raised OSError", "b"),
        ("twice", DefinitionError, "a second thread with the id 'twin'", "b"),
        ("after", StepError, "Timeout 'late': its after raised OSError", "x"),
    ],
)
def test_if_moving_on_raises_further_on_the_threads_are_rolled_back(why: str, error: type[Exception], part: str, step: str):
    disk = begin(Stuck(why))
    with pytest.raises(error) as caught:
        disk.resume()
    assert part in str(caught.value)
    saved = disk.load()
    assert [p for p in positions(saved.state) if p[2] == step] == [("t:1" if step == "x" else "main", "Resuming", step)]
    assert all(not thread.events for thread in saved.state.threads)
    mended = disk.load()
    mended.workflow.mended = True
    assert mended.resume() == "Waiting"


def test_a_sequence_that_raises_is_the_loops_error_and_the_outcome_is_saved():
    class Broken(list):
        def __getitem__(self, index):
            raise OSError("gone")

    @dataclass
    class Items:
        n: int = 0

        def definition(self):
            return S(Step("a", self.count), ForEach("l", Broken([1]), Step("b", self.count)))

        def count(self):
            self.n += 1

    disk = begin(Items())
    with pytest.raises(StepError) as caught:
        disk.resume()
    assert caught.value.step == "l"
    assert disk.load().workflow.n == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whoever_raises_while_threads_move_leaves_them_as_they_were(error: type[BaseException]):
    @dataclass
    class Moving:
        n: int = 0
        fails: bool = field(default=True, metadata={"transient": True})

        def definition(self):
            return S(
                Go("sleeper", Wait("w", On("e", via=Long()), Timeout("late", HOUR)), Step("x", lambda: None)),
                ForEach("l", [[1], [2]], Wait("v", Timeout("later", HOUR)), If("c", self.cond, Break())),
            )

        def cond(self, item):
            if self.fails:
                raise error("out of order")
            return True

    disk = begin(Moving())
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(StepError if error is OSError else error):
        resume(disk.workflow, disk.state, disk.save, now=START + HOUR)
    assert dump(disk.workflow, disk.state) == before == disk.blob
    disk.workflow.fails = False
    assert resume(disk.workflow, disk.state, disk.save, now=START + HOUR) == "Finished"


# --- whoever calls a driver while a driver runs ---


@pytest.mark.parametrize("inside", ["a", "x1", "setup go", "teardown stop", "c"])
@pytest.mark.parametrize("what", ["resume", "callback"])
def test_a_driver_called_from_inside_the_runs_own_call_is_an_error_and_no_deadlock(inside: str, what: str):
    errors: list[str] = []

    def probe(point: str) -> None:
        if point.removeprefix("before ") == inside:
            with pytest.raises(ConflictError) as caught:
                resume(disk.workflow, disk.state) if what == "resume" else handle_callback("go", disk.workflow, disk.state)
            errors.append(str(caught.value))

    disk = begin(Long(probe=probe))
    finish(disk)
    assert len(errors) == 1
    assert "run 'run': called from inside its own" in errors[0]
    assert sorted(disk.workflow.log) == sorted(UNDISTURBED)


def test_a_driver_called_from_inside_the_runs_own_handler_is_an_error():
    disk = begin(Long())
    disk.workflow.probe = lambda point: resume(disk.workflow, disk.state) if point == "before handle" else None
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(ConflictError, match="its own handler at 'w'"):
        handle_callback("go", disk.workflow, disk.state, now=START)
    assert dump(disk.workflow, disk.state) == before


def test_a_driver_called_from_inside_save_is_an_error():
    disk = begin(Long())
    with pytest.raises(ConflictError, match="from inside its own save"):
        resume(disk.workflow, disk.state, lambda kind: resume(disk.workflow, disk.state))


def test_an_action_may_move_another_run():
    @dataclass
    class Outer:
        seen: list[str] = field(default_factory=list)

        def definition(self):
            return Step("outer", self.go)

        def go(self):
            inner = Long(probe=lambda point: self.seen.append(current().position))
            resume(inner, State.new("inner", "Long"), now=START)
            self.seen.append(current().position)

    outer = Outer()
    assert resume(outer, State.new("outer", "Outer")) == "Finished"
    assert outer.seen[-1] == "outer"
    assert "a" in outer.seen


def test_another_thread_of_the_process_that_moves_the_same_objects_is_refused():
    begun, go_on = threading.Event(), threading.Event()

    def probe(point: str) -> None:
        if point == "before a":
            begun.set()
            assert go_on.wait(10)

    disk = begin(Long(probe=probe))
    other = threading.Thread(target=disk.resume)
    other.start()
    assert begun.wait(10)
    try:
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            resume(disk.workflow, disk.state)
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            handle_callback("go", disk.workflow, disk.state)
    finally:
        go_on.set()
        other.join(10)
    assert finish(disk.load()).workflow.log == finish(begin(Long())).workflow.log


# --- async: cancelled, called twice, left alone ---


@dataclass
class LongAsync(Long):
    """``Long`` with everything that can be awaited awaited; ``gate`` is passed before and after each effect."""

    gate: Callable[[str], Any] = field(default=lambda what: asyncio.sleep(0), metadata={"transient": True})

    def definition(self):
        return S(
            Go("t", ForEach("l", [1, 2], Step("x", self.each))),
            Step("a", lambda: self.note("a")),
            Wait("w", On("go", self.handle, Step("b", lambda: self.note("b")), via=self), On("stop", via=self)),
            WaitFor("c", self.ready, lambda: self.note("c")),
            Return("end"),
        )

    async def note(self, what):
        await self.gate(f"before {what}")
        self.log.append(what)
        await self.gate(f"after {what}")

    async def each(self, item):
        await self.note(f"x{item}")

    async def handle(self):
        self.ready = True
        await self.note("handle")

    async def setup(self, request):
        await self.gate(f"setup {request.name}")

    async def teardown(self, request, handled):
        await self.gate(f"teardown {request.name}")


async def resume_saving(disk: Disk) -> WorkflowStatus:
    async def save(kind: CheckpointType) -> None:
        await disk.workflow.gate(f"save {kind}")
        disk.save(kind)
        await disk.workflow.gate(f"saved {kind}")

    return await resume_async(disk.workflow, disk.state, save, now=START)


async def finish_async(disk: Disk) -> Disk:
    for _ in range(3):
        if await resume_saving(disk) == "Finished":
            return disk
        await handle_callback_async("go", disk.workflow, disk.state, now=START)
        disk.save(CheckpointType.afterResume)
    raise AssertionError(positions(disk.state))


def gates() -> list[str]:
    seen: list[str] = []

    async def gate(what: str) -> None:
        seen.append(what)

    asyncio.run(finish_async(begin(LongAsync(gate=gate))))
    return seen


@pytest.mark.parametrize("nth", range(len(gates())))
def test_cancelling_the_awaiting_task_at_any_await_leaves_a_run_that_goes_on(nth: int):
    async def main() -> None:
        count = [0]
        reached = asyncio.Event()

        async def gate(what: str) -> None:
            count[0] += 1
            if count[0] == nth + 1:
                reached.set()
                await asyncio.Future()

        disk = begin(LongAsync(gate=gate))
        task = asyncio.create_task(finish_async(disk))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = await finish_async(disk.load())
        assert again.workflow.log == finish(begin(Long())).workflow.log
        assert again.state.result == "end"
        assert id(disk.state) not in drive._moving

    asyncio.run(main())


def test_a_cancelled_handler_leaves_data_and_state_as_they_were():
    async def main() -> None:
        disk = begin(LongAsync())
        await resume_saving(disk)
        before = dump(disk.workflow, disk.state)
        reached = asyncio.Event()

        async def gate(what: str) -> None:
            reached.set()
            await asyncio.Future()

        disk.workflow.gate = gate
        task = asyncio.create_task(handle_callback_async("go", disk.workflow, disk.state))
        await reached.wait()
        assert disk.workflow.ready
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert dump(disk.workflow, disk.state) == before

    asyncio.run(main())


def test_another_task_that_resumes_the_same_objects_is_refused():
    async def main() -> None:
        disk = begin(LongAsync())
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def gate(what: str) -> None:
            reached.set()
            await go_on.wait()

        disk.workflow.gate = gate
        task = asyncio.create_task(resume_saving(disk))
        await reached.wait()
        with pytest.raises(ConflictError, match="while another call moves the same objects"):
            await resume_async(disk.workflow, disk.state)
        go_on.set()
        assert await task == "Waiting"
        await finish_async(disk)
        assert disk.workflow.log == finish(begin(Long())).workflow.log

    asyncio.run(main())


def test_an_async_driver_called_from_inside_the_runs_own_action_is_an_error():
    async def main() -> None:
        errors: list[str] = []

        async def gate(what: str) -> None:
            if what == "before a":
                for call in (
                    lambda: resume_async(disk.workflow, disk.state),
                    lambda: handle_callback_async("go", disk.workflow, disk.state),
                ):
                    with pytest.raises(ConflictError) as caught:
                        await call()
                    errors.append(str(caught.value))

        disk = begin(LongAsync(gate=gate))
        await finish_async(disk)
        assert len(errors) == 2
        assert all("from inside its own action at 'a'" in error for error in errors)

    asyncio.run(main())


def test_a_run_closed_from_another_context_can_be_moved_again():
    """A loop that dies with tasks pending: the coroutine is closed by whoever collects it."""
    disk = begin(LongAsync())
    coroutine = resume_async(disk.workflow, disk.state)
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()
    assert id(disk.state) not in drive._moving


def test_calls_beside_each_other_see_their_own_current():
    async def main() -> None:
        seen: dict[str, list[str]] = {}

        async def gate(what: str) -> None:
            if what.startswith("before"):
                at = current()
                await asyncio.sleep(0)
                assert current().run_id == at.run_id
                assert current().position == at.position
                seen.setdefault(at.run_id, []).append(at.position)

        async def run(run_id: str) -> None:
            work, state = LongAsync(gate=gate), State.new(run_id, "L", START)
            await resume_async(work, state)
            await handle_callback_async("go", work, state)
            await resume_async(work, state)

        await asyncio.gather(*(run(f"r{i}") for i in range(3)))
        assert seen["r0"] == seen["r1"] == seen["r2"]
        assert len(seen["r0"]) == 6

    asyncio.run(main())


def test_sync_and_async_actions_may_be_mixed_under_the_async_driver():
    @dataclass
    class Mixed(Long):
        async def handle(self):
            self.ready = True
            self.note("handle")

    async def main() -> None:
        disk = begin(Mixed())
        await resume_async(disk.workflow, disk.state, disk.save, now=START)
        await handle_callback_async("go", disk.workflow, disk.state, now=START)
        assert await resume_async(disk.workflow, disk.state, disk.save, now=START) == "Finished"
        assert disk.workflow.log == finish(begin(Long())).workflow.log

    asyncio.run(main())


# --- sync drivers given what is to be awaited ---


def test_a_sync_driver_refuses_async_functions_before_anything_runs():
    disk = begin(LongAsync())
    with pytest.raises(DefinitionError) as caught:
        disk.resume()
    for part in ("Step 'x'", "handler", "setup", "teardown", "resume_async"):
        assert part in str(caught.value)
    with pytest.raises(DefinitionError, match="handle_callback_async"):
        handle_callback("go", disk.workflow, disk.state)
    assert disk.kinds == []
    assert disk.state.revision == 0


class Custom:
    def __await__(self):
        yield


@pytest.mark.parametrize("make", ["coroutine", "future", "object"])
def test_an_awaitable_from_an_action_is_a_step_error_and_is_closed(make: str):
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    async def later() -> None: ...

    def action() -> Any:
        made.append({"coroutine": later, "future": loop.create_future, "object": Custom}[make]())
        return made[-1]

    @dataclass
    class Hidden:
        def definition(self):
            return Step("a", action)

    disk = begin(Hidden())
    with pytest.raises(StepError, match=r"action at 'a' returned a .*resume_async") as caught:
        disk.resume()
    assert caught.value.step == "a"
    assert disk.kinds == ["afterResume"]
    if make == "future":
        assert made[0].cancelled()
    loop.close()


def test_an_awaitable_from_a_handler_is_refused_and_nothing_changed():
    async def later() -> None: ...

    @dataclass
    class Hidden:
        n: int = 0

        def definition(self):
            return Wait("w", On("e", self.handle))

        def handle(self):
            self.n = 1
            return later()

    disk = begin(Hidden())
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(StepError, match="handler at 'w' returned a coroutine"):
        handle_callback("e", disk.workflow, disk.state)
    assert dump(disk.workflow, disk.state) == before


def test_an_awaitable_from_a_setup_is_kept_as_its_error():
    async def later() -> None: ...

    class Desk:
        def setup(self, request):
            return later()

    @dataclass
    class Hidden:
        def definition(self):
            return Wait("w", On("e", via=Desk()))

    disk = begin(Hidden())
    with pytest.raises(SetupError, match="can't await"):
        disk.resume()
    assert disk.state.threads[0].events[0].status == "SetupError"


def test_an_awaitable_from_save_is_refused_and_closed():
    async def save(kind: CheckpointType) -> None: ...

    with pytest.raises(DefinitionError, match="save returned a coroutine"):
        resume(Long(), State.new("run", "Long"), save)  # type: ignore[arg-type] # the fault


def test_an_awaitable_from_a_condition_is_an_error_and_is_closed():
    async def later() -> bool:
        return True

    @dataclass
    class Asks:
        def definition(self):
            return If("c", later, Step("a", lambda: None))  # type: ignore[arg-type] # the fault

    with pytest.raises(StepError, match="Case 'c': its condition returned a coroutine"):
        resume(Asks(), State.new("run", "Asks"))


# --- handlers put back what they changed ---


@dataclass
class Handled:
    rows: list[list[int]] = field(default_factory=lambda: [[1]])
    client: list[str] = field(default_factory=list, metadata={"transient": True})
    kept: Any = None
    raises: BaseException = field(default_factory=ValueError, metadata={"transient": True})

    def definition(self):
        return S(
            Go("t", ForEach("l", [[1]], Wait("w", On("e", self.handle, into="kept"))), arg={"own": []}),
            Wait("v", On("f", into=self.refuse)),
        )

    def handle(self, payload, item):
        self.rows[0].append(2)
        self.rows.append([3])
        self.client.append("called")
        item.append(9)
        current().item("t")["own"].append(9)
        raise self.raises

    def refuse(self, payload):
        self.rows.clear()
        raise ValueError(payload)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit()])
def test_what_a_handler_raises_passes_as_it_is_and_data_item_and_arg_are_put_back(error: BaseException):
    disk = begin(Handled(raises=error))
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(type(error)) as caught:
        handle_callback("e", disk.workflow, disk.state, "payload")
    assert caught.value is error
    assert dump(disk.workflow, disk.state) == before


def test_a_setter_that_raises_puts_back_too():
    disk = begin(Handled())
    disk.resume()
    before = dump(disk.workflow, disk.state)
    with pytest.raises(ValueError, match="no"):
        handle_callback("f", disk.workflow, disk.state, "no")
    assert dump(disk.workflow, disk.state) == before


# --- a real process, really killed ---

CHILD = textwrap.dedent(
    """
    import os, random, signal, sqlite3, sys
    from dataclasses import dataclass, field
    from datetime import UTC, datetime, timedelta
    from flowstmt import *

    path, seed = sys.argv[1], sys.argv[2]
    dice = random.Random(seed)
    db = sqlite3.connect(path, isolation_level=None)

    def maybe_die():
        if seed != "never" and dice.random() < 0.12:
            os.kill(os.getpid(), signal.SIGKILL)

    class Desk:
        def setup(self, request):
            maybe_die()
            db.execute("INSERT OR IGNORE INTO outside VALUES (?)", (f"{request.name}/{request.pc}",))
            maybe_die()
            return "open"

        def teardown(self, request, handled):
            maybe_die()
            db.execute("DELETE FROM outside WHERE what = ?", (f"{request.name}/{request.pc}",))
            maybe_die()

    @dataclass
    class Order:
        log: list[str] = field(default_factory=list)
        left: int = 3

        def definition(self):
            return S(
                Go("pay", ForEach("parts", [1, 2, 3], Step("part", self.pay))),
                For(
                    "rounds",
                    self.left,
                    Step("cook", self.cook),
                    Wait("asked", On("more", self.note, via=Desk()), On("stop", via=Desk())),
                ),
                Join("paid", "pay"),
                Return(lambda: len(self.log)),
            )

        def pay(self, part: int):
            maybe_die()
            db.execute("INSERT OR IGNORE INTO effects VALUES (?)", (current().idempotency_key,))
            maybe_die()
            self.log.append(f"part {part}")

        def cook(self):
            maybe_die()
            self.left -= 1
            self.log.append(f"cook {self.left}")
            maybe_die()

        def note(self):
            self.log.append("more")

    row = db.execute("SELECT snapshot FROM runs").fetchone()
    if row is None:
        order, state = Order(), State.new("order", "Order")
        db.execute("INSERT INTO runs VALUES (?, ?)", (0, dump(order, state)))
    else:
        order, state = load(Order, row[0])
    loaded = state.revision

    def save(kind):
        global loaded
        maybe_die()
        row = (state.revision, dump(order, state), loaded)
        assert db.execute("UPDATE runs SET revision = ?, snapshot = ? WHERE revision = ?", row).rowcount == 1
        loaded = state.revision
        maybe_die()

    while resume(order, state, save) != "Finished":
        handle_callback("more", order, state)
        save(None)
    """
)


def run_until_finished(path: Path, seeds: list[str]) -> tuple[Any, int]:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE runs (revision, snapshot)")
        db.execute("CREATE TABLE effects (key PRIMARY KEY)")
        db.execute("CREATE TABLE outside (what PRIMARY KEY)")
    db.close()
    deaths = 0
    for seed in seeds:
        child = subprocess.run([sys.executable, "-c", CHILD, str(path), seed], capture_output=True, text=True, check=False)
        if child.returncode == 0:
            break
        assert child.returncode == -9, child.stderr
        deaths += 1
    else:
        raise AssertionError("never finished")
    with sqlite3.connect(path) as db:
        document = json.loads(db.execute("SELECT snapshot FROM runs").fetchone()[0])
        effects = sorted(key for (key,) in db.execute("SELECT key FROM effects"))
        outside = list(db.execute("SELECT what FROM outside"))
    db.close()
    state = document["state"]
    return (document["data"], state["result"], state["status"], state["threads"], effects, outside), deaths


def test_a_process_killed_by_sigkill_at_random_instants_ends_like_an_undisturbed_one(tmp_path: Path):
    undisturbed, none = run_until_finished(tmp_path / "undisturbed.db", ["never"])
    assert none == 0
    assert undisturbed[2] == "Finished"
    assert undisturbed[5] == []
    killed, deaths = run_until_finished(tmp_path / "killed.db", [f"seed {i}" for i in range(200)])
    assert killed == undisturbed
    assert deaths >= 3


def test_time_that_passes_while_the_process_is_dead_is_not_lost():
    @dataclass
    class Late:
        log: list[str] = field(default_factory=list)

        def definition(self):
            return Wait("w", Timeout("one", HOUR, Step("a", lambda: self.log.append("one"))), Timeout("two", 2 * HOUR))

    first = begin(Late())
    first.resume()
    second = first.load()
    assert resume(second.workflow, second.state, now=START + 9 * HOUR) == "Finished"
    assert second.workflow.log == ["one"]
    explore(Late, [Advance(3 * HOUR)])


def test_a_task_that_an_action_left_behind_never_sees_the_key_of_another_action():
    keys: dict[str, str] = {}

    @dataclass
    class Leaves:
        def definition(self):
            return S(Step("a", self.a), Step("b", self.b))

        async def a(self):
            keys["a"] = current().idempotency_key
            self.task = asyncio.create_task(self.later())

        async def b(self):
            keys["b"] = current().idempotency_key
            await self.task

        async def later(self):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            try:
                keys["later"] = current().idempotency_key
            except Exception:
                keys["later"] = ""

    asyncio.run(resume_async(Leaves(), State.new("run", "Leaves")))
    assert keys["later"] in ("", keys["a"])


def test_an_async_invoke_that_calls_elsewhere_hands_on_what_is_to_be_awaited():
    """A worker thread can call an async function, but not await it."""
    seen: list[str] = []

    async def invoke(at: Any, call: Callable[[], Any]) -> Any:
        seen.append(at.kind)
        return await asyncio.to_thread(call)

    async def main() -> None:
        for cls in (LongAsync, Long):
            disk = begin(cls())
            await resume_async(disk.workflow, disk.state, now=START, invoke=invoke)
            await handle_callback_async("go", disk.workflow, disk.state, now=START, invoke=invoke)
            assert await resume_async(disk.workflow, disk.state, now=START, invoke=invoke) == "Finished"
            assert disk.workflow.log == finish(begin(Long())).workflow.log

    asyncio.run(main())
    assert set(seen) == {"action", "handler", "setup", "teardown"}


def test_an_async_action_that_returns_a_coroutine_forgot_an_await():
    async def inner() -> int:
        return 5

    @dataclass
    class Forgets:
        def definition(self):
            return Step("a", self.act)

        async def act(self):
            return inner()

    with pytest.raises(StepError, match="returned a coroutine, instead of awaiting it: was an await forgotten"):
        asyncio.run(resume_async(Forgets(), State.new("run", "Forgets")))
