"""Which callbacks are refused, why, what would be taken instead, and that a refused one changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import (
    AmbiguousCallbackError,
    CallbackError,
    CallbackRequest,
    DefinitionError,
    Event,
    ForEach,
    Go,
    InvalidPayloadError,
    Join,
    NotWaitingError,
    On,
    PositionError,
    RefusedError,
    S,
    StaleCallbackError,
    State,
    StateError,
    Step,
    Timeout,
    UnknownEventError,
    Wait,
    WaitFor,
    WorkflowFinishedError,
    current,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.testing import START

HOUR = timedelta(hours=1)
SHIP: Event[int, str] = Event("ship", int, str)


@dataclass
class Desk:
    """Two threads that wait for one event, and a main that waits for others."""

    log: list[str] = field(default_factory=list)
    paid: int = 0
    open: bool = True

    def definition(self):
        return S(
            ForEach("lines", ["p", "q"], Go("line", Wait("picking", On("picked", self.picked)), id=lambda line: line)),
            Wait(
                "order",
                On("pay", self.pay, into="paid"),
                On("cancel", self.cancel),
                On("count"),
                Timeout("late", HOUR),
            ),
            Step("thank", lambda: self.log.append("thanks")),
            Wait("end", On(SHIP, self.ship)),
        )

    def picked(self, payload, line: str):
        self.log.append(f"picked {line}")
        return line

    def pay(self, amount: int):
        self.log.append("paid")
        return f"receipt for {amount}"

    def cancel(self):
        if self.open:
            raise RefusedError("not your turn")
        self.log.append("cancelled")

    def ship(self, count):
        self.log.append(f"shipped {count}")


@dataclass
class Run:
    work: Any
    state: State

    def refused(self, request: Any, payload: Any = None, now: Any = START) -> CallbackError:
        before = dump(self.work, self.state)
        with pytest.raises(CallbackError) as caught:
            handle_callback(request, self.work, self.state, payload, now=now)
        assert dump(self.work, self.state) == before
        # Nor does it change what is loaded from there, in a state that was never resumed here.
        work, state = load(type(self.work), before)
        with pytest.raises(type(caught.value)) as again:
            handle_callback(request, work, state, payload, now=now)
        assert dump(work, state) == before
        assert str(again.value) == str(caught.value)
        # A handler's own refusal passes as it is.
        assert isinstance(caught.value, RefusedError) or str(caught.value).startswith(f"run {self.state.run_id!r}: ")
        return caught.value

    def take(self, request: Any, payload: Any = None) -> Any:
        return handle_callback(request, self.work, self.state, payload, now=START)

    def resume(self) -> Run:
        resume(self.work, self.state, now=START)
        return self


@pytest.fixture
def run() -> Run:
    return Run(Desk(), State.new("run-1", "Desk", START)).resume()


OPEN = "It would take: 'pay' (thread 'main', pc 1), 'cancel' (thread 'main', pc 1), 'count' (thread 'main', pc 1)"


def test_an_event_that_the_definition_does_not_have_is_unknown(run: Run):
    error = run.refused("payed")
    assert type(error) is UnknownEventError
    for part in ("run 'run-1'", "Desk has no event 'payed'", "'picked', 'pay', 'cancel', 'count', 'ship'"):
        assert part in str(error)
    assert "late" not in str(error)


def test_a_definition_without_events_says_none():
    @dataclass
    class Silent:
        def definition(self):
            return WaitFor("c", lambda: False)

    error = Run(Silent(), State.new("r", "Silent", START)).resume().refused("x")
    assert type(error) is UnknownEventError
    assert "it has none" in str(error)


def test_a_timeout_cant_be_called(run: Run):
    error = run.refused("late")
    assert type(error) is UnknownEventError
    assert "'late' is a Timeout: time fires it" in str(error)
    assert OPEN in str(error)


def test_a_name_that_is_a_timeout_here_and_an_event_there_can_be_called_there():
    @dataclass
    class Both:
        def definition(self):
            return S(Wait("w", On("go"), Timeout("end", HOUR)), Wait("v", On("end")))

    run = Run(Both(), State.new("r", "Both", START)).resume()
    assert type(run.refused("end")) is NotWaitingError
    run.take("go")
    run.resume().take("end")
    assert run.resume().state.status == "Finished"


def test_an_event_that_nobody_waits_for_yet_is_refused_with_those_that_would_be_taken(run: Run):
    error = run.refused("ship", 1)
    assert type(error) is NotWaitingError
    assert "nobody waits for event 'ship': thread 'main' is WaitingEvent at 'order'" in str(error)
    assert OPEN in str(error)


def test_the_second_of_two_callbacks_is_refused(run: Run):
    assert run.take("pay", 3) == "receipt for 3"
    error = run.refused("pay", 3)
    assert type(error) is NotWaitingError
    assert "thread 'main' is Resuming at 'order'" in str(error)
    assert run.work.log == ["paid"]


def test_a_callback_while_the_thread_is_about_to_run_a_step_is_refused(run: Run):
    run.take("count")
    resume(run.work, run.state, now=START, max_steps=0)
    assert run.state.threads[0].status == "Executing"
    error = run.refused("pay", 1)
    assert type(error) is NotWaitingError
    assert "thread 'main' is Executing at 'thank'" in str(error)


def test_a_callback_to_a_run_that_has_not_started_is_refused():
    error = Run(Desk(), State.new("r", "Desk", START)).refused("pay", 1)
    assert type(error) is NotWaitingError
    assert "thread 'main' is about to start" in str(error)
    assert "It would take no event now" in str(error)


def test_several_threads_that_wait_are_named(run: Run):
    error = run.refused("picked")
    assert type(error) is AmbiguousCallbackError
    assert "waited for by the threads 'line:p' (pc 1), 'line:q' (pc 1): name one as thread_id" in str(error)
    assert type(run.refused(CallbackRequest("picked", pc=1))) is AmbiguousCallbackError


@pytest.mark.parametrize("by", ["thread_id", "birth"])
def test_one_of_several_threads_is_picked_by_its_id_or_birth(run: Run, by: str):
    second = run.state.threads[2]
    request = (
        CallbackRequest("picked", thread_id="line:q") if by == "thread_id" else CallbackRequest("picked", birth=second.birth)
    )
    assert run.take(request, None) == "q"
    assert [thread.status for thread in run.state.threads] == ["WaitingEvent", "WaitingEvent", "Resuming"]
    assert run.take("picked") == "p"


def test_a_thread_that_does_not_wait_for_it_is_refused(run: Run):
    error = run.refused(CallbackRequest("pay", thread_id="line:p"), 1)
    assert type(error) is NotWaitingError
    assert "thread 'line:p' is WaitingEvent at 'picking'" in str(error)


@pytest.mark.parametrize("pinned", [["pc"], ["birth"], ["pc", "birth"], ["thread_id", "birth"], ["thread_id", "pc", "birth"]])
def test_whatever_pins_a_stop_at_which_somebody_waits_for_something_else_is_not_stale(run: Run, pinned: list[str]):
    thread = run.state.threads[0]
    pins: Any = {"thread_id": thread.id, "pc": thread.pc, "birth": thread.birth}
    assert type(run.refused(CallbackRequest("ship", **{key: pins[key] for key in pinned}), 1)) is NotWaitingError


def test_what_would_be_taken_names_no_timeout(run: Run):
    assert str(run.refused("ship")).endswith(
        f"{OPEN[:-1]}), 'picked' (thread 'line:p', pc 1), 'picked' (thread 'line:q', pc 1)"
    )


def test_a_thread_that_does_not_live_is_refused(run: Run):
    error = run.refused(CallbackRequest("pay", thread_id="line:z"), 1)
    assert type(error) is NotWaitingError
    assert "no thread 'line:z' lives" in str(error)


@pytest.mark.parametrize(
    ("pins", "part"),
    [
        ({"pc": 0}, "with pc 0 is stale"),
        ({"pc": 2}, "with pc 2 is stale"),
        ({"birth": "00"}, "with birth '00' is stale"),
        ({"birth": "00", "pc": 1}, "with birth '00', pc 1 is stale"),
        ({"pc": 1, "thread_id": "line:z"}, "with pc 1 is stale"),
    ],
)
def test_a_request_that_pins_a_stop_at_which_nobody_waits_is_stale(run: Run, pins: Any, part: str):
    error = run.refused(CallbackRequest("pay", **pins), 1)
    assert type(error) is StaleCallbackError
    assert part in str(error)
    assert OPEN in str(error)


def test_a_request_that_pins_a_stop_at_which_somebody_waits_for_something_else_is_unwaited_not_stale(run: Run):
    error = run.refused(CallbackRequest("pay", thread_id="line:p", pc=1), 1)
    assert type(error) is NotWaitingError
    assert "thread 'line:p' is WaitingEvent at 'picking'" in str(error)


def test_a_request_that_pins_a_stop_that_has_passed_is_stale_not_unwaited(run: Run):
    thread = run.state.threads[0]
    pinned = CallbackRequest("pay", "main", thread.pc, thread.birth, "run-1")
    run.take(pinned, 1)
    assert type(run.refused(pinned, 1)) is StaleCallbackError
    assert type(run.refused(CallbackRequest("pay", "main"), 1)) is NotWaitingError


def test_a_request_with_the_right_pins_is_taken(run: Run):
    thread = run.state.threads[0]
    assert run.take(CallbackRequest("pay", "main", thread.pc, thread.birth, "run-1"), 1)


def test_a_payload_that_does_not_fit_is_refused_with_its_faults(run: Run):
    error = run.refused("pay", "much")
    assert isinstance(error, InvalidPayloadError)
    assert len(error.faults) == 1
    assert "integer" in error.faults[0]
    assert "run 'run-1': the payload for event 'pay'" in str(error)
    assert isinstance(run.refused("pay", b"{"), InvalidPayloadError)


def test_an_event_that_takes_no_payload_refuses_one(run: Run):
    error = run.refused("count", 5)
    assert isinstance(error, InvalidPayloadError)
    assert "takes no payload" in str(error)


def test_a_handlers_own_refusal_passes_as_it_is(run: Run):
    error = run.refused("cancel")
    assert type(error) is RefusedError
    assert str(error) == "not your turn"
    run.work.open = False
    run.take("cancel")
    assert run.work.log == ["cancelled"]


def test_a_run_that_is_over_takes_no_callbacks(run: Run):
    run.take("count")
    run.resume().take(SHIP, 2)
    assert run.resume().state.status == "Finished"
    error = run.refused("pay", 1)
    assert type(error) is WorkflowFinishedError
    assert "run 'run-1': event 'pay' refused: the run is Finished" in str(error)


def test_all_refusals_are_callback_errors_but_no_two_the_same():
    refusals = (
        UnknownEventError,
        NotWaitingError,
        AmbiguousCallbackError,
        StaleCallbackError,
        InvalidPayloadError,
        RefusedError,
        WorkflowFinishedError,
    )
    assert all(issubclass(one, CallbackError) for one in refusals)
    assert not any(issubclass(one, other) for one in refusals for other in refusals if one is not other)


# --- in which order ---


def test_the_run_is_checked_before_the_event_the_event_before_the_stop_the_stop_before_the_payload(run: Run):
    everything_wrong = CallbackRequest("payed", thread_id="z", pc=9, birth="00")
    assert type(run.refused(everything_wrong, "much")) is UnknownEventError
    assert type(run.refused(CallbackRequest("pay", thread_id="z", pc=9, birth="00"), "much")) is StaleCallbackError
    assert type(run.refused(CallbackRequest("pay", thread_id="z"), "much")) is NotWaitingError
    assert type(run.refused(CallbackRequest("picked"), "much")) is AmbiguousCallbackError
    assert type(run.refused("pay", "much")) is InvalidPayloadError
    other = CallbackRequest("payed", run_id="another")
    assert "is for the run 'another'" in str(run.refused(other))
    run.take("count")
    run.resume().take("ship", 1)
    run.resume()
    assert type(run.refused(everything_wrong, "much")) is WorkflowFinishedError


def test_positions_are_checked_before_events(run: Run):
    run.state.threads[0].position = "elsewhere"
    with pytest.raises(PositionError, match="elsewhere"):
        run.take("no such event")


@pytest.mark.parametrize(
    "request_",
    [
        CallbackRequest(None),  # type: ignore[arg-type]
        CallbackRequest(5),  # type: ignore[arg-type]
        CallbackRequest("pay", thread_id=5),  # type: ignore[arg-type]
        CallbackRequest("pay", birth=b"x"),  # type: ignore[arg-type]
        CallbackRequest("pay", run_id=5),  # type: ignore[arg-type]
        CallbackRequest("pay", pc="1"),  # type: ignore[arg-type]
        CallbackRequest("pay", pc=True),
        CallbackRequest("pay", run_id="another"),
        None,
        5,
        b"pay",
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(run: Run, request_: Any):
    assert type(run.refused(request_, 1)) is CallbackError
    assert "run 'run-1'" in str(run.refused(request_, 1))


def test_wrong_arguments_are_errors_of_their_own(run: Run):
    with pytest.raises(StateError, match="expected a State"):
        handle_callback("pay", run.work, None)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="expected a workflow object"):
        handle_callback("pay", Desk, run.state)  # type: ignore[call-overload]
    with pytest.raises(StateError, match="now must be an aware datetime"):
        handle_callback("pay", run.work, run.state, 1, now=START.replace(tzinfo=None))


# --- what is taken ---


def test_a_taken_callback_raises_the_revision_and_makes_the_run_due(run: Run):
    revision = run.state.revision
    later = START + HOUR / 2
    handle_callback("pay", run.work, run.state, 7, now=later)
    assert run.state.revision == revision + 1
    assert run.state.status == "Resuming"
    assert run.state.wake_at == later
    assert run.state.threads[0].since == later
    assert run.state.threads[0].event == "pay"
    assert run.work.paid == 7


def test_a_due_timeout_that_was_not_applied_does_not_refuse_a_callback(run: Run):
    assert handle_callback("pay", run.work, run.state, 7, now=START + 9 * HOUR) == "receipt for 7"
    resume(run.work, run.state, now=START + 9 * HOUR)
    assert run.work.log == ["paid", "thanks"]


def test_a_timeout_that_was_applied_refuses_it(run: Run):
    resume(run.work, run.state, now=START + HOUR)
    assert type(run.refused("pay", 7)) is NotWaitingError


def test_several_callbacks_to_several_threads_before_one_resume(run: Run):
    run.take(CallbackRequest("picked", thread_id="line:p"))
    run.take("picked")
    run.take("pay", 1)
    assert run.resume().work.log == ["picked p", "picked q", "paid", "thanks"]


def test_without_now_the_clock_is_read():
    @dataclass
    class Clock:
        seen: list[Any] = field(default_factory=list)

        def definition(self):
            return Wait("w", On("e", lambda: self.seen.append(current().now)))

    run = Run(Clock(), State.new("r", "Clock"))
    resume(run.work, run.state)
    handle_callback("e", run.work, run.state)
    assert run.state.wake_at is not None
    assert run.work.seen[0] <= run.state.wake_at
    assert run.state.wake_at > START - timedelta(days=10_000)


def test_a_token_and_its_name_are_one(run: Run):
    run.take("count")
    run.resume()
    error = run.refused(SHIP, "many")
    assert isinstance(error, InvalidPayloadError)
    run.take("ship", 3)
    assert run.work.log[-1] == "shipped 3"


def test_many_open_events_are_not_all_listed():
    @dataclass
    class Many:
        def definition(self):
            return S(Wait("w", *[On(f"e{i}") for i in range(50)]), Wait("v", On("last")))

    error = Run(Many(), State.new("r", "Many", START)).resume().refused("last")
    assert "'e19'" in str(error)
    assert "'e20'" not in str(error)


def test_a_callback_to_a_thread_beside_one_that_ended_with_events_left():
    class Stubborn:
        def teardown(self, request: CallbackRequest, handled: bool) -> None:
            raise OSError("down")

    @dataclass
    class Beside:
        n: int = 0

        def definition(self):
            return S(
                Go("t", Wait("w", On("e", via=Stubborn())), id=1),
                Join("j", "t"),
                Go("t2", Wait("w2", On("e", via=Stubborn()))),
                Join("j2", "t2"),
            )

    run = Run(Beside(), State.new("r", "Beside", START)).resume()
    run.take("e")
    run.resume()
    assert [thread.status for thread in run.state.threads] == ["WaitingCondition", "Ended", "WaitingEvent"]
    run.take("e")
    assert run.resume().state.status == "Finished"
    assert [thread.id for thread in run.state.threads] == ["t:1", "t2"]


@dataclass
class OldLine:
    sku: str


@dataclass
class NewLine:
    sku: str
    price: int = 7


class Packing:
    pack: Any

    def definition(self):
        return S(
            ForEach("lines", [{"sku": "tea"}], Go("pack", Wait("w", On("packed", self.pack)))),
            Wait("end", On("end", self.end)),
        )

    def end(self) -> None:
        raise RefusedError("not yet")


@dataclass
class OldPacking(Packing):
    def pack(self, payload: int, item: OldLine) -> None: ...


@dataclass
class NewPacking(Packing):
    def pack(self, payload: int, item: NewLine) -> None:
        assert item == NewLine("tea", 7)


@pytest.mark.parametrize("call", [("nothing", None), ("packed", "no number"), ("end", None)])
def test_a_refused_callback_leaves_items_as_an_older_type_wrote_them(call: tuple[str, Any]):
    old, state = OldPacking(), State.new("r", "Packing")
    resume(old, state)
    blob = dump(old, state)
    new, state = load(NewPacking, blob)
    with pytest.raises(CallbackError):
        handle_callback(call[0], new, state, call[1])
    assert dump(new, state) == blob
    handle_callback("packed", new, state, 1)
    resume(new, state)


@dataclass
class Withdrawn:
    """Only a thread of its own can take ``withdraw``, and only those of the desks ``approve``."""

    def definition(self):
        return S(
            Go("applicant", Wait("second thoughts", On("withdraw"))),
            Go("desk", Wait("verdict", On("approve")), id=1),
            Wait("end", On("end")),
        )


def test_a_refusal_tells_of_the_threads_that_could_take_the_event():
    flow, state = Withdrawn(), State.new("r", "Withdrawn")
    resume(flow, state)
    handle_callback("withdraw", flow, state)
    with pytest.raises(NotWaitingError, match="'withdraw': thread 'applicant' is Resuming at 'second thoughts': resume"):
        handle_callback("withdraw", flow, state)
    handle_callback("approve", flow, state)
    with pytest.raises(NotWaitingError, match="'approve': thread 'desk:1' is Resuming at 'verdict': resume"):
        handle_callback("approve", flow, state)
    resume(flow, state)
    with pytest.raises(
        NotWaitingError, match=r"nobody waits for event 'approve': no thread 'desk' lives. It would take: 'end'"
    ):
        handle_callback("approve", flow, state)
    with pytest.raises(NotWaitingError, match="'approve': thread 'main' is WaitingEvent at 'end'"):
        handle_callback(CallbackRequest("approve", thread_id="main"), flow, state)
