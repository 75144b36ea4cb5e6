"""Old names: what was saved under them is found, what the world outside knows of them still holds, and nothing else moves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    AmbiguousCallbackError,
    Break,
    CallbackRequest,
    Case,
    Default,
    Event,
    Fail,
    For,
    ForEach,
    Go,
    If,
    InvalidPayloadError,
    Join,
    NotWaitingError,
    On,
    PositionError,
    RefusedError,
    Return,
    S,
    Sleep,
    StaleCallbackError,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Switch,
    Timeout,
    Try,
    UnknownEventError,
    Wait,
    WaitFor,
    WorkflowStatus,
    current,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.testing import START
from tests.core.orders import HOUR, Tree, nothing, opened, saved, workflow

SECOND = timedelta(seconds=1)


def thread(state: State, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dump(workflow(lambda w: S())(), state))["state"]["threads"][number]
    return found


class Desk:
    """Notes its calls, each with the idempotency key. ``fails``: how often."""

    def __init__(self, fails: int = 0) -> None:
        self.calls: list[tuple[str, str, str | None, str]] = []
        self.fails = fails

    def setup(self, request: CallbackRequest) -> str:
        self._note("setup", request)
        return "open"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self._note("teardown", request)

    def _note(self, kind: str, request: CallbackRequest) -> None:
        self.calls.append((kind, request.name, request.thread_id, current().idempotency_key))
        self.fails -= 1
        if self.fails >= 0:
            raise OSError("down")


# --- what is renamed ---


@pytest.mark.parametrize(
    ("old", "new", "position"),
    [
        pytest.param(
            lambda w: Step("old", w.say("done")), lambda w: Step("new", w.say("done"), was=("old",)), "new", id="Step"
        ),
        pytest.param(lambda w: Wait("old", On("e")), lambda w: Wait("new", On("e"), was=("old",)), "new", id="Wait"),
        pytest.param(lambda w: Sleep("old", HOUR), lambda w: Sleep("new", HOUR, was=("old",)), "new", id="Sleep"),
        pytest.param(
            lambda w: WaitFor("old", bool(w.kept)),
            lambda w: WaitFor("new", bool(w.kept), was=("older", "old")),
            "new",
            id="WaitFor",
        ),
        pytest.param(
            lambda w: S(Go("g", Wait("x", On("e"))), Join("old", "g")),
            lambda w: S(Go("g", Wait("x", On("e"))), Join("new", "g", was=("old",))),
            "new",
            id="Join",
        ),
        pytest.param(
            lambda w: ForEach("old", [1, 2], Wait("x", On("e"))),
            lambda w: ForEach("new", [1, 2], Wait("x", On("e")), was=("old",)),
            "x",
            id="ForEach",
        ),
        pytest.param(
            lambda w: For("old", Wait("x", On("e")), Break()),
            lambda w: For("new", True, Wait("x", On("e")), Break(), was=("old",)),
            "x",
            id="For",
        ),
        pytest.param(
            lambda w: If("old", True, Wait("x", On("e"))),
            lambda w: If("new", False, was=("old",)).else_if("two", True, Wait("x", On("e")), was=("second",)).else_(),
            "x",
            id="If",
        ),
        pytest.param(
            lambda w: Switch(Case("old", True, Wait("x", On("e"))), Default()),
            lambda w: Switch(Case("new", True, Wait("x", On("e")), was=("old",)), Default()),
            "x",
            id="Case",
        ),
    ],
)
def test_a_position_saved_under_an_old_name_is_found(old: Tree, new: Tree, position: str):
    blob = saved(old, max_steps=0)
    before = json.loads(blob)["state"]["threads"][0]
    work, state = opened(new, blob)
    resume(work, state, now=START, max_steps=0)
    after = thread(state)
    assert after["position"] == position
    assert (after["pc"], after["birth"], after["status"]) == (before["pc"], before["birth"], before["status"])
    # From here on the new name is saved, and the old one can go.
    assert b'"old' not in dump(work, state)


def test_a_renamed_loop_goes_on_with_its_next_item():
    def tree(name: str, was: tuple[str, ...] = ()) -> Tree:
        return lambda w: ForEach(name, ["a", "b"], Wait("x", On("e", None, Step("s", w.log.append))), was=was)

    work, state = opened(tree("new", ("old",)), saved(tree("old")))
    for _ in range(2):
        handle_callback("e", work, state, now=START)
        resume(work, state, now=START)
    assert work.log == ["a", "b"]
    assert state.status is WorkflowStatus.Finished


def undone(charge: str, was: tuple[str, ...] = (), refund: int = 0) -> Tree:
    """A step, and what undoes it; ``refund``: how often that fails."""

    def tree(w: Any) -> Statement:
        def undo() -> None:
            w.log.append("undo")
            if len(w.log) <= refund:
                raise OSError("down")

        return S(Step(charge, nothing, compensate=undo, was=was), Wait("w", On("go")), Fail("f", "no"))

    return tree


def test_a_renamed_step_is_undone_all_the_same():
    work, state = opened(undone("new", ("old",)), saved(undone("old")))
    handle_callback("go", work, state, now=START)
    assert resume(work, state, now=START) == "Failed"
    assert (work.log, state.undo) == (["undo"], [])


def test_what_undoes_a_renamed_step_is_tried_again():
    work, state = opened(undone("old", refund=1), saved(undone("old", refund=1)))
    handle_callback("go", work, state, now=START)
    resume(work, state, now=START)
    assert state.threads[0].position == "old:compensate"
    work, state = opened(undone("new", ("old",)), dump(work, state))
    assert resume(work, state, now=START + HOUR) == "Failed"
    assert (work.log, state.undo) == (["undo"], [])


def test_a_failure_is_caught_by_the_try_that_was_to_take_it_whatever_it_is_called_now():
    def tree(outer: str, inner: str, was: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())) -> Tree:
        def fail() -> None:
            raise OSError("down")

        return lambda w: (
            Try(outer, Try(inner, Step("s", fail), was=was[1]).finally_(Wait("w", On("e"))), was=was[0])
            .catch(ValueError, Step("not this", w.say("not this")))
            .catch(OSError, Step("caught", w.say("caught")))
        )

    work, state = opened(tree("new", "young", (("old",), ("older",))), saved(tree("old", "older")))
    handle_callback("e", work, state, now=START)
    assert b'"old"' not in dump(work, state)
    assert resume(work, state, now=START) == "Finished"
    assert work.log == ["caught"]


def test_threads_of_a_renamed_go_keep_what_tells_them_apart_and_who_started_them():
    def tree(go: str, was: tuple[str, ...] = ()) -> Tree:
        return lambda w: ForEach(
            "l",
            [1, 2],
            Go(go, Go("pack", Wait("x", On("e"))), Wait("y", On("f")), id=lambda item: item, was=was),
            Wait("z", On("g")),
        )

    blob = saved(tree("ship"))
    old = json.loads(blob)["state"]["threads"]
    assert [(t["id"], t["name"], t.get("parent")) for t in old] == [
        ("main", "main", None),
        ("ship:1", "ship", "main"),
        ("pack", "pack", "ship:1"),
    ]
    work, state = opened(tree("send", ("ship",)), blob)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert [(t.id, t.name, t.parent) for t in state.threads] == [
        ("main", "main", None),
        ("send:1", "send", "main"),
        ("pack", "pack", "send:1"),
    ]
    assert [t.birth for t in state.threads] == [t["birth"] for t in old]


def test_a_join_waits_for_the_threads_of_a_go_that_had_another_name():
    blob = saved(lambda w: S(Go("old", Wait("x", On("e"))), Step("s", w.say("s"))), max_steps=0)
    work, state = opened(
        lambda w: S(
            Go("new", Wait("x", On("e")), was=("old",)), Step("s", w.say("s")), Join("all", "new"), Step("t", w.say("t"))
        ),
        blob,
    )
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert work.log == ["s"]
    handle_callback(CallbackRequest("e", thread_id="old"), work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished
    assert work.log == ["s", "t"]


def test_a_thread_that_has_not_begun_is_found_by_the_old_name_of_its_go():
    work, state = opened(
        lambda w: Go("new", Wait("x", On("e")), was=("old",)), saved(lambda w: S(Wait("w", On("e"))), max_steps=0)
    )
    state.threads.append(type(state.threads[0])(id="old:5", name="old", birth="0123456789abcdef", parent="main"))
    work, state = opened(lambda w: S(Go("new", Wait("x", On("f")), was=("old",)), Wait("w", On("e"))), dump(work, state))
    resume(work, state, now=START)
    assert [(t.id, t.position) for t in state.threads] == [("main", "w"), ("new:5", "x")]


def test_a_fired_event_is_found_under_its_new_name():
    work, state = opened(lambda w: Wait("w", On("e"), On("f")), saved(lambda w: Wait("w", On("e"), On("f"))))
    handle_callback("e", work, state, now=START)
    blob = dump(work, state)
    work, state = opened(
        lambda w: Wait("v", On("f", None, Return("f")), On("g", None, Return("g"), was=("e",)), was=("w",)), blob
    )
    assert resume(work, state, now=START) is WorkflowStatus.Finished
    assert state.result == "g"


def test_a_renamed_event_keeps_its_setup_and_its_request():
    desk = Desk()
    blob = saved(lambda w: Wait("w", On("old", via=desk), On("other")))
    work, state = opened(lambda w: Wait("v", On("new", via=desk, was=("old",)), On("other"), was=("w",)), blob)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    (event, other) = state.threads[0].events
    assert (event.name, event.wait, event.status, other.name) == ("new", "v", "Setup", "other")
    assert (event.request.name, event.request.setup_data) == ("old", "open")
    handle_callback("new", work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished
    assert [call[:3] for call in desk.calls] == [("setup", "old", "main"), ("teardown", "old", "main")]
    assert desk.calls[1][3] == f"run-1:{state_birth(blob)}:1:teardown:old"


def state_birth(blob: bytes) -> str:
    return str(json.loads(blob)["state"]["threads"][0]["birth"])


def test_a_setup_or_teardown_that_is_repeated_after_a_renaming_has_the_key_that_it_had():
    def tree(name: str, desk: Desk, was: tuple[str, ...] = ()) -> Tree:
        return lambda w: S(Wait("w", On(name, via=desk, was=was)), Wait("x", On("last")))

    desk = Desk(fails=1)
    work, state = workflow(tree("old", desk))(), State.new("run-1", "Order", START)
    with pytest.raises(Exception, match="setup of event 'old' raised"):
        resume(work, state, now=START)
    work, state = opened(tree("new", desk, ("old",)), dump(work, state))
    resume(work, state, now=START)
    assert [call[0] for call in desk.calls] == ["setup", "setup"]
    assert desk.calls[0] == desk.calls[1]
    # The teardown is tried once with each name.
    work, state = opened(tree("old", desk), saved(tree("old", Desk())))
    desk.calls, desk.fails = [], 1
    handle_callback("old", work, state, now=START)
    resume(work, state, now=START)
    assert [event.status for event in state.threads[0].events] == ["TeardownError", "Setup"]
    work, state = opened(tree("new", desk, ("old",)), dump(work, state))
    resume(work, state, now=START)
    assert [call[0] for call in desk.calls] == ["teardown", "teardown"]
    assert desk.calls[0] == desk.calls[1]
    assert [event.name for event in state.threads[0].events] == ["last"]


def test_a_handler_that_is_called_again_after_a_renaming_has_the_key_that_it_had():
    keys: list[str] = []

    def tree(name: str, was: tuple[str, ...] = ()) -> Tree:
        return lambda w: Wait("w", On(name, lambda: keys.append(current().idempotency_key), was=was))

    blob = saved(tree("old"))
    for cls in (workflow(tree("old")), workflow(tree("new", ("old",)))):
        work, state = load(cls, blob)
        handle_callback("old", work, state, now=START)
    assert keys[0] == keys[1]
    assert keys[0].endswith(":handler:old")


@pytest.mark.parametrize("over", [False, True], ids=["a thread that ended", "a run that is over"])
def test_teardowns_left_by_what_has_ended_are_made_under_the_new_names(over: bool):
    desk = Desk()
    rest = [] if over else [Wait("rest", On("last"))]
    work, state = workflow(lambda w: S(Go("t", Wait("w", On("e", via=desk))), Wait("x", On("f")), *rest))(), State.new("r", "O")
    resume(work, state, now=START)
    desk.fails = 1
    handle_callback(CallbackRequest("f" if over else "e"), work, state, now=START)
    resume(work, state, now=START)
    assert state.threads[-1].status == "Ended"
    new = [] if over else [Wait("rest", On("last"))]
    work, state = opened(
        lambda w: S(
            Go("u", Wait("v", On("d", via=desk, was=("e",)), was=("w",)), was=("t",)), Wait("y", On("f"), was=("x",)), *new
        ),
        dump(work, state),
    )
    resume(work, state, now=START)
    assert [call[:3] for call in desk.calls] == [("setup", "e", "t"), ("teardown", "e", "t"), ("teardown", "e", "t")]
    assert [event for each in state.threads for event in each.events if event.name != "f"] == []


def test_a_renamed_timeout_keeps_its_instant():
    blob = saved(lambda w: Wait("w", On("e"), Timeout("late", HOUR)))
    work, state = opened(lambda w: Wait("w", On("e"), Timeout("overdue", 9 * HOUR, Return("overdue"), was=("late",))), blob)
    assert resume(work, state, now=START + HOUR) is WorkflowStatus.Finished
    assert state.result == "overdue"


def test_two_events_that_became_one_are_one_event_and_a_lost_one():
    desk = Desk()
    blob = saved(lambda w: S(Wait("w", On("card", via=desk), On("cash", via=desk), On("gift", via=desk)), Wait("x", On("end"))))
    desk.calls.clear()
    work, state = opened(lambda w: S(Wait("w", On("paid", via=desk, was=("card", "cash", "gift"))), Wait("x", On("end"))), blob)
    resume(work, state, now=START)
    assert [call[:2] for call in desk.calls] == [("teardown", "cash"), ("teardown", "gift")]
    assert [event.name for event in state.threads[0].events] == ["paid"]
    handle_callback("cash", work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert [call[:2] for call in desk.calls][2:] == [("teardown", "card")]


def test_a_waiting_run_that_nothing_moves_keeps_its_old_names_in_store():
    blob = saved(lambda w: Wait("old", On("e")))
    kinds: list[str] = []
    work, state = opened(lambda w: Wait("new", On("e"), was=("old",)), blob)
    assert resume(work, state, kinds.append, now=START) is WorkflowStatus.Waiting
    assert kinds == []
    assert state.threads[0].position == "new"


def test_a_program_without_old_names_has_nothing_to_rename():
    from flowstmt.core.program import program_for

    work = workflow(lambda w: Wait("w", On("e")))()
    assert program_for(work, "r")[0].renames is None


# --- callbacks from outside ---


def test_callbacks_with_old_names_of_events_and_threads_are_taken():
    token: Event[int, None] = Event("paid", int)

    def tree(w: Any) -> Statement:
        return S(
            ForEach("l", [1, 2], Go("old", Wait("w", On(token, into="kept")), id=lambda i: i)),
            Join("j", "old"),
        )

    def new(w: Any) -> Statement:
        return S(
            ForEach("l", [1, 2], Go("new", Wait("w", On("settled", into="kept", was=("paid",))), id=lambda i: i, was=("old",))),
            Join("j", "new"),
        )

    work, state = opened(new, saved(tree))
    request = CallbackRequest("paid", "old:2", 1, state.threads[2].birth, "run-1")
    sent = replace(request)
    handle_callback(request, work, state, 7, now=START)
    assert request == sent
    assert (work.kept, [t.status for t in state.threads[1:]]) == (7, ["WaitingEvent", "Resuming"])
    handle_callback(token, work, state, 8, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished


def test_an_old_name_is_matched_in_each_wait_by_itself():
    def new(w: Any) -> Statement:
        return S(Go("t", Wait("v", On("paid"))), Wait("w", On("settled", was=("paid",))), Join("j", "t"))

    work, state = opened(new, saved(lambda w: S(Go("t", Wait("v", On("paid"))), Wait("w", On("paid")), Join("j", "t"))))
    before = dump(work, state)
    with pytest.raises(AmbiguousCallbackError):
        handle_callback("paid", work, state, now=START)
    assert dump(work, state) == before
    handle_callback(CallbackRequest("paid", thread_id="main"), work, state, now=START)
    assert [t.status for t in state.threads] == ["Resuming", "WaitingEvent"]
    handle_callback("paid", work, state, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Finished


OLD = saved(lambda w: S(Go("t", Wait("w", On("e", into="kept"), Timeout("late", HOUR))), Join("j", "t")))


def renamed(w: Any) -> Statement:
    def handler(n: int) -> None:
        w.log.append("half done")
        if n == 5:
            raise RefusedError("not now")

    return S(
        Go(
            "u",
            Wait(
                "v",
                On("f", handler, into="kept", was=("e",)),
                Timeout("overdue", HOUR, was=("late",)),
                was=("w",),
            ),
            was=("t",),
        ),
        Join("k", "u", was=("j",)),
        Wait("last", On("g", was=("f2",))),
    )


@pytest.mark.parametrize(
    ("request_", "payload", "error", "part"),
    [
        ("nobody", None, UnknownEventError, "has no event 'nobody'; it has 'f', 'g'"),
        ("late", None, UnknownEventError, "'overdue' (once 'late') is a Timeout"),
        ("f2", None, NotWaitingError, "nobody waits for event 'g' (once 'f2'): thread 'main' is WaitingCondition at 'k'"),
        (
            CallbackRequest("e", thread_id="x"),
            1,
            NotWaitingError,
            "'f' (once 'e'): no thread 'x' lives. It would take: 'f' (thread 'u'",
        ),
        (CallbackRequest("e", thread_id="t", pc=7), 1, StaleCallbackError, "event 'f' (once 'e') with pc 7 is stale"),
        ("e", "x", InvalidPayloadError, "the payload for event 'f' does not fit"),
        ("e", 5, RefusedError, "not now"),
    ],
)
def test_a_refused_callback_leaves_the_old_names(request_: Any, payload: Any, error: type[Exception], part: str):
    work, state = opened(renamed, OLD)
    with pytest.raises(error) as caught:
        handle_callback(request_, work, state, payload, now=START)
    assert part in str(caught.value)
    assert dump(work, state) == OLD
    # And the same objects can be used.
    handle_callback("e", work, state, 1, now=START)
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert state.threads[0].position == "last"


def test_a_callback_for_a_run_that_is_over_is_refused_whatever_it_was_called():
    work, state = workflow(lambda w: S())(), State.new("r", "O", START)
    resume(work, state, now=START)
    work, state = opened(renamed, dump(work, state))
    with pytest.raises(Exception, match="event 'e' refused: the run is Finished"):
        handle_callback("e", work, state, 1, now=START)


# --- what is refused ---


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        pytest.param(
            lambda w: Wait("old", On("e")),
            lambda w: Step("new", w.say("x"), was=("old",)),
            "position 'new': a thread can't be WaitingEvent at Step 'new'",
            id="another kind of statement",
        ),
        pytest.param(
            lambda w: Wait("old", On("e")),
            lambda w: Go("t", Wait("new", On("e"), was=("old",))),
            "Wait 'new' is in the thread of 't' now",
            id="another thread",
        ),
        pytest.param(
            lambda w: S(Go("t", Wait("old", On("e"))), Wait("gone", On("f"))),
            lambda w: S(Go("u", Wait("new", On("e"), was=("old",)), was=("t",)), Wait("last", On("f"))),
            "thread 'main', position 'gone': the definition has no such statement",
            id="one of two threads",
        ),
    ],
)
def test_a_renamed_position_is_judged_as_any_position_and_a_refusal_changes_nothing(old: Tree, new: Tree, part: str):
    blob = saved(old)
    work, state = opened(new, blob)
    for call in (lambda: resume(work, state, now=START), lambda: handle_callback("e", work, state, now=START)):
        with pytest.raises(PositionError) as caught:
            call()
        assert part in str(caught.value)
        assert dump(work, state) == blob


def test_two_threads_that_would_become_one_are_refused():
    blob = saved(lambda w: S(Go("a", Wait("x", On("e"))), Go("b", Wait("y", On("f"))), Join("j", "a", "b")))
    work, state = opened(
        lambda w: S(Go("c", Wait("x", On("e")), Wait("y", On("f")), was=("a", "b")), Join("j", "c")),
        blob,
    )
    for call in (lambda: resume(work, state, now=START), lambda: handle_callback("e", work, state, now=START)):
        with pytest.raises(StateError) as caught:
            call()
        assert "run 'run-1': by their old names (was=...) the threads 'a' and 'b' would both be 'c' now" in str(caught.value)
        assert dump(work, state) == blob


def test_a_thread_that_ended_does_not_stand_in_the_way_of_a_name():
    desk = Desk()

    def tree(w: Any) -> Statement:
        return S(Go("a", Wait("x", On("e", via=desk))), Go("b", Wait("y", On("f"))), Join("j", "a", "b"))

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    desk.fails = 1
    handle_callback("e", work, state, now=START)
    resume(work, state, now=START)
    work, state = opened(
        lambda w: S(Go("c", Wait("x", On("e", via=desk)), Wait("y", On("f")), was=("a", "b")), Join("j", "c")),
        dump(work, state),
    )
    assert resume(work, state, now=START) is WorkflowStatus.Waiting
    assert [t.id for t in state.threads] == ["main", "c"]


def test_threads_that_would_become_one_are_refused_beside_one_that_ended():
    desk = Desk()

    def tree(w: Any) -> Statement:
        return S(
            Go("over", Wait("v", On("d", via=desk))),
            Go("a", Wait("x", On("e"))),
            Go("b", Wait("y", On("f"))),
            Join("j", "a", "b"),
        )

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    resume(work, state, now=START)
    desk.fails = 1
    handle_callback("d", work, state, now=START)
    resume(work, state, now=START)
    assert [str(thread.status) for thread in state.threads][1] == "Ended"
    work, state = opened(
        lambda w: S(Go("c", Wait("x", On("e")), Wait("y", On("f")), was=("a", "b")), Join("j", "c")), dump(work, state)
    )
    with pytest.raises(StateError, match="the threads 'a' and 'b' would both be 'c' now"):
        resume(work, state, now=START)


def test_an_event_does_not_become_one_that_its_wait_has_already():
    blob = saved(lambda w: Wait("w", On("card"), On("cash")))
    work, state = opened(lambda w: Wait("w", On("card", was=("cash",))), blob)
    resume(work, state, now=START)
    assert [event.name for event in state.threads[0].events] == ["card"]


def test_items_that_dont_fit_leave_the_old_names():
    def take(item: Any) -> None: ...

    take.__annotations__["item"] = int  # a tea is none, which is the fault
    blob = saved(lambda w: ForEach("old", ["tea"], Wait("x", On("e"))))
    work, state = opened(lambda w: ForEach("new", ["tea"], Wait("x", On("e")), Step("s", take), was=("old",)), blob)
    with pytest.raises(StateError, match=r"\$\.state\.threads\[0\]\.frames\[0\]\.item"):
        resume(work, state, now=START)
    assert dump(work, state) == blob


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        pytest.param(
            lambda w: Wait("payment", On("e")),
            lambda w: S(Wait("payments", On("e")), Step("payment s", w.say("x"))),
            "back, or give what took the place of 'payment' (Wait 'payments'?) was=('payment',), or move the thread",
            id="a position",
        ),
        pytest.param(
            lambda w: Wait("payment", On("e")),
            lambda w: Wait("xyz", On("e")),
            "or give what took the place of 'payment' was=('payment',), or move",
            id="nothing like it",
        ),
        pytest.param(
            lambda w: S(Go("ship", Wait("x", On("e"))), Join("j", "ship")),
            lambda w: S(Go("ships", Wait("x", On("e"))), Join("j", "ships")),
            "'ship' (Go 'ships'?) was=('ship',)",
            id="a Go",
        ),
        pytest.param(
            lambda w: ForEach("lines", [1], Wait("x", On("e"))),
            lambda w: ForEach("line", [1], Wait("x", On("e"))),
            "'lines' (ForEach 'line'?) was=('lines',)",
            id="a ForEach",
        ),
        pytest.param(
            lambda w: Wait("x", On("e")),
            lambda w: Go("t", Wait("x", On("e"))),
            "bring the statement back, or move the thread in its snapshot",
            id="nothing lost",
        ),
    ],
)
def test_the_error_advises_to_say_what_a_statement_was_called(old: Tree, new: Tree, advice: str):
    work, state = opened(new, saved(old))
    with pytest.raises(PositionError) as caught:
        resume(work, state, now=START)
    assert advice in str(caught.value)


def test_the_error_advises_to_say_what_a_fired_event_was_called():
    work, state = opened(lambda w: Wait("w", On("paid")), saved(lambda w: Wait("w", On("paid"))))
    handle_callback("paid", work, state, now=START)
    work, state = opened(lambda w: Wait("w", On("payed"), Timeout("late", HOUR)), dump(work, state))
    with pytest.raises(PositionError, match=r"or give what took the place of 'paid' \(On 'payed'\?\) was=\('paid',\)"):
        resume(work, state, now=START)


def test_a_step_that_fails_is_told_by_its_new_name():
    def fail() -> None:
        raise OSError("down")

    work, state = opened(lambda w: Step("new", fail, was=("old",)), saved(lambda w: Step("old", w.say("x")), max_steps=0))
    with pytest.raises(StepError) as caught:
        resume(work, state, now=START)
    assert caught.value.step == "new"
