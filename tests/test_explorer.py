"""The explorer finds bugs that were planted, and says where; the harness does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowstmt import (
    CallbackError,
    CallbackRequest,
    CheckpointType,
    DefinitionError,
    Event,
    ForEach,
    Go,
    If,
    InvalidPayloadError,
    Join,
    NotWaitingError,
    On,
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
    current,
    dump,
    resume,
)
from flowstmt.testing import START, Advance, Callback, CrashError, Harness, Killed, NotDeterministicError, explore

HOUR = timedelta(hours=1)
PAID: Event[int, str] = Event("paid", int, str)


@dataclass
class Order:
    """Nothing wrong here: every kind of stop, two threads, something outside."""

    paid: int = 0
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Go("pack", ForEach("lines", ["tea", "milk"], Step("pack line", self.pack))),
            Wait("payment", On(PAID, self.pay, into="paid", via=Desk()), Timeout("late", HOUR, Return("late"))),
            WaitFor("money", lambda: self.paid > 0, self.count),
            Sleep("rest", HOUR),
            Join("packed", "pack"),
            Return(self.paid),
        )

    def pack(self, line: str) -> None:
        self.log.append(f"packed {line}")

    def pay(self, amount: int) -> str:
        return f"receipt for {amount}"

    def count(self) -> None:
        self.log.append("counted")


class Desk:
    def setup(self, request: CallbackRequest) -> str:
        return "open"

    def teardown(self, request: CallbackRequest, handled: bool) -> None: ...


SCRIPT: list[Callback | Advance] = [Callback(PAID, 5), Advance(HOUR)]


# --- the explorer ---


def test_a_sound_workflow_is_killed_before_and_after_everything():
    found = explore(Order, SCRIPT)
    assert found.undisturbed.result == 5
    for point in (
        "before save afterResume",
        "after save afterResume",
        "before save after the callback",
        "after save after the callback",
        "before setup at 'payment' (thread main)",
        "after the effect of setup at 'payment' (thread main)",
        "before handler at 'payment' (thread main)",
        "after the effect of handler at 'payment' (thread main)",
        "before teardown at 'payment' (thread main)",
        "after the effect of teardown at 'payment' (thread main)",
        "before action at 'money' (thread main)",
        "after the effect of action at 'pack line' (thread pack)",
    ):
        assert point in found.points
    assert len(found.points) == 2 * len(found.undisturbed.saves) + 2 * len(found.undisturbed.calls)


def test_a_script_of_time_only():
    found = explore(Order, [Advance(9 * HOUR)])
    assert found.undisturbed.result == "late"


def test_an_action_that_counts_outside_of_its_data_without_a_key_is_found():
    counts = {"n": 0}

    @dataclass
    class Counts:
        n: int = 0

        def definition(self) -> Statement:
            return S(Step("count", self.count), Step("after", lambda: None))

        def count(self) -> None:
            counts["n"] += 1
            self.n = counts["n"]

    def make() -> Counts:
        counts["n"] = 0
        return Counts()

    with pytest.raises(CrashError) as caught:
        explore(make)
    message = str(caught.value)
    assert "killed after the effect of action at 'count' (thread main)" in message
    assert "data: undisturbed {'n': 1}, after the crash {'n': 2}" in message
    for line in ("The trace of the killed run:", "call action at 'count'", "KILLED", "loaded revision 1", "save afterStep"):
        assert line in message


def test_one_that_counts_by_its_idempotency_key_is_sound():
    @dataclass
    class Counts:
        n: int = 0

        def definition(self) -> Statement:
            return S(*[Step(f"count {i}", self.count) for i in range(2)])

        def count(self) -> None:
            done: set[str] = current().deps
            done.add(current().idempotency_key)
            self.n = len(done)

    assert explore(Counts, deps=set).undisturbed.workflow.n == 2


def test_a_condition_that_reads_what_is_not_in_the_data_is_found():
    weather = {"asked": 0}

    @dataclass
    class Reads:
        went: bool = False

        def definition(self) -> Statement:
            return S(If("sunny", self.sunny, Step("go", self.go)).else_(Step("stay", lambda: None)))

        def sunny(self) -> bool:
            weather["asked"] += 1
            return weather["asked"] % 2 == 1

        def go(self) -> None:
            self.went = True

    def make() -> Reads:
        weather["asked"] = 0
        return Reads()

    with pytest.raises(CrashError, match=r"killed before save afterResume: data: undisturbed \{'went': True\}.*decisions"):
        explore(make)


def test_data_kept_in_a_transient_field_is_found():
    @dataclass
    class Forgets:
        total: int = 0
        price: int = field(default=0, metadata={"transient": True})

        def definition(self) -> Statement:
            return S(Step("ask", self.ask), Step("sum", self.sum))

        def ask(self) -> None:
            self.price = 7

        def sum(self) -> None:
            self.total += self.price

    with pytest.raises(CrashError, match=r"undisturbed \{'total': 7\}, after the crash \{'total': 0\}"):
        explore(Forgets)


def test_a_teardown_that_depends_on_memory_is_found():
    class Leaky:
        """Remembers in memory what it has set up: another process forgets to tear it down."""

        def __init__(self) -> None:
            self.mine: set[str] = set()

        def setup(self, request: CallbackRequest) -> None:
            self.mine.add(request.name)

        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            if request.name not in self.mine:
                raise LookupError("not mine")

    @dataclass
    class Leaks:
        via: Any = field(default_factory=Leaky, metadata={"transient": True})

        def definition(self) -> Statement:
            return Wait("w", On("e", via=self.via))

    with pytest.raises(CrashError, match="torn down"):
        explore(Leaks, [Callback("e")])


def test_an_outcome_that_depends_on_how_often_an_action_ran_is_found_in_the_result():
    runs: list[int] = []

    @dataclass
    class Tries:
        def definition(self) -> Statement:
            return S(Step("try", lambda: runs.append(1)), Return(lambda: len(runs)))

    def make() -> Tries:
        runs.clear()
        return Tries()

    with pytest.raises(CrashError, match="result: undisturbed 1, after the crash 2"):
        explore(make)


def test_a_run_that_cant_be_finished_after_a_crash_is_found():
    opened: list[int] = []

    @dataclass
    class Once:
        def definition(self) -> Statement:
            return Step("open", self.open)

        def open(self) -> None:
            if opened:
                raise FileExistsError("open already")
            opened.append(1)

    def make() -> Once:
        opened.clear()
        return Once()

    with pytest.raises(CrashError, match=r"finishing raised StepError: .*FileExistsError") as caught:
        explore(make)
    assert isinstance(caught.value.__cause__, StepError)


def test_a_workflow_that_fails_undisturbed_fails_as_it_is():
    @dataclass
    class Fails:
        def definition(self) -> Statement:
            return Step("divide", lambda: 1 / 0)

    with pytest.raises(StepError, match="ZeroDivisionError"):
        explore(Fails)


def test_an_invariant_is_checked_at_every_checkpoint_of_every_run():
    seen: list[int] = []

    def invariant(order: Order, state: Any) -> bool:
        seen.append(state.revision)
        return len(order.log) <= 3

    found = explore(Order, SCRIPT, invariant=invariant)
    assert len(seen) > len(found.points)


@pytest.mark.parametrize("how", ["returns False", "raises"])
def test_an_invariant_that_does_not_hold_is_an_error(how: str):
    def invariant(order: Order, state: Any) -> bool:
        if "counted" in order.log and how == "raises":
            raise AssertionError("counted too early")
        return "counted" not in order.log

    with pytest.raises(
        AssertionError, match="the invariant does not hold at save afterCondition" if how != "raises" else "too early"
    ):
        explore(Order, SCRIPT, invariant=invariant)


def test_an_invariant_that_a_crash_breaks_shows_the_trace():
    runs: list[int] = []

    @dataclass
    class Twice:
        def definition(self) -> Statement:
            return Step("run", lambda: runs.append(1))

    def make() -> Twice:
        runs.clear()
        return Twice()

    with pytest.raises(
        CrashError, match=r"finishing raised AssertionError: the invariant does not hold[\s\S]*KILLED after the effect"
    ):
        explore(make, invariant=lambda work, state: len(runs) < 2)


@pytest.mark.parametrize(
    ("callback", "error"),
    [
        (Callback("nope"), UnknownEventError),
        (Callback(PAID, "much"), InvalidPayloadError),
        (Callback(CallbackRequest("paid", pc=9), 1), StaleCallbackError),
    ],
)
def test_a_refused_callback_of_a_script_is_named_or_an_error(callback: Callback, error: type[Any]):
    with pytest.raises(error):
        explore(Order, [callback])
    explore(Order, [Callback(callback.request, callback.payload, refused=error), *SCRIPT])
    with pytest.raises(AssertionError, match="was accepted"):
        explore(Order, [Callback(PAID, 5, refused=error)])


@pytest.mark.usefixtures("odd_states")
def test_a_refused_callback_must_leave_the_run_as_it_was():
    class LooseError(NotWaitingError):
        """A refusal by somebody who has changed something that nobody puts back: the state."""

    @dataclass
    class Changes:
        state: list[Any] = field(default_factory=list, metadata={"transient": True})

        def definition(self) -> Statement:
            return Wait("w", On("e", self.handle))

        def handle(self) -> None:
            self.state[0].notes.append("touched")
            raise LooseError("no")

    works: list[Changes] = []

    def invariant(work: Changes, state: Any) -> None:
        work.state[:] = [state]
        works.append(work)

    with pytest.raises(AssertionError, match="was refused, but changed the run"):
        explore(Changes, [Callback("e", refused=LooseError)], invariant=invariant)


def test_callbacks_that_a_crash_lost_are_handed_in_again_and_those_that_were_saved_are_not():
    handled: list[str] = []

    @dataclass
    class Counts:
        n: int = 0

        def definition(self) -> Statement:
            return S(Wait("w", On("e", self.count)), Wait("v", On("f", self.count)))

        def count(self) -> None:
            handled.append(current().idempotency_key)
            self.n += 1

    found = explore(Counts, [Callback("e"), Callback("f")])
    assert found.undisturbed.workflow.n == 2
    assert len(set(handled)) == 2


def test_a_run_killed_on_the_way_of_an_advance_goes_on_at_the_instant_at_which_it_died():
    @dataclass
    class Ticks:
        at: list[datetime] = field(default_factory=list)

        def definition(self) -> Statement:
            return ForEach("ticks", range(3), Sleep("s", HOUR), Step("tick", self.tick))

        def tick(self, i: int) -> None:
            self.at.append(current().now)

    found = explore(Ticks, [Advance(5 * HOUR)])
    assert found.undisturbed.workflow.at == [START + (i + 1) * HOUR for i in range(3)]


def test_an_async_workflow_is_explored_too():
    @dataclass
    class Async(Order):
        async def pack(self, line: str) -> None:  # type: ignore[override] # what differs is under test
            self.log.append(f"packed {line}")

    assert explore(Async, SCRIPT).points == explore(Order, SCRIPT).points


# --- the harness ---


def test_a_harness_runs_and_tells_what_happened():
    harness = Harness(Order(), run_id="order-1", name="an order")
    assert harness.run() == "Waiting"
    assert harness.status == "Waiting"
    assert harness.result is None
    assert harness.now == START
    assert harness.callback(PAID, b"5") == "receipt for 5"
    assert harness.advance(HOUR) == "Finished"
    assert harness.result == 5
    assert harness.now == START + HOUR
    assert harness.workflow.log == ["packed tea", "packed milk", "counted"]
    assert harness.state.workflow == "an order"
    assert [kind for kind, _, _ in harness.calls] == ["setup", "action", "action", "handler", "teardown", "action"]
    assert all(key.startswith("order-1:") for _, _, key in harness.calls)
    assert [saved.kind for saved in harness.saves][:3] == [
        CheckpointType.afterResume,
        CheckpointType.afterSetup,
        CheckpointType.afterStep,
    ]
    assert CheckpointType.afterCallback in [saved.kind for saved in harness.saves]
    assert harness.snapshot == harness.saves[-1].snapshot == dump(harness.workflow, harness.state)
    assert [position for (thread, _, _), position in harness.decisions.items() if thread == "main"] == [
        "payment",
        "money",
        "rest",
    ]


def test_deliver_saves_but_does_not_run():
    harness = Harness(Order())
    harness.run()
    harness.deliver(PAID, 5)
    assert harness.state.status == "Resuming"
    assert harness.saves[-1].kind == CheckpointType.afterCallback
    assert "counted" not in harness.workflow.log
    harness.run()
    assert "counted" in harness.workflow.log


@pytest.mark.parametrize("round_trip", [False, True])
def test_a_refused_callback_is_in_the_trace_and_nothing_is_saved(round_trip: bool):
    harness = Harness(Order(), round_trip=round_trip)
    harness.run()
    count, before = len(harness.saves), harness.snapshot
    with pytest.raises(NotWaitingError):
        harness.callback(CallbackRequest("paid", thread_id="nobody"), 1)
    assert harness.trace[-2] == "callback paid"
    assert harness.trace[-1].startswith("refused: run 'run'")
    assert (len(harness.saves), harness.snapshot) == (count, before)


def test_what_a_handler_raises_is_no_refusal_and_passes():
    @dataclass
    class Raises:
        def definition(self) -> Statement:
            return Wait("w", On("e", self.handle))

        def handle(self) -> None:
            raise OSError("down")

    harness = Harness(Raises())
    harness.run()
    with pytest.raises(OSError, match="down"):
        harness.callback("e")


def test_advance_stops_at_each_instant_at_which_the_run_wants_to_wake():
    @dataclass
    class Ticks:
        at: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return S(
                Go("slow", ForEach("a", range(2), Sleep("s", 2 * HOUR), Step("slow tick", lambda: self.tick("slow")))),
                ForEach("b", range(4), Sleep("t", HOUR), Step("quick tick", lambda: self.tick("quick"))),
                Join("j", "slow"),
            )

        def tick(self, who: str) -> None:
            self.at.append(f"{who} {(current().now - START) // HOUR}")

    harness = Harness(Ticks())
    harness.run()
    assert harness.advance(HOUR / 2) == "Waiting"
    assert harness.now == START + HOUR / 2
    harness.advance_to(START + 24 * HOUR)
    assert sorted(harness.workflow.at) == ["quick 1", "quick 2", "quick 3", "quick 4", "slow 2", "slow 4"]
    assert harness.workflow.at[0] == "quick 1"
    assert harness.now == START + 24 * HOUR
    clocks = [line for line in harness.trace if line.startswith("clock")]
    assert len(clocks) == 6
    assert harness.advance_to(START) == "Finished"
    assert harness.now == START + 24 * HOUR


def test_reload_goes_on_with_what_was_saved_last():
    harness = Harness(Order())
    harness.run()
    work, state = harness.workflow, harness.state
    harness.reload()
    assert harness.workflow is not work
    assert harness.state is not state
    assert harness.workflow == work
    harness.workflow.log.append("never saved")
    harness.reload()
    assert harness.workflow == work
    harness.callback(PAID, 5)
    harness.advance(HOUR)
    assert harness.result == 5


def test_a_round_trip_finds_what_does_not_survive():
    @dataclass
    class Forgets:
        total: int = 0
        price: int = field(default=0, metadata={"transient": True})

        def definition(self) -> Statement:
            return S(Step("ask", self.ask), Step("sum", self.sum))

        def ask(self) -> None:
            self.price = 7

        def sum(self) -> None:
            self.total += self.price

    direct, loaded = Harness(Forgets()), Harness(Forgets(), round_trip=True)
    direct.run()
    loaded.run()
    assert (direct.workflow.total, loaded.workflow.total) == (7, 0)


def test_a_snapshot_that_does_not_dump_to_itself_is_an_error():
    harness = Harness(Order())
    harness.run()
    # As a field would whose type is not what its JSON is read as.
    harness.snapshot = harness.snapshot.replace(b'"format":1', b'"format": 1')
    with pytest.raises(AssertionError, match="a loaded snapshot dumps to another one"):
        harness.reload()


def test_a_round_trip_runs_step_by_step_and_leaves_the_same_saves():
    direct, loaded = Harness(Order()), Harness(Order(), round_trip=True)
    for harness in (direct, loaded):
        harness.run()
        assert harness.callback(PAID, 5) == "receipt for 5"
        harness.advance(HOUR)
    assert loaded.saves == direct.saves
    assert loaded.trace == direct.trace


def test_the_clock_starts_where_it_is_told_and_deps_are_handed_on():
    noon = datetime(2040, 1, 1, 12, tzinfo=UTC)
    seen: list[Any] = []

    @dataclass
    class Looks:
        def definition(self) -> Statement:
            return Step("look", lambda: seen.append((current().now, current().deps)))

    harness = Harness(Looks(), now=noon, deps=["deps"])
    harness.run()
    assert seen == [(noon, ["deps"])]


def test_a_probe_may_kill_and_nobody_can_do_anything_about_it():
    @dataclass
    class Stubborn:
        caught: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return Step("a", self.act)

        def act(self) -> None:
            self.caught.append("ran")

    labels: list[str] = []

    def probe(label: str) -> None:
        labels.append(label)
        if label.startswith("after the effect"):
            raise Killed(label)

    harness = Harness(Stubborn(), probe=probe)
    with pytest.raises(Killed):
        harness.run()
    assert labels == [
        "before save afterResume",
        "after save afterResume",
        "before action at 'a' (thread main)",
        "after the effect of action at 'a' (thread main)",
    ]
    assert not issubclass(Killed, Exception)
    harness.reload()
    assert harness.workflow.caught == []


def test_a_stop_that_changes_its_position_is_an_error():
    """Positions are decisions: once saved they stand."""
    harness = Harness(Order())
    harness.run()
    harness.decisions[next(iter(harness.decisions))] = "elsewhere"
    with pytest.raises(AssertionError, match="is 'payment', but was 'elsewhere'"):
        harness.callback(PAID, 5)


def test_a_definition_with_faults_is_told_by_the_first_run():
    @dataclass
    class Faulty:
        def definition(self) -> Statement:
            return S(Step("a", print), Step("a", print))

    with pytest.raises(DefinitionError, match="is taken"):
        Harness(Faulty()).run()


def test_the_invariant_gets_what_is_being_saved():
    seen: list[tuple[int, str]] = []
    harness = Harness(Order(), invariant=lambda order, state: seen.append((state.revision, str(state.status))))
    harness.run()
    assert [revision for revision, _ in seen] == [1, 2, 3, 4]


def test_a_condition_may_be_explored_with_a_callback_landing_anywhere():
    @dataclass
    class Races:
        vip: bool = False
        log: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return S(
                Go("promotion", Wait("p", On("promote", self.promote))),
                Wait("order", On("order")),
                If("vip", self.vip, Step("gift", self.note("gift"))).else_(Step("bill", self.note("bill"))),
            )

        def promote(self) -> None:
            self.vip = True

        def note(self, what: str) -> Callable[[], None]:
            return lambda: self.log.append(what)

    assert explore(Races, [Callback("order")]).undisturbed.workflow.log == ["bill"]
    assert explore(Races, [Callback("promote"), Callback("order")]).undisturbed.workflow.log == ["gift"]


def test_a_make_that_gives_one_object_twice_is_refused():
    one = Order()
    with pytest.raises(TypeError, match="make\\(\\) gave the same object twice"):
        explore(lambda: one)


def test_deps_that_are_no_function_are_refused():
    wrong: Any = 5
    with pytest.raises(TypeError, match="deps must be a function that makes them"):
        explore(Order, deps=wrong)


def test_what_a_script_raises_names_its_step():
    with pytest.raises(CallbackError) as caught:
        explore(Order, [Callback("nobody")])
    assert caught.value.__notes__ == ["explore: script[0], Callback(request='nobody', payload=None, refused=None)"]


def test_a_state_without_main_is_refused():
    with pytest.raises(StateError, match="run 'run-1' is Resuming, but has no thread 'main': make states with "):
        resume(Order(), State("run-1", "Order"))


# --- what is not the same each time ---


def odd(
    rounds: Callable[[int], int] = lambda play: 2,
    naps: Callable[[int], int] = lambda play: 1,
    value: Callable[[int], int] = lambda play: 0,
) -> Callable[[], Any]:
    """Makes workflows that depend on how many were made before."""
    plays: list[int] = []

    @dataclass
    class Odd:
        n: int = 0

        def definition(self) -> Statement:
            return ForEach("rounds", lambda: range(rounds(len(plays))), Step("count", self.count))

        async def count(self) -> None:
            for _ in range(naps(len(plays))):
                await asyncio.sleep(0)
            self.n = value(len(plays))

    def make() -> Odd:
        plays.append(1)
        return Odd()

    return make


def fails_in_play_3(play: int) -> int:
    if play == 3:
        raise LookupError("not today")
    return play


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (odd(rounds=lambda play: 1 if play == 9 else 2), "it ended before it came to \"before action at 'count' .* #2\""),
        (odd(value=lambda play: play), "data: first {'n': 1}, now {'n': 3}"),
        (odd(value=fails_in_play_3), "it went through first, and raises now: StepError: .*LookupError: not today"),
        (
            odd(value=lambda play: play % 2, naps=lambda play: 2 if play == 3 else 1),
            "where it came to .after the effect of action .* first, it comes to .at await 2 of action",
        ),
    ],
    ids=["ends early", "differs", "raises", "suspends more often"],
)
def test_a_difference_that_no_crash_has_made_is_told_as_such(make: Callable[[], Any], told: str):
    with pytest.raises(NotDeterministicError, match=r"^make\(\), deps\(\) or an action is not deterministic: .*" + told):
        explore(make)


def test_a_shorter_script_that_is_not_deterministic_is_none():
    naps: list[int] = []

    @dataclass
    class Restless:
        calm: bool = False
        n: int = 0

        def definition(self) -> Statement:
            return S(
                Wait("mood", On("calm", into="calm"), On("go")), If("calm", self.calm, Wait("w", On("go"))), Step("a", self.act)
            )

        async def act(self) -> None:
            naps.append(1)
            for _ in range(1 if self.calm else len(naps)):
                await asyncio.sleep(0)
            self.n = current().deps.pop()

    script = [Callback("calm", True), Callback("go")]
    with pytest.raises(CrashError, match=r"""Callback\("calm", True\),\n +Callback\("go"\),\n +\]"""):
        explore(Restless, script, deps=lambda: [1, 2])
