"""A definition as a flowchart: all its ways, and where a run stands on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstmt import (
    Break,
    Case,
    Continue,
    Default,
    Fail,
    For,
    ForEach,
    Go,
    If,
    Join,
    Map,
    On,
    Parallel,
    PositionError,
    Return,
    S,
    Saga,
    Scope,
    Sleep,
    State,
    StateError,
    Step,
    Switch,
    Timeout,
    Try,
    Wait,
    WaitFor,
    describe,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.core.nodes import STOPS, Compensation, Node, RunEnd
from flowstmt.core.program import program_for
from tests.core.styles import STYLES, play, workflow_class
from tests.core.styles import Case as CoreCase
from tests.core.test_cases import CASES
from tests.describe.charts import Chart, read
from tests.meaning.flows import Player, expected
from tests.meaning.test_meaning import ANY, EXAMPLES, SCRIPTS, STARTS, thorough

HOUR = timedelta(hours=1)


def drawn(tree: Any) -> Chart:
    return read(describe.to_mermaid(tree))


def step(name: str = "work") -> Step:
    return Step(name, print)


def test_steps_follow_each_other():
    chart = drawn(S(step("a"), S(S(), step("b"))))
    assert chart.ways() == {("definition", "", "a"), ("a", "", "b"), ("b", "", "end")}


def test_an_empty_definition_goes_to_its_end():
    assert drawn(S()).ways() == {("definition", "", "end")}


def test_an_if_has_a_yes_and_a_no():
    chart = drawn(S(If("paid", True, step("ship")), If("is it late?", True, step("hurry")).else_(step("rest"))))
    assert chart.ways() == {
        ("definition", "", "paid?"),
        ("paid?", "yes", "ship"),
        ("paid?", "no", "is it late?"),
        ("ship", "", "is it late?"),
        ("is it late?", "yes", "hurry"),
        ("is it late?", "no", "rest"),
        ("hurry", "", "end"),
        ("rest", "", "end"),
    }


def test_more_branches_are_named():
    chart = drawn(S(If("paid", True, step("ship")).else_if("free", True, step("gift")), step("done")))
    assert {way for way in chart.ways() if way[0] == "If"} == {
        ("If", "paid", "ship"),
        ("If", "free", "gift"),
        ("If", "else", "done"),
    }
    chart = drawn(Switch(Case("one", True, step("a")), Case("two", True), Default(step("b"))))
    assert {way for way in chart.ways() if way[0] == "Switch"} == {
        ("Switch", "one", "a"),
        ("Switch", "two", "end"),
        ("Switch", "else", "b"),
    }


def test_loops_are_closed_and_jumps_lead_where_they_go():
    chart = drawn(
        S(
            For("tries", step("try"), If("ok", True, Break()).else_if("odd", True, Continue())),
            For("more", True, step("next")),
            ForEach("lines", [], step("pack"), If("full", True, Break())),
        )
    )
    assert chart.ways() == {
        ("definition", "", "loop: tries"),
        ("loop: tries", "", "try"),
        ("try", "", "If"),
        ("If", "ok, Break", "while: more"),
        ("If", "odd, Continue", "loop: tries"),
        ("If", "else", "loop: tries"),
        ("while: more", "yes", "next"),
        ("next", "", "while: more"),
        ("while: more", "no", "for each: lines"),
        ("for each: lines", "next item", "pack"),
        ("pack", "", "full?"),
        ("full?", "yes, Break", "end"),
        ("full?", "no", "for each: lines"),
        ("for each: lines", "no more", "end"),
    }


def test_a_jump_right_behind_a_statement_is_written_at_its_arrow():
    chart = drawn(S(For("x", S(step("a"), S(), Scope("s", Break()))), step("after")))
    assert ("a", "Break", "after") in chart.ways()
    assert ("loop: y", "Break", "end") in drawn(For("y", Break(), step())).ways()
    assert ("for each: z", "next item, Continue", "for each: z") in drawn(ForEach("z", [], Continue())).ways()


def test_a_return_is_an_end_of_its_own():
    chart = drawn(S(If("late", True, Return("too late")), Return()))
    assert ("late?", "yes", "Return 'too late'") in chart.ways()
    assert ("late?", "no", "Return") in chart.ways()
    assert "done" not in chart.boxes
    assert drawn(Return(lambda: 1)).boxes["n0"] == "Return a value"
    assert drawn(Return(Shop.number)).boxes["n0"] == "Return number"


def test_events_and_timeouts_are_boxes_of_their_own():
    class Page:
        def setup(self, request): ...

    tree = For(
        "cart",
        Wait(
            "choice",
            On("add", step("count")),
            On("submit", None, Break(), into="order", via=Page()),
            Timeout("too late", 3 * HOUR, Return()),
            Timeout("new year", datetime(2030, 1, 1, tzinfo=UTC)),
            Timeout("computed", lambda: HOUR),
        ),
    )
    chart = drawn(tree)
    waits = next(name for name, label in chart.boxes.items() if label == "wait: choice")
    assert [chart.boxes[target] for source, target in chart.dotted if source == waits] == [
        "add",
        "submit\ninto order\nvia Page",
        "too late\nafter 3 hours",
        "new year\nuntil 2030-01-01\n00:00:00+00:00",
        "computed\nafter some time",
    ]
    assert ("add", "", "count") in chart.ways()
    assert ("submit", "Break", "end") in chart.ways()
    assert ("too late", "", "Return") in chart.ways()
    assert ("new year", "", "loop: cart") in chart.ways()


def dawn() -> datetime:
    return datetime(2030, 1, 1, 6, tzinfo=UTC)


def test_other_stops_say_what_they_wait_for():
    chart = drawn(
        S(
            WaitFor("paid", True),
            Sleep("nap", 1.5 * HOUR),
            Sleep("till dawn", dawn),
            Step("fetch", print, into="page", concurrent=True),
        )
    )
    assert set(chart.boxes.values()) >= {
        "wait until: paid",
        "sleep: nap\n1 hour 30 minutes",
        "sleep: till dawn\ndawn",
        "fetch\ninto page\nconcurrent",
    }


def test_threads_are_drawn_apart_and_lead_to_their_join():
    tree = S(
        ForEach("lines", [1], Go("ship", step("pack"), If("lost", True, Return()), id=lambda: 1)),
        Join("shipped", "ship"),
    )
    chart = drawn(tree)
    [go] = [name for name, label in chart.boxes.items() if label.startswith("start ship")]
    begins = go.replace("n", "b")
    frame = (go.replace("n", "t"),)
    assert {chart.says(name) for name, frames in chart.frames.items() if frames == frame} == {
        "thread ship",
        "pack",
        "lost?",
        "Return",
        "end",
    }
    assert (go, begins) in chart.dotted
    assert ("start ship", "", "for each: lines") in chart.ways()
    assert {(chart.says(source), chart.says(target)) for source, target in chart.dotted if source not in (go, begins)} == {
        ("end", "join: shipped"),
        ("Return", "join: shipped"),
    }


def test_a_join_that_waits_for_a_thread_without_an_end_has_no_arrow_from_it():
    chart = drawn(S(Go("ever", For("x", step())), Go("other", step("o")), Join("j", "ever")))
    assert {chart.says(source) for source, _ in chart.dotted} == {"start ever", "start other"}


def test_scopes_are_frames():
    chart = drawn(S(Scope("gift", step("wrap"), Scope("inner", step("bow"))), Scope("nothing", S())))
    frames = {chart.says(name): frames for name, frames in chart.frames.items()}
    assert frames["gift/wrap"] == ("s1",)
    assert frames["gift/inner/bow"] == ("s1", "s3")
    assert len({frame for each in chart.frames.values() for frame in each}) == 2


def test_what_is_never_reached_looks_so():
    chart = drawn(S(For("x", step("a"), Break(), step("never")), Return(), Wait("too", On("e"))))
    assert {chart.says(name) for name, kind in chart.classes.items() if kind == "unreached"} == {"never", "wait: too", "e"}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("end", "end"),
        ("subgraph", "subgraph"),
        ('say "yes" [now] (or) {no} |', 'say "yes" [now] (or) {no} |'),
        ("<b>&amp; #35; `t` %%{init}", "<b>&amp; #35; `t` %%{init}"),
        ("back\\n $$x$$", "back\\n $$x$$"),
        ("日本語 💥 ünï", "日本語 💥 ünï"),
        ("1. first", "1. first"),
        ("- dash", "- dash"),
        ("*bold* _it_ __init__", "*bold* _it_ __init__"),
        ("--> o---o ==>", "--> o---o ==>"),
        ("\u202eright to left", "\\u202eright to left"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("a" * 60, "a" * 28 + "\n" + "a" * 28 + "\naaaa"),
        (" ", "\xa0"),
    ],
)
def test_any_name_comes_out_as_it_is(name, seen):
    chart = drawn(S(Step(name, print), If(name + "!", True, step()), Wait(f"w{name}", On(name)), Go(f"go {name}")))
    assert chart.boxes["n1"] == seen


@given(name=st.text(min_size=1))
def test_no_name_breaks_a_chart(name):
    name = name.replace("/", "").replace(":", "").encode("utf-8", "ignore").decode() or "x"
    if name != "main":
        drawn(
            S(Step(name, print), Switch(Case(f"c{name}", True, step())), Wait(f"w{name}", On(name), Timeout(f"t{name}", HOUR)))
        )


# --- positions ---


@dataclass
class Shop:
    lines: list[int] = field(default_factory=list)
    open: bool = False

    def definition(self):
        return S(
            Wait("order", On("ordered", into="lines"), Timeout("late", HOUR, Return("late"))),
            ForEach("parcels", self.lines, Go("ship", Wait("courier", On("taken")), id=self.number)),
            Step("note", print),
            Join("shipped", "ship"),
            Return("all shipped"),
        )

    def number(self, line: int) -> int:
        return line


def begin(lines: int | None = None, max_steps: int = 10) -> tuple[Shop, State]:
    shop, state = Shop(), State.new("shop-1", "Shop", datetime(2030, 1, 1, tzinfo=UTC))
    if lines is not None:
        resume(shop, state, now=datetime(2030, 1, 1, tzinfo=UTC))
        handle_callback("ordered", shop, state, list(range(lines)))
        resume(shop, state, max_steps=max_steps)
    return shop, state


def marks(shop: Any, state: State) -> dict[str, str]:
    before = dump(shop, state)
    found = read(describe.to_mermaid(shop, state)).marked()
    assert dump(shop, state) == before
    return found


def test_positions_are_marked():
    shop, state = begin()
    assert marks(shop, state) == {"Shop": "● main, moving on"}
    resume(shop, state)
    assert marks(shop, state) == {"wait: order": "● main"}
    handle_callback("ordered", shop, state, [1, 2])
    assert marks(shop, state) == {"ordered": "● main, moving on"}


def test_several_threads_at_one_place_are_named_or_counted():
    assert marks(*begin(2)) == {"wait: courier": "● ship:0, ship:1", "join: shipped": "● main"}
    assert marks(*begin(5)) == {"wait: courier": "● 5 threads", "join: shipped": "● main"}


def test_threads_that_have_not_begun_stand_at_their_beginning():
    shop, state = begin(1, max_steps=0)
    [thread] = [thread for thread in state.threads if thread.id == "ship:0"]
    thread.status, thread.position, thread.events = type(thread.status)("Resuming"), "", []
    assert marks(shop, state)["thread ship"] == "● ship:0, moving on"


def test_a_run_that_is_over_says_so_and_what_came_of_it():
    shop, state = begin(0)
    chart = read(describe.to_mermaid(shop, state))
    assert chart.boxes["start"] == "Shop\nrun shop-1: Finished\nresult 'all shipped'"
    assert chart.classes == {"start": "over"}


def test_a_thread_that_has_ended_stands_nowhere():
    class Sticky:
        def teardown(self, request, handled):
            raise OSError("not today")

    @dataclass
    class Two:
        def definition(self):
            return S(Go("short", Wait("w", On("e", via=Sticky()))), Sleep("long", HOUR))

    two, state = Two(), State.new("t-1", "Two")
    resume(two, state)
    handle_callback("e", two, state)
    resume(two, state)
    assert [thread.status for thread in state.threads] == ["WaitingTime", "Ended"]
    assert marks(two, state) == {"sleep: long": "● main"}


def test_a_class_and_a_loaded_state_are_enough():
    shop, state = begin(2)
    _, loaded = load(Shop, dump(shop, state))
    assert describe.to_mermaid(Shop, loaded) == describe.to_mermaid(Shop, state)


def test_old_names_are_found_under_the_new_ones():
    @dataclass
    class Before:
        def definition(self):
            return Wait("once", On("fired"))

    @dataclass
    class After:
        def definition(self):
            return Wait("now", On("fires", was=("fired",)), was=("once",))

    before, state = Before(), State.new("r", "Before")
    resume(before, state)
    assert marks(After(), state) == {"wait: now": "● main"}
    handle_callback("fired", before, state)
    assert marks(After(), state) == {"fires": "● main, moving on"}
    assert state.threads[0].position == "once"


def test_a_position_that_the_definition_has_not_is_refused():
    shop, state = begin(2)
    state.threads[0].position = "lost"
    with pytest.raises(PositionError, match="position 'lost'"):
        describe.to_mermaid(shop, state)
    with pytest.raises(StateError, match="expected a State"):
        describe.to_mermaid(shop, "state")  # type: ignore[arg-type]


# --- what is drawn is what happens ---


class Walker:
    """Holds each move that a run makes from stop to stop against the arrows of its chart.

    A move is taken along the arrows, or out of what a Try guards: from its box to a catch or its finally. Where a thread undoes
    steps, or waits until it may, it is on its way out of where it stood before.
    """

    def __init__(self) -> None:
        self.stands: dict[str, tuple[int, str]] = {}
        self.checked = 0
        self.chart: Chart | None = None

    def look(self, workflow: Any, state: State) -> None:
        program, _ = program_for(workflow, "")
        if self.chart is None:
            self.chart = read(describe.to_mermaid(workflow))
        for thread in state.threads:
            if thread.status == "Ended" or not thread.position:
                continue
            node = program.by_name[thread.position]
            begins = "start" if thread.name == "main" else f"b{program.by_name[thread.name].index}"
            pc, before = self.stands.get(thread.birth, (0, begins))
            target = f"n{node.index}"
            if node.kind in (Compensation, RunEnd, Saga):
                target = before
            elif thread.pc == pc + 1:
                self.checked += 1
                assert self.leads(self.chart, program.nodes, before, target), f"{before} to {thread.position}"
            self.stands[thread.birth] = (thread.pc, target)

    def leads(self, chart: Chart, nodes: list[Node], source: str, target: str) -> bool:
        """Whether a way leads from box to box without passing by a place where threads stop."""
        stays = {node.parent.name for node in nodes if node.stays and node.parent is not None}
        # From the end of a case that stays a thread goes by its Wait, if a callback has come meanwhile.
        stops = {f"n{node.index}" for node in nodes if node.kind in STOPS and node.name not in stays}
        apart = {f"n{node.index}" for node in nodes if node.kind in (Go, Parallel, Map)}
        guards = {f"n{node.index}" for node in nodes if node.kind is Try}
        fails = {f"n{node.index}" for node in nodes if node.kind in STOPS}
        fails |= {f"n{node.index}" for node in nodes if node.kind in (Fail, For)}
        arrows: dict[str, set[str]] = {}
        for one, _, other in chart.arrows:
            arrows.setdefault(one, set()).add(other)
        for one, other in chart.dotted:
            if one not in apart | guards:  # that is another thread's way, or that of a failure
                arrows.setdefault(one, set()).add(other)
        for node in nodes:  # past a fork, a thread goes on where its branches meet
            if node.kind in (Parallel, Map):
                arrows[f"n{node.index}"] = {f"j{node.index}"}
        aside: dict[str, set[str]] = {guard: {other for one, other in chart.dotted if one == guard} for guard in guards}
        todo, seen = [source], {source}
        while todo:
            box = todo.pop()
            onwards = set(arrows.get(box, ()))
            if box in fails:
                for frame in chart.frames[box]:
                    onwards |= aside.get(frame.replace("s", "n"), set())
            for reached in onwards:
                if reached == target:
                    return True
                if reached not in seen and reached not in stops:
                    seen.add(reached)
                    todo.append(reached)
        return False


class Watched(Player):
    walker: Walker

    def _save(self, kind: str) -> None:
        super()._save(kind)
        self.walker.look(self.w, self.state)
        if kind == "callback" and self.state.status != "Finished":
            assert read(describe.to_mermaid(self.w, self.state)).marked()


@settings(thorough, max_examples=EXAMPLES or 40)
@given(tree=ANY, start=STARTS, script=SCRIPTS, style=st.sampled_from(("instance", "class")))
def test_runs_go_along_the_arrows(tree, start, script, style):
    says = expected(tree, start, script)
    player = Watched(tree, start, style)
    player.walker = Walker()
    player.play(says.calls, says.stuck)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_so_does_every_case(case: CoreCase, style: str):
    walker = Walker()

    def look(work: Any, state: State) -> None:
        walker.look(work, state)
        live = [thread for thread in state.threads if thread.status != "Ended"]
        assert bool(read(describe.to_mermaid(work, state)).marked()) is bool(live)

    play(case, style, invariant=look)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_chart_of_a_case_is_one_in_every_style(case: CoreCase):
    charts = {style: describe.to_mermaid(workflow_class(case.tree, style)(**case.start)) for style in STYLES}
    for chart in charts.values():
        read(chart)
    assert charts["class"].count("-->") == charts["bound"].count("-->") == charts["plain"].count("-->")
