"""Bad input to every public function: a specific error that names what, where and what was expected; nothing changed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstmt import (
    AmbiguousCallbackError,
    CallbackError,
    CallbackRequest,
    ConflictError,
    DefinitionError,
    Event,
    FlowstmtError,
    For,
    ForEach,
    Go,
    If,
    Join,
    NotWaitingError,
    On,
    PositionError,
    Return,
    S,
    Sleep,
    StaleCallbackError,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Timeout,
    UnknownEventError,
    Wait,
    WaitFor,
    WorkflowFinishedError,
    dump,
    find,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
    validate,
    walk,
)
from flowstmt.errors import a_kind_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1)
BEFORE_TIME = datetime.min.replace(tzinfo=timezone(timedelta(hours=2)))
"""Aware, but without an instant in UTC."""

TEXTS = ["", " ", "🎉", "עברית", "\u202etxet", "e\u0301", "\x00", "a/b", "a:b", "main", "paid ", "PAID", "x" * 100_000]


NO_TEXTS: list[Any] = [None, 0, 5, 1.5, True, b"paid", [], {}, object(), ("paid",), On("paid")]


@dataclass
class Order:
    count: int = 0
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("begin", self.act),
            Wait(
                "payment",
                On("paid", self.paid),
                On("kept", into="count"),
                Timeout("late", timedelta(days=1)),
            ),
            ForEach("each", [1, 2], Step("pack", self.act)),
            WaitFor("checked", lambda: self.count > 10),
            WaitFor("handled", lambda: self.count > 10, self.act),
            Sleep("pause", timedelta(days=1)),
            Go("side", Wait("signature", On("signed"))),
            Join("all", "side"),
            Wait("evaluation", On("rated")),
        )

    def act(self) -> None:
        self.log.append("act")

    def paid(self, payload: int) -> int:
        return payload


def waiting() -> tuple[Any, State]:
    order, state = Order(), State.new("run-1", "Order", NOW)
    assert resume(order, state, now=NOW) == "Waiting"
    return order, state


def refuses(error: type[BaseException], match: str, call: Callable[[Any, State], Any]) -> None:
    """``call`` with a waiting order raises, and has changed nothing."""
    order, state = waiting()
    before = dump(order, state)
    with pytest.raises(error, match=match):
        call(order, state)
    assert dump(order, state) == before


Driver = Callable[..., Any]


def resume_by_async(*given: Any, **named: Any) -> Any:
    return asyncio.run(resume_async(*given, **named))


def callback_by_async(*given: Any, **named: Any) -> Any:
    return asyncio.run(handle_callback_async(*given, **named))


def raised(kind: type[Exception], call: Callable[[], Any]) -> Exception | None:
    """What ``call`` raises, if anything."""
    try:
        call()
    except kind as error:
        return error
    return None


def call_with(callback: Driver, request: Any, order: Any, state: State) -> Any:
    return callback(request, order, state, 5)


RESUMES = [pytest.param(resume, id="resume"), pytest.param(resume_by_async, id="resume_async")]
CALLBACKS = [pytest.param(handle_callback, id="handle_callback"), pytest.param(callback_by_async, id="handle_callback_async")]
DRIVERS = [
    *RESUMES,
    *(
        pytest.param(lambda wf, state, call=param.values[0], **named: call("kept", wf, state, 5, **named), id=param.id)
        for param in CALLBACKS
    ),
]

# --- the drivers: workflow, state, save, now, max_steps ---


class NoDefinition: ...


class NoFields:
    def definition(self) -> Statement:
        return S()


@dataclass
class NotCallable:
    definition: str = "tree"


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize(
    ("workflow", "match"),
    [
        (None, "run 'run-1': expected a workflow object, not None: it has no method definition"),
        ("Order", "run 'run-1': expected a workflow object, not a str: it has no method definition"),
        (5, "run 'run-1': expected a workflow object, not an int"),
        (object(), "run 'run-1': expected a workflow object, not an object"),
        (NoDefinition(), "run 'run-1': expected a workflow object, not a NoDefinition"),
        (NotCallable(), "run 'run-1': expected a workflow object, not a NotCallable"),
        (Order, "run 'run-1': expected a workflow object, not the class Order"),
        (NoFields(), "run 'run-1': NoFields is neither a dataclass nor a pydantic model"),
        (Step("a", print), "run 'run-1': expected a workflow object, not a Step"),
    ],
)
def test_a_driver_takes_a_workflow_object(drive: Driver, workflow: Any, match: str) -> None:
    refuses(DefinitionError, match, lambda _, state: drive(workflow, state))


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("state", [None, {}, "state", 5, State, b"{}", Order()])
def test_a_driver_takes_a_state(drive: Driver, state: Any) -> None:
    refuses(
        StateError,
        "expected a State, not .*: make one with State.new, or get it from load",
        lambda order, _: drive(order, state),
    )


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("now", [NAIVE, "now", 5, NOW.date(), timedelta(1), True])
def test_a_driver_takes_an_aware_now(drive: Driver, now: Any) -> None:
    match = r"run 'run-1': now must be an aware datetime \(datetime.now\(UTC\), say\), not "
    refuses(StateError, match, lambda order, state: drive(order, state, now=now))


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_now_without_an_instant_in_utc_is_refused(drive: Driver) -> None:
    refuses(
        StateError,
        "run 'run-1': now .* is past the end of the calendar",
        lambda order, state: drive(order, state, now=BEFORE_TIME),
    )


@pytest.mark.parametrize("drive", RESUMES)
@pytest.mark.parametrize("save", [5, "save", b"", {}, object()])
def test_save_is_a_callable(drive: Driver, save: Any) -> None:
    match = "run 'run-1': save must be a callable that takes the checkpoint type, not "
    refuses(StateError, match, lambda order, state: drive(order, state, save))


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("invoke", [5, "invoke", {}])
def test_invoke_is_a_callable(drive: Driver, invoke: Any) -> None:
    # Something to be called, in either driver.
    order, state = Order(), State.new("run-1", "Order", NOW)
    resume(order, state, max_steps=0)
    before = dump(order, state)
    with pytest.raises(FlowstmtError):
        drive(order, state, invoke=invoke)
    assert dump(order, state) == before


@pytest.mark.parametrize("drive", RESUMES)
@pytest.mark.parametrize("steps", [-1, "5", None, 1.0, True, float("inf")])
def test_max_steps_is_a_whole_number(drive: Driver, steps: Any) -> None:
    match = "max_steps must be a whole number from 0, not "
    refuses(StateError, match, lambda order, state: drive(order, state, max_steps=steps))


@pytest.mark.parametrize("drive", RESUMES)
def test_no_steps_are_legal(drive: Driver) -> None:
    order, state = Order(), State.new("run-1", "Order", NOW)
    assert drive(order, state, max_steps=0) == "Resuming"
    assert (state.threads[0].position, order.log) == ("begin", [])


@pytest.mark.parametrize("drive", DRIVERS)
def test_what_is_no_argument_is_a_type_error_of_python(drive: Driver) -> None:
    refuses(TypeError, "unexpected keyword argument 'concurency'", lambda order, state: drive(order, state, concurency=2))


# --- requests ---


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("request_", [None, 5, b"paid", ["paid"], {"name": "paid"}, Event, object(), True, Step("paid", print)])
def test_a_request_is_a_request_a_token_or_a_name(callback: Driver, request_: Any) -> None:
    match = "run 'run-1': expected a CallbackRequest, an Event or the name of an event, not "
    refuses(CallbackError, match, lambda order, state: callback(request_, order, state))


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("name", [*TEXTS, "\ud800", "payment", "begin", "side"])
def test_an_unknown_event_is_refused_whatever_its_name(callback: Driver, name: str) -> None:
    match = "run 'run-1': Order has no event .*; it has 'paid', 'kept', 'signed'"
    requests: list[Any] = [name, Event(name), CallbackRequest(name), CallbackRequest(name, thread_id="x", pc=9, birth="b")]
    for request in requests:
        refuses(UnknownEventError, match, partial(call_with, callback, request))


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("name", NO_TEXTS)
def test_a_name_is_a_text(callback: Driver, name: Any) -> None:
    match = "run 'run-1': the request's name must be a text, not "
    requests: list[Any] = [Event(name), CallbackRequest(name)]
    for request in requests:
        refuses(CallbackError, match, partial(call_with, callback, request))


FIELDS: list[tuple[str, list[Any], type[FlowstmtError], str]] = [
    ("thread_id", [5, b"main", [], True], CallbackError, "the request's thread_id must be a text, not "),
    ("birth", [5, b"x", {}], CallbackError, "the request's birth must be a text, not "),
    ("run_id", [5, b"run-1", ["run-1"]], CallbackError, "the request's run_id must be a text, not "),
    ("pc", ["1", 1.0, True, b"1", []], CallbackError, "the request's pc must be a whole number, not "),
    ("run_id", ["", "run-2", "RUN-1", "run-1 ", "\ud800"], CallbackError, "the request is for the run "),
    (
        "thread_id",
        ["", "Main", "side", "🎉", "main:1"],
        NotWaitingError,
        "nobody waits for event 'paid': no thread '.*' lives. It would take: 'paid' (thread 'main', pc 2), 'kept'",
    ),
    (
        "birth",
        ["", "x", "\ud800"],
        StaleCallbackError,
        "event 'paid' with birth '.*' is stale: nobody waits at that stop now. It would take: 'paid'",
    ),
    ("pc", [0, -1, 1, 3, 10**30], StaleCallbackError, r"event 'paid' with pc -?\d+ is stale: nobody waits at that stop now"),
]


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize(("name", "values", "error", "match"), FIELDS)
def test_every_part_of_a_request_is_looked_at(callback: Driver, name: str, values: list[Any], error: Any, match: str) -> None:
    if "(" in match:
        match = match.replace("(", r"\(").replace(")", r"\)")
    for value in values:
        request = CallbackRequest("paid", **{name: value})
        shown = re.escape(repr(value)) if match.endswith(" ") else ""
        refuses(error, f"run 'run-1': {match}{shown}", partial(call_with, callback, request))


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_timeout_is_fired_by_time_only(callback: Driver) -> None:
    match = "run 'run-1': 'late' is a Timeout: time fires it, callbacks can't. It would take: 'paid'"
    refuses(UnknownEventError, match, lambda order, state: callback("late", order, state))


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_callback_for_a_later_wait_is_too_early(callback: Driver) -> None:
    match = "nobody waits for event 'rated': thread 'main' is WaitingEvent at 'payment'. It would take: 'paid'"
    refuses(NotWaitingError, match, lambda order, state: callback("rated", order, state))


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_callback_for_a_thread_that_is_not_started_yet_is_too_early(callback: Driver) -> None:
    match = "nobody waits for event 'signed': no thread 'side' lives. It would take: 'paid'"
    refuses(NotWaitingError, match, lambda order, state: callback("signed", order, state))


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize(("steps", "doing"), [(None, "is about to start"), (0, "is Executing at 'begin'")])
def test_a_callback_before_the_wait_is_reached_is_too_early(callback: Driver, steps: int | None, doing: str) -> None:
    order, state = Order(), State.new("run-1", "Order", NOW)
    if steps is not None:
        resume(order, state, max_steps=steps)
    before = dump(order, state)
    match = f"nobody waits for event 'paid': thread 'main' {doing}: resume the run first. It would take no event now"
    with pytest.raises(NotWaitingError, match=match):
        callback("paid", order, state, 5)
    assert dump(order, state) == before


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_second_callback_before_the_run_was_resumed_is_refused(callback: Driver) -> None:
    order, state = waiting()
    pinned = CallbackRequest("paid", pc=2)
    assert callback(pinned, order, state, 5) == 5
    before = dump(order, state)
    with pytest.raises(NotWaitingError, match="thread 'main' is Resuming at 'payment': resume the run first"):
        callback("paid", order, state, 5)
    with pytest.raises(StaleCallbackError):
        callback(pinned, order, state, 5)
    assert dump(order, state) == before


@pytest.mark.parametrize("callback", CALLBACKS)
def test_several_waiting_threads_must_be_told_apart(callback: Driver) -> None:
    @dataclass
    class Many:
        def definition(self) -> Statement:
            return S(ForEach("each", [1, 2], Go("side", Wait("w", On("a")), id=lambda n: n)), Join("all", "side"))

    many, state = Many(), State.new("run-1", "Many")
    resume(many, state)
    before = dump(many, state)
    match = r"event 'a' is waited for by the threads 'side:1' \(pc 1\), 'side:2' \(pc 1\): name one as thread_id"
    with pytest.raises(AmbiguousCallbackError, match=match):
        callback("a", many, state)
    with pytest.raises(AmbiguousCallbackError, match=match):
        callback(CallbackRequest("a", pc=1), many, state)
    assert dump(many, state) == before
    callback(CallbackRequest("a", thread_id="side:2"), many, state)


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_run_that_is_over_takes_no_callback(callback: Driver) -> None:
    @dataclass
    class Short:
        def definition(self) -> Statement:
            return If("never", False, Wait("w", On("a")))

    short, state = Short(), State.new("run-1", "Short")
    resume(short, state)
    before = dump(short, state)
    for name in ("a", "unknown"):
        with pytest.raises(WorkflowFinishedError, match=f"run 'run-1': event '{name}' refused: the run is Finished"):
            callback(name, short, state)
    assert dump(short, state) == before
    assert resume(short, state) == "Finished"
    assert dump(short, state) == before


def test_a_driver_called_from_inside_an_action_is_an_error_and_no_deadlock() -> None:
    caught: list[ConflictError] = []

    @dataclass
    class Nested:
        state: Any = field(default=None, metadata={"transient": True})

        def definition(self) -> Statement:
            return Step("a", self.act)

        def act(self) -> None:
            for call in (lambda: resume(self, self.state), lambda: handle_callback("x", self, self.state)):
                with pytest.raises(ConflictError, match="run 'run-1': called from inside its own action at 'a'") as error:
                    call()
                caught.append(error.value)

    state = State.new("run-1", "Nested")
    assert resume(Nested(state), state) == "Finished"
    assert len(caught) == 2


@given(st.text(), st.none() | st.text(), st.none() | st.integers(), st.none() | st.text(), st.none() | st.binary() | st.text())
def test_no_request_raises_anything_but_a_callback_error(name: str, thread: Any, pc: Any, birth: Any, payload: Any) -> None:
    refuses(
        CallbackError,
        "run 'run-1'",
        lambda order, state: handle_callback(CallbackRequest(name, thread, pc, birth), order, state, payload),
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_no_payload_raises_anything_but_a_callback_error(payload: Any) -> None:
    order, state = waiting()
    before = dump(order, state)
    error = raised(CallbackError, lambda: handle_callback("paid", order, state, payload))
    if error is not None:
        assert "run 'run-1'" in str(error)
        assert dump(order, state) == before


DEEP: Any = []
for _ in range(50_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "payload",
    [b"[" * 50_000 + b"]" * 50_000, DEEP, b"9" * 50_000, "x" * 10_000_000, b'"' + b"x" * 10_000_000 + b'"'],
    ids=["deep JSON", "deep", "a long number", "a long text", "long JSON"],
)
@pytest.mark.parametrize("event", ["paid", "kept"])
def test_a_huge_payload_of_the_wrong_type_is_refused(event: str, payload: Any) -> None:
    refuses(
        CallbackError, "run 'run-1': the payload for event", lambda order, state: handle_callback(event, order, state, payload)
    )


@pytest.mark.parametrize(
    "payload",
    [DEEP, "\ud800", float("nan"), object(), lambda: 1, {1: object()}, [b"x" * 10_000_000, {"a": DEEP}]],
    ids=["deep", "surrogate", "NaN", "object", "function", "inside", "mixed"],
)
def test_a_payload_that_can_not_be_kept_is_refused(payload: Any) -> None:
    @dataclass
    class Keeps:
        kept: Any = None

        def definition(self) -> Statement:
            return Wait("w", On("a", into="kept"))

    keeps, state = Keeps(), State.new("run-1", "Keeps")
    resume(keeps, state)
    before = dump(keeps, state)
    with pytest.raises(CallbackError, match="run 'run-1': the payload for event 'a' can't be kept in 'kept'"):
        handle_callback("a", keeps, state, payload)
    assert dump(keeps, state) == before


# --- names: whatever is legal works everywhere ---


@pytest.mark.parametrize("name", ["🎉", "עברית", "\u202etxet", "e\u0301", " ", "\x00", "$.state", "x" * 10_000, "'\"\\"])
def test_any_legal_name_works_everywhere(name: str) -> None:
    @dataclass
    class Named:
        count: int = 0

        def definition(self) -> Statement:
            return S(
                Step(name, self.act),
                Go(f"{name} go", Wait(f"{name} wait", On(name, self.act)), id=name),
                Join(f"{name} join", f"{name} go"),
            )

        def act(self) -> None:
            self.count += 1

    named, state = Named(), State.new(name, name)
    assert resume(named, state) == "Waiting"
    named, state = load(Named, dump(named, state))
    assert state.threads[1].id == f"{name} go:{name}"
    handle_callback(CallbackRequest(name, thread_id=f"{name} go:{name}", run_id=name), named, state)
    assert resume(named, state) == "Finished"
    assert named.count == 2


# --- State.new ---


@pytest.mark.parametrize("run_id", ["", *NO_TEXTS])
def test_a_run_id_is_a_text(run_id: Any) -> None:
    with pytest.raises(StateError, match="run_id must be a text that is not empty, not "):
        State.new(run_id, "Order")


@pytest.mark.parametrize("name", NO_TEXTS)
def test_the_name_of_a_workflow_is_a_text(name: Any) -> None:
    with pytest.raises(StateError, match="run 'run-1': workflow must be a text, not "):
        State.new("run-1", name)


@pytest.mark.parametrize("now", [NAIVE, "now", 5, NOW.date(), timedelta(1), True])
def test_a_run_is_born_at_an_aware_instant(now: Any) -> None:
    with pytest.raises(StateError, match="run 'run-1': now must be an aware datetime"):
        State.new("run-1", "Order", now)


def test_a_run_is_not_born_outside_of_the_calendar() -> None:
    with pytest.raises(StateError, match=r"run 'run-1': now .* is past the end of the calendar"):
        State.new("run-1", "Order", BEFORE_TIME)


@pytest.mark.parametrize(("run_id", "workflow"), [("\ud800", "Order"), ("run-1", "\ud800")])
def test_a_run_that_could_not_be_written_is_not_born(run_id: str, workflow: str) -> None:
    with pytest.raises(StateError):
        State.new(run_id, workflow)


# --- validate, walk, find ---


@pytest.mark.parametrize(
    ("thing", "match"),
    [
        (None, "expected a workflow or a tree of statements, not None"),
        (5, "expected a workflow or a tree of statements, not an int"),
        ([Step("a", print)], "expected a workflow or a tree of statements, not "),
        (object(), "expected a workflow or a tree of statements, not "),
        (NoDefinition(), "expected a workflow or a tree of statements, not "),
        (NotCallable(), "expected a workflow or a tree of statements, not "),
        (print, "expected a workflow or a tree of statements, not "),
        (Order, r"Order: its definition\(\) needs an object: validate an object of it, or make definition\(\) a class method"),
        (NoFields(), "NoFields is neither a dataclass nor a pydantic model"),
    ],
)
def test_validate_takes_a_workflow_or_a_tree(thing: Any, match: str) -> None:
    with pytest.raises(DefinitionError, match=match):
        validate(thing)


class ClassStyleWithoutFields:
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S()


def test_validate_takes_a_class_that_has_fields() -> None:
    with pytest.raises(DefinitionError, match="ClassStyleWithoutFields is neither a dataclass nor a pydantic model"):
        validate(ClassStyleWithoutFields)


@pytest.mark.parametrize("cls", [int, NoDefinition, dict])
def test_a_class_without_a_definition_is_told(cls: Any) -> None:
    with pytest.raises(DefinitionError, match="definition"):
        validate(cls)


@pytest.mark.parametrize("thing", [None, 5, "tree", [S()], Order, Order(), object()])
@pytest.mark.parametrize("call", [lambda thing: list(walk(thing)), lambda thing: find(thing, "a")], ids=["walk", "find"])
def test_walk_and_find_take_a_tree(call: Any, thing: Any) -> None:
    with pytest.raises(DefinitionError, match=f"expected a statement, not {a_kind_of(thing)}: call definition"):
        call(thing)


@pytest.mark.parametrize("name", NO_TEXTS)
def test_find_finds_nothing_by_what_is_no_name(name: Any) -> None:
    assert find(S(Step("a", print), Wait("w", On("paid"))), name) is None


def test_find_and_walk_pass_over_what_is_no_statement() -> None:
    tree = S(None, [Step("b", print)], Step("a", print), Step)
    assert [type(statement) for statement in walk(tree)] == [S, Step]
    assert find(tree, "a") is not None
    assert find(tree, "b") is None


def test_walk_does_not_recurse() -> None:
    tree: Statement = Step("deepest", print)
    for _ in range(20_000):
        tree = S(tree)
    assert sum(1 for _ in walk(tree)) == 20_001
    assert find(tree, "deepest") is not None


# --- a state that does not fit its definition ---


def edited(change: Callable[[Any], Any], cls: Any = None) -> tuple[Any, State, bytes]:
    """A waiting order, loaded from a snapshot whose first thread was edited by hand."""
    document = json.loads(dump(*waiting()))
    change(document["state"]["threads"][0])
    blob = json.dumps(document).encode()
    order, state = load(cls or Order, blob)
    return order, state, dump(order, state)


STANDS: list[tuple[str, dict[str, Any], str]] = [
    ("nowhere", {"position": "gone"}, "position 'gone': the definition has no such statement"),
    ("at an event", {"position": "paid"}, "position 'paid': the definition has no such statement"),
    ("nowhere, but waiting", {"position": ""}, "position ''"),
    ("executing at a Wait", {"status": "Executing"}, "a thread can't be Executing at Wait 'payment'"),
    ("waiting at a Step", {"position": "begin"}, "a thread can't be WaitingEvent at Step 'begin'"),
    ("waiting at a WaitFor", {"position": "checked"}, "a thread can't be WaitingEvent at WaitFor 'checked'"),
    ("sleeping at a Step", {"position": "begin", "status": "WaitingTime"}, "a thread can't be WaitingTime at Step 'begin'"),
    ("sleeping at a Wait", {"status": "WaitingTime"}, "a thread can't be WaitingTime at Wait 'payment'"),
    (
        "asking at a Sleep",
        {"position": "pause", "status": "WaitingCondition"},
        "a thread can't be WaitingCondition at Sleep 'pause'",
    ),
    ("executing at a Join", {"position": "all", "status": "Executing"}, "a thread can't be Executing at Join 'all'"),
    (
        "executing at a WaitFor without a handler",
        {"position": "checked", "status": "Executing"},
        "WaitFor 'checked' has no handler to execute",
    ),
    ("at a loop", {"position": "each", "status": "Resuming"}, "a thread can't be Resuming at ForEach 'each'"),
    ("at a Go", {"position": "side", "status": "Resuming"}, "a thread can't be Resuming at Go 'side'"),
    ("past an event that is none", {"status": "Resuming", "event": "gone"}, "Wait 'payment' has no event 'gone', which fired"),
    ("past no event", {"status": "Resuming"}, "Wait 'payment' has no event None, which fired"),
    ("in another thread", {"position": "signature"}, "Wait 'signature' is in the thread of 'side' now"),
    (
        "outside of its loop",
        {"position": "pack", "status": "Executing"},
        "it is inside nothing, but Step 'pack' is inside ForEach 'each'",
    ),
    (
        "inside of another loop",
        {"position": "pack", "status": "Executing", "frames": [{"statement": "x"}]},
        "it is inside 'x', but Step 'pack' is inside ForEach 'each'",
    ),
    (
        "inside of one loop more",
        {"frames": [{"statement": "each"}]},
        "it is inside ForEach 'each', but Wait 'payment' is inside nothing",
    ),
    (
        "at the start, inside of a loop",
        {"position": "", "status": "Resuming", "frames": [{"statement": "each"}]},
        "position ''",
    ),
]


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize(("change", "match"), [pytest.param(change, match, id=name) for name, change, match in STANDS])
def test_a_thread_that_stands_where_it_can_not_is_a_position_error(drive: Driver, change: Any, match: str) -> None:
    order, state, before = edited(lambda thread: thread.update(change))
    with pytest.raises(PositionError, match=r"run 'run-1', thread 'main', position '.*': .*Nothing was run\.") as caught:
        drive(order, state, now=NOW)
    assert match in str(caught.value)
    assert dump(order, state) == before
    assert order.log == ["act"]


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Finished", "Resuming", "Waiting"])
def test_every_status_of_a_loaded_run_is_taken_or_refused_with_a_word(drive: Driver, status: str) -> None:
    order, state, before = edited(lambda thread: None)
    state.status = type(state.status)(status)
    before = dump(order, state)
    error = raised(FlowstmtError, lambda: drive(order, state, now=NOW))
    if error is not None:
        assert status in str(error)
        assert dump(order, state) == before


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("drive", DRIVERS)
def test_a_thread_of_a_go_that_is_gone_is_a_position_error(drive: Driver) -> None:
    document = json.loads(dump(*waiting()))
    for position, status in (("", "Resuming"), ("payment", "WaitingEvent"), ("", "WaitingEvent")):
        thread = {"id": "gone:1", "name": "gone", "status": status, "position": position, "parent": "main"}
        order, state = load(
            Order, json.dumps({**document, "state": {**document["state"], "threads": [*document["state"]["threads"], thread]}})
        )
        before = dump(order, state)
        with pytest.raises(
            PositionError,
            match=r"run 'run-1', thread 'gone:1', position '.*': .* the thread of 'main' now|the definition has no",
        ):
            drive(order, state, now=NOW)
        assert dump(order, state) == before


@pytest.mark.parametrize("drive", DRIVERS)
def test_a_run_of_another_workflow_is_a_position_error(drive: Driver) -> None:
    @dataclass
    class Another:
        count: int = 0
        log: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return S(Step("x", lambda: None), Wait("y", On("paid"), On("kept", into="count")))

    _, _, blob = edited(lambda thread: None)
    another, state = load(Another, blob)
    before = dump(another, state)
    with pytest.raises(PositionError, match="The definition of Another has changed since this run was saved"):
        drive(another, state)
    assert dump(another, state) == before


@pytest.mark.usefixtures("odd_states")
@given(st.data())
def test_no_edited_state_raises_anything_but_a_flowstmt_error(data: st.DataObject) -> None:
    """Any one value of a saved state is replaced by any other; whatever loads either runs or is refused."""
    document = json.loads(dump(*waiting()))
    spots: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            spots.append((value, key))
            if isinstance(value[key], dict | list):
                collect(value[key])

    collect(document["state"])
    words = [
        "begin",
        "payment",
        "pack",
        "checked",
        "handled",
        "pause",
        "all",
        "side",
        "main",
        "paid",
        "Executing",
        "Resuming",
        "WaitingEvent",
        "WaitingTime",
        "WaitingCondition",
        "Ended",
        "Finished",
        "Setup",
        "PendingSetup",
        "PendingTeardown",
        "SetupError",
        "TeardownError",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(spots))
        holder[key] = data.draw(
            st.sampled_from(words) | st.none() | st.integers(-1, 3) | st.booleans() | st.just([]) | st.just({})
        )
    try:
        order, state = load(Order, json.dumps(document))
    except FlowstmtError:
        return
    calls = (lambda: handle_callback("paid", order, state, 5, now=NOW), lambda: resume(order, state, now=NOW, max_steps=50))
    for call in calls:
        before = dump(order, state)
        error = raised(FlowstmtError, call)
        if isinstance(error, StateError):
            assert dump(order, state) == before
        assert load(Order, dump(order, state))[1] == state


# --- what callables of a definition answer ---


async def later() -> bool:
    return True


class NoTruth:
    def __bool__(self) -> bool:
        raise ValueError("no truth")


class Awaitable:
    def __await__(self) -> Any: ...


class Uncountable(list[Any]):
    def __len__(self) -> int:
        return int(boom())


def boom() -> Any:
    raise ZeroDivisionError("boom")


ANSWERS: list[tuple[str, Callable[[], Statement], str]] = [
    ("a condition that raises", lambda: If("a", boom), "Case 'a': its condition raised ZeroDivision"),
    (
        "a loop's condition that raises",
        lambda: For("a", boom, Step("b", print)),
        "For 'a': its condition raised ZeroDivision",
    ),
    (
        "a WaitFor's condition that raises",
        lambda: WaitFor("a", boom),
        "WaitFor 'a': its condition raised ZeroDivision",
    ),
    (
        "a condition without truth",
        lambda: WaitFor("a", lambda: [NoTruth()][0]),
        "WaitFor 'a': its condition raised ValueError",
    ),
    (
        "a plain condition without truth",
        lambda: WaitFor("a", NoTruth()),
        "WaitFor 'a': its condition raised ValueError",
    ),
    (
        "a condition that returns a function",
        lambda: If("a", lambda: boom),
        "Case 'a': its condition returned a function: was a call or an await forgotten?",
    ),
    ("a condition that returns a class", lambda: If("a", lambda: dict), "Case 'a': its condition returned the class dict"),
    (
        "a condition that is async",
        lambda: If("a", later),
        "Case 'a': its condition returned a coroutine: was a call or an await forgotten?",
    ),
    (
        "a condition that takes the item and returns a function",
        lambda: ForEach("a", [1], If("b", lambda n: boom), Step("c", print)),
        "Case 'b': its condition returned a function: was a call or an await forgotten?",
    ),
    (
        "items that are a function",
        lambda: ForEach("a", lambda: boom, Step("b", print)),
        "ForEach 'a': its items returned a function: was a call or an await forgotten?",
    ),
    ("an id that is async", lambda: Go("a", id=later), "Go 'a': its id returned a coroutine: was a call or an await"),
    (
        "an arg that is awaitable",
        lambda: Go("a", arg=Awaitable()),
        "Go 'a': for its arg it was given an Awaitable",
    ),
    ("items that raise", lambda: ForEach("a", boom, Step("b", print)), "ForEach 'a': its items raised ZeroDivisionError: boom"),
    (
        "items that are none",
        lambda: ForEach("a", None, Step("b", print)),
        "ForEach 'a': its items must be a Sequence (list, tuple, range ...), not None",
    ),
    (
        "items that are a set",
        lambda: ForEach("a", {1}, Step("b", print)),
        "its items must be a Sequence (list, tuple, range ...), not a set",
    ),
    (
        "items that are a dict",
        lambda: ForEach("a", {}, Step("b", print)),
        "its items must be a Sequence (list, tuple, range ...), not a dict",
    ),
    (
        "items that can't be counted",
        lambda: ForEach("a", Uncountable(), Step("b", print)),
        "ForEach 'a': its items raised ZeroDivisionError: boom",
    ),
    ("items that are an iterator", lambda: ForEach("a", iter([1]), Step("b", print)), "its items must be a Sequence"),
    ("an id that raises", lambda: Go("a", id=boom), "Go 'a': its id raised ZeroDivisionError: boom"),
    ("an id that is empty", lambda: Go("a", id=""), "Go 'a': its id must be a text, a whole number or a UUID, not ''"),
    (
        "an id that is a float",
        lambda: Go("a", id=lambda: 1.5),
        "Go 'a': its id must be a text, a whole number or a UUID, not 1.5",
    ),
    ("an id that is true", lambda: Go("a", id=True), "Go 'a': its id must be a text, a whole number or a UUID, not True"),
    ("an arg that raises", lambda: Go("a", arg=boom), "Go 'a': its arg raised ZeroDivisionError: boom"),
    ("an arg that can't be kept", lambda: Go("a", arg=object()), "Go 'a': its arg can't be kept: "),
    ("a value that raises", lambda: Return(boom), "Return: its value raised ZeroDivisionError: boom"),
    ("a value that can't be kept", lambda: Return(object()), "Return: its value can't be kept: "),
    ("a value that is no JSON", lambda: Return(float("nan")), "Return: its value can't be kept: JSON has no NaN"),
    ("a duration that raises", lambda: Sleep("a", boom), "Sleep 'a': its duration raised ZeroDivisionError: boom"),
    (
        "a duration that is none",
        lambda: Sleep("a", lambda: 5),
        "Sleep 'a': duration must be a timedelta or an aware datetime, not 5",
    ),
    (
        "a duration that is naive",
        lambda: Sleep("a", lambda: NAIVE),
        "Sleep 'a': duration must be a timedelta or an aware datetime, not datetime",
    ),
    ("a duration without an end", lambda: Sleep("a", timedelta.max), "is past the end of the calendar"),
    ("an instant that has none in UTC", lambda: Sleep("a", BEFORE_TIME), "is past the end of the calendar"),
    (
        "a Timeout that is none",
        lambda: Wait("w", Timeout("a", lambda: None)),
        "Timeout 'a': after must be a timedelta or an aware datetime, not None",
    ),
    (
        "a Timeout without an end",
        lambda: Wait("w", Timeout("a", timedelta.max)),
        "Timeout 'a': after .* is past the end of the calendar",
    ),
]


@pytest.mark.parametrize("drive", RESUMES)
@pytest.mark.parametrize(("tree", "match"), [pytest.param(tree, match, id=name) for name, tree, match in ANSWERS])
def test_a_callable_that_answers_wrongly_is_a_step_error_with_its_place(drive: Driver, tree: Any, match: str) -> None:
    @dataclass
    class Asking:
        def definition(self) -> Statement:
            return S(tree())

    asking, state = Asking(), State.new("run-1", "Asking", NOW)
    before = dump(asking, state)
    with pytest.raises(StepError, match="run 'run-1', thread 'main': ") as caught:
        drive(asking, state, now=NOW)
    assert re.search(match.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?"), str(caught.value)), str(caught.value)
    assert dump(asking, state) == before
    assert caught.value.run_id == "run-1"
    assert caught.value.thread_id == "main"
    # The original is its cause, where there is one.
    told = any(words in match for words in ("raised", "can't be kept", "past the end"))
    assert isinstance(caught.value.__cause__, Exception) is told


def test_a_return_that_fails_is_told_by_its_place() -> None:
    @dataclass
    class Returning:
        def definition(self) -> Statement:
            return If("paid", True, S(Return(boom)))

    with pytest.raises(
        StepError, match="thread 'main': Return in Case 'paid' in If 'paid': its value raised ZeroDivisionError"
    ) as caught:
        resume(Returning(), State.new("run-1", "Returning", NOW), now=NOW)
    assert caught.value.step == "Return"


def test_two_live_threads_of_one_id_are_an_error() -> None:
    @dataclass
    class Twins:
        def definition(self) -> Statement:
            return ForEach("each", [1, 2], Go("side", Wait("w", On("a"))))

    twins, state = Twins(), State.new("run-1", "Twins", NOW)
    before = dump(twins, state)
    with pytest.raises(
        DefinitionError, match="Go 'side' would start a second thread with the id 'side' while the first one lives"
    ):
        resume(twins, state)
    assert dump(twins, state) == before


def test_a_loop_that_does_not_stop_is_an_error_and_no_hang() -> None:
    @dataclass
    class Spins:
        def definition(self) -> Statement:
            return For("spin", If("never", False, Step("a", lambda: None)))

    spins, state = Spins(), State.new("run-1", "Spins", NOW)
    before = dump(spins, state)
    with pytest.raises(DefinitionError, match="run 'run-1', thread 'main': For 'spin' makes no progress"):
        resume(spins, state)
    assert dump(spins, state) == before


def test_a_setter_that_raises_is_a_step_error() -> None:
    @dataclass
    class Sets:
        def definition(self) -> Statement:
            return Step("a", lambda: 1, into=self.set)

        def set(self, value: int) -> None:
            raise ValueError("full")

    sets, state = Sets(), State.new("run-1", "Sets", NOW)
    with pytest.raises(StepError, match="run 'run-1', thread 'main': Step 'a': its into raised ValueError: full"):
        resume(sets, state)


def test_what_the_sync_driver_can_not_await_is_closed_and_told() -> None:
    @dataclass
    class Later:
        def definition(self) -> Statement:
            return Step("a", lambda: [later()][0])

    workflow, state = Later(), State.new("run-1", "Later", NOW)
    with pytest.raises(
        StepError, match="action at 'a' returned a coroutine, which a sync driver can't await: use resume_async"
    ):
        resume(workflow, state)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_say_what_it_is_is_told_all_the_same() -> None:
    @dataclass
    class Fails(Order):
        def definition(self) -> Statement:
            return Step("pay", self.fail)

        def fail(self) -> None:
            raise UnprintableError

    with pytest.raises(StepError, match=r"step 'pay': its action raised UnprintableError: \(its message raised RuntimeError\)"):
        resume(Fails(), State.new("run-1", "Order", NOW), now=NOW)
