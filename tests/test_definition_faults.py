"""A definition's faults: all at once, each with its place; and what is odd but legal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any, ClassVar, Self

import pytest
from pydantic import BaseModel

from flowstmt import (
    Break,
    Case,
    Continue,
    Default,
    DefinitionError,
    Event,
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
    Switch,
    Timeout,
    Wait,
    WaitFor,
    dump,
    find,
    handle_callback,
    resume,
    validate,
    walk,
)

HOUR = timedelta(hours=1)


def wrong(value: Any) -> Any:
    """A value of a wrong type, which the type checker shall let pass."""
    return value


def act() -> None: ...


def yes() -> bool:
    return True


def faults_of(tree: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        validate(tree)
    assert str(caught.value).count("\n  - ") == len(caught.value.faults)
    return list(caught.value.faults)


# --- the shape of a tree; nothing here needs to know the class ---

SHAPES: list[tuple[str, Any, list[str]]] = [
    ("a name used twice", S(Step("a", act), Step("a", act)), ["Step 'a': the name 'a' is taken by Step 'a'"]),
    (
        "a name used twice, far apart",
        S(For("loop", yes, Step("a", act)), Go("b", Wait("a", On("x")))),
        ["Wait 'a' in Go 'b': the name 'a' is taken by Step 'a' in For 'loop'"],
    ),
    ("a Go and a Step of one name", S(Go("a", Step("a", act))), ["Step 'a' in Go 'a': the name 'a' is taken by Go 'a'"]),
    ("a case and a step of one name", If("a", True, Step("a", act)), ["Step 'a' in Case 'a' in If 'a': the name 'a' is taken"]),
    (
        "two branches of one name",
        If("a", True).else_if("a", False),
        ["Case 'a' in If 'a': the name 'a' is taken by If 'a'"],
    ),
    (
        "a Switch's first case named like a step",
        S(Step("a", act), Switch(Case("a", True))),
        ["Case 'a' in Switch: the name 'a' is taken by Step 'a'"],
    ),
    (
        "an event twice in a Wait",
        Wait("w", On("a"), On("b"), Timeout("a", HOUR)),
        ["Timeout 'a' in Wait 'w': the event 'a' stands twice in its Wait"],
    ),
    (
        "an event and its token",
        Wait("w", On("a"), On(Event("a"))),
        ["On 'a' in Wait 'w': the event 'a' stands twice in its Wait"],
    ),
    ("Break outside of a loop", S(Step("a", act), Break()), ["Break: stands outside of any loop"]),
    ("Continue outside of a loop", If("a", True, Continue()), ["Continue in Case 'a' in If 'a': stands outside of any loop"]),
    (
        "Break out of a thread",
        For("loop", yes, Step("a", act), Go("side", If("b", True, Break()))),
        ["Break in Case 'b' in If 'b' in Go 'side' in For 'loop': can't reach For 'loop', which is outside"],
    ),
    (
        "Continue out of two threads",
        ForEach("loop", [1], Go("one", Go("two", Continue()))),
        ["Continue in Go 'two' in Go 'one' in ForEach 'loop': can't reach ForEach 'loop', which is outside"],
    ),
    ("Break in a thread without a loop", Go("a", Go("b", Break())), ["Break in Go 'b' in Go 'a': stands outside of any loop"]),
    ("None for a tree", None, ["definition() must return a statement, not None; was 'return' forgotten?"]),
    (
        "a list for a tree",
        [Step("a", act)],
        ["definition() must return a statement, not [Step('a')]; wrap several statements in S(...)"],
    ),
    ("a tuple for a tree", (Step("a", act),), ["definition() must return a statement, not (Step('a'),); wrap several"]),
    ("a text for a tree", "Step", ["definition() must return a statement, not 'Step'"]),
    ("None between statements", S(Step("a", act), wrong(None)), ["S: None after Step('a') is no statement"]),
    ("a function between statements", S(wrong(act)), ["S: <function act"]),
    (
        "a class between statements",
        For("l", Step("a", act), wrong(Break)),
        ["For 'l': Break after Step('a') is a class, not a statement: was '()' forgotten?"],
    ),
    (
        "a list between statements",
        Go("g", wrong([Step("a", act)])),
        ["Go 'g': [Step('a')] is no statement: unpack it with '*'"],
    ),
    (
        "a tuple after a statement",
        S(Step("a", act), wrong((Step("b", act),))),
        ["S: (Step('b'),) after Step('a') is no statement: unpack it with '*'"],
    ),
    ("a class that is no statement", S(wrong(int)), ["S: int is no statement"]),
    ("a bare Statement", S(Statement()), ["S: Statement() is no statement"]),
    ("no case", Switch(), ["Switch: has no case"]),
    ("no event", Wait("w"), ["Wait 'w': has no event: it could never end"]),
    ("a step in a Switch", Switch(wrong(Step("a", act))), ["Step 'a' in Switch: a Switch holds only Case and Default"]),
    (
        "S in a Switch",
        Switch(wrong(S(Case("a", True)))),
        ["S in Switch: a Switch holds only", "Case 'a' in Switch: stands only directly in Switch or If"],
    ),
    (
        "a step in a Wait",
        Wait("w", wrong(Step("a", act))),
        ["Step 'a' in Wait 'w': a Wait holds only events: On, Timeout, Every and When"],
    ),
    ("a case outside of a Switch", Case("a", True), ["Case 'a': stands only directly in Switch or If"]),
    ("a Default outside of a Switch", S(Default()), ["Default: stands only directly in Switch or If"]),
    ("an On outside of a Wait", S(On("a")), ["On 'a': stands only directly in Wait"]),
    ("a Timeout outside of a Wait", Timeout("a", HOUR), ["Timeout 'a': stands only directly in Wait"]),
    (
        "a Timeout in an On",
        Wait("w", On("a", None, Timeout("b", HOUR))),
        ["Timeout 'b' in On 'a' in Wait 'w': stands only directly in Wait"],
    ),
    (
        "a case after the Default",
        Switch(Default(), Case("a", True)),
        ["Switch: the default must be last: Case('a') could never be chosen"],
    ),
    ("two Defaults", If("a", True).else_().else_(), ["If 'a': the default must be last: Default() could never be chosen"]),
    ("an else_if after else_", If("a", True).else_().else_if("b", True), ["If 'a': the default must be last: Case('b') could"]),
    (
        "a For that is empty",
        For("l"),
        ["For 'l': contains nothing that stops (a Step, Wait, WaitFor, Sleep or Join): it would spin"],
    ),
    ("a For with nothing but a Break", For("l", Break()), ["For 'l': contains nothing that stops"]),
    ("a For that only starts threads", For("l", yes, Go("g", Step("a", act))), ["For 'l': contains nothing that stops"]),
    ("a For in a For", For("l", yes, For("m", yes)), ["For 'm' in For 'l': contains nothing", "For 'l': contains nothing"]),
    ("a Join of nothing", Join("j"), ["Join 'j': names no Go to wait for"]),
    ("a Join of nobody", Join("j", "ship"), ["Join 'j': no Go is named 'ship'"]),
    (
        "a misspelt Join",
        S(Go("ship", Step("a", act)), Join("j", "shpi")),
        ["Join 'j': no Go is named 'shpi'; did you mean 'ship'?"],
    ),
    ("a Join of a step", S(Step("ship", act), Join("j", "ship")), ["Join 'j': no Go is named 'ship'"]),
    ("a Join of no text", S(Go("1", Step("a", act)), Join("j", wrong(1))), ["Join 'j': no Go is named 1; did you mean '1'?"]),
    (
        "a Join of its own thread",
        Go("g", Step("a", act), Join("j", "g")),
        ["Join 'j' in Go 'g': stands inside Go 'g' and would wait for its own thread"],
    ),
    (
        "a Join of the thread around",
        Go("g", Go("h", Join("j", "g", "h"))),
        ["Join 'j' in Go 'h' in Go 'g': stands inside Go 'g'", "Join 'j' in Go 'h' in Go 'g': stands inside Go 'h'"],
    ),
    ("a slash in a name", Step("a/b", act), ["Step 'a/b': the name 'a/b' holds '/' or ':', which separate parts of names"]),
    ("a colon in an event's name", Wait("w", On("a:b")), ["On 'a:b' in Wait 'w': the name 'a:b' holds '/' or ':'"]),
    ("the reserved name", Go("main", Step("a", act)), ["Go 'main': the name 'main' is reserved for the first thread"]),
    ("an empty name", Step("", act), ["Step: the name must be a text that is not empty, not ''"]),
    ("an empty event", Wait("w", On("")), ["On in Wait 'w': the name must be a text that is not empty, not ''"]),
    ("an empty name of an If", If("", True), ["If: the name must be a text", "Case in If: the name must be a text"]),
    ("no name", Step(wrong(None), act), ["Step: the name must be a text that is not empty, not None"]),
    (
        "a number for a name",
        Wait(wrong(5), On(wrong(b"x"))),
        [
            "Wait: the name must be a text that is not empty, not 5",
            "On in Wait: the name must be a text that is not empty, not b'x'",
        ],
    ),
    (
        "an unhashable name",
        S(Step(wrong([]), act), Step(wrong([]), act)),
        ["Step: the name must be a text that is not empty, not []"] * 2,
    ),
    ("a lone surrogate in a name", Step("a\ud800", act), ["Step 'a\\ud800': the name 'a\\ud800' can't be written as UTF-8"]),
    (
        "a text for old names",
        Step("a", act, was=wrong("b")),
        ["Step 'a': was must be a tuple of old names, not 'b': write was=('b',)"],
    ),
    ("a number for old names", Step("a", act, was=wrong(5)), ["Step 'a': was must be a tuple of old names, not 5"]),
    ("a list for old names", Step("a", act, was=wrong(["b"])), ["Step 'a': was must be a tuple of old names, not ['b']"]),
    (
        "old names that are none",
        Sleep("a", HOUR, was=("", wrong(5), "b:7", "main", "b//c", "b/", "/")),
        [
            "Sleep 'a': was: an old name must be a text that is not empty, not ''",
            "Sleep 'a': was: an old name must be a text that is not empty, not 5",
            "Sleep 'a': was: 'b:7' can't have been a name",
            "Sleep 'a': was: the name 'main' is reserved for the first thread",
            "Sleep 'a': was: 'b//c' can't have been a name",
            "Sleep 'a': was: 'b/' can't have been a name",
            "Sleep 'a': was: '/' can't have been a name",
        ],
    ),
    ("its own old name", WaitFor("a", True, was=("b", "a")), ["WaitFor 'a': was: 'a' is its present name"]),
    (
        "an old name that is a present one",
        S(Go("a", Step("x", act), was=("b",)), If("c", True, Step("b", act))),
        ["Go 'a': was: 'b' is the present name of Step 'b' in Case 'c' in If 'c': a saved 'b' could be either"],
    ),
    (
        "an old name of two statements",
        S(Join("a", "t", was=("z", "y")), ForEach("b", [1], Go("t"), was=("z",)), For("c", Step("s", act), was=("y",))),
        [
            "ForEach 'b': was: 'z' was the name of Join 'a' as well: a saved 'z' could be either",
            "For 'c': was: 'y' was the name of Join 'a' as well",
        ],
    ),
    (
        "old names of branches",
        S(If("a", True, was=("x",)).else_if("b", True, was=("x",)), Switch(Case("c", True, was=("a",)))),
        [
            "Case 'b' in If 'a': was: 'x' was the name of If 'a' as well",
            "Case 'c' in Switch: was: 'a' is the present name of If 'a'",
        ],
    ),
    (
        "old names of events",
        Wait("w", On("a", was=("b", "c", "x/y")), On("b", was=("c",)), Timeout("d", HOUR, was=("d", "a"))),
        [
            "On 'a' in Wait 'w': was: 'x/y' can't have been a name: '/' and ':' separate",
            "Timeout 'd' in Wait 'w': was: 'd' is its present name",
            "On 'a' in Wait 'w': was: 'b' is the present name of On 'b' in Wait 'w': a saved 'b' could be either",
            "On 'b' in Wait 'w': was: 'c' was the name of On 'a' in Wait 'w' as well",
            "Timeout 'd' in Wait 'w': was: 'a' is the present name of On 'a' in Wait 'w'",
        ],
    ),
    (
        "a condition left out",
        If("a", Step("b", act)),
        ["Case 'a' in If 'a': its condition is a statement (Step('b')): was the condition left out?"],
    ),
    ("a condition left out of a case", Switch(Case("a", S())), ["Case 'a' in Switch: its condition is a statement (S()): was"]),
    ("a condition left out of a WaitFor", WaitFor("a", S()), ["WaitFor 'a': its condition is a statement (S()): was"]),
    (
        "items left out",
        ForEach("a", Step("b", act)),
        ["ForEach 'a': its items are a statement (Step('b')): were the items left out?"],
    ),
    (
        "an action that was called",
        Step("a", wrong(None)),
        ["Step 'a': action must be a callable, not None; was it called where it should be named?"],
    ),
    ("an action that is none", Step("a", wrong("act")), ["Step 'a': action must be a callable, not 'act'"]),
    ("a statement as an action", Step("a", wrong(S())), ["Step 'a': action must be a callable, not S()"]),
    (
        "a handler that is none",
        Wait("w", On("a", "act")),
        ["On 'a' in Wait 'w': handler must be a callable or an object with 'handle', not 'act'"],
    ),
    ("a WaitFor's handler that is none", WaitFor("a", yes, wrong(5)), ["WaitFor 'a': handler must be a callable, not 5"]),
    (
        "a duration that is none",
        Sleep("a", wrong(5)),
        ["Sleep 'a': duration must be a timedelta, an aware datetime or a callable, not 5"],
    ),
    (
        "a naive instant",
        Wait("w", Timeout("a", datetime(2026, 1, 1))),
        ["Timeout 'a' in Wait 'w': after is a datetime without a time zone"],
    ),
    ("no duration", Sleep("a", wrong(None)), ["Sleep 'a': duration must be a timedelta"]),
    (
        "an into that is none",
        Step("a", act, into=wrong(5)),
        ["Step 'a': into must be the name of a field or a callable, not 5"],
    ),
    (
        "a schema that is none",
        Wait("w", On("a", schema=wrong("int")), On("b", schema=wrong(int))),
        [
            "On 'a' in Wait 'w': schema must be a JSON Schema, a dict or a bool, not 'int'",
            "On 'b' in Wait 'w': schema must be a JSON Schema, a dict or a bool, not int",
        ],
    ),
    (
        "a via that is none",
        Wait("w", On("a", via=object())),
        ["On 'a' in Wait 'w': via must be an object with 'setup' or 'teardown', not <object"],
    ),
]


@pytest.mark.parametrize(("tree", "faults"), [pytest.param(tree, faults, id=name) for name, tree, faults in SHAPES])
def test_a_fault_is_told_with_its_place(tree: Any, faults: list[str]) -> None:
    found = faults_of_any(tree)
    assert len(found) == len(faults), found
    for got, wanted in zip(found, faults, strict=True):
        assert got.startswith(wanted)


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (Step("a", wrong("act")), "Step 'a': action must be a callable, not 'act'"),
        (Step("a", wrong("x" * 999)), f"Step 'a': action must be a callable, not '{'x' * 56}..."),
        (S(wrong("x" * 58)), f"S: '{'x' * 58}' is no statement"),
        (Join("j", "ship"), "Join 'j': no Go is named 'ship'"),
        ("Step", "definition() must return a statement, not 'Step'"),
    ],
)
def test_a_fault_says_what_was_found_and_guesses_at_nothing_else(tree: Any, fault: str) -> None:
    assert faults_of_any(tree) == [fault]


def faults_of_any(tree: Any) -> list[str]:
    """The faults of a tree, or of what stands where a tree should."""
    if isinstance(tree, Statement):
        return faults_of(tree)

    @dataclass
    class Order:
        def definition(self) -> Any:
            return tree

    return faults_of(Order())


def test_an_async_function_that_was_called_is_told_and_closed() -> None:
    async def later() -> None: ...

    for tree, fault in (
        (S, "S: <coroutine object "),
        (lambda c: Step("a", c), "Step 'a': action must be a callable"),
    ):
        called = later()
        (told,) = faults_of(tree(wrong(called)))
        assert told.startswith(fault)
        assert getcoroutinestate(called) == CORO_CLOSED


def test_every_async_part_of_an_event_is_told_by_the_sync_driver() -> None:
    order = class_with(lambda w: Wait("w", On("a", AllAsync()), On("b", via=AllAsync()), On("c", w.later)), style="object")
    with pytest.raises(DefinitionError, match="needs resume_async") as caught:
        resume(order, State.new("run-1", "Order"))
    assert caught.value.faults == (
        "On 'a' in Wait 'w': setup is async",
        "On 'a' in Wait 'w': teardown is async",
        "On 'a' in Wait 'w': handler is async",
        "On 'b' in Wait 'w': setup is async",
        "On 'b' in Wait 'w': teardown is async",
        "On 'c' in Wait 'w': handler is async",
    )


def test_all_faults_are_told_at_once() -> None:
    tree = S(
        Step("a", act),
        Step("a", wrong(None)),
        Break(),
        For("loop", Go("g", Continue())),
        Wait("w", On("e"), On("e")),
        Switch(),
        Join("j", "x"),
        wrong(5),
    )
    assert faults_of(tree) == [
        "Step 'a': the name 'a' is taken by Step 'a'",
        "Step 'a': action must be a callable, not None; was it called where it should be named?",
        "Break: stands outside of any loop",
        "Continue in Go 'g' in For 'loop': can't reach For 'loop', which is outside of the thread of Go 'g'",
        "For 'loop': contains nothing that stops (a Step, Wait, WaitFor, Sleep or Join): it would spin",
        "On 'e' in Wait 'w': the event 'e' stands twice in its Wait",
        "Switch: has no case: give it a Case, or leave it out",
        "S: 5 after Join('j') is no statement",
        "Join 'j': no Go is named 'x'",
    ]


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("not ready")


@dataclass
class Receipt:
    card: str = "secret"


@pytest.mark.parametrize(
    ("value", "told"),
    [(Receipt(), "a Receipt"), ({"card": "secret"}, "a dict"), (object(), "<object object>"), (Shy(), "a Shy")],
)
def test_what_is_no_callable_is_told_without_data_or_addresses(value: Any, told: str) -> None:
    assert faults_of(Step("charge", wrong(value))) == [f"Step 'charge': action must be a callable, not {told}"]


def nested(depth: int) -> Statement:
    tree: Statement = Step("deepest", act)
    for _ in range(depth - 1):
        tree = S(tree)
    return tree


def test_a_hundred_levels_are_legal_and_one_more_is_a_fault() -> None:
    validate(nested(100))
    (fault,) = faults_of(nested(101))
    assert fault == "Step 'deepest': nested deeper than 100 statements: does the tree contain itself?"
    (fault,) = faults_of(nested(20_000))
    assert fault == "S: nested deeper than 100 statements: does the tree contain itself?"


def test_a_hundred_levels_run() -> None:
    @dataclass
    class Deep:
        count: int = 0

        def definition(self) -> Statement:
            tree: Statement = Step("deepest", self.act)
            for i in range(99):
                tree = (For(f"l{i}", tree, Break()), ForEach(f"l{i}", [1], tree), If(f"l{i}", True, tree))[i % 2]
            return tree

        def act(self) -> None:
            self.count += 1

    deep = Deep()
    assert resume(deep, State.new("r", "Deep")) == "Finished"
    assert deep.count == 1


def test_a_tree_that_contains_itself_is_a_fault_and_no_hang() -> None:
    tree = S()
    tree.body = (tree,)
    assert faults_of(tree) == ["S: nested deeper than 100 statements: does the tree contain itself?"]


def test_one_statement_may_not_stand_at_two_places() -> None:
    step = Step("a", act)
    assert faults_of(S(step, step)) == ["Step 'a': the name 'a' is taken by Step 'a'"]


LEGAL: list[tuple[str, Statement]] = [
    ("nothing", S()),
    ("nothing in nothing", S(S(), S(S()))),
    ("an event without a body", Wait("w", On("a"))),
    ("a Timeout without a body", Wait("w", Timeout("a", HOUR))),
    ("a Switch with only a Default", Switch(Default(Step("a", act)))),
    ("cases without bodies", Switch(Case("a", True), Case("b", yes), Default())),
    ("an If without a body", If("a", True)),
    ("a ForEach without a body", ForEach("a", [1, 2])),
    ("a Go without a body", Go("a")),
    ("code after a Return", S(Return(), Step("a", act))),
    ("code after a Break", For("l", Step("a", act), Break(), Step("b", act))),
    ("code after an endless loop", S(For("l", Step("a", act)), Step("b", act))),
    ("a loop in a thread in a loop", For("l", Step("a", act), Go("g", For("m", Step("b", act), Break(), Continue())))),
    ("a For in a ForEach that stops outside", For("l", ForEach("e", [1], Step("a", act)))),
    ("an event of one name in two Waits", S(Wait("v", On("a")), Wait("w", On("a")))),
    ("an event named like a statement", S(Step("a", act), Wait("w", On("a")))),
    ("an event named like its Wait", Wait("a", On("a"))),
    ("an If's first branch, which bears its name", If("a", True).else_if("b", True).else_()),
    ("a Join before its Go", S(Join("j", "g"), Go("g"))),
    ("a Join in a sibling", S(Go("a", Join("j", "b")), Go("b", Step("x", act)))),
    (
        "any other name",
        S(*(Step(name, act) for name in ("🎉", "עברית", "e\u0301", "é", " ", "a b", "\x00", "Main", "\u202e", "a" * 9999))),
    ),
    ("an unbounded loop that waits", For("l", Wait("w", On("a", None, Break())))),
    (
        "instants and durations",
        S(Sleep("a", HOUR), Sleep("b", datetime(2026, 1, 1, tzinfo=UTC)), Sleep("c", lambda: HOUR), Sleep("d", -HOUR)),
    ),
    ("a handler that was left out", Wait("w", On("a", Step("b", act)))),
]


@pytest.mark.parametrize("tree", [pytest.param(tree, id=name) for name, tree in LEGAL])
def test_what_is_odd_is_legal(tree: Statement) -> None:
    validate(tree)
    assert all(isinstance(statement, Statement) for statement in walk(tree))


def test_an_event_whose_handler_was_left_out_runs_its_body() -> None:
    @dataclass
    class Order:
        log: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return Wait("w", On("a", Step("b", lambda: self.log.append("b")), Step("c", lambda: self.log.append("c"))))

    order, state = Order(), State.new("r", "Order")
    resume(order, state)
    handle_callback("a", order, state)
    resume(order, state)
    assert order.log == ["b", "c"]


# --- what needs to know the class ---


class Opener:
    def setup(self, request: Any) -> None: ...

    def teardown(self, request: Any, handled: bool) -> None: ...


class HandleAndSetup(Opener):
    def handle(self, request: Any, payload: Any) -> None: ...


class HandleAndNoMethod(HandleAndSetup):
    setup: Any = 5


class AllAsync:
    async def handle(self, request: Any, payload: Any) -> None: ...

    async def setup(self, request: Any) -> None: ...

    async def teardown(self, request: Any, handled: bool) -> None: ...


class SetupIsNoMethod:
    setup = 5


class BrokenHandle:
    handle = None


class OddSignature:
    """What it takes can't be found out."""

    __signature__ = "none"

    def __call__(self, *arguments: Any) -> None: ...


class CalledNotHandled:
    """A callable is called, whatever else it has."""

    handle = None

    def __call__(self, *arguments: Any) -> None: ...


@dataclass
class Line:
    sku: str = ""


@dataclass
class Other:
    sku: str = ""


def class_with(tree: Callable[[Any], Any], *, style: str) -> Any:
    """A workflow of one style whose definition is what ``tree`` makes of self (or the class)."""
    if style == "class":

        @dataclass
        class ByClass(Actions):
            @classmethod
            def definition(cls) -> Any:
                return tree(cls)

        return ByClass()

    @dataclass
    class ByObject(Actions):
        def definition(self) -> Any:
            return tree(self)

    return ByObject()


@dataclass
class Actions:
    receipt: str = ""
    paid: bool = False
    lines: list[Line] = field(default_factory=list)

    def none(self) -> None: ...
    def one(self, a): ...
    def two(self, a, b): ...
    def optional(self, a=1, b=2): ...
    def variadic(self, *a): ...
    def keyword(self, *, a): ...
    def keyword_optional(self, *, a=1): ...
    def line(self, line: Line): ...
    def other(self, line: Other): ...
    def text(self, line: "Line"): ...  # noqa: UP037 as text on purpose
    def payload_and_line(self, payload: int, line: Line): ...
    def payload_and_other(self, payload: int, line: Other): ...
    def nowhere(self, line: Nowhere): ...  # type: ignore[name-defined] # noqa: F821 wrong on purpose
    def bad_payload(self, payload: Nowhere): ...  # type: ignore[name-defined] # noqa: F821 wrong on purpose
    async def later(self): ...
    async def later_one(self, a): ...
    def generator(self):
        yield

    async def later_generator(self):
        yield


def item(statement: Statement) -> Statement:
    return ForEach("each", lambda *w: [], statement)


def named(word: str, **more: Any) -> Callable[[Any], Statement]:
    return lambda w: Step("a", getattr(w, word), **more)


ARITY: list[tuple[str, Callable[[Any], Any], list[str]]] = [
    ("an action that takes one", named("one"), ["Step 'a': action Actions.one takes {1} arguments, expected {0} ({style})"]),
    ("an action that takes two", named("two"), ["Step 'a': action Actions.two takes {2} arguments, expected {0} ({style})"]),
    (
        "an action that takes two or three",
        lambda w: Step("a", lambda x, y, z=1: None),
        ["<lambda> takes 2 or more arguments, expected {0} ({style})"],
    ),
    ("an action without a name", lambda w: Step("a", partial(w.two)), ["Step 'a': action functools.partial(<"]),
    (
        "an action that needs a keyword",
        named("keyword"),
        ["Step 'a': action Actions.keyword needs the keyword argument 'a', which nobody gives"],
    ),
    (
        "an item's action that takes two",
        lambda w: item(Step("a", w.two)),
        ["Step 'a' in ForEach 'each': action Actions.two takes {2} arguments, expected {0} or {1} ({style}, the item last)"],
    ),
    (
        "a setter that takes no value",
        named("none", into=lambda: None),
        ["Step 'a': into <lambda> takes 0 arguments, expected {1} ({style})"],
    ),
    (
        "a condition that takes one",
        lambda w: WaitFor("a", w.one),
        ["WaitFor 'a': condition Actions.one takes {1} arguments, expected {0} ({style})"],
    ),
    ("a case's condition", lambda w: If("a", w.one), ["Case 'a' in If 'a': condition Actions.one takes {1} arguments"]),
    (
        "a loop's condition",
        lambda w: For("a", w.one, Step("b", w.none)),
        ["For 'a': condition Actions.one takes {1} arguments"],
    ),
    ("items", lambda w: ForEach("a", w.one), ["ForEach 'a': items Actions.one takes {1} arguments"]),
    (
        "an id and an arg",
        lambda w: Go("a", id=w.one, arg=w.two),
        ["Go 'a': id Actions.one takes {1} arguments", "Go 'a': arg Actions.two takes {2} arguments"],
    ),
    ("a value", lambda w: Return(w.one), ["Return: value Actions.one takes {1} arguments"]),
    (
        "an instant",
        lambda w: S(Sleep("a", w.one), Wait("w", Timeout("b", w.one))),
        [
            "Sleep 'a': duration Actions.one takes {1} arguments",
            "Timeout 'b' in Wait 'w': after Actions.one takes {1} arguments",
        ],
    ),
    ("a WaitFor's handler", lambda w: WaitFor("a", w.none, w.one), ["WaitFor 'a': handler Actions.one takes {1} arguments"]),
    (
        "a handler that takes two",
        lambda w: Wait("w", On("a", w.two)),
        ["On 'a' in Wait 'w': handler Actions.two takes {2} arguments, expected {0} or {1} ({style})"],
    ),
    (
        "an item's handler that takes three",
        lambda w: item(Wait("w", On("a", partial(w.two)), On("b", lambda x, y, z, q: 1))),
        ["handler <lambda>.<locals>.<lambda> takes 4 arguments, expected {0} or {1} or {2} ({style}, the item last)"],
    ),
    (
        "an async setter",
        lambda w: Step("a", w.none, into=w.later_one),
        ["Step 'a': into Actions.later_one is async: nothing awaits"],
    ),
    ("a generator", named("generator"), ["Step 'a': action Actions.generator is a generator: calling it runs nothing"]),
    (
        "an async generator",
        lambda w: WaitFor("a", w.none, w.later_generator),
        ["WaitFor 'a': handler Actions.later_generator is"],
    ),
    ("a misspelt field", named("none", into="reciept"), ["Step 'a': into: no field 'reciept'; did you mean 'receipt'?"]),
    ("a field like no other", named("none", into="zzz"), ["Step 'a': into: no field 'zzz'"]),
    ("an attribute that is no field", named("none", into="one"), ["Step 'a': into: no field 'one'"]),
    (
        "an event's misspelt field",
        lambda w: Wait("w", On("a", into="Lines")),
        ["On 'a' in Wait 'w': into: no field 'Lines'; did you mean 'lines'?"],
    ),
    (
        "two types for one item",
        lambda w: ForEach("e", w.none, Step("a", w.line), Step("b", w.other)),
        ["Step 'b' in ForEach 'e': action takes the item as Other, but action of Step 'a' as Line"],
    ),
    (
        "two types for one item, of a handler",
        lambda w: ForEach("e", w.none, Wait("w", On("b", w.payload_and_line)), WaitFor("c", w.other)),
        ["WaitFor 'c' in ForEach 'e': condition takes the item as Other, but handler of On 'b' as Line"],
    ),
    (
        "two types for one arg",
        lambda w: Go("g", Step("a", w.line), Step("b", w.other), arg=w.none),
        ["Step 'b' in Go 'g': action takes the item as Other, but action of Step 'a' as Line"],
    ),
    (
        "two types for an item that is handed on",
        lambda w: ForEach("e", w.none, Step("a", w.line), Go("g", Step("b", w.other))),
        ["Step 'b' in Go 'g' in ForEach 'e': action takes the item as Other, but action of Step 'a' as Line"],
    ),
    (
        "an annotation that is nowhere",
        lambda w: item(Step("a", w.nowhere)),
        ["Step 'a' in ForEach 'each': the annotation of 'line' of action Actions.nowhere can't be resolved: name 'Nowhere'"],
    ),
    (
        "an annotation that is nowhere, and another that is somewhere",
        lambda w: item(S(Step("a", w.nowhere), Step("b", w.line), Step("c", w.text))),
        ["Step 'a' in ForEach 'each': the annotation of 'line' of action Actions.nowhere can't be resolved: name 'Nowhere'"],
    ),
    (
        "a payload's annotation that is nowhere",
        lambda w: Wait("w", On("a", w.bad_payload)),
        ["On 'a' in Wait 'w': the annotation of 'payload' of handler Actions.bad_payload can't be resolved: name"],
    ),
    ("a setup that is no method", lambda w: Wait("w", On("a", via=SetupIsNoMethod())), ["On 'a' in Wait 'w': 'setup' of <"]),
    (
        "a handler object's setup that is no method",
        lambda w: Wait("w", On("a", HandleAndNoMethod())),
        ["On 'a' in Wait 'w': 'setup' of <"],
    ),
    (
        "a via and a handler that is one",
        lambda w: Wait("w", On("a", HandleAndSetup(), via=Opener())),
        ["On 'a' in Wait 'w': has both a via and a handler object that is one itself: give one of them"],
    ),
    ("a handle that is no method", lambda w: Wait("w", On("a", BrokenHandle())), ["On 'a' in Wait 'w': 'handle' of <"]),
    (
        "a class as a via",
        lambda w: Wait("w", On("a", via=5)),
        ["On 'a' in Wait 'w': via must be an object with 'setup' or 'teardown', not 5"],
    ),
]
STYLES = {"object": "'self' does not count", "class": "the workflow first"}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("tree", "faults"), [pytest.param(tree, faults, id=name) for name, tree, faults in ARITY])
def test_a_fault_of_a_callable_is_told_with_its_place(style: str, tree: Any, faults: list[str]) -> None:
    base = 1 if style == "class" else 0
    found = faults_of(class_with(tree, style=style))
    assert len(found) == len(faults), found
    for got, wanted in zip(found, faults, strict=True):
        for count in range(4):
            wanted = wanted.replace(f"{{{count}}}", str(base + count))  # noqa: PLW2901 step by step
        wanted = wanted.replace("takes 1 arguments", "takes 1 argument")  # noqa: PLW2901
        assert wanted.replace("{style}", STYLES[style]) in got


FITTING: list[tuple[str, Callable[[Any], Any]]] = [
    ("none", named("none")),
    ("optional", named("optional")),
    ("variadic", named("variadic")),
    ("an optional keyword", named("keyword_optional")),
    ("a builtin without a signature", lambda w: Step("a", dict)),
    ("an item's action that does not take it", lambda w: item(Step("a", w.none))),
    ("an item's action", lambda w: item(Step("a", w.one))),
    ("an item's variadic action", lambda w: item(Step("a", w.variadic))),
    ("an annotation that is a text", lambda w: item(S(Step("a", w.line), Step("b", w.text), Step("c", w.one)))),
    ("a handler without a payload", lambda w: Wait("w", On("a", w.none))),
    ("a handler with a payload", lambda w: Wait("w", On("a", w.one))),
    ("a handler with a payload and an item", lambda w: item(Wait("w", On("a", w.two)))),
    (
        "another type in an inner loop",
        lambda w: ForEach("e", w.none, Step("a", w.line), ForEach("f", w.none, Step("b", w.other))),
    ),
    ("another type for an arg", lambda w: ForEach("e", w.none, Step("a", w.line), Go("g", Step("b", w.other), arg=w.none))),
    ("an arg from an item", lambda w: ForEach("e", w.none, Go("g", id=w.line, arg=w.line))),
    ("a setter", lambda w: Step("a", w.none, into=w.one)),
    ("an item's setter", lambda w: item(Step("a", w.none, into=w.two))),
    ("a field", named("none", into="receipt")),
    ("a handle-object", lambda w: Wait("w", On("a", HandleAndSetup()))),
    ("the workflow, if given", lambda w: Step("a", lambda w=None: None)),
    ("any keyword", lambda w: Step("a", lambda *a, **b: None)),
    ("a callable whose signature is none", lambda w: Step("a", OddSignature())),
    ("a callable with a handle and a via", lambda w: Wait("w", On("a", CalledNotHandled(), via=Opener()))),
    ("a via and a function", lambda w: Wait("w", On("a", w.none, via=Opener()))),
    ("an async action", lambda w: Step("a", w.later)),
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("tree", [pytest.param(tree, id=name) for name, tree in FITTING])
def test_a_callable_that_fits_is_no_fault(style: str, tree: Any) -> None:
    validate(class_with(tree, style=style))


PLAIN: list[tuple[str, Callable[[Any], Statement], str]] = [
    ("an If", lambda w: If("a", True), "Case 'a' in If 'a': its condition is the plain value True"),
    ("an else_if", lambda w: If("a", w.none).else_if("b", 0), "Case 'b' in If 'a': its condition is the plain value 0"),
    ("a Case", lambda w: Switch(Case("a", None)), "Case 'a' in Switch: its condition is the plain value None"),
    ("a For", lambda w: For("a", "x" * 99, Step("b", w.none)), "For 'a': its condition is the plain value 'xxxxx"),
    ("a WaitFor", lambda w: WaitFor("a", False), "WaitFor 'a': its condition is the plain value False"),
]


@pytest.mark.parametrize(("tree", "wanted"), [pytest.param(tree, fault, id=name) for name, tree, fault in PLAIN])
def test_a_condition_that_is_a_plain_value_is_a_fault_in_class_style_only(tree: Any, wanted: str) -> None:
    (fault,) = faults_of(class_with(tree, style="class"))
    assert fault.startswith(wanted)
    assert fault.endswith("a class-style definition is built once, so it must be a callable that takes the workflow")
    validate(class_with(tree, style="object"))


def test_plain_items_ids_args_and_values_are_legal_in_class_style() -> None:
    validate(class_with(lambda w: S(ForEach("a", [1, 2]), Go("b", id=1, arg={"a": 1}), Return("done")), style="class"))


def test_a_tree_alone_is_checked_for_nothing_that_depends_on_its_class() -> None:
    def two(a: Any, b: Any) -> None: ...

    validate(S(Step("a", two, into="anything"), Wait("w", On("e", two)), ForEach("l", [1], Step("b", two))))


def test_a_message_names_the_definition_and_counts_its_faults() -> None:
    for tree, told in (
        (Break(), "the definition has 1 fault:\n  - Break: stands outside of any loop"),
        (
            S(Switch(), Join("j")),
            (
                "the definition has 2 faults:\n  - Switch: has no case: give it a Case, or leave it out\n"
                "  - Join 'j': names no Go to wait for: give it the name of one or more"
            ),
        ),
    ):
        with pytest.raises(DefinitionError) as caught:
            validate(tree)
        assert str(caught.value) == told


def test_validate_knows_of_no_run() -> None:
    class NoData:
        def definition(self) -> Statement:
            return S()

    @dataclass
    class Raising:
        def definition(self) -> Statement:
            raise ZeroDivisionError("no way")

    for thing, told in (
        (NoData(), "NoData is neither a dataclass nor a pydantic model: "),
        (Raising(), "definition() of Raising raised ZeroDivisionError: no way"),
    ):
        with pytest.raises(DefinitionError) as caught:
            validate(thing)
        assert str(caught.value).startswith(told)


def test_an_annotation_that_is_no_text_tells_a_field_from_a_class_variable() -> None:
    @dataclass
    class Order:
        def definition(self) -> Statement:
            return S()

    validate(type("Sub", (Order,), {"__annotations__": {"limit": ClassVar[int]}, "limit": 5})())
    with pytest.raises(DefinitionError, match=r"Sub.limit looks like a field but is none"):
        validate(type("Sub", (Order,), {"__annotations__": {"limit": int}, "limit": 5})())


def test_a_static_method_is_class_style() -> None:
    @dataclass
    class Order:
        paid: bool = False

        @staticmethod
        def definition() -> Statement:
            return If("paid", lambda w: w.paid, Step("a", lambda: None))

    (fault,) = faults_of(Order)
    assert fault.startswith("Step 'a' in Case 'paid' in If 'paid': action ")
    assert fault.endswith("<lambda> takes 0 arguments, expected 1 (the workflow first)")
    assert faults_of(Order()) == faults_of(Order)


def test_what_resume_finds_is_what_validate_finds_and_nothing_has_changed() -> None:
    order, state = class_with(named("one"), style="object"), State.new("run-1", "Order")
    before = dump(order, state)
    for call in (lambda: resume(order, state), lambda: handle_callback("x", order, state)):
        with pytest.raises(DefinitionError, match="the definition of ByObject has 1 fault:\n  - Step 'a': action Actions"):
            call()
        assert dump(order, state) == before


@pytest.mark.parametrize("kind", ["dataclass", "slots", "model"])
@pytest.mark.parametrize("style", STYLES)
def test_an_exception_while_building_says_which_run_and_class(kind: str, style: str) -> None:
    def definition(_: Any) -> Statement:
        raise ZeroDivisionError("no way")

    written: Any = {"definition": classmethod(definition) if style == "class" else definition, "__module__": __name__}
    if kind == "model":
        order: Any = type("Order", (BaseModel,), written)()
    else:
        made: Any = dataclass(slots=kind == "slots")(type("Order", (), written))
        order = made()
    state = State.new("run-1", "Order")
    for call in (lambda: resume(order, state), lambda: handle_callback("x", order, state)):
        with pytest.raises(
            DefinitionError, match=r"run 'run-1': definition\(\) of Order raised ZeroDivisionError: no way"
        ) as caught:
            call()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(DefinitionError, match=r"definition\(\) of Order raised ZeroDivisionError: no way"):
        validate(order)


def test_a_definition_that_takes_arguments_is_told() -> None:
    @dataclass
    class Order:
        def definition(self, more: int) -> Statement:
            return S()

    with pytest.raises(DefinitionError, match=r"run 'run-1': definition\(\) of Order raised TypeError"):
        resume(Order(), State.new("run-1", "Order"))


def test_async_functions_that_were_called_are_told_without_a_warning() -> None:
    @dataclass
    class Order:
        async def definition(self) -> Statement:
            return S()

    with pytest.raises(DefinitionError, match=r"run 'run-1': definition\(\) of Order must not be async"):
        resume(Order(), State.new("run-1", "Order"))

    async def later() -> None: ...

    (fault,) = faults_of(S(Step("a", wrong(later()))))
    assert fault.startswith("Step 'a': action must be a callable, not a coroutine; name the function ")
    assert fault.endswith("later, don't call it")


def test_an_interrupt_while_building_passes() -> None:
    @dataclass
    class Order:
        def definition(self) -> Statement:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume(Order(), State.new("run-1", "Order"))


# --- a shape that changed with the data ---

CHANGES: list[tuple[str, Callable[[], Statement], Callable[[], Statement], str]] = [
    (
        "one more",
        lambda: S(Step("a", act)),
        lambda: S(Step("a", act), Step("b", act)),
        "it had S of Step 'a', and has now S() of Step('a'), Step('",
    ),
    (
        "another kind",
        lambda: S(Step("a", act)),
        lambda: S(Sleep("a", HOUR)),
        "it had Step 'a', and has now Sleep('a')",
    ),
    (
        "another name",
        lambda: S(Step("a", act)),
        lambda: S(Step("b", act)),
        "it had Step 'a', and has now Step('b')",
    ),
    ("another order", lambda: S(Step("a", act), Step("b", act)), lambda: S(Step("b", act), Step("a", act)), "it had Step 'a'"),
    (
        "another body",
        lambda: For("l", Step("a", act)),
        lambda: For("l", Step("a", act), Break()),
        "it had For 'l' of Step 'a', and has now For('l') of Step('a'), Break()",
    ),
    (
        "a deep change",
        lambda: If("i", True, S(Wait("w", On("x")))),
        lambda: If("i", True, S(Wait("w", On("y")))),
        "it had On 'x' in Wait 'w' in Case 'i' in If 'i', and has now On('y')",
    ),
    (
        "a branch more",
        lambda: If("i", True),
        lambda: If("i", True).else_(),
        "it had If 'i' of Case 'i', and has now If('i') of Case('i'), Default()",
    ),
    ("no tree", S, lambda: wrong(None), "and has now None"),
    ("no statement", lambda: S(Step("a", act)), lambda: S(wrong(5)), "it had Step 'a', and has now an int"),
    (
        "a class",
        lambda: For("l", Step("a", act), Break()),
        lambda: For("l", Step("a", act), wrong(Break)),
        "and has now the class Break",
    ),
]


@dataclass
class Shifting:
    first: Any = field(default=None, metadata={"transient": True})
    second: Any = field(default=None, metadata={"transient": True})
    changed: bool = False


THERE_AND_BACK = [
    *(pytest.param(a, b, message, id=name) for name, a, b, message in CHANGES),
    *(
        pytest.param(b, a, "", id=f"{name}, and back")
        for name, a, b, message in CHANGES
        if "no " not in name and name != "a class"
    ),
]


@pytest.mark.parametrize(("first", "second", "message"), THERE_AND_BACK)
def test_a_shape_that_changed_with_the_data_is_told(first: Any, second: Any, message: str) -> None:
    @dataclass
    class Order(Shifting):
        def definition(self) -> Statement:
            return S(Step("change", self.change), self.second() if self.changed else self.first())

        def change(self) -> None:
            self.changed = True

    order, state = Order(first, second), State.new("run-1", "Order")
    with pytest.raises(DefinitionError) as caught:
        resume(order, state)
    assert "the definition of Order changed its shape with the data: it had " in str(caught.value)
    assert message in str(caught.value)
    assert "use If, Switch, For or ForEach instead of Python's if and for" in str(caught.value)
    before = dump(order, state)
    for call in (lambda: resume(order, state), lambda: handle_callback("x", order, state)):
        with pytest.raises(DefinitionError, match="changed its shape"):
            call()
        assert dump(order, state) == before


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (lambda a: a, lambda a: S(), "it had Step 'a', and has now S"),
        (lambda a: a, lambda a: Sleep("a", HOUR), "it had Step 'a', and has now Sleep('a')"),
        (lambda a: If("i", True, a), lambda a: If("j", True, a), "it had If 'i' of Case 'i', and has now If('j') of Case('j')"),
        (S, lambda a: S(a, a), "it had S of Step 'a', and has now S() of Step('a'), Step('"),
    ],
)
def test_the_root_of_a_tree_may_not_change_either(first: Any, second: Any, message: str) -> None:
    @dataclass
    class Order:
        done: bool = False

        def definition(self) -> Statement:
            return (second if self.done else first)(Step("a", self.act))

        def act(self) -> None:
            self.done = True

    with pytest.raises(DefinitionError) as caught:
        resume(Order(), State.new("run-1", "Order"))
    assert message in str(caught.value)


def test_a_field_that_is_none_and_would_be_lost_is_told() -> None:
    @dataclass
    class Order:
        def definition(self) -> Statement:
            return S()

    class Special(Order):
        limit: ClassVar[int] = 1
        discount: int = 0

    with pytest.raises(DefinitionError, match=r"Special\.discount looks like a field but is none, and would not be saved"):
        resume(Special(), State.new("run-1", "Order"))


def test_an_exception_while_building_again_comes_after_the_action_is_saved() -> None:
    @dataclass
    class Order:
        done: bool = False

        def definition(self) -> Statement:
            if self.done:
                raise ValueError("later")
            return S(Step("a", self.act), Step("b", self.act))

        def act(self) -> None:
            self.done = True

    order, state, saved = Order(), State.new("run-1", "Order"), []
    with pytest.raises(DefinitionError, match=r"run 'run-1': definition\(\) of Order raised ValueError: later"):
        resume(order, state, lambda kind: saved.append((kind, order.done)))
    assert saved == [("afterResume", False), ("afterStep", True)]


def test_class_style_is_built_once_and_instance_style_whenever_data_may_have_changed() -> None:
    built = []

    @dataclass
    class Once:
        count: int = 0

        @classmethod
        def definition(cls) -> Statement[Self]:
            built.append("class")
            return S(Step("a", cls.act), Step("b", cls.act))

        def act(self) -> None:
            self.count += 1

    @dataclass
    class Anew(Once):
        def definition(self) -> Statement:  # type: ignore[override] # another style
            seen = self.count
            built.append(f"object {seen}")
            return S(Step("a", self.act), Step("b", self.act), Step("c", lambda: built.append(f"local {seen}")))

    for _ in range(3):
        resume(Once(), State.new("r", "Once"))
    assert built == ["class"]
    built.clear()
    for _ in range(2):
        resume(Anew(), State.new("r", "Anew"))
    assert [word for word in built if word.startswith("local")] == ["local 2", "local 2"]
    assert [word for word in built if word == "object 1"] == ["object 1", "object 1"]


def test_find_and_walk_see_every_statement_and_event() -> None:
    tree = S(
        If("a", True, Step("b", act)).else_if("c", yes), Go("d", Wait("e", On("f", None, ForEach("g", [])), Timeout("h", HOUR)))
    )
    assert [statement.name for statement in walk(tree) if statement.name] == ["a", "a", "b", "c", "d", "e", "f", "g", "h"]
    for name in "bcdefgh":
        found = find(tree, name)
        assert found is not None
        assert found.name == name
    assert isinstance(find(tree, "a"), If)
    assert find(tree, "z") is None
