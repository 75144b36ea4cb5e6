"""Runs that fail, try again, undo and fan out: as text, as JSON, and what may happen to them now."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import pytest

from flowstmt import (
    ANY,
    Approval,
    AtLeast,
    Branch,
    Every,
    Fail,
    Go,
    Map,
    On,
    Parallel,
    Percent,
    Retry,
    S,
    Saga,
    State,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
    When,
    describe,
    dump,
    handle_callback,
    resume,
)
from flowstmt.core.program import program_for
from flowstmt.core.state import Thread, ThreadStatus
from flowstmt.describe import Legal
from flowstmt.describe.marks import standing
from flowstmt.describe.subjects import subject_of
from tests.core.styles import STYLES, play
from tests.core.styles import Case as CoreCase
from tests.core.test_cases import CASES
from tests.describe.test_failures_drawn import HOUR, START, Trip, begin, failed, on
from tests.describe.test_legal import checked

SECOND = timedelta(seconds=1)


def line(workflow: Any, state: State, begins: str) -> str:
    """The line of text of one statement."""
    before = dump(workflow, state)
    lines = [each.lstrip("│├└─ ") for each in describe.to_text(workflow, state).splitlines()]
    assert dump(workflow, state) == before
    [found] = [each for each in lines if each.startswith(begins)]
    return found


def mark(workflow: Any, state: State, begins: str) -> str:
    return line(workflow, state, begins).partition("  <- ")[2]


def run_of(workflow: Any, state: State) -> dict[str, Any]:
    before = dump(workflow, state)
    found = describe.to_json(workflow, state)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert dump(workflow, state) == before
    run: dict[str, Any] = found["run"]
    assert list(run) == ["id", "status", "revision", "wake_at", "result", "error", "threads", "undo", "notes"]
    return run


def said(found: Legal) -> dict[str, list[str]]:
    return {
        "timers": [f"{each.type} {each.name} by {each.thread_id}" for each in found.timers],
        "conditions": [f"{each.type} {each.name} of {', '.join(each.threads)}" for each in found.conditions],
        "actions": [f"{each.type} {each.name} by {each.thread_id}" for each in found.actions],
        "moves": [f"{each.thread_id} past {each.position} leaving {each.leaving}" for each in found.moves],
    }


# --- what definitions say ---


@dataclass
class Everything:
    lines: list[str] = field(default_factory=list)
    error: Any = None

    def definition(self) -> Statement:
        return S(
            Try("pay", Step("charge", self.act, concurrent=True, retry=Retry(1), timeout=90 * SECOND, compensate=self.undo))
            .catch((OSError, "declined"), into="error")
            .catch(lambda error: True, Fail("lost", self.why))
            .finally_(Step("log", self.act)),
            Saga("booking", Fail("full", "no room")),
            Parallel(
                "both",
                Branch("one", Step("a", self.act)),
                Branch("two"),
                join=AtLeast(2),
                tolerate=0,
                fail_fast=False,
                into="lines",
            ),
            Map("all", [1], key=str, max_concurrency=3, tolerate=1),
            Map("some", lambda: [1], tolerate=Percent(12.5)),
        )

    def act(self) -> None: ...
    def undo(self) -> None: ...
    def why(self) -> str:
        return "lost"


def test_every_statement_has_a_line():
    assert describe.to_text(Everything()).splitlines()[1:] == [
        "├─ Try pay",
        "│  ├─ Step charge: Everything.act, concurrent, up to 1 attempt, within 1 minute 30 seconds, undone by Everything.undo",
        "│  ├─ catch OSError, declined, into error",
        "│  ├─ catch lambda in Everything.definition",
        "│  │  └─ Fail lost: Everything.why",
        "│  └─ finally",
        "│     └─ Step log: Everything.act",
        "├─ Saga booking",
        "│  └─ Fail full: 'no room'",
        "├─ Parallel both: at least 2, fails when all have ended, into lines",
        "│  ├─ Branch one",
        "│  │  └─ Step a: Everything.act",
        "│  └─ Branch two",
        "├─ Map all: at most 3 at once, key str, all but 1",
        "└─ Map some: lambda in Everything.definition, all but 12.5 %",
    ]


def told(tree: Any) -> dict[str, Any]:
    found: dict[str, Any] = describe.to_json(tree)["definition"]
    return {key: value for key, value in found.items() if key not in ("was", "children")}


def test_every_statement_has_its_keys():
    pay, booking, both, every, some = describe.to_json(Everything())["definition"]["children"]
    charge, first, second, final = pay["children"]
    assert charge["retry"] == {
        "max_attempts": 1,
        "initial": "PT1S",
        "multiplier": 2,
        "max_delay": "PT30S",
        "jitter": 0,
        "on": ["Exception"],
        "unless": [],
        "when": None,
        "total": None,
    }
    assert (charge["timeout"], charge["compensate"]) == ({"value": "PT1M30S"}, {"function": "Everything.undo"})
    assert (first["errors"], first["into"]) == (["OSError", "declined"], "error")
    assert (second["errors"], second["into"]) == ([{"function": "lambda in Everything.definition"}], None)
    assert second["children"][0]["message"] == {"function": "Everything.why"}
    assert booking["children"][0]["message"] == {"value": "no room"}
    assert [each["type"] for each in (pay, first, final, booking, both["children"][0])] == [
        "Try",
        "Catch",
        "Finally",
        "Saga",
        "Branch",
    ]
    assert [(each["join"], each["tolerate"], each["fail_fast"], each["into"]) for each in (both, every, some)] == [
        ({"at_least": 2}, 0, False, "lines"),
        ("ALL", 1, True, None),
        ("ALL", {"percent": 12.5}, True, None),
    ]
    assert (every["items"], every["item_type"], every["key"], every["max_concurrency"]) == (
        {"type": "list"},
        None,
        {"function": "str"},
        3,
    )
    assert some["items"] == {"function": "lambda in Everything.definition"}


def test_a_policy_has_what_is_retried_and_what_is_not():
    policy = Retry(on=(OSError, ("Slow", (ValueError,))), unless=KeyError, when=bool, total=HOUR, jitter=0.5)
    retry = told(Step("s", print, retry=policy))["retry"]
    assert retry["on"] == ["OSError", "Slow", "ValueError"]
    assert (retry["unless"], retry["when"], retry["total"], retry["jitter"]) == (
        ["KeyError"],
        {"function": "bool"},
        "PT1H",
        0.5,
    )


def test_the_policy_of_a_class_is_told():
    retry = describe.to_json(Trip)["retry"]
    assert retry is not None
    assert retry["max_attempts"] == 1
    assert describe.to_json(Everything)["retry"] is None
    assert describe.to_text(Trip).splitlines()[0] == "Trip (steps: up to 1 attempt)"


# --- attempts ---


def test_a_retry_says_when_and_why():
    shop, state = begin(fails=["charge"])
    assert mark(shop, state, "Step charge") == (
        "main (WaitingTime, attempt 2 of 3 at 2030-01-01 00:00:01+00:00 after OSError: no charge)"
    )
    [thread] = run_of(shop, state)["threads"]
    assert thread == {
        "id": "main",
        "status": "WaitingTime",
        "position": "charge",
        "event": None,
        "due_at": "2030-01-01T00:00:01Z",
        "attempt": 2,
        "max_attempts": 3,
        "error": {"type": "OSError", "message": "no charge", "step": "charge", "attempts": 1},
        "next_attempt_at": "2030-01-01T00:00:01Z",
        "undoing": None,
        "leaving": None,
        "branches": None,
        "missing": [],
        "taken": [],
    }
    found = checked(shop, state)
    [timer] = found.timers
    assert (timer.type, timer.name, timer.wait, timer.due_at, timer.is_due) == ("Retry", "charge", None, START + SECOND, False)
    assert (timer.attempt, timer.error) == (2, state.threads[0].error)
    assert said(found) == {"timers": ["Retry charge by main"], "conditions": [], "actions": [], "moves": []}


def test_an_attempt_that_can_begin_is_an_action():
    shop, state = begin(fails=["charge"])
    resume(shop, state, now=START + SECOND, max_steps=0)
    assert mark(shop, state, "Step charge") == "main (Executing, attempt 2 of 3 after OSError: no charge)"
    [action] = checked(shop, state).actions
    assert (action.type, action.name, action.attempt) == ("Step", "charge", 2)
    [thread] = run_of(shop, state)["threads"]
    assert (thread["due_at"], thread["next_attempt_at"], thread["attempt"]) == (None, None, 2)


def test_an_error_without_a_message_is_told_by_its_type():
    shop, state = begin(fails=["charge"])
    assert state.threads[0].error is not None
    state.threads[0].error.message = ""
    assert mark(shop, state, "Step charge").endswith("after OSError)")


# --- joins ---


def test_a_map_says_how_far_it_is():
    shop, state = begin()
    assert mark(shop, state, "Map ship") == "main (WaitingCondition, 0 of 3 done, 2 live)"
    on(shop, state, "taken", "ship:1")
    assert run_of(shop, state)["threads"][0]["branches"] == {"count": 3, "started": 3, "live": 2, "succeeded": 1, "failed": 0}
    found = checked(shop, state)
    assert said(found)["conditions"] == ["Map ship of ship:0, ship:2"]
    assert [callback.thread_id for callback in found.callbacks] == ["ship:0", "ship:2"]


def test_branches_that_have_not_begun_are_told_apart_from_the_thread_that_waits_for_them():
    shop, state = begin()
    for branch in state.threads[1:]:
        branch.status, branch.position, branch.events = ThreadStatus.Resuming, "", []
    assert line(shop, state, "Map ship").split("  <- ")[1:] == [
        "main (WaitingCondition, 0 of 3 done, 2 live)",
        "ship:0, ship:1 (Resuming, not begun)",
    ]


@dataclass
class Both:
    fails: bool = True

    def definition(self) -> Statement:
        return Try(
            "t",
            Parallel(
                "both",
                Branch("a", Step("x", self.fail)),
                Branch("b", Parallel("inner", Branch("c", Try("s", Wait("w", On("e"))).finally_(Wait("v", On("f")))))),
                tolerate=0,
            ),
        ).catch("ParallelError", Wait("mourn", On("over")))

    def fail(self) -> None:
        if self.fails:
            raise OSError("down")


def test_a_join_that_can_not_be_met_waits_for_its_branches_and_says_why():
    both, state = Both(), State.new("b-1", "Both", START)
    resume(both, state, now=START)
    assert mark(both, state, "Parallel both").startswith(
        "main (WaitingCondition, 0 of 2 done, 1 failed, 1 live, leaving because of ParallelError: 0 of 2 branches"
    )
    assert mark(both, state, "Parallel inner") == (
        "both:b (WaitingCondition, 0 of 1 done, 1 live, leaving because of a cancellation)"
    )
    assert mark(both, state, "Wait v") == "both:b/inner:c (WaitingEvent, in finally of s because of a cancellation)"
    main, _, leaf = run_of(both, state)["threads"]
    assert (main["leaving"]["exit"], main["leaving"]["error"]["type"]) == ("failure", "ParallelError")
    assert leaf["leaving"] == {"exit": "cancel", "error": None, "finally_of": "s"}
    assert said(checked(both, state))["conditions"] == [
        "Parallel both of both:b",
        "Parallel inner of both:b/inner:c",
    ]


# --- undoing ---


def test_a_step_that_is_undone_says_so_and_how_often_that_was_tried():
    shop, state = failed(fails=["refund"])
    assert mark(shop, state, "Step charge") == (
        "main (WaitingTime, attempt 2 of 3 at 2030-01-01 00:00:01+00:00 after OSError: no refund, undoing because of "
        "declined: no money)"
    )
    run = run_of(shop, state)
    [thread] = run["threads"]
    assert (thread["position"], thread["undoing"], thread["attempt"]) == ("charge:compensate", "charge", 2)
    assert thread["leaving"] == {
        "exit": "failure",
        "error": {"type": "declined", "message": "no money", "step": "declined", "attempts": 1},
        "finally_of": None,
    }
    assert run["undo"] == [{"step": "charge", "thread": "main", "error": None}]
    assert said(checked(shop, state))["timers"] == ["Retry charge:compensate by main"]
    resume(shop, state, now=START + HOUR, max_steps=0)
    [action] = checked(shop, state).actions
    assert (action.type, action.name, action.attempt) == ("Compensation", "charge:compensate", 2)
    assert action.action == "call"


def test_what_could_not_be_undone_is_told_to_the_end():
    shop, state = failed(fails=["refund"])
    for hours in range(1, 4):
        resume(shop, state, now=START + hours * HOUR)
    assert mark(shop, state, "Wait log") == "main (WaitingEvent, in finally of pay because of declined: no money)"
    assert mark(shop, state, "Step charge") == "not undone: OSError: no refund"
    on(shop, state, "logged")
    assert describe.to_text(shop, state).splitlines()[0] == "Shop, run shop-1: Failed, declined: no money"
    assert mark(shop, state, "Step charge") == "not undone: OSError: no refund"
    run = run_of(shop, state)
    assert (run["status"], run["threads"]) == ("Failed", [])
    assert run["error"] == {"type": "declined", "message": "no money", "step": "declined", "attempts": 1}
    [record] = run["undo"]
    assert (record["step"], record["error"]["message"]) == ("charge", "no refund")
    assert [note["note"] for note in run["notes"]] == ["not undone"]
    assert checked(shop, state).actions == ()


def test_what_could_not_be_undone_is_found_under_its_new_name_and_left_out_where_nothing_bears_it():
    shop, state = failed(fails=["refund"])
    for hours in range(1, 4):
        resume(shop, state, now=START + hours * HOUR)
    on(shop, state, "logged")

    @dataclass
    class Later:
        def definition(self) -> Statement:
            return Step("collect", print, was=("charge",))

    assert mark(Later(), state, "Step collect") == "not undone: OSError: no refund"
    assert "not undone" not in describe.to_text(Both(), state)


def test_an_error_of_a_step_says_where_it_happened():
    @dataclass
    class Charge:
        def definition(self) -> Statement:
            return Step("charge", self.act, retry=Retry(1))

        def act(self) -> None:
            raise OSError("down")

    charge, state = Charge(), State.new("c-1", "Charge", START)
    resume(charge, state, now=START)
    assert describe.to_text(charge, state).splitlines()[0] == "Charge, run c-1: Failed, OSError: down, at charge"


# --- ways out ---


def guarded(name: str) -> Try:
    return Try(f"try {name}", Wait(f"wait {name}", On("e"))).finally_(Wait(f"last {name}", On("f")))


@dataclass
class Inside:
    def definition(self) -> Statement:
        return S(
            Saga(
                "s",
                Go("g", Go("h", guarded("h")), guarded("g")),
                Wait("m", On("now")),
                Fail("no", "no"),
            ),
        )


def test_a_saga_that_waits_for_the_threads_that_it_has_started_names_them():
    inside, state = Inside(), State.new("i-1", "Inside", START)
    resume(inside, state, now=START)
    handle_callback("now", inside, state, now=START)
    resume(inside, state, now=START)
    assert mark(inside, state, "Saga s") == "main (WaitingCondition, leaving because of no: no)"
    assert said(checked(inside, state))["conditions"] == ["Saga s of g, h"]


def test_main_past_its_end_waits_for_all_others():
    @dataclass
    class Ends:
        def definition(self) -> Statement:
            return S(Go("g", Try("t", Wait("w", On("e"))).finally_(Wait("v", On("f")))), Wait("u", On("x")))

    ends, state = Ends(), State.new("e-1", "Ends", START)
    resume(ends, state, now=START)
    handle_callback("x", ends, state, now=START)
    resume(ends, state, now=START)
    assert describe.to_text(ends, state).splitlines()[0] == (
        "Ends, run e-1: Waiting  <- main (WaitingCondition, ending because of its end)"
    )
    [condition] = checked(ends, state).conditions
    assert (condition.type, condition.name, condition.threads) == ("End", "main", ("g",))


def test_a_thread_that_is_told_to_leave_and_has_not_moved_says_what_for():
    shop, state = begin(fails=["charge"])
    main = state.threads[0]
    main.frames = [*main.frames, type(main.frames[0])("charge", exit={"exit": "cancel", "sticky": True})]
    main.status, main.due_at, main.attempt, main.error = ThreadStatus.Resuming, None, 1, None
    assert mark(shop, state, "Step charge") == "main (Resuming, leaving because of a cancellation)"
    assert said(checked(shop, state))["moves"] == ["main past charge leaving cancel"]


# --- cases that stay ---


@dataclass
class Subscription:
    over: bool = False

    def definition(self) -> Statement:
        return Wait(
            "month",
            Every("bill", HOUR, Wait("payment", On("paid"), On("change"), Timeout("late", 10 * HOUR))),
            On("change", None, Step("note", print), stay=True),
            On("quit"),
            When("over", self.is_over),
            When("plainly", self.over),
        )

    def is_over(self) -> bool:
        return False


def test_cases_that_stay_are_told():
    assert describe.to_text(Subscription()).splitlines() == [
        "Subscription",
        "└─ Wait month",
        "   ├─ Every bill: 1 hour",
        "   │  └─ Wait payment",
        "   │     ├─ On paid",
        "   │     ├─ On change",
        "   │     └─ Timeout late: after 10 hours",
        "   ├─ On change: stays",
        "   │  └─ Step note: print",
        "   ├─ On quit",
        "   ├─ When over: Subscription.is_over",
        "   └─ When plainly",
    ]
    bill, change, _, over, plainly = describe.to_json(Subscription())["definition"]["children"]
    assert (bill["type"], bill["period"]) == ("Every", {"value": "PT1H"})
    assert change["stay"] is True
    assert (over["condition"], plainly["condition"]) == ({"function": "Subscription.is_over"}, {"type": "bool"})


def test_a_wait_says_what_it_waits_for_by_itself():
    work, state = Subscription(), State.new("s-1", "Subscription", START)
    resume(work, state, now=START)
    found = checked(work, state)
    assert [(timer.type, timer.name, timer.due_at) for timer in found.timers] == [("Every", "bill", START + HOUR)]
    assert [(each.type, each.name, each.wait, each.condition) for each in found.conditions] == [
        ("When", "over", "month", "Subscription.is_over"),
        ("When", "plainly", "month", None),
    ]


def test_callbacks_are_taken_while_the_body_of_a_case_that_stays_runs():
    work, state = Subscription(), State.new("s-1", "Subscription", START)
    resume(work, state, now=START)
    resume(work, state, now=START + HOUR)
    found = checked(work, state)
    assert [(callback.event, callback.wait) for callback in found.callbacks] == [
        ("paid", "payment"),
        ("change", "payment"),
        ("change", "month"),
        ("quit", "month"),
    ]
    assert found.conditions == ()
    assert [timer.name for timer in found.timers] == ["late"]
    outer = found.callbacks[2]
    for _ in range(2):
        handle_callback(outer.request, work, state, now=START + HOUR)
    assert mark(work, state, "Wait payment") == "main (WaitingEvent, then change, change)"
    assert run_of(work, state)["threads"][0]["taken"] == ["change", "change"]
    handle_callback(found.callbacks[3].request, work, state, now=START + HOUR)
    assert [callback.wait for callback in checked(work, state).callbacks] == ["payment", "payment"]


# --- approvals ---


@dataclass
class Release:
    result: Any = None

    def definition(self) -> Statement:
        return S(
            Try("t", Approval("ok", self.bosses, Step("ship", print), timeout=3 * HOUR, into="result")).catch("Rejected"),
            Approval("more", ["ann", "bob", "cay", "dan"], need=ANY).rejected(Step("mend", print)),
            Approval("last", ["ann"], need=AtLeast(1), remind=Every("remind", HOUR, Wait("w", On("seen"))), timeout=9 * HOUR)
            .rejected()
            .expired(),
        )

    def bosses(self) -> list[str]:
        return ["ann", "bob"]


def test_an_approval_is_told():
    assert [each.lstrip("│├└─ ") for each in describe.to_text(Release()).splitlines()[1:]] == [
        "Try t",
        "Approval ok: all of Release.bosses, into result, reject and expired are failures",
        "On approve",
        "Step ship: print",
        "On reject",
        "Timeout expired: after 3 hours",
        "catch Rejected",
        "Approval more: any",
        "On approve",
        "On reject",
        "Step mend: print",
        "Approval last: any",
        "On approve",
        "On reject",
        "Timeout expired: after 9 hours",
        "Every remind: 1 hour",
        "Wait w",
        "On seen",
    ]
    first, more, _ = describe.to_json(Release())["definition"]["children"]
    ok = first["children"][0]
    assert (ok["approvers"], ok["need"], ok["into"], ok["fails"]) == (
        {"function": "Release.bosses"},
        "ALL",
        "result",
        ["reject", "expired"],
    )
    assert (more["approvers"], more["need"], more["fails"]) == ({"type": "list"}, {"at_least": 1}, [])
    only = describe.to_text(Approval("only", ["ann"]))
    assert only.splitlines()[1] == "└─ Approval only: all, reject is a failure"


def test_an_approval_has_the_schemas_of_its_answers():
    schemas = describe.event_schemas(Release())
    assert list(schemas) == ["ok", "more", "last", "w"]
    assert list(schemas["ok"]) == ["approve", "reject"]
    approve = schemas["ok"]["approve"]
    assert (approve["payload"]["title"], approve["output"]["title"]) == ("Answer", "ApprovalResult")
    assert approve["payload_required"] is True


def test_an_approval_names_those_who_have_not_answered():
    work, state = Release(), State.new("r-1", "Release", START)
    resume(work, state, now=START)
    handle_callback("approve", work, state, {"who": "ann"}, now=START)
    assert mark(work, state, "Approval ok") == "main (WaitingEvent, missing bob)"
    assert run_of(work, state)["threads"][0]["missing"] == ["bob"]
    found = checked(work, state)
    assert [(callback.event, callback.wait) for callback in found.callbacks] == [("approve", "ok"), ("reject", "ok")]
    assert [timer.name for timer in found.timers] == ["expired"]
    handle_callback("reject", work, state, {"who": "bob"}, now=START)
    resume(work, state, now=START)
    assert mark(work, state, "Approval more") == "main (WaitingEvent, missing ann, bob, cay and others)"
    handle_callback("approve", work, state, {"who": "ann"}, now=START)
    resume(work, state, now=START)
    resume(work, state, now=START + HOUR)
    assert mark(work, state, "Wait w") == "main (WaitingEvent, missing ann)"
    assert [(callback.event, callback.wait) for callback in checked(work, state).callbacks] == [
        ("seen", "w"),
        ("approve", "last"),
        ("reject", "last"),
    ]


# --- every case ---


def look(work: Any, state: State) -> None:
    """Whatever a run does, each way to show it says something of each thread, and nothing is changed."""
    before = dump(work, state)
    run = run_of(work, state)
    text = describe.to_text(work, state)
    live = [thread for thread in state.threads if thread.status is not ThreadStatus.Ended]
    assert [thread["id"] for thread in run["threads"]] == (
        [] if run["status"] in ("Finished", "Failed") else [t.id for t in live]
    )
    for thread, each in zip(run["threads"], live, strict=False):
        assert (thread["status"], thread["position"], thread["attempt"]) == (each.status, each.position, each.attempt)
        assert (thread["error"] is None) is (each.attempt == 1)
    assert text.count("  <- ") >= bool(run["threads"])
    policies(work, state, live)
    assert orjson.loads(before) == orjson.loads(dump(work, state))


def policies(work: Any, state: State, threads: list[Thread]) -> None:
    """That as many attempts are told as there will be."""
    program, values = program_for(work, "")
    told = {mark.thread_id: mark.max_attempts for mark in standing(subject_of(work), state).marks}
    for thread in threads if told else ():
        node = program.by_name.get(thread.position)
        if node is None or node.index < 0:
            continue
        own = getattr(values[node.index], "retry", None)
        if own is not None:
            assert told[thread.id] == own.max_attempts


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_checkpoint_of_every_case_is_told(case: CoreCase, style: str):
    play(case, style, invariant=look)
