"""Calls beyond the table: what is refused, what hooks are told, what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import pytest

from flowstmt import (
    Call,
    CallbackRequest,
    ChildError,
    Current,
    DefinitionError,
    ErrorInfo,
    ForEach,
    InvalidPayloadError,
    Map,
    On,
    Return,
    S,
    SetupError,
    Sleep,
    StaleCallbackError,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Try,
    UnknownEventError,
    Wait,
    WorkflowFinishedError,
    cancel,
    current,
    describe,
    dump,
    find,
    goto,
    handle_callback,
    legal,
    load,
    resume,
    validate,
    walk,
)
from flowstmt.core.children import parent_of
from flowstmt.testing import CHILD_ENDED, START, ChildEnd, Harness

HOUR = timedelta(hours=1)


@dataclass
class Child:
    n: int = 0

    def definition(self) -> Statement:
        return Return(self.n)


@dataclass
class Parent:
    n: int = 1
    error: ErrorInfo | None = None
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(Call("child", lambda: Child(self.n), into="n"), Step("after", lambda: self.log.append("after")))


@dataclass
class Lines:
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Call("fixed", Child(7)),
            ForEach("lines", lambda w: [1, 2], Call("each", cls.child)),
        )

    def child(self, line: int) -> Child:
        return Child(line)


class Runs:
    """An ``invoke`` hook that starts and cancels children."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __call__(self, current: Current, call: Callable[[], Any]) -> Any:
        if not current.child_run_id:
            return call()
        self.told.append((current.kind, current.position, current.child_run_id, current.child))
        return None


def waiting(parent: Any, runs: Runs) -> State:
    state = State.new("p1", "Parent", START)
    resume(parent, state, now=START, invoke=runs)
    return state


def pinned(state: State, thread_id: str = "main") -> CallbackRequest:
    thread = next(thread for thread in state.threads if thread.id == thread_id)
    return CallbackRequest(CHILD_ENDED.name, pc=thread.pc, birth=thread.birth)


def test_a_hook_is_told_which_child_to_start_and_which_to_cancel():
    runs, parent = Runs(), Parent(3)
    state = waiting(parent, runs)
    child = f"p1:{state.threads[0].birth}:1"
    assert runs.told == [("setup", "child", child, Child(3))]
    cancel(parent, state, "too late", now=START)
    assert resume(parent, state, now=START, invoke=runs) == "Cancelled"
    assert runs.told[1:] == [("teardown", "child", child, None)]


def test_a_child_that_is_over_is_not_cancelled():
    runs, parent = Runs(), Parent()
    state = waiting(parent, runs)
    handle_callback(pinned(state), parent, state, ChildEnd("Finished", 5), now=START)
    assert resume(parent, state, now=START, invoke=runs) == "Finished"
    assert (parent.n, [kind for kind, *_ in runs.told]) == (5, ["setup"])


def test_goto_leaves_a_child_behind_that_is_cancelled():
    runs, parent = Runs(), Parent()
    state = waiting(parent, runs)
    goto(parent, state, "main", "child", now=START)
    resume(parent, state, now=START, invoke=runs)
    assert [(kind, parent_of(run_id)[2]) for kind, _, run_id, _ in runs.told] == [  # type: ignore[index] # it is one
        ("setup", 1),
        ("teardown", 1),
        ("setup", 2),
    ]


def test_only_calls_have_children():
    seen: list[Any] = []

    @dataclass
    class Plain:
        def definition(self) -> Statement:
            return S(Step("act", self.look), Wait("w", On("e", via=Door())))

        def look(self) -> None:
            seen.append((current().child_run_id, current().child))

    class Door:
        def setup(self, request: Any) -> None:
            seen.append((current().child_run_id, current().child))

    Harness(Plain()).run()
    assert seen == [("", None), ("", None)]


def test_items_and_objects_say_what_is_started_in_class_style():
    harness = Harness(Lines(), round_trip=True)
    harness.run()
    assert list(harness.children.values()) == [Child(7)]
    for n in (1, 2):
        harness.end_child()
        assert list(harness.children.values()) == [Child(n)]
    harness.end_child()
    assert (harness.status, harness.children) == ("Finished", {})


def test_without_a_hook_a_child_is_not_started_and_that_is_tried_again(caplog):
    parent, state = Parent(), State.new("p1", "Parent", START)
    with pytest.raises(SetupError, match=r"nobody starts the child run 'p1:[0-9a-f]{16}:1': let an Engine move the run"):
        resume(parent, state, now=START)
    assert state.wake_at == START + timedelta(seconds=1)
    runs = Runs()
    assert resume(parent, state, now=START + HOUR, invoke=runs) == "Waiting"
    assert len(runs.told) == 1
    cancel(parent, state, "too late", now=START)
    resume(parent, state, now=START + HOUR)
    assert "nobody cancels the child run" in caplog.text
    assert state.threads[0].events[0].status == "TeardownError"


@pytest.mark.parametrize(
    ("makes", "said"),
    [
        (lambda: 5, "its workflow must be a workflow object, not an int: it has no definition()"),
        (lambda: Child, "its workflow returned the class Child: was a call or an await forgotten?"),
        (lambda: 1 // 0, "its workflow raised ZeroDivisionError"),
    ],
)
def test_what_makes_no_workflow_is_a_setup_that_failed(makes, said, caplog):
    @dataclass
    class Odd:
        def definition(self) -> Statement:
            return Call("child", makes)

    harness = Harness(Odd())
    harness.run()
    error = harness.state.threads[0].events[0].error
    assert error is not None
    assert said in error.message


@pytest.mark.parametrize(
    ("workflow", "fault"),
    [
        (Child, "its workflow is the class Child"),
        (5, "workflow must be a workflow object or a callable that makes one, not an int"),
        (Step("s", print), "its workflow is a statement (Step('s'))"),
        (lambda one, two: Child(), "workflow <lambda> takes 2 arguments, expected 0"),
    ],
)
def test_what_could_never_be_a_child_is_a_fault(workflow, fault):
    @dataclass
    class Odd:
        def definition(self) -> Statement:
            return Call("child", workflow, "nothing")

    with pytest.raises(DefinitionError) as caught:
        validate(Odd())
    first, second = caught.value.faults
    assert first.startswith(f"Call 'child': {fault}")
    assert second == "Call 'child': into: no field 'nothing'"


def test_an_async_function_makes_no_child():
    async def later() -> Child:
        return Child()

    with pytest.raises(DefinitionError, match="is async: nothing awaits it"):
        validate(Call("child", later))  # type: ignore[arg-type] # that is the mistake


@pytest.mark.parametrize("name", ["child:ended", "child/ended"])
def test_nobody_else_can_have_an_event_of_this_name(name):
    with pytest.raises(DefinitionError, match="holds '/' or ':'"):
        validate(Wait("w", On(name)))


def test_the_end_of_a_child_is_taken_for_its_stop_only():
    runs, parent = Runs(), Parent()
    state = waiting(parent, runs)
    before = dump(parent, state)
    for request in (CHILD_ENDED, "child:ended", CallbackRequest("child:ended", "main")):
        with pytest.raises(UnknownEventError, match=r"Parent has no event 'child:ended'; it has none"):
            handle_callback(request, parent, state, ChildEnd("Finished"))
    stale = CallbackRequest("child:ended", pc=7, birth=state.threads[0].birth)
    with pytest.raises(StaleCallbackError, match="the end of a child run came for pc 7, where nobody waits for one now"):
        handle_callback(stale, parent, state, ChildEnd("Finished"))
    assert dump(parent, state) == before
    end = pinned(state)
    handle_callback(end, parent, state, b'{"status": "Finished", "result": 2}', now=START)
    with pytest.raises(StaleCallbackError):
        handle_callback(end, parent, state, b'{"status": "Finished", "result": 2}', now=START)
    resume(parent, state, now=START)
    with pytest.raises(WorkflowFinishedError):
        handle_callback(end, parent, state, b'{"status": "Finished", "result": 2}', now=START)
    assert parent.n == 2


@pytest.mark.parametrize("payload", [None, {"status": "Waiting"}, b"5", {"status": "Failed", "error": "no"}])
def test_an_end_that_is_none_is_refused(payload):
    runs, parent = Runs(), Parent()
    state = waiting(parent, runs)
    before = dump(parent, state)
    with pytest.raises(InvalidPayloadError):
        handle_callback(pinned(state), parent, state, payload)
    assert dump(parent, state) == before


def test_a_result_that_does_not_fit_its_field_says_so():
    harness = Harness(Parent())
    harness.run()
    with pytest.raises(StepError, match="Call 'child': its into raised ValueError"):
        harness.end_child("five")


def test_predicates_see_what_has_failed():
    seen: list[ChildError] = []

    def look(error: Exception) -> bool:
        assert isinstance(error, ChildError)
        seen.append(error)
        return True

    @dataclass
    class Careful:
        def definition(self) -> Statement:
            return Try("t", Call("child", Child())).catch(look, Return("caught"))

    harness = Harness(Careful())
    harness.run()
    [run_id] = harness.children
    harness.end_child(error=ErrorInfo("NoMoney", "the account is empty", "charge"))
    assert harness.result == "caught"
    assert (seen[0].run_id, seen[0].error) == (run_id, ErrorInfo("NoMoney", "the account is empty", "charge"))
    assert str(seen[0]) == f"the child run {run_id!r} has failed: NoMoney: the account is empty"


def test_a_cancelled_child_fails_the_run():
    harness = Harness(Parent())
    harness.run()
    harness.end_child(cancelled=True)
    assert harness.status == "Failed"
    assert harness.state.error is not None
    assert (harness.state.error.type, harness.state.error.step) == ("Cancelled", "child")


def test_a_thread_that_is_told_to_end_while_its_child_has_just_ended_ends():
    harness = Harness(Parent(), round_trip=True)
    harness.run()
    harness.deliver(CHILD_ENDED, ChildEnd("Finished", 5))
    harness.control(cancel, "too late")
    assert harness.run() == "Cancelled"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "Waiting"}, "does not hold what that keeps there"),
        ({"then": []}, "unknown key 'then'"),
        ({"error": {"type": "x"}}, "error"),
    ],
)
def test_a_frame_that_holds_no_end_of_a_child_is_refused(change, said):
    runs, parent = Runs(), Parent()
    state = waiting(parent, runs)
    handle_callback(pinned(state), parent, state, ChildEnd("Finished", 5), now=START)
    document = json.loads(dump(parent, state))
    document["state"]["threads"][0]["frames"][0]["data"] |= change
    with pytest.raises(StateError, match=said):
        resume(*load(Parent, json.dumps(document).encode()), now=START)


@pytest.mark.parametrize(
    ("run_id", "found"),
    [
        ("order-1:0123456789abcdef:3", ("order-1", "0123456789abcdef", 3)),
        ("a:b:0123456789abcdef:12", ("a:b", "0123456789abcdef", 12)),
        ("order-1", None),
        ("order-1:3", None),
        (":0123456789abcdef:3", None),
        ("order-1:0123456789abcdeg:3", None),
        ("order-1:0123456789abcdef:", None),
        ("order-1:0123456789abcdef:-3", None),
        ("order-1:0123456789abcdef:³", None),
    ],
)
def test_the_id_of_a_child_names_its_parent_and_the_stop(run_id, found):
    assert parent_of(run_id) == found


# --- what is shown ---


def test_a_call_is_told_as_one_statement():
    tree = Lines.definition()
    assert [type(each).__name__ for each in walk(tree)] == ["S", "Call", "ForEach", "Call"]
    assert find(tree, "child:ended") is None
    assert describe.to_text(Lines).splitlines() == [
        "Lines",
        "├─ Call fixed: Child",
        "└─ ForEach lines: lambda in Lines.definition",
        "   └─ Call each: Lines.child",
    ]
    told = describe.to_json(Parent())["definition"]["children"][0]
    assert told == {
        "type": "Call",
        "name": "child",
        "was": [],
        "workflow": {"function": "lambda in Parent.definition"},
        "into": "n",
        "children": [],
    }
    assert describe.to_json(Lines)["definition"]["children"][0]["workflow"] == {"type": "Child"}
    assert "call: child<br/>a workflow<br/>into n" in describe.to_mermaid(Parent()).replace("\n", "")
    assert describe.event_schemas(Parent()) == {}


def test_nobody_can_call_the_end_of_a_child():
    parent = Parent()
    state = waiting(parent, Runs())
    assert legal(parent, state).callbacks == ()
    assert "<- main" in describe.to_text(parent, state)


def test_the_snapshot_of_many_children_is_as_small_as_those_that_live():
    @dataclass
    class Wide:
        def definition(self) -> Statement:
            return S(Map("all", range(2_000), Call("each", Child()), max_concurrency=10), Sleep("rest", HOUR))

    harness = Harness(Wide())
    harness.run()
    for _ in range(1_000):
        harness.end_child()
    assert len(harness.children) == 10
    assert max(len(save.snapshot) for save in harness.saves) < 5_000
