"""Timeouts of steps: an action that takes too long has failed, whatever it does then, and nobody goes on with it unawares."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from flowstmt import (
    ANY,
    Branch,
    ConflictError,
    DefinitionError,
    ErrorInfo,
    ForEach,
    Go,
    Join,
    On,
    Parallel,
    Retry,
    Return,
    S,
    State,
    StateError,
    Step,
    StepError,
    StepTimeoutError,
    Try,
    Wait,
    current,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
    validate,
)
from flowstmt import drive as drivers
from flowstmt.deadlines import Worker
from flowstmt.testing import Advance, Harness, explore
from tests.interleavings import World, every_interleaving

SHORT = timedelta(milliseconds=5)
LONG = timedelta(minutes=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Outside:
    """What the actions of a test act upon; ``gate`` holds them back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.seen: list[Any] = []


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.gate.set()
    _workers_end()
    assert drivers._moving == {}


def _workers_end() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, Worker):
            thread.join(10)
            assert not thread.is_alive()


@dataclass
class Fetch:
    """One step, whose action is whatever a test makes it."""

    page: Any = None
    do: Any = field(default=None, metadata={"transient": True})
    timeout: Any = field(default=SHORT, metadata={"transient": True})

    def definition(self):
        return Step("fetch", self.fetch, into="page", timeout=self.timeout)

    async def fetch(self) -> Any:
        return await self.do()


@dataclass
class Plain(Fetch):
    """The same with a plain function, which runs in a thread of its own."""

    def definition(self):
        return Step("fetch", self.fetch_plainly, into="page", timeout=self.timeout, concurrent=True)

    def fetch_plainly(self) -> Any:
        return self.do()


def new() -> State:
    return State.new("r1", "Fetch", NOW)


def sync(workflow: Any, state: State, save: Any = None, **given: Any) -> Any:
    return resume(workflow, state, save, **given)


def alone(workflow: Any, state: State, save: Any = None, **given: Any) -> Any:
    return asyncio.run(resume_async(workflow, state, save, **given))


def beside(workflow: Any, state: State, save: Any = None, **given: Any) -> Any:
    return asyncio.run(resume_async(workflow, state, save, concurrency=2, **given))


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# --- linking ---


@pytest.mark.parametrize("wrong", [5, 0.5, timedelta(0), timedelta(seconds=-1), NOW, "1s", lambda: LONG])
def test_a_timeout_is_a_timedelta_above_zero(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="Step 'fetch': timeout must be a timedelta above 0, not "):
        validate(Fetch(timeout=wrong))


def test_a_plain_action_with_a_timeout_is_refused_unless_it_is_concurrent() -> None:
    async def later() -> None: ...

    with pytest.raises(DefinitionError) as caught:
        validate(Step("fetch", lambda: None, timeout=LONG))
    [fault] = caught.value.faults
    assert fault == (
        "Step 'fetch': it has a timeout, but nothing could end its action, which is neither async nor concurrent: make it an "
        "async def, or let it run in a thread of its own with concurrent=True"
    )
    validate(Step("fetch", lambda: None, timeout=LONG, concurrent=True))
    validate(Step("fetch", later, timeout=LONG))
    validate(Step("fetch", later, timeout=LONG, concurrent=True))


def test_an_action_that_is_none_is_told_once() -> None:
    missing: Any = None
    with pytest.raises(DefinitionError) as caught:
        validate(Step("fetch", missing, timeout=LONG))
    assert len(caught.value.faults) == 1


def test_class_style_definitions_have_timeouts_too(outside: Outside) -> None:
    @dataclass
    class Work:
        pages: int = 0
        do: Any = field(default=None, metadata={"transient": True})

        @classmethod
        def definition(cls):
            return ForEach("pages", lambda w: [1, 2], Step("read", cls.read, into=cls.keep, timeout=LONG, concurrent=True))

        def read(self, page: int) -> int:
            assert isinstance(threading.current_thread(), Worker)
            assert current().item() == page
            return page

        def keep(self, page: int) -> None:
            self.pages += page

    for drive in (sync, alone, beside):
        work = Work()
        assert drive(work, new()) == "Finished"
        assert work.pages == 3


# --- what data may settle ---


@dataclass
class Changing:
    """A step whose timeout and action depend on the data."""

    n: int = 0
    timeouts: Any = field(default=(), metadata={"transient": True})
    actions: Any = field(default=(), metadata={"transient": True})

    def definition(self):
        action = self.actions[self.n] if self.actions else self.count
        return S(
            Step("first", self.count, into="n"),
            Step("second", action, into="n", timeout=self.timeouts[self.n]),
        )

    async def count(self) -> int:
        return self.n + 1

    def count_plainly(self) -> int:
        return self.n + 1


def test_data_may_settle_how_long_a_timeout_is_and_drop_it() -> None:
    assert alone(Changing(timeouts=(LONG, timedelta.max, LONG)), new()) == "Finished"
    assert alone(Changing(timeouts=(LONG, None, LONG)), new()) == "Finished"


@pytest.mark.parametrize(
    ("timeout", "plainly", "what"),
    [
        (timedelta(0), False, "timeout must be a timedelta above 0, not datetime.timedelta(0)"),
        (LONG, True, "it has a timeout, but nothing could end its action"),
    ],
)
def test_a_timeout_that_data_have_made_impossible_is_told_before_the_action(timeout: Any, plainly: bool, what: str) -> None:
    kind: Any = dataclass(type("Changing", (Changing,), {}))
    changing = kind(timeouts=(LONG, timeout, LONG))
    changing.actions = (changing.count, changing.count_plainly if plainly else changing.count, changing.count)
    state = new()
    with pytest.raises(DefinitionError) as caught:
        alone(changing, state)
    assert f"run 'r1', thread 'main': Step 'second': {what}" in str(caught.value)
    assert state.threads[0].position == "second"


def test_a_timeout_that_comes_with_the_data_is_refused() -> None:
    kind: Any = dataclass(type("Changing", (Changing,), {}))
    with pytest.raises(DefinitionError, match="it has a timeout now, but had none when its class was linked"):
        alone(kind(timeouts=(None, LONG, None)), new())


# --- actions that are awaited ---


@pytest.mark.parametrize("drive", [alone, beside])
def test_an_async_action_is_cancelled_and_awaited_when_its_time_is_over(drive: Any) -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            seen.append(current().idempotency_key)

    saved: list[Any] = []
    fetch, state = Fetch(do=hang), new()
    with pytest.raises(StepTimeoutError) as caught:
        drive(fetch, state, saved.append)
    assert seen == [f"r1:{state.threads[0].birth}:1:action"]
    assert saved == ["afterResume"]
    error = caught.value
    assert not error.saved
    assert (error.step, error.run_id, error.thread_id) == ("fetch", "r1", "main")
    assert isinstance(error, StepError)
    assert isinstance(error, TimeoutError)
    assert str(error) == (
        "run 'r1', thread 'main', step 'fetch': its action took longer than its timeout of 0:00:00.005000. Nothing was saved "
        "since the last checkpoint: discard the objects, mend the cause and resume from the last snapshot"
    )
    # Where it hung is what one wants to know.
    assert isinstance(error.__cause__, asyncio.CancelledError)
    names = []
    trace = error.__cause__.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "forever" in names


def test_a_step_of_a_concurrent_async_action_in_flight_ends_alone() -> None:
    @dataclass
    class Two:
        log: list[str] = field(default_factory=list)

        def definition(self):
            return S(
                Go("slow", Step("hang", self.hang, timeout=SHORT, concurrent=True)),
                Go("quick", Step("read", self.read, into=self.log.append, timeout=LONG, concurrent=True)),
                Join("all", "slow", "quick"),
            )

        async def hang(self) -> None:
            await forever()

        async def read(self) -> str:
            return "page"

    two, state = Two(), new()
    with pytest.raises(StepTimeoutError) as caught:
        beside(two, state)
    assert caught.value.thread_id == "slow"
    assert two.log == ["page"]
    assert [thread.position for thread in state.threads] == ["all", "hang"]


@pytest.mark.parametrize("swallowing", ["returns", "goes on"])
def test_an_action_that_swallows_the_cancellation_has_failed_nevertheless(swallowing: str) -> None:
    ended: list[str] = []

    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            if swallowing == "goes on":
                for _ in range(3):
                    await asyncio.sleep(0)
        ended.append("it ends")
        return "half a page"

    fetch = Fetch(do=stubborn)
    with pytest.raises(StepTimeoutError) as caught:
        alone(fetch, new())
    assert ended == ["it ends"]
    assert fetch.page is None
    assert caught.value.__cause__ is None


def test_what_an_action_raises_on_its_way_out_is_the_cause() -> None:
    async def breaking() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ValueError("the connection can't be closed") from None

    with pytest.raises(StepTimeoutError) as caught:
        alone(Fetch(do=breaking), new())
    assert repr(caught.value.__cause__) == """ValueError("the connection can't be closed")"""


class EndOfTheWorldError(BaseException):
    pass


def test_a_base_exception_on_the_way_out_passes_as_it_is() -> None:
    async def breaking() -> None:
        try:
            await forever()
        finally:
            raise EndOfTheWorldError

    with pytest.raises(EndOfTheWorldError):
        alone(Fetch(do=breaking), new())


async def _raise_timeout() -> None:
    raise TimeoutError("the bank did not answer")


async def _run_out_of_time() -> None:
    async with asyncio.timeout(0):
        await forever()


@pytest.mark.parametrize("do", [_raise_timeout, _run_out_of_time])
def test_a_timeout_of_the_actions_own_is_a_failure_like_any_other(do: Any) -> None:
    with pytest.raises(StepError) as caught:
        alone(Fetch(do=do, timeout=LONG), new())
    assert type(caught.value) is StepError
    assert type(caught.value.__cause__) is TimeoutError


def test_a_timeout_of_a_run_inside_of_an_action_is_a_failure_of_that_action() -> None:
    async def inner() -> None:
        await resume_async(Fetch(do=forever), State.new("r2", "Fetch"))

    with pytest.raises(StepError, match=r"run 'r1'.* its action raised StepTimeoutError: run 'r2'") as caught:
        alone(Fetch(do=inner, timeout=LONG), new())
    assert type(caught.value) is StepError


def test_a_cancellation_of_the_actions_own_stays_one() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError("enough")

    with pytest.raises(asyncio.CancelledError, match="enough"):
        alone(Fetch(do=give_up, timeout=LONG), new())


def test_an_action_in_its_time_is_not_touched() -> None:
    seen: list[int] = []

    async def read() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())
        return "page"

    for drive in (alone, beside):
        fetch = Fetch(do=read, timeout=LONG)
        assert drive(fetch, new()) == "Finished"
        assert fetch.page == "page"
    assert seen == [0, 0]


def test_whatever_happens_at_one_moment_has_one_outcome() -> None:
    """The time is over, the driver is cancelled and the action goes on, in every order, with and without a slow end."""
    outcomes: set[tuple[str, str]] = set()

    def scenario(world: World, *, stubborn: bool) -> Callable[[], None]:
        events: list[str] = []

        async def work() -> str:
            try:
                await world.gate("work")
            except asyncio.CancelledError:
                events.append("told")
                await world.gate("end")
                if not stubborn:
                    raise
            finally:
                events.append("ended")
            return "page"

        fetch, state = Fetch(do=work, timeout=LONG), new()

        async def drive() -> None:
            try:
                events.append(str(await resume_async(fetch, state)))
            except BaseException as error:
                events.append(type(error).__name__)
                raise

        task = world.spawn(drive())

        def cancel() -> None:
            if not task.done():
                events.append("cancel")
                task.cancel()

        world.may("cancel", cancel)

        def check() -> None:
            assert task.done()
            assert events.count("ended") == 1
            last = events[-1]
            assert events[-2] in ("ended", "cancel")
            if "cancel" in events:
                assert last == "CancelledError"
            elif "told" in events:
                assert last == "StepTimeoutError"
            else:
                assert last == "Finished"
            assert (fetch.page == "page") is (last == "Finished")
            assert task.cancelled() is (last == "CancelledError")
            if not task.cancelled():
                task.exception()
            outcomes.add((last, "told" if "told" in events else "not told"))
            assert drivers._moving == {}

        return check

    for stubborn in (False, True):
        every_interleaving(partial(scenario, stubborn=stubborn), most=100)
    assert outcomes == {
        ("Finished", "not told"),
        ("StepTimeoutError", "told"),
        ("CancelledError", "told"),
    }


def test_a_result_that_is_there_when_the_time_is_over_counts() -> None:
    world = World(lambda options: 0)

    async def read() -> str:
        # Both in one turn of the loop: the action ends, and its time is over.
        for timer in list(world.loop.timers):
            timer.cancel()
            world.loop.call_soon(timer.fire)
        return "page"

    fetch = Fetch(do=read, timeout=LONG)
    task = world.spawn(resume_async(fetch, new()))
    world.play()
    assert task.result() == "Finished"
    assert fetch.page == "page"


def test_a_driver_that_nobody_awaits_any_more_cancels_the_action() -> None:
    world = World(lambda options: 0)
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.append("ended")

    driver = resume_async(Fetch(do=work, timeout=LONG), new())
    asyncio._set_running_loop(world.loop)  # type: ignore[arg-type] # see Loop
    try:
        driver.send(None)
    finally:
        asyncio._set_running_loop(None)
    world.loop.run_until_idle()
    driver.close()
    world.loop.run_until_idle()
    assert ended == ["ended"]


def test_timeouts_need_asyncio_and_say_so_before_anything_runs() -> None:
    state = new()
    driver = resume_async(Fetch(do=forever), state)
    with pytest.raises(StateError, match="run 'r1': its definition has steps with a timeout, which need the event loop of"):
        driver.send(None)
    assert state.threads[0].position == ""


# --- plain functions, in threads ---

DRIVERS = [sync, alone, beside]


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_plain_function_runs_in_a_thread_that_is_told_what_it_would_be_told(drive: Any, outside: Outside) -> None:
    colour = contextvars.ContextVar("colour", default="none")
    colour.set("red")

    def read() -> str:
        at = current()
        outside.seen.append((at.kind, at.position, at.attempt, at.idempotency_key, at.deps, at.now, colour.get()))
        assert isinstance(threading.current_thread(), Worker)
        assert threading.current_thread().daemon
        return "page"

    plain, state = Plain(do=read, timeout=LONG), new()
    birth = state.threads[0].birth
    assert drive(plain, state, deps="deps", now=NOW) == "Finished"
    assert plain.page == "page"
    assert outside.seen == [("action", "fetch", 1, f"r1:{birth}:1:action", "deps", NOW, "red")]


@pytest.mark.parametrize("drive", DRIVERS)
def test_what_a_plain_function_raises_in_time_is_its_own_failure(drive: Any, outside: Outside) -> None:
    def fail() -> None:
        raise ValueError("card declined")

    with pytest.raises(StepError, match="its action raised ValueError: card declined") as caught:
        drive(Plain(do=fail, timeout=LONG), new())
    assert type(caught.value) is StepError
    assert type(caught.value.__cause__) is ValueError


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_base_exception_of_a_plain_function_passes_as_it_is(drive: Any, outside: Outside) -> None:
    def fail() -> None:
        raise EndOfTheWorldError

    with pytest.raises(EndOfTheWorldError):
        drive(Plain(do=fail, timeout=LONG), new())


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_stop_iteration_is_a_failure_too(drive: Any, outside: Outside) -> None:
    def fail() -> Any:
        return next(iter(()))

    with pytest.raises(StepError):
        drive(Plain(do=fail, timeout=LONG), new())


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_thread_whose_time_is_over_is_left_alone(drive: Any, outside: Outside, caplog: Any) -> None:
    def hang() -> str:
        assert outside.gate.wait(60)
        outside.seen.append(current().idempotency_key)
        return "page"

    saved: list[Any] = []
    plain, state = Plain(do=hang), new()
    with pytest.raises(StepTimeoutError) as caught:
        drive(plain, state, saved.append)
    assert str(caught.value) == (
        "run 'r1', thread 'main', step 'fetch': its action took longer than its timeout of 0:00:00.005000, and goes on in its "
        "thread, which nobody can end. Nothing was saved since the last checkpoint: discard the objects, mend the cause and "
        "resume from the last snapshot"
    )
    assert saved == ["afterResume"]
    assert outside.seen == []
    # Where it hangs is what one wants to know.
    assert isinstance(caught.value.__cause__, TimeoutError)
    trace = caught.value.__cause__.__traceback__
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "fetch_plainly"
    outside.gate.set()
    _workers_end()
    assert outside.seen == [f"r1:{state.threads[0].birth}:1:action"]
    assert plain.page is None
    assert caplog.records == []


@pytest.mark.parametrize("drive", DRIVERS)
def test_what_a_thread_raises_that_was_left_alone_is_logged(drive: Any, outside: Outside, caplog: Any) -> None:
    def hang() -> str:
        assert outside.gate.wait(60)
        raise ValueError("connection reset")

    with pytest.raises(StepTimeoutError):
        drive(Plain(do=hang), new())
    outside.gate.set()
    _workers_end()
    [record] = caplog.records
    assert (record.name, record.levelname) == ("flowstmt.deadlines", "WARNING")
    assert record.getMessage() == (
        "run 'r1', thread 'main', step 'fetch': its action, left alone in its thread when its time was over, raised "
        "ValueError: connection reset"
    )
    assert type(record.exc_info[1]) is ValueError


def test_a_coroutine_that_a_thread_left_alone_returns_is_closed(outside: Outside) -> None:
    def hang() -> Any:
        assert outside.gate.wait(60)
        return forever()

    with pytest.raises(StepTimeoutError):
        alone(Plain(do=hang), new())
    outside.gate.set()
    _workers_end()  # or Python would complain about a coroutine that was never awaited


def test_a_run_can_not_be_moved_from_inside_of_its_own_thread(outside: Outside) -> None:
    state = new()

    def again() -> None:
        with pytest.raises(ConflictError, match="from inside its own action at 'fetch'"):
            resume(plain, state)

    plain = Plain(do=again, timeout=LONG)
    assert resume(plain, state) == "Finished"


def test_nobody_waits_at_the_end_of_the_process_for_a_thread_that_was_left_alone() -> None:
    script = """
import asyncio, threading
from dataclasses import dataclass
from datetime import timedelta
from flowstmt import State, Step, StepTimeoutError, resume, resume_async

@dataclass
class Hang:
    def definition(self):
        return Step("hang", threading.Event().wait, timeout=timedelta(milliseconds=1), concurrent=True)

try:
    resume(Hang(), State.new("r1", "Hang"))
except StepTimeoutError:
    print("sync")
try:
    asyncio.run(resume_async(Hang(), State.new("r1", "Hang")))
except StepTimeoutError:
    print("async")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["sync", "async"]
    assert done.stderr == ""


def test_the_event_loop_goes_on_while_a_plain_function_runs(outside: Outside) -> None:
    def wait() -> str:
        outside.begun.set()
        assert outside.gate.wait(60)
        return "page"

    async def main() -> Any:
        plain = Plain(do=wait, timeout=LONG)
        task = asyncio.create_task(resume_async(plain, new()))
        await asyncio.to_thread(outside.begun.wait, 60)
        outside.gate.set()
        return await task, plain.page

    assert asyncio.run(main()) == ("Finished", "page")


def test_the_result_of_a_thread_counts_if_it_is_there_when_the_time_is_over(outside: Outside) -> None:
    def read() -> str:
        outside.seen.append(threading.current_thread())
        outside.begun.set()
        assert outside.gate.wait(60)
        return "page"

    async def main() -> None:
        plain = Plain(do=read, timeout=timedelta(milliseconds=100))
        task = asyncio.create_task(resume_async(plain, new()))
        await asyncio.to_thread(outside.begun.wait, 60)
        # The loop stands still until both are so.
        outside.gate.set()
        outside.seen[0].join()
        over = time.monotonic() + 0.1
        while time.monotonic() < over:
            pass
        assert await task == "Finished"
        assert plain.page == "page"

    asyncio.run(main())


def test_an_action_that_data_have_made_async_is_no_work_for_a_sync_driver() -> None:
    kind: Any = dataclass(type("Changing", (Changing,), {"definition": _changing_concurrently}))
    changing = kind(timeouts=(LONG, LONG, LONG))
    changing.actions = (changing.count_plainly, changing.count)
    assert resume(changing, new()) == "Finished"
    assert changing.n == 1
    with pytest.raises(StepError, match="returned a coroutine, which a sync driver can't await: use resume_async"):
        resume(changing, new())


def _changing_concurrently(self: Any) -> Any:
    return Step("only", self.actions[self.n], into="n", timeout=LONG, concurrent=True)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_cancelled_driver_waits_for_the_end_of_a_thread(concurrency: int, outside: Outside) -> None:
    def wait() -> None:
        outside.begun.set()
        assert outside.gate.wait(60)
        outside.seen.append("ended")

    async def main() -> None:
        task = asyncio.create_task(resume_async(Plain(do=wait, timeout=LONG), new(), concurrency=concurrency))
        await asyncio.to_thread(outside.begun.wait, 60)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not task.done()
        outside.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert outside.seen == ["ended"]

    asyncio.run(main())


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_cancelled_driver_waits_for_a_thread_no_longer_than_its_time(concurrency: int, outside: Outside, caplog: Any) -> None:
    def wait() -> None:
        outside.begun.set()
        assert outside.gate.wait(60)

    async def main() -> None:
        timeout = timedelta(milliseconds=200)
        task = asyncio.create_task(resume_async(Plain(do=wait, timeout=timeout), new(), concurrency=concurrency))
        await asyncio.to_thread(outside.begun.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "run 'r1', thread 'main', step 'fetch': cancelled while its action was in a thread, which nobody can end: that goes on"
    ]


def test_a_thread_may_end_after_its_event_loop(outside: Outside) -> None:
    def wait() -> None:
        assert outside.gate.wait(60)

    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    driver = resume_async(Plain(do=wait, timeout=LONG), new())
    try:
        driver.send(None)
    finally:
        asyncio._set_running_loop(None)
    loop.close()
    outside.gate.set()
    _workers_end()
    driver.close()


def test_a_thread_is_left_alone_when_nobody_awaits_the_driver_any_more(outside: Outside, caplog: Any) -> None:
    def wait() -> None:
        assert outside.gate.wait(60)
        raise ValueError("nobody listens")

    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    driver = resume_async(Plain(do=wait, timeout=LONG), new())
    try:
        driver.send(None)
    finally:
        asyncio._set_running_loop(None)
    driver.close()
    loop.close()
    outside.gate.set()
    _workers_end()
    assert ["nobody listens" in record.getMessage() for record in caplog.records] == [True]


def test_when_main_ends_a_thread_in_flight_is_waited_for(outside: Outside) -> None:
    @dataclass
    class Ending:
        def definition(self):
            return S(
                Go("reader", Step("read", self.read, timeout=LONG, concurrent=True)),
                Step("work", self.work),
                Return("over"),
            )

        def read(self) -> None:
            outside.begun.set()
            assert outside.gate.wait(60)
            outside.seen.append("read")

        async def work(self) -> None:
            await asyncio.to_thread(outside.begun.wait, 60)
            asyncio.get_running_loop().call_soon(outside.gate.set)

    state = new()
    assert beside(Ending(), state) == "Finished"
    assert outside.seen == ["read"]


def test_a_loser_that_is_left_alone_in_its_thread_ends_the_resume(outside: Outside) -> None:
    def hang() -> None:
        outside.begun.set()
        assert outside.gate.wait(60)

    @dataclass
    class Race:
        def definition(self):
            return S(
                Parallel(
                    "race",
                    Branch("slow", Step("hang", hang, timeout=timedelta(milliseconds=50), concurrent=True)),
                    Branch("quick", Step("win", self.win, concurrent=True)),
                    join=ANY,
                ),
                Step("cheer", lambda: None),
                Return("won"),
            )

        async def win(self) -> None:
            await asyncio.to_thread(outside.begun.wait, 60)

    race, state, saved = Race(), new(), []
    with pytest.raises(StepTimeoutError) as caught:
        beside(race, state, lambda kind: saved.append(dump(race, state)))
    assert (caught.value.step, caught.value.saved) == ("hang", True)
    again, loaded = load(Race, saved[-1])
    assert beside(again, loaded) == "Finished"
    assert loaded.result == "won"


def test_an_interrupted_process_does_not_wait_for_a_thread(outside: Outside) -> None:
    def hang() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        assert outside.gate.wait(60)

    main = threading.get_ident()
    with pytest.raises(KeyboardInterrupt):
        resume(Plain(do=hang, timeout=LONG), new())


# --- functions that hand back what is to be awaited ---


def test_what_a_plain_function_returns_is_awaited_in_what_is_left_of_its_time(outside: Outside) -> None:
    async def page() -> str:
        assert not isinstance(threading.current_thread(), Worker)
        return "page"

    plain = Plain(do=page, timeout=LONG)
    assert alone(plain, new()) == "Finished"
    assert plain.page == "page"
    with pytest.raises(StepTimeoutError, match=r"took longer than its timeout of 0:00:00\.005000\. Nothing was saved"):
        alone(Plain(do=forever), new())
    with pytest.raises(StepError, match="returned a coroutine, which a sync driver can't await"):
        sync(Plain(do=page, timeout=LONG), new())


# --- invoke ---


def test_a_hook_sees_the_timeout_in_its_own_thread_and_rolls_back(outside: Outside) -> None:
    here = threading.current_thread()

    def hang() -> None:
        assert outside.gate.wait(60)

    def transaction(current: Any, call: Any) -> Any:
        assert threading.current_thread() is here
        try:
            return call()
        except StepTimeoutError as error:
            outside.seen.append(("rolled back", str(error), error.step))
            raise

    with pytest.raises(StepTimeoutError):
        sync(Plain(do=hang), new(), invoke=transaction)
    assert outside.seen == [
        (
            "rolled back",
            "took longer than its timeout of 0:00:00.005000, and goes on in its thread, which nobody can end",
            "fetch",
        )
    ]


@pytest.mark.parametrize("kind", [Fetch, Plain])
def test_an_async_hook_sees_the_timeout_and_its_own_time_does_not_count(kind: Any, outside: Outside) -> None:
    async def read() -> None:
        await forever()

    def read_plainly() -> None:
        assert outside.gate.wait(60)

    async def transaction(current: Any, call: Any) -> Any:
        opened = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * SHORT.total_seconds(), opened.set)
        await opened.wait()
        outside.seen.append("open")
        try:
            return await call()
        except StepTimeoutError:
            outside.seen.append("rolled back")
            raise

    with pytest.raises(StepTimeoutError):
        alone(kind(do=read if kind is Fetch else read_plainly), new(), invoke=transaction)
    assert outside.seen == ["open", "rolled back"]


def test_a_hook_that_makes_the_call_in_a_thread_of_its_own_keeps_the_time(outside: Outside) -> None:
    async def in_a_thread(current: Any, call: Any) -> Any:
        return await (await asyncio.to_thread(call))

    plain = Plain(do=lambda: "page", timeout=LONG)
    assert alone(plain, new(), invoke=in_a_thread) == "Finished"
    assert plain.page == "page"
    with pytest.raises(StepTimeoutError):
        alone(Fetch(do=forever), new(), invoke=in_a_thread)


def test_a_hook_without_the_variables_of_the_driver_has_none_to_hand_on(outside: Outside) -> None:
    def elsewhere(_: Any, call: Any) -> Any:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(call()))
        thread.start()
        thread.join()
        return results[0]

    plain = Plain(do=lambda: "page", timeout=LONG)
    assert sync(plain, new(), invoke=elsewhere) == "Finished"


@pytest.mark.parametrize("drive", DRIVERS)
def test_objects_are_lost_to_a_thread_also_when_a_hook_takes_its_failure(drive: Any, outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    @dataclass
    class Two(Plain):
        def definition(self):
            return S(
                Step("fetch", self.fetch_plainly, into="page", timeout=SHORT, concurrent=True),
                Step("go on", lambda: outside.seen.append("went on")),
            )

    def forgiving(_: Any, call: Any) -> Any:
        try:
            return call()
        except StepTimeoutError:
            return "no page"

    async def forgiving_async(_: Any, call: Any) -> Any:
        try:
            return await call()
        except StepTimeoutError:
            return "no page"

    two, state, saved = Two(do=hang), new(), []
    with pytest.raises(StepTimeoutError) as caught:
        drive(two, state, lambda kind: saved.append(dump(two, state)), invoke=forgiving if drive is sync else forgiving_async)
    assert str(caught.value) == (
        "run 'r1', thread 'main', step 'fetch': its action took longer than its timeout of 0:00:00.005000, and goes on in its "
        "thread, which nobody can end. That is saved: discard the objects, load the last snapshot and resume it; state.wake_at "
        "says from when on"
    )
    assert outside.seen == []
    again, loaded = load(Two, saved[-1])
    assert again.page == "no page"
    assert drive(again, loaded) == "Finished"
    assert outside.seen == ["went on"]


# --- policies and catches ---


def _at(state: State) -> Any:
    [thread] = state.threads
    return thread


def test_an_attempt_that_took_too_long_is_tried_again_as_the_policy_says(outside: Outside) -> None:
    @dataclass
    class Reading:
        page: str = ""

        def definition(self):
            return Step("read", self.read, timeout=SHORT, retry=Retry(initial=timedelta(seconds=10)))

        async def read(self) -> None:
            self.page += "half a page"
            outside.seen.append((current().attempt, current().idempotency_key))
            if len(outside.seen) == 1:
                await forever()
            self.page += ", and the rest"

    reading, state, saved = Reading(), new(), []
    assert alone(reading, state, lambda kind: saved.append((kind, dump(reading, state))), now=NOW) == "Waiting"
    assert [kind for kind, _ in saved] == ["afterResume", "afterFailure"]
    assert reading.page == ""
    thread = _at(state)
    assert (thread.status, thread.attempt, thread.due_at) == ("WaitingTime", 2, NOW + timedelta(seconds=10))
    assert state.wake_at == thread.due_at
    error = thread.error
    assert (error.type, error.message) == ("StepTimeoutError", "took longer than its timeout of 0:00:00.005000")
    assert (error.step, error.attempts) == ("read", 1)
    again, loaded = load(Reading, saved[-1][1])
    assert alone(again, loaded, now=state.wake_at) == "Finished"
    assert again.page == "half a page, and the rest"
    assert [attempt for attempt, _ in outside.seen] == [1, 2]
    assert len({key for _, key in outside.seen}) == 1


@dataclass
class Patient(Plain):
    """A plain function that is tried again."""

    def definition(self):
        return Step(
            "fetch", self.fetch_plainly, into="page", timeout=self.timeout, concurrent=True, retry=Retry(max_attempts=2)
        )


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_thread_left_alone_is_an_attempt_and_the_resume_ends(drive: Any, outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    patient, state, saved = Patient(do=hang), new(), []
    with pytest.raises(StepTimeoutError, match="That is saved: discard the objects, load the last snapshot and") as caught:
        drive(patient, state, lambda kind: saved.append((kind, dump(patient, state))), now=NOW)
    assert caught.value.saved
    assert [kind for kind, _ in saved] == ["afterResume", "afterFailure"]
    again, loaded = load(Patient, saved[-1][1])
    again.timeout, again.do = LONG, lambda: "page"
    thread = _at(loaded)
    assert (thread.status, thread.attempt, thread.due_at) == ("WaitingTime", 2, NOW + timedelta(seconds=1))
    assert thread.error.type == "StepTimeoutError"
    assert drive(again, loaded, now=NOW) == "Waiting"
    assert drive(again, loaded, now=loaded.wake_at) == "Finished"
    assert again.page == "page"


@pytest.mark.parametrize("drive", DRIVERS)
def test_the_last_attempt_ends_the_run_and_nothing_is_left_to_be_raised(drive: Any, outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    patient, state = Patient(do=hang), new()
    with pytest.raises(StepTimeoutError):
        drive(patient, state, now=NOW)
    again, loaded = load(Patient, dump(patient, state))
    again.do, again.timeout = hang, SHORT
    assert drive(again, loaded, now=loaded.wake_at) == "Failed"
    assert loaded.error is not None
    assert (loaded.error.type, loaded.error.attempts) == ("StepTimeoutError", 2)


@pytest.mark.parametrize("errors", [StepTimeoutError, TimeoutError, "StepTimeoutError", "TimeoutError", StepError])
def test_a_catch_takes_it_as_what_it_is(errors: Any) -> None:
    @dataclass
    class Careful:
        error: ErrorInfo | None = None

        def definition(self):
            return Try("try", Step("read", forever, timeout=SHORT)).catch(errors, Return("no page"), into="error")

    careful, state = Careful(), new()
    assert alone(careful, state) == "Finished"
    assert state.result == "no page"
    assert careful.error == ErrorInfo("StepTimeoutError", "took longer than its timeout of 0:00:00.005000", "read", 1)


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_catch_of_a_thread_left_alone_goes_on_with_the_next_resume(drive: Any, outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    @dataclass
    class Careful(Plain):
        def definition(self):
            step = Step("fetch", self.fetch_plainly, timeout=SHORT, concurrent=True)
            return Try("try", step).catch(TimeoutError, Step("note", lambda: "none", into="page"))

    careful, state, saved = Careful(do=hang), new(), []
    with pytest.raises(StepTimeoutError, match="That is saved"):
        drive(careful, state, lambda kind: saved.append((kind, dump(careful, state))))
    assert [kind for kind, _ in saved] == ["afterResume", "afterFailure"]
    again, loaded = load(Careful, saved[-1][1])
    assert loaded.wake_at is not None
    assert drive(again, loaded) == "Finished"
    assert again.page == "none"


def test_what_has_landed_beside_a_thread_left_alone_is_saved_too(outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    @dataclass
    class Two:
        pages: list[str] = field(default_factory=list)

        def definition(self):
            policy = Retry()
            return S(
                Go("slow", Step("hang", hang, timeout=SHORT, concurrent=True, retry=policy)),
                Go("quick", Step("read", self.read, into=self.pages.append, concurrent=True)),
                Go("never", Step("wait", forever, concurrent=True)),
                Join("all", "slow", "quick", "never"),
            )

        async def read(self) -> str:
            return "page"

    two, state, saved = Two(), new(), []
    with pytest.raises(StepTimeoutError, match="That is saved"):
        asyncio.run(resume_async(two, state, lambda kind: saved.append((kind, dump(two, state))), concurrency=3, now=NOW))
    assert [kind for kind, _ in saved] == ["afterResume", "afterStep", "afterFailure"]
    again, loaded = load(Two, saved[-1][1])
    assert again.pages == ["page"]
    assert [(thread.id, thread.status) for thread in loaded.threads] == [
        ("main", "WaitingCondition"),
        ("slow", "WaitingTime"),
        ("never", "Executing"),
    ]


def test_a_callback_beside_a_thread_left_alone_is_not_taken(outside: Outside) -> None:
    def hang() -> None:
        outside.begun.set()
        assert outside.gate.wait(60)

    @dataclass
    class Two:
        def definition(self):
            return S(
                Go("listener", Wait("listening", On("say"))),
                Step("hang", hang, timeout=timedelta(milliseconds=50), concurrent=True, retry=Retry()),
            )

    async def main() -> None:
        two, state = Two(), new()
        task = asyncio.create_task(resume_async(two, state, now=NOW))
        await asyncio.to_thread(outside.begun.wait, 60)
        with pytest.raises(ConflictError, match="this callback was not taken"):
            await handle_callback_async("say", two, state)
        with pytest.raises(StepTimeoutError, match="That is saved"):
            await task

    asyncio.run(main())


def test_other_actions_in_flight_go_on_when_one_is_cancelled_and_tried_again() -> None:
    world = World(lambda options: len(options) - 1)  # the timer first

    @dataclass
    class Two:
        pages: list[str] = field(default_factory=list)

        def definition(self):
            return S(
                Go("slow", Step("hang", self.hang, timeout=SHORT, concurrent=True, retry=Retry())),
                Go("quick", Step("read", self.read, into=self.pages.append, concurrent=True)),
                Join("all", "slow", "quick"),
            )

        async def hang(self) -> None:
            await world.gate("hang")

        async def read(self) -> str:
            await world.gate("read")
            return "page"

    saved: list[Any] = []
    two, state = Two(), new()
    task = world.spawn(resume_async(two, state, saved.append, concurrency=2, now=NOW))
    world.play()
    assert task.result() == "Waiting"
    assert saved == ["afterResume", "afterFailure", "afterStep"]
    assert two.pages == ["page"]


# --- killed everywhere ---


@dataclass
class Impatient:
    """An async action that hangs once for each loop, and a plain one that does not."""

    log: list[str] = field(default_factory=list)

    def definition(self):
        return S(
            ForEach(
                "pages",
                [1, 2],
                Try(
                    "try",
                    Step("ask", self.ask, into=self.log.append, timeout=SHORT, retry=Retry(max_attempts=2)),
                ).catch(TimeoutError, Step("give up", lambda: self.log.append("gave up"))),
                Step("read", self.read, into=self.log.append, timeout=LONG, concurrent=True),
            ),
            Return(lambda: self.log),
        )

    async def ask(self, page: int) -> str:
        if current().attempt == 1 or page == 2:
            await forever()
        return f"answer {page}"

    def read(self, page: int) -> str:
        return f"page {page}"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_timeouts_make_no_difference_to_a_run_that_is_killed_anywhere(concurrency: int) -> None:
    found = explore(Impatient, [Advance(timedelta(minutes=1))], concurrency=concurrency)
    assert found.undisturbed.result == ["answer 1", "page 1", "gave up", "page 2"]
    assert [str(saved.kind) for saved in found.undisturbed.saves].count("afterFailure") == 3
    assert any("at await" in point for point in found.points)
    assert "after save afterFailure" in found.points


@dataclass
class Stuck:
    """A plain function that hangs, and another one that does not."""

    pages: list[str] = field(default_factory=list)

    def definition(self):
        return S(self.reading(), Step("think", self.think))

    def reading(self):
        hanging = Step("hang", self.hang, timeout=SHORT, concurrent=True, retry=Retry(max_attempts=2))
        reading = Step("read", self.read, into=self.pages.append, timeout=LONG, concurrent=True)
        return Try("try", hanging).catch(TimeoutError, reading)

    def hang(self) -> None:
        assert current().deps.gate.wait(60)

    def read(self) -> str:
        return "page"

    async def think(self) -> None: ...


@dataclass
class StuckPlainly(Stuck):
    def definition(self):
        return self.reading()


@pytest.mark.parametrize("kind", [Stuck, StuckPlainly])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_threads_left_alone_make_no_difference_to_a_run_that_is_killed_anywhere(
    kind: Any, concurrency: int, outside: Outside
) -> None:
    found = explore(kind, [Advance(timedelta(minutes=1))], concurrency=concurrency, deps=lambda: outside)
    assert found.undisturbed.workflow.pages == ["page"]
    assert "after save afterFailure" in found.points
    assert any(line.startswith("StepTimeoutError: run 'explored'") for line in found.undisturbed.trace)


def test_a_harness_raises_what_nobody_takes(outside: Outside) -> None:
    def hang() -> None:
        assert outside.gate.wait(60)

    with pytest.raises(StepTimeoutError, match="Nothing was saved since the last checkpoint"):
        Harness(Plain(do=hang)).run()


# --- the rest ---


def test_callbacks_of_a_workflow_with_timeouts_are_taken() -> None:
    @dataclass
    class Paying:
        def definition(self):
            return S(Step("ask", lambda: None, timeout=LONG, concurrent=True), Wait("payment", On("paid")))

    paying, state = Paying(), new()
    assert resume(paying, state) == "Waiting"
    handle_callback("paid", paying, state)
    assert resume(paying, state) == "Finished"


def test_a_step_timeout_error_travels_between_processes() -> None:
    error = StepTimeoutError("too long", step="fetch", run_id="r1", thread_id="main", saved=True)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (StepTimeoutError, "too long", vars(error))
    assert again.saved


@pytest.fixture(autouse=True)
def log(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "flowstmt.deadlines")
