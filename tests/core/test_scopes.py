"""Scopes: one section used twice, each time under names of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from flowstmt import (
    Break,
    CallbackRequest,
    Event,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    PositionError,
    Return,
    S,
    Scope,
    State,
    Statement,
    Step,
    StepError,
    Timeout,
    Wait,
    WaitFor,
    WorkflowStatus,
    current,
    dump,
    find,
    handle_callback,
    load,
    resume,
    validate,
    walk,
)
from flowstmt.errors import FlowstmtError
from flowstmt.testing import START, Harness
from tests.core.orders import HOUR, Tree, nothing, opened, saved, workflow

PAID: Event[int, None] = Event("paid", int)


def payment(w: Any) -> list[Statement]:
    """A section with something of everything that is saved by name."""
    return [
        Step("charge", lambda: w.log.append(current().position)),
        ForEach(
            "lines",
            [1, 2],
            Go("ship", Wait("payment", On(PAID, lambda n: w.log.append(f"{current().position} {n}"))), id=lambda line: line),
        ),
        Join("all", "ship"),
    ]


def twice(w: Any) -> Statement:
    return S(Scope("first", *payment(w)), Scope("second", Scope("inner", *payment(w))))


def test_one_section_can_be_used_twice_and_is_saved_under_full_names():
    work, state = workflow(twice)(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    assert [(t.id, t.name, t.position, t.parent) for t in state.threads] == [
        ("main", "main", "first/all", None),
        ("first/ship:1", "first/ship", "first/payment", "main"),
        ("first/ship:2", "first/ship", "first/payment", "main"),
    ]
    (event,) = state.threads[1].events
    assert (event.name, event.wait, event.request.name, event.request.thread_id) == (
        "paid",
        "first/payment",
        "paid",
        "first/ship:1",
    )
    for scope in ("first", "second/inner"):
        for line in (1, 2):
            work, state = load(type(work), dump(work, state))
            handle_callback(CallbackRequest("paid", f"{scope}/ship:{line}"), work, state, line, now=START)
            resume(work, state, now=START)
    assert state.status is WorkflowStatus.Finished
    assert work.log == [
        "first/charge",
        "first/payment 1",
        "first/payment 2",
        "second/inner/charge",
        "second/inner/payment 1",
        "second/inner/payment 2",
    ]


def test_the_same_statement_objects_can_stand_in_two_scopes():
    @dataclass
    class Order:
        log: list[str] = field(default_factory=list)

        @classmethod
        def definition(cls) -> Statement[Self]:
            section = S(Step("note", lambda w: w.log.append(current().position)))
            return S(section, Scope("a", section, Scope("b", section)), Scope("b", section))

    harness = Harness(Order())
    harness.run()
    assert harness.workflow.log == ["note", "a/note", "a/b/note", "b/note"]


def test_frames_in_a_scope_bear_full_names():
    blob = saved(lambda w: Scope("a", ForEach("l", [7], Scope("b", ForEach("l", [8], Wait("x", On("e")))))))
    (thread,) = json.loads(blob)["state"]["threads"]
    assert [frame["statement"] for frame in thread["frames"]] == ["a/l", "a/b/l"]
    assert thread["position"] == "a/b/x"


def test_jumps_pass_through_a_scope_to_the_loop_around_it():
    def tree(w: Any) -> Statement:
        def say() -> None:
            w.log.append(current().position)

        return S(
            For("loop", Scope("a", Step("s", say), If("out", len(w.log) > 2, Scope("b", Break()))), Step("t", say)),
            Return("end"),
        )

    harness = Harness(workflow(tree)())
    harness.run()
    assert harness.workflow.log == ["a/s", "t", "a/s"]
    assert harness.result == "end"


def test_an_error_names_the_step_with_its_scopes():
    def fail() -> None:
        raise OSError("down")

    work, state = workflow(lambda w: Scope("a", Scope("b", Step("s", fail))))(), State.new("run-1", "Order", START)
    with pytest.raises(StepError, match="step 'a/b/s'") as caught:
        resume(work, state, now=START)
    assert caught.value.step == "a/b/s"


# --- names that mean something else inside ---


@pytest.mark.parametrize(
    ("tree", "waited_for"),
    [
        pytest.param(
            lambda w: S(Go("g", wait("x")), Scope("a", Go("g", wait("y")), Join("j", "g"))), "a/g", id="its own first"
        ),
        pytest.param(lambda w: S(Go("g", wait("x")), Scope("a", Go("h", wait("y")), Join("j", "g"))), "g", id="then outward"),
        pytest.param(
            lambda w: S(Go("g", wait("z")), Scope("a", Go("g", wait("x")), Scope("b", Go("h", wait("y")), Join("j", "g")))),
            "a/g",
            id="the nearest",
        ),
        pytest.param(lambda w: S(Scope("a", Go("g", wait("x"))), Join("j", "a/g")), "a/g", id="from the outside"),
        pytest.param(
            lambda w: Scope("a", Scope("b", Go("g", wait("x"))), Scope("c", Join("j", "b/g"))), "a/b/g", id="a scope beside"
        ),
    ],
)
def test_a_join_names_the_gos_of_its_scope_first_then_outward(tree: Tree, waited_for: str):
    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    handle_callback(CallbackRequest("e", thread_id=waited_for), work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished


def wait(name: str) -> Wait:
    return Wait(name, On("e"))


def test_an_item_is_found_by_its_short_name_from_inside_and_by_its_full_name_from_anywhere():
    found: list[Any] = []

    def look(w: Any) -> Callable[[], None]:
        return lambda: found.append([current().item(name) for name in ("l", "a/l", "a/b/l", "g")] + [current().item()])

    def tree(w: Any) -> Statement:
        return S(
            Go("g", ForEach("l", [0], Scope("a", ForEach("l", [1], Scope("b", ForEach("l", [2], Step("s", look(w))))))), arg=5),
            Join("j", "g"),
        )

    Harness(workflow(tree)()).run()
    assert found == [[2, 1, 2, 5, 2]]

    def fail() -> None:
        current().item("b/l")

    harness = Harness(workflow(lambda w: Scope("a", ForEach("l", [1], Step("s", fail))))())
    with pytest.raises(StepError) as caught:
        harness.run()
    assert isinstance(caught.value.__cause__, FlowstmtError)
    assert "asked for the item of 'b/l'; it has 'a/l'" in str(caught.value.__cause__)


def test_walk_yields_scopes_and_find_knows_full_names():
    event, charge = On("paid"), Step("charge", nothing)
    inner = Scope("inner", Wait("payment", event), charge)
    tree = S(Step("first", nothing), Scope("pay", inner), Step("last", nothing))
    assert [repr(statement) for statement in walk(tree)] == [
        "S()",
        "Step('first')",
        "Scope('pay')",
        "Scope('inner')",
        "Wait('payment')",
        "On('paid')",
        "Step('charge')",
        "Step('last')",
    ]
    assert find(tree, "pay/inner") is inner
    assert find(tree, "pay/inner/charge") is charge
    assert find(tree, "paid") is event
    assert find(tree, "charge") is find(tree, "inner/charge") is find(tree, "pay/inner/paid") is None
    assert repr(find(tree, "last")) == "Step('last')"


# --- a run that stands in a scope, and its scope's other names ---


def test_renaming_a_scope_renames_all_that_is_inside():
    def new(w: Any) -> Statement:
        return S(
            Scope("one", *payment(w), was=("first",)), Scope("two", Scope("x", *payment(w), was=("inner",)), was=("second",))
        )

    work, state = opened(new, saved(twice))
    resume(work, state, now=START)
    assert [(t.id, t.position) for t in state.threads] == [
        ("main", "one/all"),
        ("one/ship:1", "one/payment"),
        ("one/ship:2", "one/payment"),
    ]
    for line in (1, 2):
        handle_callback(CallbackRequest("paid", f"first/ship:{line}"), work, state, line, now=START)
        resume(work, state, now=START)
    assert [t.id for t in state.threads] == ["main", "two/x/ship:1", "two/x/ship:2"]


@pytest.mark.parametrize(
    ("old", "new", "position"),
    [
        pytest.param(lambda w: wait("x"), lambda w: Scope("a", Wait("x", On("e"), was=("/x",))), "a/x", id="into a scope"),
        pytest.param(
            lambda w: Scope("a", wait("x")), lambda w: S(Scope("a"), Wait("y", On("e"), was=("a/x",))), "y", id="out of a scope"
        ),
        pytest.param(
            lambda w: Scope("a", wait("x")),
            lambda w: Scope("b", Wait("x", On("e"), was=("/a/x",))),
            "b/x",
            id="from one into another",
        ),
        pytest.param(
            lambda w: Scope("a", wait("x")),
            lambda w: Scope("b", Wait("y", On("e"), was=("x",)), was=("a",)),
            "b/y",
            id="both renamed, old in old",
        ),
        pytest.param(
            lambda w: Scope("b", wait("x")),
            lambda w: Scope("b", Wait("y", On("e"), was=("x",)), was=("a",)),
            "b/y",
            id="both renamed, old in new",
        ),
        pytest.param(
            lambda w: Scope("a", wait("y")),
            lambda w: Scope("b", Wait("y", On("e"), was=("x",)), was=("a",)),
            "b/y",
            id="both renamed, new in old",
        ),
        pytest.param(
            lambda w: Scope("a", Scope("c", wait("x"))),
            lambda w: Scope("b", Scope("d", Wait("y", On("e"), was=("x",)), was=("c",)), was=("a",)),
            "b/d/y",
            id="three renamed",
        ),
        pytest.param(
            lambda w: Scope("c", wait("x")),
            lambda w: Scope("b", Scope("d", wait("x"), was=("/c",))),
            "b/d/x",
            id="a scope into a scope",
        ),
        pytest.param(
            lambda w: Scope("a", ForEach("l", [1], wait("x"))),
            lambda w: Scope("b", ForEach("m", [1], wait("x"), was=("l",)), was=("a",)),
            "b/x",
            id="a loop",
        ),
    ],
)
def test_statements_may_change_names_and_scopes(old: Tree, new: Tree, position: str):
    blob = saved(old)
    work, state = opened(new, blob)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert [t.position for t in state.threads] == [position]
    handle_callback("e", work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished


def test_statements_that_moved_into_a_scope_without_saying_so_are_told_by_full_names():
    work, state = opened(lambda w: Scope("a", wait("payment")), saved(lambda w: wait("payment")))
    with pytest.raises(PositionError, match=r"'payment' \(Wait 'a/payment'\?\) was=\('/payment',\)"):
        resume(work, state, now=START)
    work, state = opened(lambda w: wait("payments"), saved(lambda w: Scope("a", wait("payments"))))
    with pytest.raises(PositionError, match=r"'a/payments' \(Wait 'payments'\?\) was=\('/a/payments',\)"):
        resume(work, state, now=START)


# --- faults ---


@pytest.mark.parametrize(
    ("tree", "faults"),
    [
        (
            S(Scope("a", Step("s", nothing)), Step("a", nothing), Scope("a", Step("s", nothing))),
            [
                "Step 'a': the name 'a' is taken by Scope 'a'",
                "Scope 'a': the name 'a' is taken by Scope 'a'",
                "Step 'a/s' in Scope 'a': the name 'a/s' is taken by Step 'a/s' in Scope 'a'",
            ],
        ),
        (Scope("a/b"), ["Scope 'a/b': the name 'a/b' holds '/' or ':'"]),
        (Scope("main"), ["Scope 'main': the name 'main' is reserved"]),
        (Scope("a", Step("main", nothing)), ["Step 'a/main' in Scope 'a': the name 'main' is reserved"]),
        (
            Scope("", Step("s", nothing)),
            ["Scope: the name must be a text that is not empty, not ''"],
        ),
        (Scope("a", Break()), ["Break in Scope 'a': stands outside of any loop"]),
        (For("l", Scope("a", Go("g", Step("s", nothing)))), ["For 'l': contains nothing that stops"]),
        (If("i", True, Scope("a", On("e"))), ["On 'e' in Scope 'a' in Case 'i' in If 'i': stands only directly in Wait"]),
        (Wait("w", Scope("a")), ["Scope 'a' in Wait 'w': a Wait holds only events"]),  # type: ignore[arg-type] # on purpose
        (
            S(Scope("a", Go("g", Step("s", nothing), Join("j", "g"))), Join("k", "g")),
            ["Join 'a/j' in Go 'a/g' in Scope 'a': stands inside Go 'a/g'", "Join 'k': no Go is named 'g'"],
        ),
        (
            S(
                Scope("a", Step("s", nothing), Step("t", nothing, was=("/a/t", "/main"))),
                Scope("b", Step("s", nothing), was=("a",)),
            ),
            [
                "Step 'a/t' in Scope 'a': was: the name 'main' is reserved",
                "Step 'a/t' in Scope 'a': was: 'a/t' is its present name",
                "Scope 'b': was: 'a' is the present name of Scope 'a'",
                "Step 'b/s' in Scope 'b': was: 'a/s' is the present name of Step 'a/s' in Scope 'a'",
            ],
        ),
        (
            Scope("a", If("i", True).else_if("j", True, was=("k",)), Timeout("t", HOUR), WaitFor("k", True), was=("z",)),
            [
                "Timeout 't' in Scope 'a': stands only directly in Wait",
                "Case 'a/j' in If 'a/i' in Scope 'a': was: 'a/k' is the present name of WaitFor 'a/k' in Scope 'a'",
                "WaitFor 'a/k' in Scope 'a': was: 'z/k' was the name of Case 'a/j' in If 'a/i' in Scope 'a' as well",
            ],
        ),
    ],
)
def test_faults_name_statements_with_their_scopes(tree: Statement, faults: list[str]):
    with pytest.raises(FlowstmtError) as caught:
        validate(tree)
    found = caught.value.faults  # type: ignore[attr-defined] # a DefinitionError
    assert [fault[: len(start)] for fault, start in zip(found, faults, strict=True)] == faults
