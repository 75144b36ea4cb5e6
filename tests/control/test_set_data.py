"""Data changed from outside, and attempts made at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from flowstmt import (
    ControlError,
    EventStatus,
    On,
    Retry,
    S,
    SetupError,
    Sleep,
    State,
    Statement,
    Step,
    ThreadStatus,
    Wait,
    WaitFor,
    When,
    cancel,
    dump,
    load,
    pause,
    resume,
    retry_now,
    set_data,
)
from tests.control.acting import NOW, go_on, workflow_class

HOUR = timedelta(hours=1)


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(1)


@dataclass
class Order:
    total: int = 0
    due: date | None = None
    lines: list[Line] = field(default_factory=list)
    client: Any = field(default=None, metadata={"transient": True})

    def __post_init__(self) -> None:
        if self.total > 1000:
            raise ValueError("too much")

    def definition(self) -> Statement:
        return S(WaitFor("enough", self.total > 10), Step("ship", lambda: None))


class Model(BaseModel):
    total: int = 0

    def definition(self) -> Statement:
        return WaitFor("enough", self.total > 10)


def started(cls: Any = Order) -> tuple[Any, State]:
    order, state = cls(), State.new("run", cls.__name__, NOW)
    resume(order, state, now=NOW)
    return order, state


def test_fields_are_set_and_the_run_is_due():
    order, state = started()
    revision = state.revision
    set_data(order, state, {"total": 11, "lines": [{"sku": "tea", "price": "2.5"}], "due": "2030-02-01"}, by="ann", now=NOW)
    assert (order.total, order.lines, order.due) == (11, [Line("tea", Decimal("2.5"))], date(2030, 2, 1))
    assert (state.revision, str(state.status), state.wake_at) == (revision + 1, "Resuming", NOW)
    assert resume(order, state, now=NOW) == "Finished"


def test_the_note_says_which_fields_and_not_what_they_held():
    order, state = started()
    set_data(order, state, {"total": 5, "due": None}, by="ann", reason="a mistake", now=NOW)
    assert state.notes == [{"note": "changed", "at": NOW.isoformat(), "by": "ann", "what": "total, due", "reason": "a mistake"}]


def test_values_become_what_a_reload_would_give():
    order, state = started()
    set_data(order, state, {"lines": [Line("tea")], "due": date(2030, 1, 2)}, now=NOW)
    again, _ = load(Order, dump(order, state))
    assert again == order


def test_a_run_whose_wait_asks_a_condition_is_due():
    work = workflow_class(lambda w: Wait("w", On("e"), When("many", lambda: w.n > 1)))()
    state = State.new("run", "Work", NOW)
    resume(work, state, now=NOW)
    set_data(work, state, {"n": 2}, now=NOW)
    assert (str(state.status), state.wake_at) == ("Resuming", NOW)
    assert resume(work, state, now=NOW) == "Finished"


def test_a_pydantic_model_is_changed_as_well():
    model, state = started(Model)
    set_data(model, state, {"total": 11}, now=NOW)
    assert resume(model, state, now=NOW) == "Finished"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"totl": 1}, r"Order: 'totl' is no field \(did you mean 'total'\?\)"),
        ({"weight": 1}, r"Order: 'weight' is no field\."),
        ({"client": 1}, "Order: 'client' is transient, and not saved"),
        ({"total": "many"}, "Order: 'total': not of type int: Input should be a valid integer"),
        ({"total": 5, "due": 3.5, "lines": [{}]}, "Order: 'due': not of type .*; 'lines': not of type .*0.sku: Field required"),
        ({"due": object()}, "Order: 'due': Unable to serialize unknown type"),
        ({"total": 1001}, "Order can't be made from its saved data: its __init__ or __post_init__ raised ValueError: too much"),
        ({}, "changes must be fields and their values, not an empty dict"),
        ([("total", 1)], "changes must be fields and their values, not a list"),
        ({1: 1}, "Order: 1 is no field"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(changes, why):
    order, state = started()
    before = dump(order, state)
    with pytest.raises(ControlError, match=f"run 'run': set_data refused: {why}"):
        set_data(order, state, changes)
    assert dump(order, state) == before
    assert order == Order()


def test_a_field_without_a_value_has_none_after_a_refusal():
    order, state = started()
    del order.lines
    with pytest.raises(ControlError, match="too much"):
        set_data(order, state, {"total": 1001, "lines": []})
    assert "lines" not in vars(order)


def test_nobody_changes_the_data_of_a_run_that_is_over():
    order, state = started()
    order.total = 11
    assert resume(order, state, now=NOW) == "Finished"
    with pytest.raises(ControlError, match="the run is Finished, and has to be Resuming or Waiting or Paused"):
        set_data(order, state, {"total": 1})


# --- retry_now ---


def trying(w):
    return S(Step("a", w.fail, retry=Retry(max_attempts=3, initial=HOUR, max_delay=HOUR)), Sleep("nap", HOUR))


def test_the_next_attempt_is_made_at_once():
    work, state = started(workflow_class(trying))
    assert state.wake_at == NOW + HOUR
    revision = state.revision
    retry_now(work, state, by="ann", reason="the bank is back", now=NOW)
    main = state.threads[0]
    assert (main.status, main.attempt, main.due_at) == (ThreadStatus.Executing, 2, None)
    assert (str(state.status), state.wake_at, state.revision) == ("Resuming", NOW, revision + 1)
    assert state.notes == [
        {
            "note": "retried",
            "at": NOW.isoformat(),
            "by": "ann",
            "what": "main WaitingTime at 'a', attempt 2",
            "reason": "the bank is back",
        }
    ]
    resume(work, state, now=NOW)
    assert main.attempt == 3
    retry_now(work, state, "main", now=NOW)
    assert resume(work, state, now=NOW) == "Failed"


def test_a_paused_run_tries_again_when_it_is_unpaused():
    work, state = started(workflow_class(trying))
    pause(work, state, now=NOW)
    retry_now(work, state, now=NOW)
    assert (str(state.status), state.wake_at) == ("Paused", None)


def test_a_sleep_is_no_backoff():
    work, state = started(workflow_class(lambda w: Sleep("nap", HOUR)))
    before = dump(work, state)
    with pytest.raises(ControlError, match="run 'run': retry_now refused: nothing waits for another attempt"):
        retry_now(work, state)
    with pytest.raises(ControlError, match="retry_now refused: nothing of a thread 'nobody' waits for another attempt"):
        retry_now(work, state, "nobody")
    assert dump(work, state) == before


class Broken:
    """Something outside that does not work."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts

    def setup(self, request):
        if "setup" in self.parts:
            raise OSError("down")

    def teardown(self, request, handled):
        if "teardown" in self.parts:
            raise OSError("down")


def test_a_setup_that_failed_is_due_at_once():
    broken = Broken(["setup"])
    cls = workflow_class(lambda w: Wait("w", On("e", via=broken)))
    work, state = cls(), State.new("run", "Work", NOW)
    with pytest.raises(SetupError):
        resume(work, state, now=NOW)
    assert state.wake_at == NOW + timedelta(seconds=1)
    retry_now(work, state, now=NOW)
    assert (state.wake_at, state.notes[0]["what"]) == (NOW, "setup of event 'e' of Wait 'w'")
    broken.parts.clear()
    resume(work, state, now=NOW)
    assert state.threads[0].events[0].status is EventStatus.Setup


def test_a_teardown_that_failed_is_due_at_once_also_when_the_run_is_over():
    broken = Broken(["teardown"])
    cls = workflow_class(lambda w: Wait("w", On("e", via=broken)))
    work, state = started(cls)
    cancel(work, state, "enough", now=NOW)
    assert resume(work, state, now=NOW) == "Cancelled"
    assert state.wake_at == NOW + timedelta(seconds=1)
    retry_now(work, state, "main", now=NOW)
    assert (state.wake_at, str(state.status)) == (NOW, "Cancelled")
    assert state.notes[-1]["what"] == "teardown of event 'e' of Wait 'w'"
    broken.parts.clear()
    assert resume(work, state, now=NOW) == "Cancelled"
    assert not state.threads
    assert state.wake_at is None


def test_a_compensation_in_its_backoff_is_tried_again_at_once():
    def tree(w):
        a = Step("a", w.say("a"), compensate=w.fail, retry=Retry(max_attempts=2, initial=HOUR))
        return S(a, Wait("w", On("e")))

    work, state = started(workflow_class(tree))
    cancel(work, state, "enough", now=NOW)
    resume(work, state, now=NOW)
    assert (state.threads[0].position, state.threads[0].attempt) == ("a:compensate", 2)
    retry_now(work, state, now=NOW)
    assert go_on(type(work), dump(work, state)).status == "Cancelled"
