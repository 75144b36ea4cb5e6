"""What an ``invoke`` hook is told of a call, and what it hands to what it calls: a connection, a way to publish."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Self

import pytest

from flowstmt import (
    Current,
    Fail,
    FlowstmtError,
    Go,
    Join,
    Map,
    On,
    Retry,
    S,
    Saga,
    State,
    Statement,
    Step,
    StepError,
    Wait,
    WaitFor,
    cancel,
    current,
    handle_callback,
    handle_callback_async,
    resume,
    resume_async,
    step,
)
from flowstmt.testing import Harness

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Asked:
    """Notes what hooks are told, and makes the call as they do: here, or in a thread that gets the context."""

    def __init__(self, in_thread: bool = False) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.published: list[Any] = []
        self.in_thread = in_thread

    def look(self, current: Current) -> None:
        words = [word for word in ("is_async", "inline", "transactional") if getattr(current, word)]
        self.told.append((current.kind, current.position, " ".join(words)))
        if current.transactional:
            current.connection = f"connection of {current.position}"
        current.publisher = self.published.append

    def here(self, current: Current, call: Callable[[], Any]) -> Any:
        self.look(current)
        if not self.in_thread:
            return call()
        context = contextvars.copy_context()
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(context.run(call)))
        thread.start()
        thread.join()
        return outcome.pop()

    async def there(self, current: Current, call: Callable[[], Any]) -> Any:
        self.look(current)
        if not self.in_thread or current.is_async:
            return await call()
        return await asyncio.to_thread(call)


def drive_sync(asked: Asked, workflow: Any, state: State) -> None:
    resume(workflow, state, invoke=asked.here)


def drive_async(asked: Asked, workflow: Any, state: State) -> None:
    asyncio.run(resume_async(workflow, state, invoke=asked.there, concurrency=2))


DRIVES = [
    pytest.param(partial(drive, Asked(in_thread)), id=f"{drive.__name__} {'thread' if in_thread else 'here'}")
    for drive in (drive_sync, drive_async)
    for in_thread in (False, True)
]


@dataclass
class Shop:
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("count", self.count, inline=True),
            Step("book", self.book, transactional=True, into="log"),
            Step("look", self.look),
            Go("side", Step("ask", self.look, concurrent=True)),
            Join("all", "side"),
        )

    def count(self) -> None:
        current().publish({"at": date(2026, 1, 1)})

    def book(self) -> list[str]:
        return [*self.log, current().connection]

    def look(self) -> None:
        current().publish(current().position)


@pytest.mark.parametrize("drive", DRIVES)
def test_hooks_know_what_they_call_and_what_they_set_is_seen_there(drive):
    asked = drive.args[0]
    asked.told.clear()
    asked.published.clear()
    shop = Shop()
    drive(shop, State.new("r1", "Shop"))
    assert asked.told == [
        ("action", "count", "inline"),
        ("action", "book", "transactional"),
        ("action", "look", ""),
        ("action", "ask", ""),
    ]
    assert shop.log == ["connection of book"]
    assert asked.published == [{"at": "2026-01-01"}, "look", "ask"]


@dataclass
class Everything:
    """A call of every kind; those that are awaited, and those that are not."""

    ready: bool = False

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Saga(
                "saga",
                Step("pay", cls.pay, transactional=True, compensate=cls.repay),
                Step("pack", cls.pay, inline=True, compensate=cls.repay),
                Step("fetch", cls.fetch, compensate=cls.unfetch),
                Wait("door", On("rung", cls.ring, via=Bell()), On("knocked", cls.knock)),
                WaitFor("open", lambda w: w.ready, cls.pay),
                Fail("closed", "it is closed"),
            )
        )

    def pay(self) -> int:
        return 1

    def repay(self) -> None: ...

    async def fetch(self) -> int:
        return 2

    async def unfetch(self, fetched: int) -> None: ...

    async def ring(self) -> None:
        self.ready = True

    def knock(self) -> None: ...


class Bell:
    def setup(self, request: Any) -> None: ...

    async def teardown(self, request: Any, handled: bool) -> None: ...


def test_each_kind_of_call_is_told_apart():
    asked = Asked()
    everything, state = Everything(), State.new("r1", "Everything")

    async def main() -> None:
        await resume_async(everything, state, invoke=asked.there)
        await handle_callback_async("rung", everything, state, invoke=asked.there)
        await resume_async(everything, state, invoke=asked.there)

    asyncio.run(main())
    assert state.status == "Failed"
    assert asked.told == [
        ("action", "pay", "transactional"),
        ("action", "pack", "inline"),
        ("action", "fetch", "is_async"),
        ("setup", "door", ""),
        ("handler", "door", "is_async"),
        ("teardown", "door", "is_async"),
        ("action", "open", ""),
        ("action", "fetch:compensate", "is_async"),
        ("action", "pack:compensate", ""),
        ("action", "pay:compensate", "transactional"),
    ]


def test_a_wrapped_or_bound_function_is_seen_through():
    @dataclass
    class Wrapped:
        def definition(self) -> Statement:
            return S(
                Step("partial", partial(self.act, 1)),
                Step("object", Callable_()),
                Step("decorated", self.decorated),
                Step("builtin", print),
                Step("limited", self.act, timeout=timedelta(hours=1)),
                Step("limited in a thread", self.plain, timeout=timedelta(hours=1), concurrent=True),
            )

        async def act(self, number: int = 0) -> None: ...

        @step(retry=Retry())
        async def decorated(self) -> None: ...

        def plain(self) -> None: ...

    class Callable_:  # noqa: N801 an object like a function
        async def __call__(self) -> None: ...

    asked = Asked()
    asyncio.run(resume_async(Wrapped(), State.new("r1", "Wrapped"), invoke=asked.there))
    assert asked.told == [
        ("action", "partial", "is_async"),
        ("action", "object", "is_async"),
        ("action", "decorated", "is_async"),
        ("action", "builtin", ""),
        ("action", "limited", "is_async"),
        ("action", "limited in a thread", "is_async"),  # it has a thread of its own already
    ]


def test_what_a_hook_has_set_is_seen_in_the_thread_of_a_timeout():
    @dataclass
    class Slow:
        found: str = ""

        def definition(self) -> Statement:
            return Step("ask", self.ask, timeout=timedelta(hours=1), concurrent=True, into="found")

        def ask(self) -> str:
            current().publish(current().position)
            return threading.current_thread().name

    for drive in (drive_sync, drive_async):
        asked, slow = Asked(), Slow()
        drive(asked, slow, State.new("r1", "Slow"))
        assert asked.published == ["ask"]
        assert slow.found.startswith("flowstmt: ")


def test_each_call_has_its_own_connection():
    seen: list[str] = []

    @dataclass
    class Two:
        def definition(self) -> Statement:
            return S(Step("first", self.act, transactional=True), Step("second", self.act), Step("third", self.act))

        def act(self) -> None:
            try:
                seen.append(current().connection)
            except FlowstmtError as error:
                seen.append(str(error))

    resume(Two(), State.new("r1", "Two"), invoke=Asked().here)
    assert seen[0] == "connection of first"
    assert all("asked for a connection, but has none" in said for said in seen[1:])


def test_a_hook_that_is_done_leaves_nothing_behind_for_saves_and_conditions():
    seen: list[str] = []

    @dataclass
    class Order:
        def definition(self) -> Statement:
            return S(Step("first", print, transactional=True), WaitFor("then", self.cond))

        def cond(self) -> bool:
            try:
                seen.append(current().kind)
            except FlowstmtError as error:
                seen.append(str(error).partition(" ")[0])
            return True

    def save(kind: str) -> None:
        seen.append(f"{current().kind} {current().transactional}")

    resume(Order(), State.new("r1", "Order"), save, invoke=Asked().here)
    assert seen == ["save False", "current()", "save False"]


def test_a_call_inside_of_a_hook_is_still_inside_of_the_run():
    @dataclass
    class Inward:
        def definition(self) -> Statement:
            return Step("act", self.act)

        def act(self) -> None:
            resume(self, state)

    state = State.new("r1", "Inward")
    with pytest.raises(StepError, match="from inside its own action at 'act'"):
        resume(Inward(), state, invoke=Asked().here)


def test_a_handler_is_given_what_its_hook_sets():
    @dataclass
    class Order:
        def definition(self) -> Statement:
            return Wait("payment", On("paid", self.take))

        def take(self) -> Any:
            current().publish("taken")
            return current().connection

    def invoke(current: Current, call: Callable[[], Any]) -> Any:
        current.connection = "mine"
        current.publisher = published.append
        return call()

    published: list[Any] = []
    order, state = Order(), State.new("r1", "Order")
    resume(order, state)
    assert handle_callback("paid", order, state, invoke=invoke) == "mine"
    assert published == ["taken"]


def test_what_is_published_stands_though_the_attempt_fails():
    @dataclass
    class Import:
        def definition(self) -> Statement:
            return Step("rows", self.rows, retry=Retry(max_attempts=2, initial=timedelta(seconds=1), jitter=0))

        def rows(self) -> None:
            current().publish({"attempt": current().attempt})
            if current().attempt == 1:
                raise ConnectionError

    harness = Harness(Import())
    harness.run()
    harness.advance(timedelta(seconds=1))
    assert harness.status == "Finished"
    assert harness.published == [{"attempt": 1}, {"attempt": 2}]


def test_the_harness_hands_out_a_connection():
    @dataclass
    class Booking:
        def definition(self) -> Statement:
            return S(Step("book", self.book, transactional=True, compensate=self.unbook), Wait("end", On("over")))

        def book(self) -> None:
            current().connection.append("booked")

        def unbook(self) -> None:
            current().connection.append("unbooked")

    table: list[str] = []
    harness = Harness(Booking(), connection=table)
    harness.run()
    harness.control(cancel, "no room")
    assert harness.run() == "Cancelled"
    assert table == ["booked", "unbooked"]


def test_what_has_no_json_form_is_not_published():
    @dataclass
    class Odd:
        def definition(self) -> Statement:
            return Step("tell", lambda: current().publish(object()))

    with pytest.raises(StepError) as caught:
        resume(Odd(), State.new("r1", "Odd"), invoke=Asked().here)
    assert str(caught.value.__cause__).startswith("run 'r1': action at 'tell' published what JSON can't hold: ")


@dataclass
class Wide:
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("all", lambda w: list(range(3)), Step("act", cls.act, transactional=True))

    def act(self, number: int) -> None:
        seen_by_each.append((number, current().connection))


seen_by_each: list[tuple[int, str]] = []


def test_transactional_steps_of_branches_take_turns():
    seen_by_each.clear()
    asyncio.run(resume_async(Wide(), State.new("r1", "Wide"), invoke=Asked(in_thread=True).there, concurrency=3))
    assert seen_by_each == [(number, "connection of act") for number in range(3)]
