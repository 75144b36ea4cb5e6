"""The expense approval: every way through it, virtual weeks of silence, and processes that die."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Lock

import pytest
from hypothesis import strategies as st

from examples.expense import PATIENCE, By, Desk, Expense, Remark
from examples.expense_store import Expenses
from flowstmt import (
    AmbiguousCallbackError,
    CallbackRequest,
    ConflictError,
    InvalidPayloadError,
    NotWaitingError,
    RefusedError,
    State,
    StepError,
    WorkflowFinishedError,
    validate,
)
from flowstmt.testing import Advance, Callback, Harness, explore
from flowstmt.testing.harness import START
from flowstmt.testing.hunt import hunt
from tests.examples.processes import python

DAY = timedelta(days=1)


@dataclass
class Bureau:
    """An office in memory. Each thing once per key; a second payment, or a mail after the last one, is an error."""

    done: dict[str, str] = field(default_factory=dict)
    payments: list[Decimal] = field(default_factory=list)
    over: bool = False
    lock: Lock = field(default_factory=Lock, compare=False)

    def approvers(self, role: str, employee: str) -> list[str]:
        return ["Mia", "Max"] if role == "manager" else ["Fay", "Fred"]

    def tell(self, key: str, person: str, text: str) -> None:
        if key not in self.done:
            assert not self.over, f"a mail after the end: {person}: {text}"
            self.done[key] = f"{person}: {text}"
            self.over = person == "Ann" and " is " in text

    def pay(self, key: str, employee: str, amount: Decimal) -> str:
        with self.lock:
            if key not in self.done:
                assert not self.payments, "paid already"
                self.payments.append(amount)
                self.done[key] = "payment-1"
            return self.done[key]

    def to(self, person: str) -> list[str]:
        return [what.partition(": ")[2] for what in self.done.values() if what.startswith(f"{person}: ")]


def small() -> Expense:
    return Expense("Ann", "a train", Decimal(250))


def large() -> Expense:
    return Expense("Ann", "a chair", Decimal(1400))


def at(event: str, desk: str) -> CallbackRequest:
    return CallbackRequest(event, thread_id=f"approval:{desk}")


def submitted(expense: Expense) -> tuple[Harness[Expense], Bureau]:
    bureau = Bureau()
    harness = Harness(expense, deps=bureau, round_trip=True)
    harness.run()
    return harness, bureau


# --- every way through it ---


def test_the_definition_is_sound_without_an_instance():
    validate(Expense)


def test_a_small_expense_needs_its_manager_only():
    harness, bureau = submitted(small())
    assert bureau.to("Mia") == ["please decide on 250 for Ann: a train (as manager)"]
    assert bureau.to("Fay") == []
    assert harness.callback("approve", {"by": "Mia"}) == "approved, and about to be paid"
    assert (harness.status, harness.result, harness.workflow.payment) == ("Finished", "approved", "payment-1")
    assert bureau.payments == [Decimal(250)]
    assert bureau.to("Ann") == ["your expense 'a train' is approved; payment-1"]


@pytest.mark.parametrize("order", [("manager", "finance"), ("finance", "manager")])
def test_a_large_one_needs_both_in_any_order(order):
    harness, bureau = submitted(large())
    who = {"manager": "Mia", "finance": "Fay"}
    first, second = order
    assert harness.callback(at("approve", first), {"by": who[first]}) == f"approved; {second} still to come"
    assert bureau.payments == []
    with pytest.raises(NotWaitingError):
        harness.callback(at("approve", first), {"by": who[first]})
    harness.callback(at("approve", second), {"by": who[second]})
    assert harness.result == "approved"
    assert bureau.payments == [Decimal(1400)]


def test_with_two_desks_the_caller_says_as_which_he_speaks():
    harness, _ = submitted(large())
    with pytest.raises(AmbiguousCallbackError, match=r"'approval:manager' .*'approval:finance'"):
        harness.callback("approve", {"by": "Mia"})


@pytest.mark.parametrize(("desk", "who"), [("manager", "Mia"), ("finance", "Fay")])
def test_one_rejection_is_enough_and_its_reason_is_told(desk, who):
    harness, bureau = submitted(large())
    with pytest.raises(InvalidPayloadError, match="text: String should have at least 1 character"):
        harness.callback(at("reject", desk), {"by": who, "text": ""})
    assert harness.callback(at("reject", desk), {"by": who, "text": "too dear"}) == "rejected"
    assert harness.result == "rejected"
    assert bureau.payments == []
    assert bureau.to("Ann") == [f"your expense 'a chair' is rejected; {who} rejects: too dear"]
    with pytest.raises(WorkflowFinishedError):
        harness.callback(at("approve", "manager"), {"by": "Mia"})


def test_a_question_goes_to_the_employee_and_the_answer_back_to_who_asked():
    harness, bureau = submitted(large())
    harness.callback(at("question", "manager"), {"by": "Mia", "text": "why?"})
    harness.callback(at("question", "finance"), {"by": "Fay", "text": "which account?"})
    assert bureau.to("Ann") == [
        "your expense 'a chair': Mia asks: why? (as manager)",
        "your expense 'a chair': Fay asks: which account? (as finance)",
    ]
    with pytest.raises(NotWaitingError):
        harness.callback(at("approve", "manager"), {"by": "Mia"})
    harness.callback(at("answer", "finance"), {"by": "Ann", "text": "4711"})
    assert bureau.to("Fay")[-1].endswith("; Mia asks: why?; Fay asks: which account?; Ann answers: 4711")
    assert len(bureau.to("Mia")) == 1


def test_questions_of_two_desks_at_once_are_both_passed_on():
    harness, bureau = submitted(large())
    harness.deliver(at("question", "manager"), {"by": "Mia", "text": "why?"})
    harness.deliver(at("question", "finance"), {"by": "Fay", "text": "which account?"})
    harness.run()
    assert [text.partition(": ")[2] for text in bureau.to("Ann")] == [
        "Mia asks: why? (as manager)",
        "Fay asks: which account? (as finance)",
    ]


def test_a_question_without_an_answer_does_not_lie_for_ever():
    harness, bureau = submitted(small())
    harness.callback("question", {"by": "Mia", "text": "why?"})
    harness.advance(7 * DAY)
    assert bureau.to("Mia")[1:] == ["please decide on 250 for Ann: a train (as manager); Mia asks: why?"]
    harness.callback("approve", {"by": "Mia"})
    assert harness.result == "approved"


@pytest.mark.parametrize(
    ("event", "payload", "person"),
    [
        ("approve", {"by": "Ann"}, "Mia"),
        ("reject", {"by": "Max", "text": "no"}, "Mia"),
        ("question", {"by": "Fay", "text": "why?"}, "Mia"),
        ("withdraw", {"by": "Mia"}, "Ann"),
    ],
)
def test_each_call_is_for_one_person(event, payload, person):
    harness, _ = submitted(small())
    with pytest.raises(RefusedError, match=f"this is for {person}, not for {payload['by']}"):
        harness.callback(event, payload)


# --- time ---


def test_silence_is_answered_with_reminders_and_then_the_next_in_line():
    harness, bureau = submitted(small())
    mails: list[tuple[int, str]] = []
    for day in range(1, 16):
        seen = len(bureau.done)
        harness.advance(DAY)
        mails += [(day, what.partition(" for ")[0]) for what in list(bureau.done.values())[seen:]]
    assert mails == [
        (2, "Mia: reminder 1: please decide on 250"),
        (4, "Mia: reminder 2: please decide on 250"),
        (6, "Mia: reminder 3: please decide on 250"),
        (8, "Max: please decide on 250"),
        (10, "Max: reminder 1: please decide on 250"),
        (12, "Max: reminder 2: please decide on 250"),
        (14, "Max: reminder 3: please decide on 250"),
    ]
    with pytest.raises(RefusedError, match="this is for Max, not for Mia"):
        harness.callback("approve", {"by": "Mia"})
    harness.callback("approve", {"by": "Max"})
    assert harness.result == "approved"


def test_the_last_in_line_is_reminded_until_there_is_a_decision():
    harness, bureau = submitted(small())
    harness.advance(60 * DAY)
    assert bureau.to("Max")[-1].startswith("reminder 26: ")
    harness.callback("reject", {"by": "Max", "text": "too late"})
    harness.advance(60 * DAY)
    assert harness.state.wake_at is None
    assert len(bureau.to("Max")) == 27


def test_a_question_is_no_silence():
    harness, bureau = submitted(small())
    harness.advance(7 * DAY)
    harness.callback("question", {"by": "Mia", "text": "why?"})
    harness.callback("answer", {"by": "Ann", "text": "because"})
    harness.advance(2 * DAY)
    assert bureau.to("Mia")[-1].startswith("reminder 1: ")


def test_the_two_desks_are_reminded_and_escalated_by_themselves():
    harness, bureau = submitted(large())
    harness.advance(DAY)
    harness.callback(at("approve", "finance"), {"by": "Fay"})
    harness.advance(8 * DAY)
    assert len(bureau.to("Fay")) == 1
    assert [len(bureau.to(person)) for person in ("Mia", "Max", "Fred")] == [4, 1, 0]


# --- withdrawal ---


@pytest.mark.parametrize(
    "before",
    [
        [],
        [Callback(at("approve", "manager"), {"by": "Mia"})],
        [Callback(at("question", "manager"), {"by": "Mia", "text": "why?"})],
        [Advance(3 * PATIENCE)],
    ],
)
def test_the_employee_withdraws_at_any_time_and_hears_nothing_more(before):
    found = explore(large, [*before, Callback("withdraw", {"by": "Ann"}), Advance(30 * DAY)], deps=Bureau)
    assert found.undisturbed.result == "withdrawn"
    assert found.undisturbed.workflow.payment == ""


def test_what_is_decided_can_not_be_withdrawn_even_before_it_is_paid():
    harness, bureau = submitted(small())
    harness.deliver("approve", {"by": "Mia"})  # and here the process dies
    harness.reload()
    with pytest.raises(RefusedError, match="too late: it is approved"):
        harness.callback("withdraw", {"by": "Ann"})
    harness.run()
    assert bureau.payments == [Decimal(250)]


def test_what_is_withdrawn_can_not_be_approved_even_before_that_is_told():
    harness, bureau = submitted(small())
    harness.deliver("withdraw", {"by": "Ann"})
    with pytest.raises(RefusedError, match="too late: it is withdrawn"):
        harness.callback("approve", {"by": "Mia"})
    harness.run()
    assert (harness.result, bureau.payments) == ("withdrawn", [])


# --- crashes ---


def never_without_the_approvals(expense: Expense, state: State) -> bool:
    needed = {"manager"} if expense.amount <= 1000 else {"manager", "finance"}
    return expense.payment == "" or (set(expense.approvals) == needed and expense.outcome == "approved")


SCRIPTS: dict[str, list[Callback | Advance]] = {
    "approved": [
        Callback(at("approve", "finance"), {"by": "Fay"}),
        Advance(DAY),
        Callback(at("approve", "manager"), {"by": "Mia"}),
    ],
    "rejected": [
        Callback(at("question", "finance"), {"by": "Fay", "text": "why?"}),
        Callback(at("answer", "finance"), {"by": "Ann", "text": "because"}),
        Callback(at("approve", "manager"), {"by": "Mia"}),
        Callback(at("reject", "finance"), {"by": "Fay", "text": "no"}),
        Advance(30 * DAY),
    ],
    "withdrawn": [Advance(9 * DAY), Callback("withdraw", {"by": "Ann"}), Advance(30 * DAY)],
}


@pytest.mark.parametrize("outcome", SCRIPTS)
def test_it_ends_the_same_wherever_it_is_killed(outcome):
    bureaus: list[Bureau] = []

    def bureau() -> Bureau:
        bureaus.append(Bureau())
        return bureaus[-1]

    found = explore(large, SCRIPTS[outcome], deps=bureau, invariant=never_without_the_approvals)
    assert found.undisturbed.result == outcome
    assert len(bureaus) == len(found.points) + 1
    assert all(killed.done == bureaus[0].done for killed in bureaus), "every mail and payment once, with the same key"
    assert all(len(killed.payments) == (outcome == "approved") for killed in bureaus)


# Mostly those who may: what is refused shows little.
managers = st.sampled_from(["Mia", "Mia", "Max"])
calls = st.one_of(
    st.builds(Callback, st.just(at("approve", "manager")), st.builds(By, managers)),
    st.builds(Callback, st.just(at("approve", "finance")), st.just(By("Fay"))),
    st.builds(Callback, st.just(at("question", "manager")), st.builds(Remark, managers, st.just("why?"))),
    st.builds(Callback, st.just(at("answer", "manager")), st.just(Remark("Ann", "because"))),
    st.builds(Callback, st.just(at("reject", "finance")), st.just(Remark("Fay", "no"))),
    st.builds(Callback, st.just("withdraw"), st.builds(By, st.sampled_from(["Ann", "Mia"]))),
)
times = st.sampled_from([DAY, PATIENCE, 9 * DAY])


def test_no_script_pays_twice_or_too_early_or_reminds_after_the_end():
    found = hunt(large, calls, times, deps=Bureau, invariant=never_without_the_approvals, examples=20, length=4)
    assert set(found.accepted) == {"approve", "reject", "question", "answer", "withdraw"}
    assert found.scripts == 20


class Nagging(Expense):
    """Does not look again before it tells an approver."""

    def _tell_approver(self, desk: Desk, what: str) -> None:
        self._tell(desk.approver, f"{what} {self.purpose}")


@pytest.mark.parametrize(("kind", "reminders"), [(Nagging, 1), (Expense, 0)])
def test_a_reminder_that_could_not_be_sent_is_not_sent_after_a_withdrawal(kind, reminders, monkeypatch):
    bureau = Bureau()
    harness = Harness(kind("Ann", "a chair", Decimal(250)), deps=bureau)
    harness.run()
    monkeypatch.setattr(bureau, "tell", None)  # no mail today
    with pytest.raises(StepError, match="'remind'"):
        harness.advance(PATIENCE)
    harness.reload()
    monkeypatch.undo()
    harness.deliver("withdraw", {"by": "Ann"})
    harness.run()
    assert harness.result == "withdrawn"
    assert len(bureau.to("Mia")) == 1 + reminders


# --- the file ---


@pytest.fixture
def expenses(tmp_path: Path) -> Iterator[Expenses]:
    expenses = Expenses(tmp_path / "expenses.db", Bureau())
    yield expenses
    expenses.db.close()


def test_submitting_twice_is_submitting_once(expenses):
    expenses.submit("exp-1", small(), START)
    expenses.submit("exp-1", large(), START)
    assert expenses.load("exp-1")[0].amount == 250


def test_of_two_writers_the_one_who_is_late_changes_nothing(expenses):
    expenses.submit("exp-1", small(), START)
    expense, state = expenses.load("exp-1")
    save = expenses.saver(expense, state)
    expenses.call("exp-1", "approve", "Mia", now=START)
    with pytest.raises(ConflictError, match="exp-1 was moved by somebody else"):
        save()
    assert expenses.load("exp-1")[1].result == "approved"


def test_two_who_approve_at_once_are_both_heard_and_paid_for_once(expenses):
    for n in range(5):
        expense_id, expenses.office = f"exp-{n}", Bureau()
        expenses.submit(expense_id, large(), START)
        barrier = Barrier(2)

        def approve(desk: str, who: str, office: Bureau = expenses.office, n: int = n, barrier: Barrier = barrier) -> str:
            own = Expenses(expenses.path, office)
            barrier.wait(20)
            try:
                return own.call(f"exp-{n}", "approve", who, desk=desk, now=START)
            finally:
                own.db.close()

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(approve, "manager", "Mia"), threads.submit(approve, "finance", "Fay")]
        answers = [future.result() for future in asked]
        assert sorted(answer.partition(";")[0] for answer in answers) == ["approved", "approved, and about to be paid"]
        expenses.wake(START)
        assert expenses.load(expense_id)[1].result == "approved"
        assert len(expenses.office.payments) == 1


def test_an_expense_that_fits_the_workflow_no_more_does_not_stand_in_the_way(expenses, caplog):
    for expense_id in ("exp-1", "exp-2"):
        expenses.submit(expense_id, small(), START)
    renamed = "CAST(replace(CAST(snapshot AS TEXT), 'verdict', 'word') AS BLOB)"
    expenses.db.execute(f"UPDATE expenses SET snapshot = {renamed}, wake_at = 0 WHERE id = 'exp-1'")
    expenses.wake(START + PATIENCE)
    assert "exp-1 needs somebody to look at it" in caplog.text
    assert "PositionError" in caplog.text
    assert len(expenses.office.to("Mia")) == 3, "both were asked, and one reminded"


def test_an_office_that_is_down_delays_and_loses_nothing(expenses, caplog):
    expenses.office.approvers = None
    with caplog.at_level(logging.ERROR):
        expenses.submit("exp-1", small(), START)
    assert "exp-1 can't go on now" in caplog.text
    del expenses.office.approvers
    expenses.wake(START)
    expenses.call("exp-1", "approve", "Mia", now=START + DAY)
    assert expenses.load("exp-1")[1].result == "approved"


def test_a_deadline_that_nobody_saw_pass_counts_all_the_same(expenses):
    expenses.submit("exp-1", small(), START)
    with pytest.raises(LookupError, match="there is no expense 'exp-2'"):
        expenses.call("exp-2", "approve", "Mia")
    for n in range(1, 4):
        expenses.wake(START + n * PATIENCE)
    with pytest.raises(RefusedError, match="this is for Max, not for Mia"):
        expenses.call("exp-1", "approve", "Mia", now=START + 4 * PATIENCE)


# --- processes ---


def play(folder: Path, die_at: int, first: int = 0) -> subprocess.CompletedProcess[str]:
    return python("-m", "tests.examples.expense_process", str(folder), str(die_at), str(first))


def book(folder: Path) -> list[tuple[str, int]]:
    db = sqlite3.connect(folder / "ledger.db")
    try:
        return db.execute("SELECT what, asked FROM done ORDER BY n").fetchall()
    finally:
        db.close()


def test_processes_killed_again_and_again_pay_once_and_send_each_mail_once(tmp_path):
    (tmp_path / "quiet").mkdir()
    (tmp_path / "killed").mkdir()
    assert play(tmp_path / "quiet", 0).stdout.endswith("Finished approved payment-1\n")
    undisturbed = book(tmp_path / "quiet")
    kills = answered = 0
    while (done := play(tmp_path / "killed", 7, answered)).returncode == -signal.SIGKILL:
        answered += done.stdout.count("answered")
        kills += 1
        assert kills < 50, "each process gets some way"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Finished approved payment-1\n")
    assert kills >= 4
    assert [what for what, _ in book(tmp_path / "killed")] == [what for what, _ in undisturbed]
    assert [what for what, _ in undisturbed if what.startswith("payment")] == ["payment of 1200 to Ann"]
    assert sum(asked for _, asked in book(tmp_path / "killed")) > len(undisturbed), "some kill hit between effect and save"


def test_the_show_plays_four_expenses():
    done = python("examples/expense.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("  payment to Ann: ") == 2
    assert "reminder 3: please decide on 1400 for Ann: a very good chair" in done.stdout
    assert "mail to Max: please decide on 1400" in done.stdout
