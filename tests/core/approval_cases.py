"""The table of Approvals: who answers when, and what comes of it."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import (
    ANY,
    APPROVE,
    REJECT,
    Answer,
    Approval,
    ApprovalResult,
    AtLeast,
    Break,
    CallbackRequest,
    Every,
    For,
    Map,
    On,
    Return,
    S,
    Saga,
    Scope,
    Sleep,
    Statement,
    Try,
    Wait,
)
from flowstmt.testing import Advance, Callback
from tests.core.cases import Desk
from tests.core.recovery_cases import book
from tests.core.styles import Build, Case

HOUR = timedelta(hours=1)
ANN, BOB = Answer("ann"), Answer("bob", "fine")


def remember(work, result: ApprovalResult):
    work.kept = [result.decision, [[answer.who, answer.comment, answer.approved] for answer in result.answers], result.missing]


def release(b: Build, *, rejected: bool = True, expired: bool = True, **options) -> Statement:
    """Ann and Bob approve within three hours, and are reminded each hour."""
    options = {"timeout": 3 * HOUR, "remind": Every("nag", HOUR, b.step("mail")), **options}
    approval = Approval("ok", ["ann", "bob"], b.step("ship"), into=b.call(remember), **options)
    if rejected:
        approval = approval.rejected(b.step("mend"))
    if expired:
        approval = approval.expired(b.step("give up"))
    return S(approval, b.step("after"))


CASES = [
    Case(
        "all have to approve; then the body runs",
        release,
        """
            Resume: main?ok
            callback approve | Callback: main?ok
            callback approve | Callback: main>ok
            Resume: main@ship
            ship | Step: main@after
            after | Step:
        """,
        log="ship after",
        script=[Callback(APPROVE, ANN), Callback("approve", {"who": "bob", "comment": "fine"})],
        ends={"kept": ["approved", [["ann", "", True], ["bob", "fine", True]], []]},
    ),
    Case(
        "one rejection decides, whoever has approved before",
        release,
        """
            Resume: main?ok
            callback approve | Callback: main?ok
            callback reject | Callback: main>ok
            Resume: main@mend
            mend | Step: main@after
            after | Step:
        """,
        log="mend after",
        script=[Callback(APPROVE, ANN), Callback(REJECT, BOB)],
        ends={"kept": ["rejected", [["ann", "", True], ["bob", "fine", False]], []]},
    ),
    Case(
        "people are reminded until time is over",
        release,
        """
            Resume: main?ok
            clock 1:00:00 | Resume: main@mail
            mail | Step: main?ok
            callback approve | Callback: main?ok
            clock 2:00:00 | Resume: main@mail
            mail | Step: main?ok
            clock 3:00:00 | Resume: main@give up
            give up | Step: main@after
            after | Step:
            clock 6:00:00
        """,
        log="mail mail give up after",
        script=[Advance(HOUR), Callback(APPROVE, ANN), Advance(5 * HOUR)],
        ends={"kept": ["expired", [["ann", "", True]], ["bob"]]},
    ),
    Case(
        "one of them is enough",
        lambda b: release(b, need=ANY),
        """
            Resume: main?ok
            callback approve | Callback: main>ok
            Resume: main@ship
            ship | Step: main@after
            after | Step:
        """,
        log="ship after",
        script=[Callback(APPROVE, BOB)],
        ends={"kept": ["approved", [["bob", "fine", True]], ["ann"]]},
    ),
    Case(
        "two of three, whom the workflow names when the thread gets there",
        lambda b: S(
            Approval("ok", b.value(lambda w: w.items), b.step("ship"), need=AtLeast(2)),
        ),
        """
            Resume: main?ok
            callback approve | Callback: main?ok
            callback approve | Callback: main>ok
            Resume: main@ship
            ship | Step:
        """,
        log="ship",
        start={"items": ["ann", "bob", "eve"]},
        script=[Callback(APPROVE, Answer("eve")), Callback(APPROVE, ANN)],
    ),
    Case(
        "a rejection is a final failure where nobody says what to do about it",
        lambda b: release(b, rejected=False),
        """
            Resume: main?ok
            callback reject | Callback: main>ok
            Resume:
        """,
        log="",
        script=[Callback(REJECT, BOB)],
        ends={"kept": ["rejected", [["bob", "fine", False]], ["ann"]]},
    ),
    Case(
        "so is the end of its time",
        lambda b: release(b, expired=False, remind=None),
        """
            Resume: main?ok
            clock 3:00:00 | Resume:
            clock 4:00:00
        """,
        log="",
        script=[Advance(4 * HOUR)],
        ends={"kept": ["expired", [], ["ann", "bob"]]},
    ),
    Case(
        "both can be caught by their names",
        lambda b: S(
            Try("first", release(b, rejected=False)).catch("Rejected", b.step("was rejected")),
            Scope("s", Try("t", Approval("ok", ["ann"], timeout=HOUR)).catch("Expired", b.step("has expired"))),
        ),
        """
            Resume: main?ok
            callback reject | Callback: main>ok
            Resume: main@was rejected
            was rejected | Step: main?s/ok
            clock 1:00:00 | Resume: main@s/has expired
            s/has expired | Step:
        """,
        log="was rejected has expired",
        script=[Callback(REJECT, ANN), Advance(HOUR)],
        ends={"kept": ["rejected", [["ann", "", False]], ["bob"]]},
    ),
    Case(
        "what a rejection undoes",
        lambda b: Saga("trip", book(b, "book"), Approval("ok", ["ann"])),
        """
            Resume: main@book
            book | Step: main?ok
            callback reject | Callback: main>ok
            Resume: main@book:compensate
            book:compensate | Step:
        """,
        log="book undo(1)",
        script=[Callback(REJECT, ANN)],
    ),
    Case(
        "answers that come while people are reminded are taken, and acted upon when that is done",
        lambda b: release(b, remind=Every("nag", HOUR, Sleep("nap", HOUR / 2), b.step("mail"))),
        """
            Resume: main?ok
            clock 1:00:00 | Resume: main+nap
            callback approve | Callback: main+nap
            callback approve | Callback: main+nap
            clock 1:30:00 | Resume: main@mail
            mail | Step: main@ship
            ship | Step: main@after
            after | Step:
            clock 2:00:00
        """,
        log="mail ship after",
        script=[Advance(HOUR), Callback(APPROVE, ANN), Callback(APPROVE, BOB), Advance(HOUR)],
        ends={"kept": ["approved", [["ann", "", True], ["bob", "fine", True]], []]},
    ),
    Case(
        "the reminder may give up by itself",
        lambda b: S(
            For("l", Approval("ok", ["ann"], b.step("ship"), remind=Every("nag", HOUR, b.step("mail"), Break()))),
            b.step("after"),
        ),
        """
            Resume: main?ok
            clock 1:00:00 | Resume: main@mail
            mail | Step: main@after
            after | Step:
        """,
        log="mail after",
        script=[Advance(HOUR)],
    ),
    Case(
        "an Approval in the body of an event that stays, whose Wait takes callbacks meanwhile",
        lambda b: S(
            Wait(
                "order",
                On("discount", None, Approval("ok", ["ann"], b.step("reduce")).rejected(b.step("refuse")), stay=True),
                On("note", None, b.step("noted"), stay=True, via=Desk()),
                On("pay", None, b.step("paid")),
            ),
        ),
        """
            Resume: main?order
            order setup | Setup: main?order
            callback discount | Callback: main>order
            Resume: main?ok
            callback note | Callback: main?ok
            callback approve | Callback: main>ok
            Resume: main@reduce
            reduce | Step: main@noted
            noted | Step: main?order
            callback discount | Callback: main>order
            Resume: main?ok
            callback pay | Callback: main?ok
            order teardown | Teardown: main?ok
            callback reject | Callback: main>ok
            Resume: main@refuse
            refuse | Step: main@paid
            paid | Step:
        """,
        log="reduce noted refuse paid",
        script=[
            Callback("discount"),
            Callback("note"),
            Callback(APPROVE, ANN),
            Callback("discount"),
            Callback("pay"),
            Callback(REJECT, ANN),
        ],
    ),
    Case(
        "one Approval in each branch of a Map: the thread says which is meant",
        lambda b: S(
            Map("m", ["p", "q"], Approval("ok", b.call(lambda w, item: [f"chief of {item}"]), b.each("ship")), Return()),
            b.step("after"),
        ),
        """
            Resume: main~m m:0?ok m:1?ok
            callback approve | Callback: main~m m:0?ok m:1>ok
            Resume: main~m m:0?ok m:1@ship
            ship by m:1 | Step: main~m m:0?ok
            callback approve | Callback: main~m m:0>ok
            Resume: main~m m:0@ship
            ship by m:0 | Step: main@after
            after | Step:
        """,
        log="ship(q) ship(p) after",
        script=[
            Callback(CallbackRequest("approve", thread_id="m:1"), Answer("chief of q")),
            Callback(APPROVE, Answer("chief of p")),
        ],
    ),
    Case(
        "without a body, a time or anything else",
        lambda b: S(Approval("ok", ["ann"]), b.step("after")),
        """
            Resume: main?ok
            callback approve | Callback: main>ok
            Resume: main@after
            after | Step:
        """,
        log="after",
        script=[Callback(APPROVE, ANN)],
    ),
]
