"""The statements of failure and fan-out in a flowchart: what takes what goes wrong, and where threads part and meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from flowstmt import (
    ANY,
    Approval,
    AtLeast,
    Branch,
    Break,
    Continue,
    Every,
    Fail,
    For,
    ForEach,
    Go,
    If,
    Join,
    Map,
    On,
    Parallel,
    Percent,
    Retry,
    Return,
    S,
    Saga,
    State,
    Statement,
    Step,
    Try,
    Wait,
    When,
    describe,
    dump,
    handle_callback,
    load,
    resume,
)
from tests.describe.charts import Chart, read

HOUR = timedelta(hours=1)
START = datetime(2030, 1, 1, tzinfo=UTC)


def drawn(tree: Any) -> Chart:
    return read(describe.to_mermaid(tree))


def step(name: str = "work") -> Step:
    return Step(name, print)


def boxes(chart: Chart, kind: str) -> list[str]:
    return [chart.boxes[name] for name in chart.boxes if chart.classes.get(name) == kind]


# --- Try ---


def test_a_try_leads_from_its_box_to_each_catch_and_to_its_finally():
    tree = S(
        Try("pay", step("charge"), step("note"))
        .catch((OSError, "declined"), step("mail"), into="error")
        .catch(lambda error: True)
        .finally_(step("log")),
        step("end it"),
    )
    chart = drawn(tree)
    assert chart.ways() == {
        ("definition", "", "try: pay"),
        ("try: pay", "", "charge"),
        ("charge", "", "note"),
        ("note", "", "finally: pay"),
        ("mail", "", "finally: pay"),
        ("finally: pay", "", "log"),
        ("log", "", "end it"),
        ("end it", "", "end"),
    }
    assert chart.asides() == {
        ("try: pay", "OSError, declined", "mail"),
        ("try: pay", "a condition", "finally: pay"),
        ("try: pay", "other failures", "finally: pay"),
    }
    framed = {chart.says(name) for name, frames in chart.frames.items() if frames}
    assert framed == {"try: pay", "charge", "note"}


def test_a_named_predicate_is_told_by_its_name_and_a_finally_alone_takes_all_failures():
    chart = drawn(S(Try("a", step("x")).catch(is_odd), Try("b", step("y")).finally_(step("z"))))
    assert chart.asides() == {("try: a", "is_odd", "try: b"), ("try: b", "failures", "finally: b")}


def is_odd(error: Exception) -> bool:
    return False


def test_bodies_may_be_empty():
    chart = drawn(S(Try("a").catch(OSError).finally_(), Saga("s"), Try("b").catch(OSError), step("x")))
    assert chart.ways() == {
        ("definition", "", "try: a"),
        ("try: a", "", "finally: a"),
        ("finally: a", "", "saga: s"),
        ("saga: s", "", "try: b"),
        ("try: b", "", "x"),
        ("x", "", "end"),
    }
    assert ("try: a", "OSError", "finally: a") in chart.asides()
    assert ("try: b", "OSError", "x") in chart.asides()
    assert not chart.classes


def test_jumps_and_returns_are_drawn_through_the_finallys_on_their_way():
    tree = For(
        "l",
        Try(
            "outer",
            Try(
                "inner", If("a", True, Break()).else_if("b", True, Continue()).else_if("c", True, Return("r")), step("x")
            ).finally_(step("y")),
        ).finally_(step("z")),
    )
    chart = drawn(S(tree, step("after")))
    inner = next(name for name, label in chart.boxes.items() if label == "finally: inner").replace("n", "f")
    outer = next(name for name, label in chart.boxes.items() if label == "finally: outer").replace("n", "f")
    assert {(word, chart.says(target)) for source, word, target in chart.arrows if source == inner} == {
        ("its end", "finally: outer"),
        ("Break", "finally: outer"),
        ("Continue", "finally: outer"),
        ("Return", "finally: outer"),
    }
    assert {(word, chart.says(target)) for source, word, target in chart.arrows if source == outer} == {
        ("its end", "loop: l"),
        ("Break", "after"),
        ("Continue", "loop: l"),
        ("Return", "end"),
    }
    assert chart.says(inner) == "left by"
    assert chart.ways() >= {
        ("If", "a, Break", "finally: inner"),
        ("If", "b, Continue", "finally: inner"),
        ("Return 'r'", "", "finally: inner"),
        ("x", "", "finally: inner"),
        ("y", "", "left by"),
    }


def test_a_jump_out_of_a_try_without_finally_or_of_a_saga_goes_where_it_goes():
    chart = drawn(
        S(
            For("l", Try("t", step("a"), Break()).catch(OSError, Continue()), max_iterations=3),
            For("m", Saga("s", step("b"), Break())),
            step("c"),
        )
    )
    assert chart.ways() >= {("a", "Break", "loop: m"), ("b", "Break", "c")}
    assert ("try: t", "OSError, Continue", "loop: l") in chart.asides()
    assert "loop: l\nat most 3 rounds" in chart.boxes.values()


def test_a_jump_in_a_catch_and_one_in_a_finally_go_where_they_go():
    tree = For("l", Try("t", step("a")).catch(OSError, step("b"), Break()).finally_(step("c"), If("odd", True, Break())))
    chart = drawn(tree)
    assert chart.ways() >= {
        ("b", "Break", "finally: t"),
        ("left by", "Break", "end"),
        ("odd?", "yes, Break", "end"),
        ("odd?", "no", "left by"),
    }


def test_a_loop_that_begins_a_finally_is_not_entered_anew_by_its_own_body():
    chart = drawn(S(Try("t", step("a")).finally_(For("l", True, step("b"))), step("c")))
    assert chart.ways() >= {
        ("a", "", "finally: t"),
        ("finally: t", "", "while: l"),
        ("b", "", "while: l"),
        ("while: l", "no", "c"),
    }


def test_a_jump_right_behind_a_try_stands_at_the_arrows_that_leave_it():
    behind = drawn(For("l", Try("t", step("a")).catch(OSError, step("b")), Break()))
    assert behind.ways() >= {("a", "Break", "end"), ("b", "Break", "end")}
    final = drawn(For("l", Try("t", step("a")).finally_(step("b")), Break()))
    assert ("b", "Break", "end") in final.ways()
    parted = drawn(For("l", Try("t", step("a"), If("c", True, Return())).finally_(step("b")), Break()))
    assert parted.ways() >= {("left by", "its end, Break", "end"), ("left by", "Return", "end")}


def test_a_finally_in_a_thread_leads_to_the_end_of_that_thread():
    chart = drawn(S(Go("g", Try("t", Return()).finally_(step("a"))), Join("j", "g")))
    [end] = [target for source, word, target in chart.arrows if word == "Return"]
    assert end.startswith("e")
    assert (chart.says(end), chart.frames[end]) == ("end", ("t1",))
    assert [chart.says(target) for source, target in chart.dotted if source == end] == ["join: j"]


# --- what nobody reaches ---


def test_what_follows_a_try_that_never_comes_to_its_end_is_not_reached():
    chart = drawn(S(Try("t", Return()).finally_(step("a")), step("never")))
    assert boxes(chart, "unreached") == ["never"]
    assert {way for way in chart.ways() if way[0] in ("a", "left by")} == {("a", "", "left by"), ("left by", "Return", "end")}
    chart = drawn(S(Try("t", Fail("f", "no")).catch("f", step("a")), step("reached")))
    assert boxes(chart, "unreached") == []
    chart = drawn(S(Try("t", Fail("f", "no")).finally_(step("a")), step("never"), Map("m", [], step("nor this"))))
    assert boxes(chart, "unreached") == ["never", "map: m", "nor this", "join: m\nall"]
    assert not [way for way in chart.ways() if way[0] == "a"]


def test_what_follows_branches_that_never_end_is_reached_by_their_failures():
    chart = drawn(S(Parallel("p", Branch("b", For("l", step("a")))), step("after")))
    assert boxes(chart, "unreached") == []


# --- Fail, Saga, policies ---


def test_a_fail_is_an_end():
    chart = drawn(S(If("poor", True, Fail("declined", "no money"))))
    assert ("poor?", "yes", "fail: declined") in chart.ways()
    assert chart.shapes[next(name for name, label in chart.boxes.items() if label == "fail: declined")] == "([])"


@dataclass
class Trip:
    retry: ClassVar[Retry] = Retry(max_attempts=1)

    def definition(self) -> Statement:
        return S(
            Saga("trip", Step("flight", print, compensate=self.cancel_flight, retry=Retry(5), into=self.keep), step("hotel")),
            Step("car", print, concurrent=True, timeout=HOUR, compensate=lambda: None),
        )

    def cancel_flight(self) -> None: ...
    def keep(self, seat: Any) -> None: ...


def test_a_saga_is_a_frame_and_steps_say_what_undoes_them_and_how_often_they_are_tried():
    chart = drawn(Trip())
    assert {chart.says(name) for name, frames in chart.frames.items() if frames == ("s1",)} == {"saga: trip", "flight", "hotel"}
    assert set(chart.boxes.values()) == {
        "Trip\nsteps: up to 1 attempt",
        "saga: trip",
        "flight\ninto keep\nup to 5 attempts\nundo: cancel_flight",
        "hotel",
        "car\nconcurrent\nwithin 1 hour\nundo: a function",
        "end",
    }


# --- Parallel and Map ---


def test_branches_part_and_meet():
    tree = S(
        Parallel(
            "p",
            Branch("a", step("x")),
            Branch("b", step("y"), Return(1)),
            Branch("c"),
            join=AtLeast(2),
            tolerate=1,
            into="kept",
        ),
        Map("m", [1], step("z"), max_concurrency=5, join=ANY, tolerate=Percent(10), fail_fast=False),
    )
    chart = drawn(tree)
    assert chart.ways() == {
        ("definition", "", "parallel: p"),
        ("branch a", "", "x"),
        ("branch b", "", "y"),
        ("y", "", "Return 1"),
        ("join: p", "", "map: m"),
        ("each of m", "", "z"),
        ("join: m", "", "end"),
    }
    assert {(chart.says(source), chart.says(target)) for source, target in chart.dotted} == {
        ("parallel: p", "branch a"),
        ("parallel: p", "branch b"),
        ("parallel: p", "branch c"),
        ("x", "join: p"),
        ("Return 1", "join: p"),
        ("branch c", "join: p"),
        ("map: m", "each of m"),
        ("z", "join: m"),
    }
    assert set(chart.boxes.values()) >= {
        "join: p\nat least 2, 1 may fail\ninto kept",
        "map: m\nat most 5 at once",
        "join: m\nany, 10 % may fail\nfails when all have ended",
    }
    assert len({chart.frames[name] for name, label in chart.boxes.items() if label in ("x", "y", "z")}) == 3


def test_branches_stand_in_the_frame_of_what_guards_them():
    chart = drawn(Saga("s", Parallel("p", Branch("a", Map("m", [1], step("x"))))))
    assert {chart.says(name): frames for name, frames in chart.frames.items()}["x"] == ("s0", "t2", "t3")


def test_a_return_of_a_branch_goes_through_its_finally_to_the_join():
    chart = drawn(Parallel("p", Branch("a", Try("t", Return(1)).finally_(step("x")))))
    assert ("Return 1", "", "finally: t") in chart.ways()
    assert chart.dotted_words["f4", "j0"] == ["Return"]


# --- cases that stay ---


def test_what_stays_leads_back_to_its_wait():
    tree = S(
        For(
            "l",
            Wait(
                "w",
                Every("remind", HOUR, step("mail")),
                Every("look", lambda: HOUR),
                On("change", None, step("note"), If("enough", True, Break()), stay=True),
                On("done", None, Break()),
                When("full", True, step("close"), Break()),
            ),
        ),
        step("after"),
    )
    chart = drawn(tree)
    assert chart.ways() == {
        ("definition", "", "loop: l"),
        ("loop: l", "", "wait: w"),
        ("remind", "", "mail"),
        ("mail", "", "wait: w"),
        ("look", "", "wait: w"),
        ("change", "", "note"),
        ("note", "", "enough?"),
        ("enough?", "yes, Break", "after"),
        ("enough?", "no", "wait: w"),
        ("done", "Break", "after"),
        ("when: full", "", "close"),
        ("close", "Break", "after"),
        ("after", "", "end"),
    }
    assert set(chart.boxes.values()) >= {"remind\nevery 1 hour", "look\nagain and again", "change\nstays"}


def test_an_approval_is_a_wait_whose_failures_lead_nowhere():
    tree = Try("t", Approval("ok", ["ann"], step("ship"), timeout=HOUR, need=ANY, into="x", remind=Every("remind", HOUR)))
    chart = drawn(tree.catch("Rejected", step("mend")))
    assert chart.ways() == {
        ("definition", "", "try: t"),
        ("try: t", "", "approval: ok"),
        ("approve", "", "ship"),
        ("ship", "", "end"),
        ("remind", "", "approval: ok"),
        ("mend", "", "end"),
    }
    assert set(chart.boxes.values()) >= {"approval: ok\nany\ninto x", "reject\na failure", "expired\nafter 1 hour\na failure"}


# --- runs ---


@dataclass
class Shop:
    lines: list[int] = field(default_factory=lambda: [1, 2, 3])
    fails: list[str] = field(default_factory=list)
    open: bool = False

    def definition(self) -> Statement:
        return S(
            Try(
                "pay",
                Saga(
                    "order",
                    Step("charge", self.run("charge"), retry=Retry(max_attempts=3), compensate=self.run("refund")),
                    Map("ship", self.lines, Step("pack", self.run("pack")), Wait("courier", On("taken")), max_concurrency=2),
                    Wait("ready", On("go")),
                    Fail("declined", "no money"),
                ),
            ).finally_(Wait("log", On("logged"))),
        )

    def run(self, name: str) -> Any:
        def call() -> None:
            if name in self.fails:
                raise OSError(f"no {name}")

        return call


def begin(**data: Any) -> tuple[Shop, State]:
    shop, state = Shop(**data), State.new("shop-1", "Shop", START)
    resume(shop, state, now=START)
    return shop, state


def marks(shop: Any, state: State) -> dict[str, list[str]]:
    before = dump(shop, state)
    chart = read(describe.to_mermaid(shop, state))
    assert dump(shop, state) == before
    _, loaded = load(type(shop), before)
    assert read(describe.to_mermaid(type(shop), loaded)) == chart
    return {chart.says(name): label.split("\n") for name, label in chart.boxes.items() if "●" in label}


def last(shop: Any, state: State) -> dict[str, str]:
    return {
        name: " ".join(lines[[line[0] == "●" for line in lines].index(True) :]) for name, lines in marks(shop, state).items()
    }


def on(shop: Shop, state: State, event: str, thread_id: str | None = None, hours: int = 1) -> None:
    for callback in describe.legal(shop, state).callbacks:
        if callback.event == event and thread_id in (None, callback.thread_id):
            handle_callback(callback.request, shop, state, now=START)
    resume(shop, state, now=START + hours * HOUR)


def test_a_step_that_is_tried_again_says_which_attempt_comes():
    shop, state = begin(fails=["charge"])
    assert last(shop, state) == {"charge": "● main, attempt 2 of 3"}


def test_a_join_says_how_far_its_branches_are():
    shop, state = begin()
    assert last(shop, state) == {"wait: courier": "● ship:0, ship:1", "join: ship": "● main, 0 of 3 done, 2 live"}
    on(shop, state, "taken", "ship:0")
    assert last(shop, state)["join: ship"] == "● main, 1 of 3 done, 2 live"


def test_a_branch_that_has_not_begun_stands_at_its_beginning():
    shop, state = begin()
    branch = state.threads[1]
    branch.status, branch.position, branch.events = type(branch.status)("Resuming"), "", []
    assert last(shop, state)["each of ship"] == "● ship:0, moving on"


def failed(**data: Any) -> tuple[Shop, State]:
    shop, state = begin(**data)
    for hours in range(2):
        on(shop, state, "taken", hours=hours)
    handle_callback("go", shop, state, now=START)
    resume(shop, state, now=START)
    return shop, state


def test_a_thread_on_its_way_out_says_so():
    shop, state = failed(fails=["refund"])
    assert last(shop, state) == {"charge": "● main, attempt 2 of 3, undoing"}
    for hours in range(1, 4):
        resume(shop, state, now=START + hours * HOUR)
    assert last(shop, state) == {"wait: log": "● main, in finally of pay"}
    chart = read(describe.to_mermaid(shop, state))
    assert [label.split("\n")[-1] for label in boxes(chart, "failed")] == ["✗ not undone"]


def test_a_run_that_has_failed_says_why_and_what_was_not_undone():
    shop, state = failed(fails=["refund"])
    for hours in range(1, 4):
        resume(shop, state, now=START + hours * HOUR)
    on(shop, state, "logged")
    chart = read(describe.to_mermaid(shop, state))
    assert chart.boxes["start"] == "Shop\nrun shop-1: Failed\ndeclined: no money"
    assert chart.classes["start"] == "failed"
    assert [name for name, kind in chart.classes.items() if kind == "failed"] == ["start", "n3"]
    assert not marks(shop, state)


def test_main_past_its_end_waits_for_the_others_and_says_so():
    @dataclass
    class Ends:
        def definition(self) -> Statement:
            return S(
                Go("g", Try("t", Wait("w", On("e"))).finally_(Wait("v", On("f")))),
                Wait("u", On("x")),
            )

    ends, state = Ends(), State.new("e-1", "Ends", START)
    resume(ends, state, now=START)
    handle_callback("x", ends, state, now=START)
    resume(ends, state, now=START)
    assert state.threads[0].position == "main"
    found = marks(ends, state)
    assert found["Ends"] == ["Ends", "run e-1: Waiting", "● main, ending"]
    assert found["wait: v"] == ["wait: v", "● g, in finally of t"]


@pytest.mark.parametrize("each", [ForEach("each", [1], step("a")), Map("m", [1], step("a"))], ids=["ForEach", "Map"])
def test_loops_and_maps_of_one_step_are_drawn(each: Any):
    assert drawn(each).ways()
