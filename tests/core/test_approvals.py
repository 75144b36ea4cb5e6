"""Who may answer an Approval, how often, and what an answer gets; what is kept, and what a changed definition makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstmt import (
    ANY,
    APPROVE,
    REJECT,
    AmbiguousCallbackError,
    Answer,
    Approval,
    ApprovalResult,
    AtLeast,
    CallbackError,
    CallbackRequest,
    DefinitionError,
    Every,
    ForEach,
    GivenAnswer,
    Go,
    InvalidPayloadError,
    Join,
    NotWaitingError,
    On,
    RefusedError,
    S,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Timeout,
    Try,
    UnknownEventError,
    Wait,
    cancel,
    dump,
    goto,
    handle_callback,
    load,
    resume,
    validate,
)
from flowstmt.testing import START, Harness
from tests.core.orders import HOUR, nothing, opened, saved

ANN, BOB, EVE = Answer("ann"), Answer("bob", "fine"), Answer("eve")


@dataclass
class Release:
    log: list[str] = field(default_factory=list)
    outcome: ApprovalResult | None = None

    def definition(self) -> Statement:
        return S(
            Approval(
                "ok",
                ["ann", "bob"],
                Step("ship", lambda: self.log.append("ship")),
                timeout=3 * HOUR,
                remind=Every("nag", HOUR, Sleep("nap", HOUR / 2)),
                into="outcome",
            ).rejected(),
        )


def waiting(hours: float = 0) -> tuple[Release, State]:
    work, state = Release(), State.new("run", "Release", START)
    resume(work, state, now=START)
    if hours:
        resume(work, state, now=START + hours * HOUR)
    return load(Release, dump(work, state))


# --- who may answer ---


@pytest.mark.parametrize("hours", [0, 1], ids=["at the approval", "while people are reminded"])
def test_only_the_named_may_answer_and_each_once(hours: int):
    work, state = waiting(hours)
    now = START + hours * HOUR
    handle_callback(APPROVE, work, state, ANN, now=now)
    blob = dump(work, state)
    for event, answer, why in (
        (APPROVE, EVE, "'eve' is none of its approvers"),
        (REJECT, EVE, "'eve' is none of its approvers"),
        (APPROVE, ANN, "'ann' has answered already"),
        (REJECT, ANN, "'ann' has answered already"),
        (APPROVE, Answer(""), "'' is none of its approvers"),
    ):
        with pytest.raises(RefusedError) as caught:
            handle_callback(event, work, state, answer, now=now)
        assert str(caught.value) == (
            f"run 'run', thread 'main': Approval 'ok': {why}. Nothing has changed; still to answer: 'bob'"
        )
        assert dump(work, state) == blob


def test_of_many_who_have_not_answered_a_refusal_tells_some():
    names = [f"n{i}" for i in range(30)]
    work, state = opened(lambda work: Approval("ok", names), saved(lambda work: Approval("ok", names)))
    with pytest.raises(RefusedError, match=r"'n19' and 10 more$"):
        handle_callback(APPROVE, work, state, EVE, now=START)


@pytest.mark.parametrize("payload", [None, {}, {"who": 5}, b'{"comment": "fine"}', "ann"])
def test_an_answer_that_does_not_fit_is_refused(payload: Any):
    work, state = waiting()
    blob = dump(work, state)
    with pytest.raises(InvalidPayloadError, match="event 'approve'"):
        handle_callback("approve", work, state, payload, now=START)
    assert dump(work, state) == blob


def test_when_it_is_decided_nobody_is_asked_any_more():
    work, state = waiting(1)
    handle_callback(REJECT, work, state, ANN, now=START)
    assert [event.name for event in state.threads[0].events] == []
    for _ in range(2):
        with pytest.raises(NotWaitingError, match="nobody waits for event 'approve'"):
            handle_callback(APPROVE, work, state, BOB, now=START)
        work, state = load(Release, dump(work, state))
    resume(work, state, now=START + 1.5 * HOUR)
    assert (state.status, work.log) == ("Finished", [])


def test_between_the_decision_and_the_next_resume_nobody_is_asked_either():
    work, state = waiting()
    handle_callback(REJECT, work, state, ANN, now=START)
    with pytest.raises(NotWaitingError, match="thread 'main' is Resuming at 'ok': resume the run first"):
        handle_callback(APPROVE, work, state, BOB, now=START)


def test_its_time_can_not_be_called_nor_can_its_reminder():
    work, state = waiting()
    for event, kind in (("expired", "a Timeout"), ("nag", "an Every")):
        with pytest.raises(UnknownEventError, match=f"{event!r} is {kind}: time fires it"):
            handle_callback(event, work, state, now=START)


def test_the_token_of_a_stop_stays_valid_over_reminders():
    work, state = waiting()
    request = state.threads[0].events[0].request
    for hours in (1, 1.5, 2, 2.5):
        resume(work, state, now=START + hours * HOUR)
    assert state.threads[0].pc == 5
    assert handle_callback(request, work, state, ANN, now=START + 2.5 * HOUR).decision == "open"


def test_approvals_of_several_threads_are_told_apart():
    def tree(work: Any) -> Statement:
        return S(
            ForEach("l", ["p", "q"], Go("g", Approval("ok", ["ann"]), id=lambda item: item)),
            Join("j", "g"),
        )

    work, state = opened(tree, saved(tree))
    with pytest.raises(AmbiguousCallbackError, match=r"'g:p' \(pc 1\), 'g:q' \(pc 1\): name one as thread_id"):
        handle_callback(APPROVE, work, state, ANN, now=START)
    handle_callback(CallbackRequest("approve", thread_id="g:q"), work, state, ANN, now=START)
    handle_callback(APPROVE, work, state, ANN, now=START)
    assert resume(work, state, now=START) == "Finished"


# --- what an answer gets, and what is kept ---


def test_an_answer_gets_how_things_stand_and_into_keeps_how_they_ended():
    work, state = waiting()
    given = GivenAnswer("ann", "", True, START + HOUR)
    found = handle_callback(APPROVE, work, state, ANN, now=START + HOUR)
    assert found == ApprovalResult("open", [given], ["bob"])
    assert work.outcome is None
    resume(work, state, now=START + HOUR)
    work, state = load(Release, dump(work, state))
    found = handle_callback(APPROVE, work, state, BOB, now=START + 2 * HOUR)
    assert found == ApprovalResult("approved", [given, GivenAnswer("bob", "fine", True, START + 2 * HOUR)], [])
    resume(work, state, now=START + 2 * HOUR)
    assert work.outcome == found
    assert load(Release, dump(work, state))[0].outcome == found


def test_approvers_are_those_of_the_moment_at_which_it_was_reached_each_once():
    def tree(work: Any) -> Statement:
        return Approval("ok", lambda: ["ann", "bob", "ann"] if work.kept == 0 else ["eve"])

    work, state = opened(tree, saved(tree))
    work.kept = 1
    with pytest.raises(RefusedError, match="'eve' is none of its approvers"):
        handle_callback(APPROVE, work, state, EVE, now=START)
    assert handle_callback(APPROVE, work, state, ANN, now=START).missing == ["bob"]


@pytest.mark.parametrize(
    ("approvers", "need", "why"),
    [
        ([], None, "it has no approvers: nobody could decide it"),
        ([], ANY, "it has no approvers: nobody could decide it"),
        (["ann", "ann"], AtLeast(2), "2 approvers have to approve, but it has only 1: nobody could decide it"),
        ("ann", None, "its approvers must be a list of texts, not a str"),
        ({"ann"}, None, "its approvers must be a list of texts, not a set"),
        (["ann", ""], None, "an approver must be a text that is not empty, not ''"),
        (["ann", 7], None, "an approver must be a text that is not empty, not 7"),
    ],
)
def test_approvers_that_make_no_sense_are_an_error_that_leaves_everything_as_it_was(approvers: Any, need: Any, why: str):
    options = {} if need is None else {"need": need}
    work, state = opened(lambda work: S(), saved(lambda work: Wait("w", On("e"))))
    work, state = opened(
        lambda work: S(Wait("w", On("e")), Approval("ok", lambda: approvers, **options)), saved(lambda work: Wait("w", On("e")))
    )
    handle_callback("e", work, state, now=START)
    blob = dump(work, state)
    with pytest.raises(StepError) as caught:
        resume(work, state, now=START)
    assert str(caught.value).startswith(f"run 'run-1', thread 'main': Approval 'ok': {why}.")
    assert dump(work, state) == blob


# --- failures ---


@pytest.mark.parametrize(
    ("event", "hours", "kind", "message"),
    [
        (REJECT, 0, "Rejected", "Approval 'ok' was rejected by 'bob'"),
        (None, 1, "Expired", "Approval 'ok' has expired: 2 of 2 have not answered"),
    ],
)
@pytest.mark.parametrize("errors", ["name", "FinalError", Exception])
def test_the_failure_of_an_approval_is_final_and_can_be_caught(event: Any, hours: int, kind: str, message: str, errors: Any):
    def tree(work: Any) -> Statement:
        found = kind if errors == "name" else errors
        return Try("t", Approval("ok", ["ann", "bob"], timeout=HOUR)).catch(
            found, Step("s", work.say("caught")), into=work.log.append
        )

    work, state = opened(tree, saved(tree))
    if event is not None:
        handle_callback(event, work, state, BOB, now=START)
    resume(work, state, now=START + hours * HOUR)
    error, said = work.log
    assert (error.type, error.message, error.step, said) == (kind, message, "ok", "caught")


def test_uncaught_it_fails_the_run():
    def tree(work: Any) -> Statement:
        return Approval("ok", ["ann"])

    work, state = opened(tree, saved(tree))
    handle_callback(REJECT, work, state, Answer("ann", "secret"), now=START)
    assert resume(work, state, now=START) == "Failed"
    assert state.error is not None
    assert (state.error.type, state.error.message) == ("Rejected", "Approval 'ok' was rejected by 'ann'")


# --- faults ---


def wrong(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (Approval("a", wrong("ann")), "Approval 'a': approvers must be a list of texts, not one text: put it into a list"),
        (Approval("a", wrong(5)), "Approval 'a': approvers must be a list of texts or a callable that returns one, not an int"),
        (Approval("a", wrong(S())), "Approval 'a': its approvers are a statement (S()): were the approvers left out?"),
        (Approval("a", ["b"], need=wrong(2)), "Approval 'a': need must be ALL, ANY or AtLeast(n), not 2"),
        (Approval("a", ["b"], need=AtLeast(0)), "Approval 'a': need: AtLeast takes a whole number from 1, not 0"),
        (
            Approval("a", ["b"], remind=wrong(HOUR)),
            "Approval 'a': remind must be an Every(name, period, *body), not datetime.timedelta",
        ),
        (
            Approval("a", ["b"], remind=wrong(Timeout("t", HOUR))),
            "Approval 'a': remind must be an Every(name, period, *body), not Timeout",
        ),
        (Approval("a", ["b"]).expired(), "Approval 'a': says what to do when it has expired, but has no timeout: give it one"),
        (Approval("a", ["b"]).rejected().rejected(), "Approval 'a': has more than one rejected: put all of it into one"),
        (
            Approval("a", ["b"], timeout=HOUR).expired().expired(),
            "Approval 'a': has more than one expired: put all of it into one",
        ),
        (Approval("a", ["b"], timeout=wrong(5)), "Timeout 'expired' in Approval 'a': after must be a timedelta"),
        (Approval("a", ["b"], into=wrong(5)), "Approval 'a': into must be the name of a field or a callable, not 5"),
        (Approval("a", ["b"], Every("e", HOUR)), "Every 'e' in On 'approve' in Approval 'a': stands only directly in Wait"),
        (Approval("a", ["b"], remind=Every("reject", HOUR)), "Every 'reject' in Approval 'a': the event 'reject' stands twice"),
        (Approval("a", ["b"], wrong(5)), "On 'approve' in Approval 'a': 5 is no statement"),
        (S(Approval("a", ["b"]), Approval("a", ["b"])), "Approval 'a': the name 'a' is taken by Approval 'a'"),
    ],
)
def test_faults(tree: Any, fault: str):
    with pytest.raises(DefinitionError) as caught:
        validate(tree)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(fault)


def test_the_callables_of_an_approval_take_what_their_style_gives():
    @dataclass
    class Work:
        @classmethod
        def definition(cls) -> Statement[Any]:
            return Approval("a", lambda: ["b"], timeout=lambda: HOUR, into="lost")

    with pytest.raises(DefinitionError) as caught:
        validate(Work)
    assert [re.sub(r"test_.*lambda>", "...", fault.partition(", expected")[0]) for fault in caught.value.faults] == [
        "Approval 'a': approvers ... takes 0 arguments",
        "Approval 'a': into: no field 'lost'",
        "Timeout 'expired' in Approval 'a': after ... takes 0 arguments",
    ]


def test_an_approval_that_is_extended_stays_what_it_was():
    first = Approval("a", ["b"], timeout=HOUR, was=("c",))
    longer = first.rejected(S()).expired(S(), S())
    assert [len(case.body) for case in first.body] == [0, 0, 0]
    assert [len(case.body) for case in longer.body] == [0, 1, 2]
    assert (longer.name, longer.was, longer.approvers) == ("a", ("c",), ["b"])


# --- changes ---


def approval(**options: Any) -> Callable[[Any], Statement]:
    def tree(work: Any) -> Statement:
        return S(Approval("ok", ["ann", "bob"], Step("ship", work.say("ship")), **options))

    return tree


def answered(tree: Any) -> bytes:
    work, state = opened(tree, saved(tree))
    handle_callback(APPROVE, work, state, ANN, now=START)
    return dump(work, state)


def test_an_approval_that_has_another_name_now_is_found_with_its_answers():
    def tree(work: Any) -> Statement:
        return S(Approval("okay", ["eve"], Step("ship", work.say("ship")), was=("ok",)))

    work, state = opened(tree, answered(approval()))
    request = CallbackRequest("approve", pc=1)
    assert handle_callback(request, work, state, BOB, now=START).missing == []
    resume(work, state, now=START)
    assert work.log == ["ship"]


def test_a_time_and_a_reminder_that_are_added_hold_for_those_who_wait_and_those_taken_away_do_not():
    timed = approval(timeout=2 * HOUR, remind=Every("nag", HOUR))
    work, state = opened(timed, answered(approval()))
    resume(work, state, now=START)
    assert state.wake_at == START + HOUR
    work, state = opened(approval(), dump(work, state))
    resume(work, state, now=START)
    assert (state.wake_at, [event.name for event in state.threads[0].events]) == (None, ["approve", "reject"])
    assert handle_callback(APPROVE, work, state, BOB, now=START).decision == "approved"


def test_what_is_needed_may_change_meanwhile_and_is_never_more_than_there_are_approvers():
    work, state = opened(approval(need=AtLeast(7)), answered(approval()))
    assert handle_callback(APPROVE, work, state, BOB, now=START).decision == "approved"
    work, state = opened(approval(need=AtLeast(7)), saved(approval()))
    assert handle_callback(APPROVE, work, state, BOB, now=START).decision == "open"


# --- against a model ---

NAMES = ["ann", "bob", "cid", "dan"]
answers = st.lists(st.tuples(st.sampled_from([*NAMES, "eve"]), st.booleans()), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.sampled_from([None, 1, 2]), answers, st.booleans(), st.booleans())
def test_any_sequence_of_answers_decides_what_the_rule_says(
    count: int, need: int | None, script: list[tuple[str, bool]], reminded: bool, round_trip: bool
):
    names = NAMES[:count]
    needed = count if need is None else min(need, count)

    @dataclass
    class Asked:
        outcome: ApprovalResult | None = None

        def definition(self) -> Statement:
            return Approval(
                "ok",
                names,
                need=AtLeast(needed),
                remind=Every("nag", HOUR, Sleep("nap", HOUR / 2)),
                into="outcome",
            ).rejected()

    harness = Harness(Asked(), round_trip=round_trip)
    harness.run()
    if reminded:
        harness.advance(HOUR)
    given: dict[str, bool] = {}
    decision = "open"
    for who, approves in script:
        request = APPROVE if approves else REJECT
        if decision != "open":
            with pytest.raises(Exception, match=r"nobody waits|is Finished"):
                harness.callback(request, Answer(who))
        elif who in given or who not in names:
            with pytest.raises(RefusedError):
                harness.callback(request, Answer(who))
        else:
            given[who] = approves
            decision = "rejected" if not approves else "approved" if sum(given.values()) >= needed else "open"
            found = harness.callback(request, Answer(who))
            assert found.decision == decision
            assert [(answer.who, answer.approved) for answer in found.answers] == list(given.items())
            assert found.missing == [name for name in names if name not in given]
    harness.advance(HOUR / 2)
    assert (harness.status == "Finished") is (decision != "open")
    outcome = harness.workflow.outcome
    assert ("open" if outcome is None else outcome.decision) == decision


# --- moved from outside ---


def test_a_thread_can_be_moved_to_an_approval_into_its_reminder_and_away_from_it():
    def tree(work: Any) -> Statement:
        return S(
            Step("a", nothing),
            Approval("ok", ["ann"], remind=Every("nag", HOUR, Step("mail", work.say("mail")), Wait("v", On("go")))),
            Step("b", work.say("b")),
        )

    work, state = opened(tree, saved(tree, max_steps=0))
    goto(work, state, "main", "ok", now=START)
    with pytest.raises(RefusedError):
        handle_callback(APPROVE, work, state, EVE, now=START)
    goto(work, state, "main", "mail", now=START)
    resume(work, state, now=START)
    handle_callback("go", work, state, now=START)
    resume(work, state, now=START)
    assert (work.log, state.threads[0].position, len(state.threads[0].events)) == (["mail"], "ok", 3)
    blob = dump(work, state)
    goto(work, state, "main", "b", now=START)
    assert (state.threads[0].frames, state.threads[0].events) == ([], [])
    work, state = opened(tree, blob)
    assert handle_callback(APPROVE, work, state, ANN, now=START).decision == "approved"
    assert resume(work, state, now=START) == "Finished"


def test_a_decision_that_somebody_moved_the_thread_away_from_is_asked_for_again():
    def tree(work: Any) -> Statement:
        return Approval("ok", ["ann", "bob"], need=ANY, remind=Every("nag", HOUR, Step("mail", nothing)))

    work, state = opened(tree, saved(tree))
    handle_callback(APPROVE, work, state, ANN, now=START)
    goto(work, state, "main", "mail", now=START)
    resume(work, state, now=START)
    assert handle_callback(REJECT, work, state, BOB, now=START).decision == "rejected"


@pytest.mark.parametrize("hours", [0, 1], ids=["at the approval", "while people are reminded"])
def test_a_run_that_is_cancelled_asks_nobody_any_more(hours: int):
    work, state = waiting(hours)
    cancel(work, state, reason="no need", now=START + hours * HOUR)
    with pytest.raises(CallbackError):
        handle_callback(APPROVE, work, state, ANN, now=START + hours * HOUR)
    assert resume(work, state, now=START + hours * HOUR) == "Cancelled"
    assert (state.threads, work.outcome) == ([], None)


# --- states that were changed by hand ---

GIVEN = {"who": "ann", "comment": "", "approved": True, "at": START.isoformat()}


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("read", [True, False], ids=["read", "made"])
@pytest.mark.parametrize(
    "changed",
    [
        {"approvers": None},
        {"approvers": [5]},
        {"answers": None},
        {"answers": [5]},
        {"answers": [{**GIVEN, "at": "noon"}]},
        {"answers": [{**GIVEN, "who": 5}]},
        {"answers": [{**GIVEN, "approved": "yes"}]},
        {"answers": [{**GIVEN, "more": 1}]},
        {"then": None},
    ],
)
def test_a_frame_that_does_not_hold_what_an_approval_keeps_there_is_refused(changed: dict[str, Any], read: bool):
    work, state = opened(approval(), answered(approval()))
    state.raw = read
    frame = state.threads[0].frames[0]
    frame.data = {**frame.data, **changed}
    blob = dump(work, state)
    why = r"\.frames\[0\]\.data" if read else "its frame of Approval 'ok' does not hold what that keeps there"
    with pytest.raises(StateError, match=why):
        handle_callback(APPROVE, work, state, BOB, now=START)
    assert dump(work, state) == blob
