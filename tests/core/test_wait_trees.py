"""Random trees of Waits in Waits, called and cancelled at random: nothing is left outside, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstmt import (
    ANY,
    Approval,
    Branch,
    CallbackRequest,
    CheckpointType,
    Every,
    Fail,
    FinalError,
    On,
    Parallel,
    S,
    Saga,
    Sleep,
    State,
    Statement,
    Step,
    Timeout,
    Try,
    Wait,
    cancel,
)
from flowstmt.core.open_waits import open_waits
from flowstmt.core.program import program_for
from flowstmt.testing import Harness
from tests.core.orders import nothing
from tests.core.styles import check_invariant

MINUTE = timedelta(minutes=1)

Make: TypeAlias = Callable[["Nest", Iterator[int]], Any]
"""Makes a statement of a workflow; the numbers make its names."""


@dataclass
class Nest:
    """What a random tree works on."""

    log: list[str] = field(default_factory=list)


class Desk:
    """Something outside, which knows what is set up there."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.calls = calls

    def setup(self, request: CallbackRequest) -> None:
        self.calls.append(("setup", request.name, request.birth, request.pc))

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        self.calls.append(("teardown", request.name, request.birth, request.pc))


CALLS: list[tuple[Any, ...]] = []
DESK = Desk(CALLS)


def step(work: Nest, numbers: Iterator[int]) -> Statement:
    name = f"step {next(numbers)}"
    return Step(name, lambda: work.log.append(name), compensate=lambda: work.log.append(f"undo {name}"))


def sleep(minutes: int) -> Make:
    return lambda work, numbers: Sleep(f"nap {next(numbers)}", minutes * MINUTE)


def fail(work: Nest, numbers: Iterator[int]) -> Statement:
    return Fail(f"fail {next(numbers)}", "gone")


def made(body: list[Make], work: Nest, numbers: Iterator[int]) -> list[Any]:
    return [make(work, numbers) for make in body]


def wait(cases: list[tuple[str, int, list[Make], bool]]) -> Make:
    def make(work: Nest, numbers: Iterator[int]) -> Statement:
        name, found = f"wait {next(numbers)}", list[Any]()
        for i, (kind, minutes, body, outside) in enumerate(cases):
            inside = made(body, work, numbers)
            if kind == "every":
                found.append(Every(f"every {i}", minutes * MINUTE, *inside))
            elif kind == "timeout":
                found.append(Timeout(f"timeout {i}", minutes * MINUTE, *inside))
            else:
                found.append(On(f"on {i}", None, *inside, stay=kind == "stay", via=DESK if outside else None))
        return Wait(name, *found)

    return make


def approval(parts: tuple[list[Make], list[Make], int]) -> Make:
    body, reminder, minutes = parts
    return lambda work, numbers: Approval(
        f"approval {next(numbers)}",
        ["ann", "bob"],
        *made(body, work, numbers),
        need=ANY,
        timeout=3 * minutes * MINUTE,
        remind=Every("remind", minutes * MINUTE, *made(reminder, work, numbers)),
    )


def around(parts: tuple[str, list[Make], list[Make]]) -> Make:
    kind, first, second = parts

    def make(work: Nest, numbers: Iterator[int]) -> Statement:
        name = f"{kind} {next(numbers)}"
        bodies = made(first, work, numbers), made(second, work, numbers)
        if kind == "saga":
            return Saga(name, *bodies[0])
        if kind == "parallel":
            return Parallel(name, Branch(f"{name} a", *bodies[0]), Branch(f"{name} b", *bodies[1]), join=ANY)
        return Try(name, *bodies[0]).catch(FinalError, *bodies[1]).finally_(Step(f"{name} end", nothing))

    return make


def nested(inner: st.SearchStrategy[Make]) -> st.SearchStrategy[Make]:
    body = st.lists(inner, min_size=1, max_size=2)
    kinds = st.sampled_from(["stay", "stay", "every", "on", "timeout"])
    return st.one_of(
        st.lists(st.tuples(kinds, st.integers(1, 6), body, st.booleans()), min_size=1, max_size=3).map(wait),
        st.tuples(body, body, st.integers(1, 4)).map(approval),
        st.tuples(st.sampled_from(["saga", "parallel", "try"]), body, body).map(around),
    )


LEAVES: st.SearchStrategy[Make] = st.one_of(st.just(step), st.integers(0, 5).map(sleep), st.just(fail))
TREES = st.lists(st.recursive(LEAVES, nested, max_leaves=16), min_size=1, max_size=3)
ACTS = st.lists(st.one_of(st.integers(1, 6), st.tuples(st.floats(0, 0.99), st.booleans())), max_size=20)


def play(body: list[Make], acts: list[Any], round_trip: bool) -> tuple[list[str], list[tuple[str, str, str]], str, int]:
    """A run that is called and given time as told, then cancelled if it is not over."""

    @dataclass
    class Work(Nest):
        def definition(self) -> Statement:
            return S(*made(body, self, count()), Step("end", nothing))

    CALLS.clear()
    harness: Harness[Any] = Harness(Work(), round_trip=round_trip, invariant=check_invariant)
    by_name = program_for(harness.workflow, "run")[0].by_name
    taken = 0
    harness.run()
    for act in acts:
        if isinstance(act, int):
            harness.advance(act * MINUTE)
            continue
        choice, resumes = act
        events = [request for thread in harness.state.threads for request in requests(by_name, thread)]
        if events:
            request = events[int(choice * len(events))]
            harness.deliver(request, {"who": "ann"} if request.name in ("approve", "reject") else None)
            taken += 1
            if resumes:
                harness.run()
    if not is_over(harness.state):
        cancel(harness.workflow, harness.state, reason="enough", now=harness.now)
        harness._save(CheckpointType.afterCallback)
    harness.run()
    harness.advance(60 * MINUTE)
    assert is_over(harness.state)
    return harness.workflow.log, harness.calls, str(harness.status), taken


def requests(by_name: Any, thread: Any) -> list[CallbackRequest]:
    """The callbacks that are taken for a thread."""
    if thread.status == "Ended":
        return []
    cases = [case for wait in open_waits(by_name, thread) for case in wait.children if case.kind is On]
    return [CallbackRequest(case.name, thread_id=thread.id) for case in cases]


def is_over(state: State) -> bool:
    return state.status in ("Finished", "Failed", "Cancelled")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES, ACTS)
def test_whatever_is_called_when_nothing_is_left_outside_and_a_reload_makes_no_difference(body: list[Make], acts: list[Any]):
    direct = play(body, acts, round_trip=False)
    set_up = sorted(call[1:] for call in CALLS if call[0] == "setup")
    torn_down = sorted(call[1:] for call in CALLS if call[0] == "teardown")
    assert len(torn_down) == len(set(torn_down))
    assert set(set_up) <= set(torn_down)
    assert play(body, acts, round_trip=True) == direct
