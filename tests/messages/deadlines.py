"""What can go wrong with the time of an action."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowstmt import Retry, S, Step, resume_async
from flowstmt.deadlines import Worker
from tests.messages.definitions import wrong
from tests.messages.rows import Table
from tests.messages.runs import NOW, new, order, raising, run

TIMEOUTS = Table("Runs: timeouts")
TABLES = [TIMEOUTS]

SHORT = timedelta(milliseconds=1)
LONG = timedelta(minutes=1)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


class Held:
    """An action in a thread that goes on when its time is over; ``end`` lets it, and waits for it."""

    def __init__(self, then: Callable[[], Any] = lambda: None) -> None:
        self.begun = threading.Event()
        self._gate = threading.Event()
        self._then = then

    def __call__(self) -> Any:
        self.begun.set()
        self._gate.wait()
        return self._then()

    def end(self) -> None:
        self._gate.set()
        for thread in threading.enumerate():
            if isinstance(thread, Worker):
                thread.join()


def _held(held: Held, **options: Any) -> None:
    try:
        run(lambda w: Step("charge", held, timeout=SHORT, concurrent=True, **options))
    finally:
        held.end()


@TIMEOUTS.row
def a_timeout_that_is_no_duration() -> None:
    run(lambda w: Step("charge", forever, timeout=wrong(30)))


@TIMEOUTS.row
def a_timeout_of_an_action_that_nothing_could_end() -> None:
    run(lambda w: Step("charge", w.declined, timeout=LONG))


@TIMEOUTS.row
async def a_timeout_that_comes_with_the_data() -> None:
    data: list[Any] = [None]
    workflow = order(lambda w: S(Step("count", lambda: data.append(LONG)), Step("charge", forever, timeout=data[-1])))
    await resume_async(workflow, new(), now=NOW)


@TIMEOUTS.row
async def a_timeout_that_becomes_impossible_with_the_data() -> None:
    data: list[Any] = [forever]
    workflow = order(lambda w: S(Step("count", lambda: data.append(w.declined)), Step("charge", data[-1], timeout=LONG)))
    await resume_async(workflow, new(), now=NOW)


@TIMEOUTS.row
def a_timeout_under_another_event_loop_than_that_of_asyncio() -> None:
    resume_async(order(lambda w: Step("charge", forever, timeout=LONG)), new(), now=NOW).send(None)


@TIMEOUTS.row
async def an_async_action_that_takes_too_long() -> None:
    await resume_async(order(lambda w: Step("charge", forever, timeout=SHORT)), new(), now=NOW)


@TIMEOUTS.row
async def an_async_action_that_takes_too_long_and_swallows_its_cancellation() -> None:
    async def charge() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()

    await resume_async(order(lambda w: Step("charge", charge, timeout=SHORT)), new(), now=NOW)


@TIMEOUTS.row
async def an_async_action_that_takes_too_long_and_is_tried_again() -> None:
    policy = Retry(max_attempts=2)
    await resume_async(order(lambda w: Step("charge", forever, timeout=SHORT, retry=policy)), new(), now=NOW)


@TIMEOUTS.row
def a_function_that_takes_too_long() -> None:
    _held(Held())


@TIMEOUTS.row
async def a_function_that_takes_too_long_under_an_async_driver() -> None:
    held = Held()
    try:
        await resume_async(order(lambda w: Step("charge", held, timeout=SHORT, concurrent=True)), new(), now=NOW)
    finally:
        held.end()


@TIMEOUTS.row
def a_function_that_takes_too_long_and_raises_in_the_end() -> None:
    _held(Held(raising(ConnectionError("bank unreachable"))))


@TIMEOUTS.row
def a_function_that_takes_too_long_and_is_tried_again() -> None:
    _held(Held(), retry=Retry(max_attempts=2))


@TIMEOUTS.row
async def a_resume_that_is_cancelled_and_leaves_a_function_alone() -> None:
    held = Held()
    workflow = order(lambda w: Step("charge", held, timeout=timedelta(milliseconds=100), concurrent=True))
    task = asyncio.create_task(resume_async(workflow, new(), now=NOW))
    await asyncio.to_thread(held.begun.wait)
    task.cancel()
    await asyncio.wait([task])
    held.end()
