"""``current()``: what the code that a driver calls may know, where it is valid, and the idempotency key."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from flowstmt import (
    Break,
    Current,
    FlowstmtError,
    For,
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
    StepError,
    Timeout,
    Wait,
    WaitFor,
    current,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DEPS = object()

Seen = list[dict[str, Any]]
seen: Seen = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def note(what: str = "") -> None:
    """Keep everything that ``current()`` says."""
    found = current()
    assert isinstance(found, Current)
    seen.append(
        {
            "what": what or found.kind,
            "kind": found.kind,
            "run_id": found.run_id,
            "workflow": found.workflow,
            "thread_id": found.thread_id,
            "position": found.position,
            "pc": found.pc,
            "attempt": found.attempt,
            "now": found.now,
            "deps": found.deps,
            "key": found.idempotency_key,
        }
    )


class Webhook:
    def setup(self, request: Any) -> str:
        note()
        return "x"

    def teardown(self, request: Any, handled: bool) -> None:
        note()


@dataclass
class Order:
    paid: bool = False

    def definition(self) -> Statement:
        return S(
            Step("first", self.act),
            Wait("payment", On("paid", self.handler, Step("thank", self.act), via=Webhook()), On("other")),
            WaitFor("ready", lambda: self.paid, self.act),
            Go("side", Step("pack", self.act)),
            Join("all", "side"),
        )

    def act(self) -> None:
        note()

    def handler(self) -> str:
        note()
        self.paid = True
        return "thanks"


def drive_sync(order: Any, state: State, now: datetime = NOW, event: str = "") -> None:
    def save(kind: str) -> None:
        note(f"save {kind}")

    if event:
        handle_callback(event, order, state, now=now, deps=DEPS)
    resume(order, state, save, now=now, deps=DEPS)


def drive_async(order: Any, state: State, now: datetime = NOW, event: str = "") -> None:
    async def save(kind: str) -> None:
        await asyncio.sleep(0)
        note(f"save {kind}")

    async def main() -> None:
        if event:
            await handle_callback_async(event, order, state, now=now, deps=DEPS)
        await resume_async(order, state, save, now=now, deps=DEPS)

    asyncio.run(main())


@pytest.mark.parametrize("drive", [drive_sync, drive_async])
def test_everything_that_is_called_knows_where_it_stands(drive: Callable[..., None]) -> None:
    order, state = Order(), State.new("run-1", "Order", NOW)
    drive(order, state)
    drive(order, state, LATER, "paid")
    shown = [(call["what"], call["thread_id"], call["position"], call["pc"]) for call in seen]
    assert shown == [
        ("save afterResume", "", "", 0),
        ("action", "main", "first", 1),
        ("save afterStep", "main", "payment", 2),
        ("setup", "main", "payment", 2),
        ("save afterSetup", "main", "payment", 2),
        ("handler", "main", "payment", 2),
        ("save afterResume", "", "", 0),
        ("teardown", "main", "payment", 2),
        ("save afterTeardown", "main", "thank", 3),
        ("action", "main", "thank", 3),
        ("save afterStep", "main", "ready", 4),
        ("action", "main", "ready", 4),
        ("save afterCondition", "main", "all", 5),
        ("action", "side", "pack", 1),
        ("save afterStep", "side", "pack", 1),
    ]
    for call in seen:
        assert call["run_id"] == "run-1"
        assert call["workflow"] is order
        assert call["deps"] is DEPS
        assert call["attempt"] == 1
        assert call["kind"] == call["what"].split()[0]
    assert {call["now"] for call in seen[:5]} == {NOW}
    assert {call["now"] for call in seen[5:]} == {LATER}


def test_without_a_given_now_it_is_the_clock() -> None:
    @dataclass
    class Clock:
        def definition(self) -> Statement:
            return S(
                Step("a", lambda: seen.append({"now": current().now})), Step("b", lambda: seen.append({"now": current().now}))
            )

    before = datetime.now(UTC)
    resume(Clock(), State.new("r", "Clock"))
    after = datetime.now(UTC)
    first, second = (call["now"] for call in seen)
    assert before <= first <= second <= after
    assert first.tzinfo is UTC


# --- setters ---


@dataclass
class Kept:
    """Setters of a plain step, of steps that may be concurrent, and of an event."""

    concurrent: bool
    kept: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("plain", self.act, into=self.keep),
            ForEach(
                "lines",
                ["tea", "rice"],
                Go("side", Step("fetch", self.act, into=self.keep_line, concurrent=self.concurrent), id=lambda line: line),
            ),
            Join("all", "side"),
            Wait("payment", On("paid", self.take, into=self.keep)),
        )

    def act(self) -> str:
        note("call")
        return "done"

    def take(self, amount: int) -> None:
        note("call")

    def keep(self, value: Any) -> None:
        note("setter")
        assert current().workflow is self
        self.kept.append(str(value))

    def keep_line(self, value: Any, line: str) -> None:
        assert current().item() is line
        self.keep(f"{value} {line}")


def keep_sync(kept: Kept, state: State) -> None:
    resume(kept, state, deps=DEPS)
    handle_callback("paid", kept, state, 5, deps=DEPS)


def keep_async(concurrency: int) -> Callable[[Kept, State], None]:
    async def main(kept: Kept, state: State) -> None:
        await resume_async(kept, state, deps=DEPS, concurrency=concurrency)
        await handle_callback_async("paid", kept, state, 5, deps=DEPS)

    return lambda kept, state: asyncio.run(main(kept, state))


DRIVERS = [
    pytest.param(keep_sync, id="sync"),
    pytest.param(keep_async(1), id="async"),
    pytest.param(keep_async(3), id="side by side"),
]


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("concurrent", [False, True])
def test_a_setter_is_told_what_the_call_is_told_whose_outcome_it_takes(drive: Callable[..., None], concurrent: bool) -> None:
    kept, state = Kept(concurrent), State.new("run-1", "Kept")
    drive(kept, state)
    assert kept.kept == ["done", "done tea", "done rice", "5"]
    calls, setters = (
        [{key: told for key, told in call.items() if key not in ("what", "workflow")} for call in seen if call["what"] == what]
        for what in ("call", "setter")
    )
    assert setters == calls  # the key, and the instant on a clock that goes on
    assert [(call["kind"], call["position"], call["thread_id"]) for call in setters] == [
        ("action", "plain", "main"),
        ("action", "fetch", "side:tea"),
        ("action", "fetch", "side:rice"),
        ("handler", "payment", "main"),
    ]
    assert setters[-1]["key"].endswith(":handler:paid")


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("concurrent", [False, True])
def test_after_a_setter_conditions_are_told_nothing(drive: Callable[..., None], concurrent: bool) -> None:
    @dataclass
    class Asking(Kept):
        def definition(self) -> Statement:
            return S(Step("before", self.act, into=self.keep, concurrent=self.concurrent), If("a", asks(True)))

    with pytest.raises(StepError, match=r"'a'.* raised FlowstmtError: current\(\) is valid inside"):
        drive(Asking(concurrent), State.new("r", "Asking"))
    assert [call["what"] for call in seen] == ["call", "setter"]
    with pytest.raises(FlowstmtError, match="is valid inside"):
        current()


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_setter_that_raises_leaves_nothing_behind(drive: Callable[..., None]) -> None:
    class Refusing(Kept):
        def keep(self, value: Any) -> None:
            raise OSError(current().position)

    with pytest.raises(StepError, match="its into raised OSError: plain"):
        drive(Refusing(False), State.new("r", "Refusing"))
    with pytest.raises(FlowstmtError, match="is valid inside"):
        current()


def test_a_setter_that_moves_its_own_run_is_told_where_it_is() -> None:
    @dataclass
    class Impatient:
        state: State = field(metadata={"transient": True})

        def definition(self) -> Statement:
            return S(Step("ask", lambda: 1, into=self.keep), Wait("w", On("paid")))

        def keep(self, _: int) -> None:
            handle_callback("paid", self, self.state)

    for drive in (resume, lambda *run: asyncio.run(resume_async(*run))):
        state = State.new("r", "Impatient")
        with pytest.raises(StepError, match="from inside its own action at 'ask'"):
            drive(Impatient(state), state)


# --- where it is not valid ---


def test_outside_of_a_run_it_raises() -> None:
    with pytest.raises(FlowstmtError, match=r"current\(\) is valid inside actions, handlers, setups, teardowns and save"):
        current()


def asks(value: Any) -> Callable[..., Any]:
    def ask(*_: Any) -> Any:
        current()
        return value

    return ask


CONDITIONS: list[tuple[str, Callable[[], Statement]]] = [
    ("If", lambda: If("a", asks(True))),
    ("For", lambda: For("a", asks(False), Step("b", print))),
    ("WaitFor", lambda: WaitFor("a", asks(True))),
    ("ForEach", lambda: ForEach("a", asks([]))),
    ("Return", lambda: Return(asks(1))),
    ("Go's id", lambda: Go("a", id=asks(1))),
    ("Go's arg", lambda: Go("a", arg=asks(1))),
    ("Sleep", lambda: Sleep("a", asks(timedelta()))),
    ("Timeout", lambda: Wait("a", Timeout("b", asks(timedelta())))),
]


@pytest.mark.parametrize("after_a_step", [False, True])
@pytest.mark.parametrize("tree", [pytest.param(tree, id=name) for name, tree in CONDITIONS])
def test_in_conditions_it_raises(tree: Callable[[], Statement], after_a_step: bool) -> None:
    @dataclass
    class Asking:
        def definition(self) -> Statement:
            return S(Step("before", lambda: None), tree()) if after_a_step else tree()

    with pytest.raises(StepError, match=r"raised FlowstmtError: current\(\) is valid inside"):
        resume(Asking(), State.new("r", "Asking"))
    with pytest.raises(FlowstmtError, match="is valid inside"):
        current()


@pytest.mark.parametrize("raises", [False, True])
def test_after_the_call_it_raises_again(raises: bool) -> None:
    @dataclass
    class Once:
        def definition(self) -> Statement:
            return Step("a", self.act)

        def act(self) -> None:
            current()
            if raises:
                raise ValueError

    try:
        resume(Once(), State.new("r", "Once"))
    except StepError:
        assert raises
    with pytest.raises(FlowstmtError, match="is valid inside"):
        current()


def test_in_a_thread_that_an_action_starts_it_raises() -> None:
    caught: list[BaseException] = []

    def look() -> None:
        try:
            current()
        except FlowstmtError as error:
            caught.append(error)

    @dataclass
    class Starts:
        def definition(self) -> Statement:
            return Step("a", self.act)

        def act(self) -> None:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

    resume(Starts(), State.new("r", "Starts"))
    assert len(caught) == 1


def test_runs_beside_each_other_each_have_their_own() -> None:
    @dataclass
    class Beside:
        name: str
        log: ClassVar[list[tuple[str, str]]] = []

        def definition(self) -> Statement:
            return S(Step("a", self.act), Step("b", self.act))

        async def act(self) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                self.log.append((self.name, current().run_id))

    async def main() -> None:
        await asyncio.gather(*(resume_async(Beside(name), State.new(name, "Beside")) for name in "xyz"))

    asyncio.run(main())
    assert len(Beside.log) == 18
    assert all(name == run_id for name, run_id in Beside.log)


def test_a_run_inside_an_action_of_another_gives_it_back() -> None:
    @dataclass
    class Inner:
        def definition(self) -> Statement:
            return Step("inner", lambda: seen.append({"at": current().position}))

    @dataclass
    class Outer:
        def definition(self) -> Statement:
            return Step("outer", self.act)

        def act(self) -> None:
            resume(Inner(), State.new("inner", "Inner"))
            seen.append({"at": current().position, "run": current().run_id})

    resume(Outer(), State.new("outer", "Outer"))
    assert seen == [{"at": "inner"}, {"at": "outer", "run": "outer"}]


# --- deps ---


def test_deps_that_were_not_given_are_told() -> None:
    @dataclass
    class Needs:
        def definition(self) -> Statement:
            return S(Step("a", lambda: current().deps), Wait("w", On("b", lambda: current().deps)))

    needs, state = Needs(), State.new("run-1", "Needs")
    with pytest.raises(StepError) as caught:
        resume(needs, state)
    assert str(caught.value.__cause__) == (
        "run 'run-1': action at 'a' asked for deps, but none were given: pass deps= to resume and handle_callback"
    )
    assert resume(needs, state, deps={}) == "Waiting"  # empty, but given
    with pytest.raises(FlowstmtError, match="handler at 'w' asked for deps, but none were given"):
        handle_callback("b", needs, state)
    assert handle_callback("b", needs, state, deps=0) == 0


# --- items ---


@dataclass
class Line:
    sku: str


@dataclass
class Items:
    log: list[Any] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("outside", self.look),
            ForEach(
                "outer",
                ["o"],
                ForEach("inner", [None, "i"], Step("both", self.look), Wait("w", On("e", self.look)), Break()),
                Go("side", Step("started", self.look), ForEach("own", [Line("x")], Step("inside", self.look)), arg=["a"]),
            ),
            Go("bare", Step("bare step", self.look)),
            Join("all", "side", "bare"),
        )

    def look(self) -> None:
        found = current()
        row: list[Any] = [found.position]
        for name in (None, "outer", "inner", "side", "own", "bare"):
            try:
                row.append(found.item(name))
            except FlowstmtError as error:
                row.append(str(error).partition("asked for ")[2])
        self.log.append(row)


def test_the_items_are_found_by_name_and_the_innermost_without() -> None:
    items, state = Items(), State.new("r", "Items")
    resume(items, state)
    handle_callback("e", items, state)
    items, state = load(Items, dump(items, state))
    resume(items, state)

    def none(name: str, has: str) -> str:
        return f"the item of {name!r}; it has {has}"

    both, side, own = "'outer', 'inner'", "'side'", "'side', 'own'"
    assert items.log == [
        ["outside", "an item; it has none", *(none(name, "none") for name in ("outer", "inner", "side", "own", "bare"))],
        ["both", None, "o", None, *(none(name, both) for name in ("side", "own", "bare"))],
        ["w", None, "o", None, *(none(name, both) for name in ("side", "own", "bare"))],
        ["started", ["a"], none("outer", side), none("inner", side), ["a"], none("own", side), none("bare", side)],
        ["bare step", "an item; it has none", *(none(name, "none") for name in ("outer", "inner", "side", "own", "bare"))],
        ["inside", {"sku": "x"}, none("outer", own), none("inner", own), ["a"], {"sku": "x"}, none("bare", own)],
    ]


# --- idempotency keys ---


@dataclass
class Loops:
    """Loops, threads and waits: every call has a name of its own."""

    rounds: int = 0

    def definition(self) -> Statement:
        return S(
            For(
                "loop",
                lambda: self.rounds < 3,
                Step("count", self.count),
                Go("side", Step("s", self.act)),
                ForEach(
                    "each", [1, 1], Go("item", Step("i", self.act), id=self.number), Step("e", self.act), Join("j1", "item")
                ),
                Join("j2", "side"),
            ),
            Wait("w", On("a", self.act, via=Webhook()), On("b", self.act, via=Webhook())),
        )

    def number(self) -> int:
        return self.rounds

    def count(self) -> None:
        self.rounds += 1
        note()

    def act(self) -> None:
        note()


def test_every_call_has_a_key_of_its_own() -> None:
    loops, state = Loops(), State.new("r", "Loops")
    drive_sync(loops, state)
    drive_sync(loops, state, LATER, "b")
    keys = [call["key"] for call in seen if call["kind"] != "save"]
    assert len(keys) == 3 * 6 + 2 + 1 + 2
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("r:") for key in keys)


def test_a_call_that_is_made_again_has_the_same_key() -> None:
    """Each call raises the first time; the run goes on from its last snapshot, as after a crash."""
    calm, state = Loops(), State.new("r", "Loops")
    drive_sync(calm, state)
    undisturbed = [call["key"] for call in seen if call["kind"] == "action"]
    seen.clear()
    blob = dump(Loops(), State.new("r", "Loops"))
    failed: set[str] = set()
    keys: list[str] = []

    def invoke(now: Current, call: Callable[[], Any]) -> Any:
        keys.append(now.idempotency_key)
        call()
        if now.kind == "action" and now.idempotency_key not in failed:
            failed.add(now.idempotency_key)
            raise OSError("killed")

    def run_once() -> bool:
        nonlocal blob
        loops, state = load(Loops, blob)

        def save(_: Any) -> None:
            nonlocal blob
            blob = dump(loops, state)

        try:
            resume(loops, state, save, invoke=invoke, deps=DEPS)
        except StepError:
            return False
        return True

    while not run_once():
        pass
    actions = [key for key in keys if ":action" in key]
    assert actions == [key for key in undisturbed for _ in range(2)]


def test_the_same_call_of_another_run_has_another_key() -> None:
    for run_id in ("r1", "r2"):
        drive_sync(Order(), State.new(run_id, "Order", NOW))
    keys = [call["key"] for call in seen if call["kind"] in ("action", "setup")]
    assert len(keys) == len(set(keys)) == 4


def test_a_snapshot_changes_no_key() -> None:
    direct, state = Order(), State.new("r", "Order", NOW)
    drive_sync(direct, state)
    drive_sync(direct, state, LATER, "paid")
    wanted = [call["key"] for call in seen]
    seen.clear()
    order, state = Order(), State.new("r", "Order", NOW)
    drive_sync(order, state)
    order, state = load(Order, dump(order, state))
    drive_sync(order, state, LATER, "paid")
    assert [call["key"] for call in seen] == wanted


@pytest.mark.parametrize("drive", [drive_sync, drive_async])
def test_the_data_of_a_run_are_freed_with_the_last_reference(drive: Callable[..., Any]) -> None:
    drive(Order(), State.new("r", "Order", NOW))  # the first one links the class
    gc.disable()
    try:
        order, state = Order(), State.new("r", "Order", NOW)
        drive(order, state)
        drive(order, state, LATER, "paid")
        seen.clear()
        gone = weakref.ref(order)
        del order, state
        assert gone() is None
    finally:
        gc.enable()
