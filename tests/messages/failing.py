"""What can be wrong with the statements of failure and fan-out, and what goes wrong while they run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from flowstmt import (
    ALL,
    ANY,
    APPROVE,
    REJECT,
    Answer,
    Approval,
    AtLeast,
    Branch,
    Break,
    Every,
    Fail,
    FinalError,
    For,
    ForEach,
    Go,
    Map,
    On,
    Parallel,
    Percent,
    Retry,
    S,
    Saga,
    Sleep,
    State,
    Statement,
    Step,
    Try,
    Wait,
    cancel,
    dump,
    handle_callback,
    load,
    resume,
    resume_async,
    validate,
)
from flowstmt.errors import ParallelError
from tests.messages.definitions import Client, charge, wrong
from tests.messages.rows import Table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

TREES = Table("Definitions: failure, fan-out and waits that stay")
RUNS = Table("Runs: failures")
BRANCHES = Table("Runs: branches")
WAITS = Table("Runs: waits that stay, and approvals")
NOTES = Table("Runs: what a run notes")
KEPT = Table("Snapshots: what statements have kept")
TABLES = [TREES, RUNS, BRANCHES, WAITS, KEPT, NOTES]

STEP = Step("charge", charge)


class DeclinedError(Exception):
    """What a bank says."""


def decline(*_: Any) -> None:
    raise DeclinedError("no money")


async def is_known(error: Exception) -> bool:
    return bool(error)


def break_down(*_: Any) -> bool:
    raise KeyError("shelf")


class Door:
    type = "When"

    def setup(self, request: Any) -> None: ...


for _title, _wrong in {
    "a retry that makes no sense": Step(
        "charge",
        charge,
        retry=Retry(
            max_attempts=0,
            initial=wrong(3),
            multiplier=0,
            jitter=2,
            on=wrong(KeyboardInterrupt),
            unless=wrong(7),
            when=wrong("always"),
        ),
    ),
    "a retry that is none": Step("charge", charge, retry=wrong(3)),
    "a Try that does nothing": Try("paying", STEP),
    "a Try with two finally": Try("paying", STEP).finally_(S()).finally_(S()),
    "a catch after the finally": Try("paying", STEP).finally_(S()).catch(DeclinedError),
    "a catch without errors": Try("paying", STEP).catch(wrong(Step("tell", charge))),
    "a catch of nothing": Try("paying", STEP).catch(()),
    "a catch of what is no error": Try("paying", STEP).catch(wrong(404)),
    "a catch by a predicate that nobody awaits": Try("paying", STEP).catch(wrong(is_known)),
    "a Fail without a message": Fail("sold out", wrong(3)),
    "a loop that may begin a few rounds": For("retry", STEP, max_iterations=wrong("few")),
    "a Parallel without branches": Parallel("ask"),
    "a Step in a Parallel": Parallel("ask", wrong(STEP)),
    "a join that can't be met": Parallel("ask", Branch("north", STEP), join=AtLeast(2)),
    "a join that is none": Parallel("ask", Branch("north", STEP), join=wrong("all"), fail_fast=wrong(1), tolerate=wrong(-1)),
    "a join of none": Map("lines", [1], STEP, join=AtLeast(0), tolerate=Percent(120), max_concurrency=0, key=wrong("sku")),
    "a Map without items": Map("lines", wrong(STEP)),
    "a case that stays a little": Wait("payment", On("paid", stay=wrong("a while"))),
    "a reminder without a period": Wait("payment", Every("nag", wrong(STEP)), On("paid")),
    "a reminder with another period": Wait("payment", Every("nag", wrong(3)), On("paid")),
    "a reminder all the time": Wait("payment", Every("nag", timedelta(0)), On("paid")),
    "a via that is called as a case is": Wait("payment", On("paid", via=Door())),
    "an Approval that nobody could give": Approval("agreed", wrong("mia"), need=AtLeast(0), remind=wrong(HOUR)),
    "an Approval of something": Approval("agreed", wrong(3), need=wrong("most")).expired(S()),
    "an Approval without approvers": Approval("agreed", wrong(STEP)).rejected(S()).rejected(S()),
}.items():
    TREES.add(_title, lambda tree=_wrong: validate(tree))


@TREES.row
def a_policy_of_a_class_that_makes_no_sense() -> None:
    @dataclass
    class Order:
        retry: ClassVar[Retry] = Retry(total=-HOUR)

        @classmethod
        def definition(cls) -> Statement:
            return S(STEP)

    validate(Order)


# --- while they run ---


def order(tree: Any) -> Any:
    """A workflow object for a tree that is a function of it."""

    @dataclass
    class Order:
        count: int = 0
        log: list[str] = field(default_factory=list)
        names: list[Any] = field(default_factory=lambda: ["mia", "tom"])

        def definition(self) -> Statement:
            made: Statement = tree(self)
            return made

    return Order()


def new() -> State:
    return State.new("order-7", "Order", NOW)


def played(tree: Any, instant: datetime = NOW) -> tuple[Any, State]:
    """A run of a tree, as far as it gets."""
    workflow, state = order(tree), new()
    resume(workflow, state, now=NOW)
    if instant > NOW:
        resume(workflow, state, now=instant)
    return workflow, state


def moved(tree: Any, other: Any, steps: int = 100) -> None:
    """A run of one tree that goes on with another."""
    workflow, state = order(tree), new()
    resume(workflow, state, now=NOW, max_steps=steps)
    blob = dump(workflow, state)
    found = order(other)
    resume(found, load(type(found), blob)[1], now=NOW)


@RUNS.row
def a_failure_that_is_tried_again() -> None:
    played(lambda w: S(Step("charge", decline, retry=Retry(max_attempts=2)), Step("ship", break_down)), NOW + HOUR)
    played(lambda w: S(Try("paying", Step("charge", decline)).catch(DeclinedError), Step("ship", break_down)))


@RUNS.row
def a_predicate_of_a_policy_that_raises() -> None:
    played(lambda w: Step("charge", decline, retry=Retry(when=break_down)))


@RUNS.row
def a_predicate_of_a_catch_that_raises() -> None:
    played(lambda w: Try("paying", Step("charge", decline)).catch(break_down))


@RUNS.row
def an_error_that_the_field_can_not_hold() -> None:
    played(lambda w: Try("paying", Step("charge", decline)).catch(DeclinedError, into="count"))


@RUNS.row
def a_fail_whose_message_is_no_text() -> None:
    played(lambda w: Fail("sold out", lambda: w.count))


@RUNS.row
def a_catch_that_is_gone() -> None:
    def tree(catches: int) -> Any:
        def made(w: Any) -> Statement:
            inner = Try("inner", Step("charge", decline)).finally_(Sleep("cool down", HOUR), Step("tidy up", charge))
            found = Try("paying", inner).catch(KeyError)
            return found.catch(DeclinedError) if catches == 2 else found

        return made

    workflow, state = order(tree(2)), new()
    resume(workflow, state, now=NOW)
    found = order(tree(1))
    resume(found, load(type(found), dump(workflow, state))[1], now=NOW + HOUR)


@RUNS.row
def a_result_that_can_not_be_kept_for_its_compensation() -> None:
    played(lambda w: S(Step("book", Client, compensate=lambda booking: None), STEP))


@RUNS.row
def an_item_that_can_not_be_kept_for_its_compensation() -> None:
    def spoil(item: dict[str, Any]) -> str:
        item["client"] = Client()
        return "booked"

    step = Step("book", spoil, compensate=lambda booking, item: None)
    played(lambda w: ForEach("lines", [{}], step))


@RUNS.row
def a_recorded_result_of_another_type() -> None:
    def take_back(booking: int) -> None: ...

    played(lambda w: S(Step("book", lambda: "no number", compensate=take_back), Fail("sold out", "too late")))


@RUNS.row
def a_compensation_that_is_gone() -> None:
    book = Step("book", charge, compensate=lambda: None)
    moved(lambda w: S(book, STEP), lambda w: S(Step("book", charge), STEP, Fail("sold out", "too late")), steps=1)


@BRANCHES.row
def a_join_that_can_not_be_met() -> None:
    _workflow, state = played(lambda w: Map("lines", range(25), Fail("sold out", "none left"), fail_fast=False))
    assert state.error is not None
    raise ParallelError(state.error.message)


@BRANCHES.row
def a_key_that_raises() -> None:
    played(lambda w: Map("lines", ["tea"], Step("pack", charge), key=break_down))


@BRANCHES.row
def items_that_raise_when_a_branch_starts() -> None:
    class Lines(list[str]):
        def __getitem__(self, index: Any) -> Any:
            raise KeyError("shelf")

    played(lambda w: Map("lines", Lines(["tea"]), Step("pack", charge)))


@BRANCHES.row
def a_result_of_a_branch_that_can_not_be_kept() -> None:
    played(lambda w: Map("lines", ["tea"], Step("pack", Client), into="log"))


@BRANCHES.row
def a_loop_that_begins_too_many_rounds() -> None:
    _workflow, state = played(lambda w: For("retry", STEP, max_iterations=2))
    assert state.error is not None
    raise FinalError(state.error.message)


@WAITS.row
def a_period_that_is_none() -> None:
    played(lambda w: Wait("payment", Every("nag", lambda: w.count), On("paid")))


@WAITS.row
def a_period_that_is_no_time() -> None:
    played(lambda w: Wait("payment", Every("nag", lambda: timedelta(0)), On("paid")))


@WAITS.row
def a_period_that_never_ends() -> None:
    played(lambda w: Wait("payment", Every("nag", lambda: timedelta.max), On("paid")))


@WAITS.row
def approvers_that_are_no_list() -> None:
    played(lambda w: Approval("agreed", lambda: w.count))


@WAITS.row
def an_approver_without_a_name() -> None:
    played(lambda w: Approval("agreed", lambda: [w.count]))


@WAITS.row
def no_approvers() -> None:
    played(lambda w: Approval("agreed", list))


@WAITS.row
def too_few_approvers() -> None:
    played(lambda w: Approval("agreed", lambda: w.names, need=AtLeast(3)))


@WAITS.row
def an_answer_of_somebody_else() -> None:
    workflow, state = played(lambda w: Approval("agreed", w.names))
    handle_callback(APPROVE, workflow, state, Answer("eva"), now=NOW)


@WAITS.row
def a_second_answer() -> None:
    workflow, state = played(lambda w: Approval("agreed", w.names, need=ALL))
    handle_callback(APPROVE, workflow, state, Answer("mia"), now=NOW)
    resume(workflow, state, now=NOW)
    handle_callback(APPROVE, workflow, state, Answer("mia"), now=NOW)


@WAITS.row
def an_approval_that_was_rejected() -> None:
    workflow, state = played(lambda w: Approval("agreed", w.names))
    handle_callback(REJECT, workflow, state, Answer("tom"), now=NOW)
    resume(workflow, state, now=NOW)
    assert state.error is not None
    raise FinalError(state.error.message)


@WAITS.row
def an_approval_that_has_expired() -> None:
    _workflow, state = played(lambda w: Approval("agreed", w.names, timeout=HOUR), NOW + HOUR)
    assert state.error is not None
    raise FinalError(state.error.message)


@WAITS.row
def a_frame_of_a_wait_that_holds_nothing() -> None:
    workflow, state = played(lambda w: Wait("payment", Every("nag", HOUR, Sleep("a bit", HOUR)), On("paid")), NOW + HOUR)
    state.threads[0].frames[-1].data = {"event": 3}
    resume(workflow, state, now=NOW)


@WAITS.row
def an_event_that_was_taken_and_is_gone() -> None:
    def tree(event: str) -> Any:
        return lambda w: Wait("payment", Every("nag", HOUR, Sleep("a bit", HOUR)), On(event))

    workflow, state = played(tree("paid"), NOW + HOUR)
    handle_callback("paid", workflow, state, now=NOW + HOUR)
    found = order(tree("charged"))
    resume(found, load(type(found), dump(workflow, state))[1], now=NOW + HOUR)


def kept(change: Any) -> None:
    """A run whose snapshot somebody has changed."""
    workflow, state = played(lambda w: Wait("payment", On("paid")))
    document = json.loads(dump(workflow, state))
    change(document["state"])
    found = order(lambda w: Wait("payment", On("paid")))
    resume(found, load(type(found), json.dumps(document).encode())[1], now=NOW)


def _frame(**parts: Any) -> Any:
    return lambda state: state["threads"][0].update(frames=[{"statement": "lines", **parts}])


for _title, _change in {
    "an exit that is none": _frame(exit={"exit": "jump"}),
    "a failure without an error": _frame(exit={"exit": "failure"}),
    "an exit with other keys": _frame(exit={"exit": "cancel", "why": "no time"}),
    "an exit that is no object": _frame(exit="Break"),
    "what no statement keeps": _frame(data={"sum": 3}),
    "what is kept and is no object": _frame(data=3),
    "keys of items that are no numbers": _frame(
        data={"count": 1, "next": 1, "live": 1, "succeeded": 0, "failed": 0, "results": [None], "index": [3]}
    ),
    "a record of what is to be undone that has no step": lambda state: state.update(undo=[{"thread": "main"}]),
}.items():
    KEPT.add(_title, lambda change=_change: kept(change))


class _NoteError(Exception):
    """Not raised by flowstmt: notes that it leaves in the state."""


def noted(state: State) -> None:
    raise _NoteError("\n".join(f"{note['note']}: {note['message']}" for note in state.notes))


@NOTES.row
def a_compensation_that_failed() -> None:
    book = Step("book", charge, compensate=decline, retry=Retry(max_attempts=1))
    noted(played(lambda w: S(book, Fail("sold out", "too late")))[1])


@NOTES.row
def a_failure_on_the_way_out() -> None:
    late = Try("working", Sleep("long", 2 * HOUR)).finally_(Fail("lost", "the key"))
    noted(played(lambda w: S(Go("cleaner", late), STEP))[1])


@NOTES.row
def a_failure_of_a_run_that_fails_already() -> None:
    late = Try("working", Sleep("long", 2 * HOUR)).finally_(Sleep("short", HOUR), Fail("lost", "the key"))
    noted(played(lambda w: S(Go("cleaner", late), STEP, Fail("sold out", "none left")), NOW + HOUR)[1])


@NOTES.row
def actions_in_flight_that_nobody_needs() -> None:
    async def for_long() -> None:
        await asyncio.Event().wait()

    async def soon() -> None:
        await asyncio.sleep(0)

    def slow(name: str) -> Step:
        return Step(name, for_long, concurrent=True)

    def quick(name: str) -> Step:
        return Step(name, soon, concurrent=True)

    def notes_of(tree: Any) -> list[Any]:
        workflow, state = order(tree), new()
        asyncio.run(resume_async(workflow, state, now=NOW, concurrency=4))
        return state.notes

    found = [
        *notes_of(lambda w: Parallel("ask", Branch("north", slow("call")), Branch("south", quick("mail")), join=ANY)),
        *notes_of(lambda w: Saga("trip", Go("other", slow("ring")), quick("mail"), Fail("no", "x"))),
        *notes_of(lambda w: S(Go("caller", quick("call"), Fail("no", "x")), slow("mail"))),
        *notes_of(
            lambda w: Parallel(
                "any", Branch("deep", Parallel("ask", Branch("north", slow("call")))), Branch("short", quick("mail")), join=ANY
            )
        ),
    ]
    raise _NoteError("\n".join(f"{note['note']}: {note['message']}" for note in found))


@NOTES.row
def a_failure_in_a_branch_that_is_not_needed() -> None:
    late = Try("working", Sleep("long", 2 * HOUR)).finally_(Fail("lost", "the key"))
    noted(played(lambda w: Parallel("ask", Branch("north", late), Branch("south", STEP), join=ANY))[1])


@NOTES.row
def attempts_that_nothing_undoes() -> None:
    def book(name: str) -> Step:
        return Step(name, decline, compensate=charge, retry=Retry())

    def lost(name: str) -> Branch:
        return Branch(name, Saga(f"{name} or nothing", book(f"book {name}")))

    _, decided = played(
        lambda w: Parallel("ask", Branch("north", book("book north")), lost("west"), Branch("south", STEP), join=ANY)
    )
    workflow, cancelled = played(lambda w: book("book"))
    cancel(workflow, cancelled, "not wanted any more", now=NOW)
    found = [*decided.notes, *(note for note in cancelled.notes if "message" in note)]
    raise _NoteError("\n".join(f"{note['note']}: {note['message']}" for note in found))


@NOTES.row
def a_callback_that_was_taken_in_vain() -> None:
    stays = On("more", None, Sleep("nap", HOUR), Break(), stay=True)
    workflow, state = played(lambda w: For("ever", Wait("payment", stays, On("paid", None, STEP))))
    handle_callback("more", workflow, state, now=NOW)
    resume(workflow, state, now=NOW)
    handle_callback("paid", workflow, state, now=NOW)
    resume(workflow, state, now=NOW + HOUR)
    noted(state)
