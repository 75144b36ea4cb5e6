"""Branches that the body of a Finally has started, when something tells the whole run to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowstmt import (
    Branch,
    Fail,
    Go,
    Join,
    Map,
    Parallel,
    S,
    Saga,
    Sleep,
    State,
    Statement,
    Step,
    Try,
    cancel,
    dump,
    load,
    resume,
)
from flowstmt.testing import START
from tests.core.orders import HOUR, workflow


def parallel(w: Any) -> Statement:
    return Parallel("all", Branch("a", Sleep("nap", 2 * HOUR), Step("one", w.say("a"))), Branch("b", Step("two", w.say("b"))))


def each(w: Any) -> Statement:
    return Map("all", ["a", "b"], Sleep("nap", 2 * HOUR), Step("one", w.log.append), into=lambda found: None)


def nested(w: Any) -> Statement:
    inner = Try("in", Step("b", w.say("b"))).finally_(
        Parallel("inner", Branch("c", Sleep("nap", 2 * HOUR), Step("a", w.say("a"))))
    )
    return Parallel("all", Branch("x", inner))


def by_cancel(w: Any, work: Statement) -> Statement:
    return S(Try("t").finally_(work), Step("end", w.say("end")))


def by_another_thread(w: Any, work: Statement) -> Statement:
    return S(Go("g", Sleep("late", HOUR), Fail("f", "no")), by_cancel(w, work))


def by_the_end_of_main(w: Any, work: Statement) -> Statement:
    return S(Go("g", Try("t").finally_(work), Step("end", w.say("end"))), Sleep("late", HOUR))


def by_a_saga(w: Any, work: Statement) -> Statement:
    inside = Go("g", Try("t").finally_(work), Step("end", w.say("end")))
    return Try("out", Saga("saga", inside, Sleep("late", HOUR), Fail("f", "no"))).catch("f", Join("j", "g"))


@pytest.mark.parametrize("work", [parallel, each, nested])
@pytest.mark.parametrize("end", [by_cancel, by_another_thread, by_the_end_of_main, by_a_saga])
def test_they_come_to_their_end_as_the_rest_of_the_body_does(
    work: Callable[[Any], Statement], end: Callable[[Any, Statement], Statement]
):
    """Told to end one by one, they left a join behind that was never decided, and a run that nobody could end."""
    cls = workflow(lambda w: end(w, work(w)))
    order, state = cls(), State.new("run-1", "Order", START)
    resume(order, state, now=START)
    if end is by_cancel:
        cancel(order, state, "no longer wanted", now=START)
    for hour in range(1, 4):
        order, state = load(cls, dump(order, state))
        resume(order, state, now=START + hour * HOUR)
    expected: dict[object, str] = {by_cancel: "Cancelled", by_another_thread: "Failed"}
    assert state.status == expected.get(end, "Finished")
    assert sorted(order.log) == ["a", "b"]
