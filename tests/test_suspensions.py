"""An async call may die wherever it suspends; a dead process runs nothing any more, not even a ``finally``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from flowstmt import CallbackRequest, On, S, Statement, Step, Wait, current
from flowstmt.testing import Callback, CrashError, Harness, Killed, NotDeterministicError, explore
from flowstmt.testing.suspensions import AsyncCalls

Act = Callable[[Any], Coroutine[Any, Any, Any]]


@dataclass
class World:
    log: list[str] = field(default_factory=list)


class Suspends:
    """Every kind of call suspends, the teardown twice."""

    async def setup(self, request: CallbackRequest) -> None:
        await asyncio.sleep(0)

    async def teardown(self, request: CallbackRequest, handled: bool) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@dataclass
class Order:
    paid: int = 0
    shipped: int = 0

    def definition(self) -> Statement:
        return S(
            Wait("payment", On("paid", self.pay, into="paid", via=Suspends())), Step("ship", self.ship), Step("tell", self.ship)
        )

    async def pay(self, amount: int) -> None:
        await asyncio.sleep(0)

    async def ship(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.shipped += 1


def acting(act: Act) -> Callable[[], Any]:
    """A workflow with one async action."""

    @dataclass
    class Acts:
        done: str = ""

        def definition(self) -> Statement:
            return S(Step("act", self.act, into="done"), Step("after", lambda: None))

        async def act(self) -> str:
            return str(await act(current().deps))

    return Acts


def killed_at(point: str, act: Act) -> tuple[Harness[Any], World]:
    """A run that died there, was loaded, and went on to its end."""
    kills = [point]

    def probe(label: str) -> None:
        if [label] == kills:
            kills.clear()
            raise Killed(label)

    world = World()
    harness: Harness[Any] = Harness(acting(act)(), deps=world, probe=probe)
    with pytest.raises(Killed):
        harness.run()
    assert not kills
    world.log.append("killed")
    harness.reload()
    assert harness.run() == "Finished"
    return harness, world


def test_every_await_of_every_call_is_a_point_at_which_the_run_is_killed():
    found = explore(Order, [Callback("paid", 5)])
    assert [point for point in found.points if point.startswith("at await")] == [
        "at await 1 of setup at 'payment' (thread main)",
        "at await 1 of handler at 'payment' (thread main)",
        "at await 1 of teardown at 'payment' (thread main)",
        "at await 2 of teardown at 'payment' (thread main)",
        "at await 1 of action at 'ship' (thread main)",
        "at await 2 of action at 'ship' (thread main)",
        "at await 3 of action at 'ship' (thread main)",
        "at await 1 of action at 'tell' (thread main)",
        "at await 2 of action at 'tell' (thread main)",
        "at await 3 of action at 'tell' (thread main)",
    ]
    assert found.undisturbed.workflow.shipped == 2


def test_an_effect_that_is_only_half_done_at_an_await_is_found():
    async def book(world: World) -> int:
        if "booked" not in world.log:
            world.log.append("seat")
            await asyncio.sleep(0)
            world.log.append("booked")
        return world.log.count("seat")

    with pytest.raises(CrashError, match=r"killed at await 1 of action at 'act' .*undisturbed \{'done': '1'\}.*'2'"):
        explore(acting(book), deps=World)


def test_a_dead_process_runs_no_finally_until_nobody_looks_any_more():
    async def act(world: World) -> None:
        try:
            await asyncio.sleep(0)
            world.log.append("done")
        finally:
            world.log.append("finally")

    harness, world = killed_at("at await 1 of action at 'act' (thread main)", act)
    assert world.log == ["killed", "done", "finally"]
    harness.close()
    assert world.log == ["killed", "done", "finally", "finally"]
    harness.close()
    assert len(world.log) == 4


async def stubborn(world: World) -> None:
    try:
        await asyncio.sleep(0)
    finally:
        for _ in range(3):
            try:
                await asyncio.sleep(0)
            finally:
                await asyncio.sleep(0)


async def starts_something(world: World) -> None:
    async def never_awaited() -> None: ...

    try:
        await asyncio.sleep(0)
    finally:
        await asyncio.gather(asyncio.create_task(never_awaited()), never_awaited())


async def undying(world: World) -> None:
    # Not for ever: when Python ends it takes away ``asyncio`` first, and with it what makes this wait.
    for _ in range(100_000):
        try:
            await asyncio.sleep(0)
            return
        except BaseException:
            world.log.append("ignored")


async def grouped(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(stubborn(world))


async def timed(world: World) -> None:
    async with asyncio.timeout(60):
        await asyncio.shield(stubborn(world))


async def streaming(world: World) -> None:
    async def numbers() -> Any:
        try:
            for i in range(3):
                await asyncio.sleep(0)
                yield i
        finally:
            await asyncio.sleep(0)

    async for _ in numbers():
        await asyncio.sleep(0)


async def in_a_thread(world: World) -> None:
    await asyncio.to_thread(world.log.append, "thread")


async def leaves_a_task(world: World) -> None:
    world.task = asyncio.create_task(stubborn(world))  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def cancels_what_never_started(world: World) -> None:
    task = asyncio.create_task(stubborn(world))
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("close", [True, False], ids=["closed", "collected"])
@pytest.mark.parametrize(
    "act",
    [
        stubborn,
        starts_something,
        undying,
        grouped,
        timed,
        streaming,
        in_a_thread,
        leaves_a_task,
        cancels_what_never_started,
    ],
    ids=lambda act: act.__name__,
)
def test_what_a_kill_leaves_suspended_is_cleared_away_without_a_warning(act: Act, close: bool, caplog: Any):
    """Warnings are errors here, and pytest tells of those that are raised while objects are collected."""
    if close:
        found = explore(acting(act), deps=World)
        assert any(point.startswith("at await 1 of") for point in found.points)
    else:
        points = [
            point for point in explore(acting(act), deps=World).points if point.startswith("at await") and "#" not in point
        ]
        for point in points:
            killed_at(point, act)
    gc.collect()
    assert caplog.records == []


def test_a_kill_in_a_task_kills_the_call_that_started_it_whatever_that_waits_for():
    async def act(world: World) -> None:
        async def work() -> None:
            world.log.append("charged")
            await asyncio.sleep(0)
            world.log.append("told")

        task = asyncio.create_task(work())
        try:
            await asyncio.sleep(3600 if "killed" not in world.log else 0)
            await task
        finally:
            world.log.append("finally")

    _, world = killed_at("at await 1 of task 1 of action at 'act' (thread main)", act)
    assert world.log == ["charged", "killed", "charged", "told", "finally"]


def test_tasks_that_share_the_work_of_an_action_are_killed_at_each_of_their_awaits():
    async def both(world: World) -> int:
        async def once(what: str) -> None:
            if f"{what} done" not in world.log:
                world.log.append(what)
                await asyncio.sleep(0)
                world.log.append(f"{what} done")

        await asyncio.gather(once("charge"), once("pack"))
        return world.log.count("charge")

    with pytest.raises(CrashError, match="killed at await 1 of task 1 of action at 'act'"):
        explore(acting(both), deps=World)


def test_a_task_that_outlives_the_run_is_cancelled_when_the_loop_is_closed_and_nobody_dies_of_that():
    worlds: list[World] = []

    def world() -> World:
        worlds.append(World())
        return worlds[-1]

    async def act(world: World) -> None:
        async def late() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)
                world.log.append("unwound")

        world.task = asyncio.create_task(late())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    found = explore(acting(act), deps=world)
    assert [point for point in found.points if "await" in point] == [
        "at await 1 of action at 'act' (thread main)",
        "at await 1 of task 1 of action at 'act' (thread main)",
    ]
    assert worlds[0].log == ["unwound"]


def test_what_a_living_loop_complains_about_is_told(caplog: pytest.LogCaptureFixture):
    async def act(world: World) -> None:
        async def fails() -> None:
            raise LookupError("nobody looks")

        asyncio.create_task(fails())  # noqa: RUF006 nobody awaits it: that is under test
        await asyncio.sleep(0)

    harness: Harness[Any] = Harness(acting(act)(), deps=World())
    harness.run()
    gc.collect()
    assert "Task exception was never retrieved" in caplog.text


def test_calls_in_flight_are_neither_cancelled_nor_resumed_nor_started_when_another_one_is_killed():
    """As a driver does it that has several actions in flight: it cancels them, awaits them and raises."""
    log: list[str] = []

    async def action(name: str) -> None:
        log.append(f"{name} begins")
        try:
            await asyncio.sleep(3600 if name == "sleeper" else 0)
            log.append(f"{name} goes on")
        except asyncio.CancelledError:
            log.append(f"{name} cancelled")
            raise
        finally:
            log.append(f"{name} finally")

    def point(label: str) -> None:
        if label == "at await 1 of killed":
            calls.die()
            raise Killed(label)

    async def drive() -> None:
        names = ("sleeper", "ready", "killed")
        tasks = [asyncio.create_task(calls.watch(partial(action, name), name, point)) for name in names]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks)
        assert [type(task.exception()) for task in tasks if not task.cancelled()] == [Killed, Killed]
        for task in done:
            task.result()

    calls = AsyncCalls()
    with pytest.raises(Killed):
        calls.run(drive())
    begun = ["sleeper begins", "ready begins", "killed begins"]
    assert log == begun
    calls.close()
    assert sorted(log[3:]) == ["killed finally", "ready finally", "sleeper finally"]


def test_an_action_about_to_start_when_another_one_is_killed_does_not():
    def probe(label: str) -> None:
        raise Killed(label)

    harness: Harness[Any] = Harness(Order(), probe=probe)

    async def drive() -> None:
        at = current  # never asked: both die before they begin
        tasks = [asyncio.create_task(harness._invoke_async(fake, at)) for fake in (Fake(), Fake())]  # type: ignore[arg-type]
        await asyncio.wait(tasks)
        assert [str(task.exception()) for task in tasks] == ["before action at 'a' (thread main)", "the process is dead"]

    class Fake:
        kind, position, thread_id, child_run_id, transactional = "action", "a", "main", "", False

    with pytest.raises(Killed, match="the process is dead"):
        harness._async_calls.run(drive())


def test_what_an_action_catches_while_it_is_alive_reaches_it():
    async def act(world: World) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(3600)
        except TimeoutError:
            return "timed out"
        return "slept"

    assert explore(acting(act), deps=World).undisturbed.workflow.done == "timed out"


def test_a_call_that_is_closed_while_it_is_alive_is_unwound_at_once():
    world = World()
    calls = AsyncCalls()

    async def drive() -> None:
        call = calls.watch(partial(closing, world), "call", lambda label: None)
        call.send(None)
        call.close()
        assert world.log == ["finally"]

    async def closing(world: World) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            world.log.append("finally")

    calls.run(drive())
    assert world.log == ["finally"]


def test_an_action_that_cancels_itself_is_no_kill():
    async def act(world: World) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        Harness(acting(act)(), deps=World()).run()


def test_what_the_probe_raises_besides_a_kill_is_not_for_the_workflow_to_catch():
    async def act(world: World) -> None:
        try:
            await asyncio.sleep(0)
        except LookupError:
            world.log.append("caught")

    def probe(label: str) -> None:
        if label.startswith("at await"):
            raise LookupError(label)

    world = World()
    harness: Harness[Any] = Harness(acting(act)(), deps=world, probe=probe)
    with pytest.raises(Exception, match="LookupError: at await 1"):
        harness.run()
    assert world.log == []


def test_awaits_whose_number_differs_from_play_to_play_are_told_as_such():
    naps: list[int] = []

    async def act(world: World) -> None:
        naps.append(1)
        for _ in range(1 + len(naps) % 2):
            await asyncio.sleep(0)

    with pytest.raises(
        NotDeterministicError, match=r"make\(\), deps\(\) or an action is not deterministic.*at await 2 of action"
    ):
        explore(acting(act), deps=World)


def test_a_harness_in_an_async_test_says_where_it_belongs():
    async def act() -> None:
        with pytest.raises(RuntimeError, match="use it from a plain test, not from an async one"):
            Harness(Order()).run()

    asyncio.run(act())
