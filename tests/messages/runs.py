"""What can go wrong while a run moves: actions, conditions, setups, drivers called wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from flowstmt import (
    Current,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Sleep,
    State,
    Statement,
    Step,
    Timeout,
    Wait,
    WaitFor,
    current,
    handle_callback,
    handle_callback_async,
    resume,
    resume_async,
)
from tests.messages.definitions import Client, wrong
from tests.messages.rows import Table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
_BEFORE_TIME = datetime.fromisoformat("0001-01-01T00:00:00+14:00")

ACTIONS = Table("Runs: actions")
ANSWERS = Table("Runs: conditions, items and other answers")
EVENTS = Table("Runs: setups and teardowns")
ARGUMENTS = Table("Runs: what drivers are given")
BESIDE = Table("Runs: side by side")
TABLES = [ACTIONS, ANSWERS, EVENTS, ARGUMENTS, BESIDE]


class SilentError(Exception):
    """Raised without a message."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Awaitable:
    def __await__(self) -> Any:
        yield


@dataclass
class Order:
    """Its definition is whatever a row says."""

    paid: Any = 0
    lock: Any = field(default=None, metadata={"transient": True})

    def definition(self) -> Statement:
        return S()

    def declined(self) -> None:
        raise ValueError("card declined")


def order(tree: Callable[[Any], Statement]) -> Any:
    """A workflow object whose definition is what ``tree`` makes of it."""
    kind: Any = type("Order", (Order,), {"definition": tree, "__qualname__": "Order"})
    return dataclass(kind)()


def new() -> State:
    return State.new("order-1", "Order", NOW)


def run(tree: Callable[[Any], Statement], **given: Any) -> None:
    resume(order(tree), new(), now=NOW, **given)


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


# --- actions ---


@ACTIONS.row
def an_action_that_raises() -> None:
    run(lambda w: Step("charge", w.declined))


@ACTIONS.row
def an_action_in_a_thread_that_raises() -> None:
    run(lambda w: S(ForEach("lines", ["tea"], Go("ship", Step("send", w.declined), id=lambda line: line)), Join("all", "ship")))


@ACTIONS.row
def an_action_whose_error_has_no_message() -> None:
    run(lambda w: Step("charge", raising(SilentError())))


@ACTIONS.row
def an_action_whose_error_can_not_be_told() -> None:
    run(lambda w: Step("charge", raising(UnprintableError())))


@ACTIONS.row
def an_action_whose_error_tells_more_than_a_line() -> None:
    run(lambda w: Step("charge", raising(ValueError("<html>\n  <body>bad gateway</body>\n</html>" + " " * 2000 + "x"))))


@ACTIONS.row
def a_handler_of_a_wait_for_that_raises() -> None:
    run(lambda w: WaitFor("is paid", lambda: True, w.declined))


@ACTIONS.row
def an_awaitable_for_a_sync_driver() -> None:
    run(lambda w: Step("charge", lambda: asyncio.sleep(0)))


@ACTIONS.row
async def an_action_that_returns_what_is_still_to_be_awaited() -> None:
    async def charge() -> Any:
        return Awaitable()

    await resume_async(order(lambda w: Step("charge", charge)), new(), now=NOW)


@ACTIONS.row
def a_setter_that_raises() -> None:
    def keep(_: Any) -> None:
        raise ValueError("the till is full")

    run(lambda w: Step("charge", lambda: 5, into=keep))


@ACTIONS.row
def a_setter_that_returns_a_coroutine() -> None:
    run(lambda w: Step("charge", lambda: 5, into=lambda value: asyncio.sleep(0)))


@ACTIONS.row
def a_concurrent_step_that_raises() -> None:
    run(lambda w: Step("charge", w.declined, concurrent=True))


@ACTIONS.row
def a_concurrent_step_that_changes_data() -> None:
    def charge(w: Any) -> None:
        w.paid = 5

    run(lambda w: Step("charge", lambda: charge(w), concurrent=True))


@ACTIONS.row
def a_concurrent_step_that_changes_its_item_and_its_arg() -> None:
    def pack(line: list[str]) -> None:
        line.append("packed")

    tree = S(
        Go("ship", ForEach("lines", [["tea"]], Step("pack", pack, concurrent=True)), arg=["box"]),
        Go("label", Step("write", lambda box: box.append("written"), concurrent=True), arg=["box"]),
        Join("all", "ship", "label"),
    )
    workflow, state = order(lambda w: tree), new()
    resume(workflow, state, now=NOW, max_steps=0)
    asyncio.run(resume_async(workflow, state, now=NOW, concurrency=2))


@ACTIONS.row
def a_concurrent_step_that_changes_its_arg() -> None:
    tree = S(Go("label", Step("write", lambda box: box.append("written"), concurrent=True), arg=["box"]), Join("all", "label"))
    run(lambda w: tree)


@ACTIONS.row
def a_concurrent_step_that_makes_its_item_unfit_to_be_saved() -> None:
    run(lambda w: ForEach("lines", [["tea"]], Step("pack", lambda line: line.append(Client()), concurrent=True)))


@ACTIONS.row
def a_concurrent_step_of_data_that_can_not_be_copied() -> None:
    workflow = order(lambda w: Step("charge", w.declined, concurrent=True))
    workflow.paid = Lock()
    resume(workflow, new(), now=NOW)


@ACTIONS.row
def a_concurrent_step_of_an_object_that_can_not_be_copied() -> None:
    @dataclass
    class Uncopied:
        def definition(self) -> Statement:
            return Step("charge", lambda: None, concurrent=True)

        def __copy__(self) -> Any:
            raise TypeError("there is only one of me")

    resume(Uncopied(), new(), now=NOW)


@ACTIONS.row
def deps_that_were_not_given() -> None:
    run(lambda w: Step("charge", lambda: current().deps["bank"]))


@ACTIONS.row
def a_connection_that_nobody_has_set() -> None:
    run(lambda w: Step("charge", lambda: current().connection, transactional=True))


@ACTIONS.row
def a_connection_for_a_step_that_is_not_transactional() -> None:
    run(lambda w: Step("charge", lambda: current().connection))


@ACTIONS.row
def something_published_where_nobody_takes_it() -> None:
    run(lambda w: Step("charge", lambda: current().publish("charged")))


@ACTIONS.row
def something_published_that_json_cannot_hold() -> None:
    def invoke(current: Current, call: Callable[[], Any]) -> Any:
        current.publisher = print
        return call()

    resume(order(lambda w: Step("charge", lambda: current().publish(Lock()))), new(), now=NOW, invoke=invoke)


@ACTIONS.row
def an_item_where_there_is_none() -> None:
    run(lambda w: Step("charge", lambda: current().item()))


@ACTIONS.row
def an_item_of_another_loop() -> None:
    run(lambda w: ForEach("lines", ["tea"], Step("pack", lambda line: current().item("parcels"))))


@ACTIONS.row
def current_outside_of_a_call() -> None:
    current()


# --- what callables answer ---

for _title, _made in dict[str, Callable[[], Statement]](
    {
        "a condition that raises": lambda: If("paid", raising(ZeroDivisionError("division by zero"))),
        "a condition that raises without a message": lambda: WaitFor("paid", raising(AssertionError())),
        "items that raise": lambda: ForEach("lines", raising(LookupError("no lines"))),
        "a condition without a truth": lambda: WaitFor("paid", _NoTruth),
        "a condition that returns a function": lambda: If("paid", lambda: raising),
        "a plain condition that is awaitable": lambda: If("paid", Awaitable()),
        "items that are none": lambda: ForEach("lines", {"tea"}, Step("pack", print)),
        "items that can't be counted": lambda: ForEach("lines", _Uncountable(), Step("pack", print)),
        "an item that can't be kept": lambda: ForEach("lines", [Client()], Step("pack", print)),
        "an item of another type": lambda: ForEach("lines", ["seven"], Step("pack", _pack)),
        "an arg that can't be kept": lambda: Go("ship", arg=Client()),
        "an id that is none": lambda: Go("ship", id=1.5),
        "an id that can't be kept": lambda: Go("ship", id=Client()),
        "a value that can't be kept": lambda: If("paid", True, Return(Client())),
        "a value that is no number": lambda: Return(float("nan")),
        "a duration that is none": lambda: Sleep("pause", lambda: wrong(5)),
        "a timeout without a time zone": lambda: Wait("payment", Timeout("late", lambda: datetime(2026, 6, 1))),
        "a duration past the calendar": lambda: Sleep("pause", timedelta.max),
    }
).items():
    ANSWERS.add(_title, lambda made=_made: run(lambda w: S(made())))


class _NoTruth:
    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


class _Uncountable(list[Any]):
    def __len__(self) -> int:
        raise OSError("the list is gone")


def _pack(line: int) -> None: ...


@ANSWERS.row
def an_item_that_became_unfit_to_be_handed_on() -> None:
    run(lambda w: ForEach("lines", [["tea"]], Step("pack", lambda line: line.append(Client())), Go("ship")))


# --- setups and teardowns ---


class Page:
    """A ``via`` that fails as it is told."""

    def __init__(self, setup: Any = None, teardown: Any = None) -> None:
        self._setup, self._teardown = setup, teardown

    def setup(self, request: Any) -> Any:
        if isinstance(self._setup, Exception):
            raise self._setup
        return self._setup

    def teardown(self, request: Any, handled: bool) -> None:
        if self._teardown is not None:
            raise self._teardown


@EVENTS.row
def setups_that_raise() -> None:
    run(
        lambda w: Wait(
            "payment",
            On("paid", via=Page(ConnectionError("bank unreachable"))),
            On("cancelled", via=Page(SilentError())),
        )
    )


@EVENTS.row
def a_setup_that_returns_no_text() -> None:
    run(lambda w: Wait("payment", On("paid", via=Page({"token": "secret"}))))


@EVENTS.row
def a_teardown_that_raises() -> None:
    workflow = order(lambda w: Wait("payment", On("paid", via=Page(teardown=ConnectionError("bank unreachable")))))
    state = new()
    resume(workflow, state, now=NOW)
    handle_callback("paid", workflow, state, now=NOW)
    resume(workflow, state, now=NOW)


@EVENTS.row
def a_teardown_that_the_definition_has_lost() -> None:
    state = new()
    resume(order(lambda w: Wait("payment", On("paid", via=Page()), On("cancelled"))), state, now=NOW)
    lost = order(lambda w: Wait("payment", On("cancelled")))
    handle_callback("cancelled", lost, state, now=NOW)
    resume(lost, state, now=NOW)


@EVENTS.row
def a_setup_that_changes_data_so_that_a_condition_raises() -> None:
    class Emptying:
        def __init__(self, workflow: Any) -> None:
            self._workflow = workflow

        def setup(self, request: Any) -> None:
            self._workflow.paid = None

    run(
        lambda w: S(
            Go("watch", WaitFor("paid enough", lambda: w.paid > 5)),
            Wait("payment", On("paid", via=Emptying(w))),
        )
    )


@EVENTS.row
def a_setup_of_data_that_can_not_be_copied() -> None:
    workflow = order(lambda w: Wait("payment", On("paid", via=Page("page-1"))))
    workflow.paid = Lock()
    resume(workflow, new(), now=NOW)


# --- what drivers are given ---

_NOTHING: Callable[[Any], Statement] = lambda w: S()  # noqa: E731 a name for a row's least tree

for _title, _call in dict[str, Callable[[], Any]](
    {
        "no state": lambda: resume(order(_NOTHING), wrong({"run_id": "order-1"})),
        "a save that is none": lambda: resume(order(_NOTHING), new(), wrong("orders.db")),
        "a now without a time zone": lambda: resume(order(_NOTHING), new(), now=datetime(2026, 6, 1)),
        "a now past the calendar": lambda: resume(order(_NOTHING), new(), now=_BEFORE_TIME),
        "an invoke that is none": lambda: resume(order(_NOTHING), new(), invoke=wrong(5)),
        "max_steps that are none": lambda: resume(order(_NOTHING), new(), max_steps=wrong("all")),
        "a concurrency that is none": lambda: asyncio.run(resume_async(order(_NOTHING), new(), concurrency=0)),
        "concurrency without asyncio": lambda: resume_async(order(_NOTHING), new(), concurrency=2).send(None),
        "a run id that is none": lambda: State.new("", "Order"),
        "a workflow's name that is none": lambda: State.new("order-1", wrong(None)),
        "a birth without a time zone": lambda: State.new("order-1", "Order", datetime(2026, 6, 1)),
    }
).items():
    ARGUMENTS.add(_title, _call)


@ARGUMENTS.row
def a_clock_without_a_time_zone() -> None:
    resume(order(_NOTHING), new(), now=lambda: datetime(2026, 6, 1))


@ARGUMENTS.row
def a_save_that_is_async() -> None:
    async def save(kind: Any) -> None: ...

    resume(order(_NOTHING), new(), save)


@ARGUMENTS.row
async def a_save_that_returns_what_is_still_to_be_awaited() -> None:
    async def save(kind: Any) -> Any:
        return Awaitable()

    await resume_async(order(_NOTHING), new(), save)


# --- side by side ---


@BESIDE.row
def a_driver_called_from_inside_an_action() -> None:
    state = new()
    workflow = order(lambda w: Step("charge", lambda: resume(w, state)))
    resume(workflow, state, now=NOW)


@BESIDE.row
def a_driver_called_while_another_call_moves_the_run() -> None:
    found: list[Exception] = []

    async def both() -> None:
        async def charge() -> None:
            await asyncio.sleep(0)

        workflow, state = order(lambda w: Step("charge", charge)), new()
        async with asyncio.TaskGroup() as group:
            group.create_task(resume_async(workflow, state))
            await asyncio.sleep(0)
            try:
                await resume_async(workflow, state)
            except Exception as error:
                found.append(error)

    asyncio.run(both())
    raise found[0]


async def _beside(ends: Callable[[], Any], save: Any = None, other: bool = False) -> None:
    """A callback that comes while an action is under way; the action then does what ``ends`` does."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def charge() -> None:
        begun.set()
        await go_on.wait()
        ends()

    def tree(w: Any) -> Statement:
        return S(Go("charging", Step("charge", charge)), Wait("payment", On("paid")), Join("charged", "charging"))

    workflow, state = order(tree), new()
    moving = asyncio.create_task(resume_async(workflow, state, save))
    await begun.wait()
    callback = asyncio.create_task(handle_callback_async("paid", order(tree) if other else workflow, state))
    await asyncio.sleep(0)
    go_on.set()
    outcomes = await asyncio.gather(moving, callback, return_exceptions=True)
    assert isinstance(outcomes[1], BaseException)
    raise outcomes[1]


@BESIDE.row
async def a_callback_beside_a_resume_that_fails() -> None:
    await _beside(raising(ValueError("card declined")))


@BESIDE.row
async def a_callback_beside_a_resume_whose_save_fails() -> None:
    def save(kind: Any) -> None:
        if kind == "afterCallback":
            raise OSError("disk full")

    await _beside(lambda: None, save)


@BESIDE.row
async def a_callback_with_another_object_than_the_resume_beside() -> None:
    await _beside(lambda: None, other=True)


def _flights(main: Statement) -> Callable[[Any], Statement]:
    """Two actions that fail in flight, beside what main does."""

    async def declined() -> None:
        raise ValueError("card declined")

    return lambda w: S(
        Go("one", Step("charge one", declined, concurrent=True)),
        Go("two", Step("charge two", declined, concurrent=True)),
        main,
    )


@BESIDE.row
async def two_concurrent_steps_that_fail() -> None:
    await resume_async(order(_flights(Join("both", "one", "two"))), new(), concurrency=3)


@BESIDE.row
async def a_concurrent_step_that_fails_when_main_has_ended() -> None:
    async def finish() -> None:
        await asyncio.sleep(0)

    await resume_async(order(_flights(Step("finish", finish, concurrent=True))), new(), concurrency=3)


@BESIDE.row
def a_concurrent_step_in_flight_when_main_ends() -> None:
    async def for_long() -> None:
        await asyncio.Event().wait()

    workflow = order(lambda w: S(Go("one", Step("charge", for_long, concurrent=True)), Step("finish", lambda: None)))
    state = new()
    asyncio.run(resume_async(workflow, state, now=NOW, concurrency=2))
    raise _NoteError(state.notes[0]["message"])


class _NoteError(Exception):
    """Not raised by flowstmt: a note that it leaves in the state."""
