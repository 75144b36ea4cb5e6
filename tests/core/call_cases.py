"""The table of Calls: child runs, how they end, and what that means for the thread that waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from flowstmt import (
    ANY,
    Branch,
    Break,
    Call,
    CallbackRequest,
    ChildError,
    ErrorInfo,
    For,
    ForEach,
    Go,
    Join,
    Map,
    On,
    Parallel,
    Return,
    S,
    Saga,
    Scope,
    Sleep,
    Statement,
    Try,
    Wait,
)
from flowstmt.testing import CHILD_ENDED, Advance, Callback, ChildEnd
from tests.core.recovery_cases import book
from tests.core.styles import Build, Case

BROKE = ChildEnd("Failed", None, ErrorInfo("NoMoney", "the account is empty", "charge"))
CANCELLED = ChildEnd("Cancelled", None, ErrorInfo("Cancelled", "by ann", ""))


@dataclass
class Child:
    n: int = 0

    def definition(self) -> Statement:
        return Return(self.n)


def ends(result: object = None, thread_id: str | None = None) -> Callback:
    return Callback(CallbackRequest(CHILD_ENDED.name, thread_id), ChildEnd("Finished", result))


def call(b: Build, name: str = "child", into=None) -> Call:
    return Call(name, b.call(lambda work: Child(work.n)), into)


def keep(work, error: ErrorInfo):
    work.kept = [error.type, error.step]


CASES = [
    Case(
        "the result of a child is kept, and its thread goes on",
        lambda b: S(call(b, into="n"), b.step("after")),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@after
            after | Step:
        """,
        log="after",
        script=[ends(5)],
        ends={"n": 5},
    ),
    Case(
        "a setter takes the result, and decisions after it see it",
        lambda b: For("until", b.value(lambda w: w.n < 2), call(b, into=b.call(lambda work, found: setattr(work, "n", found)))),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume:
        """,
        script=[ends(1), ends(2)],
        ends={"n": 2},
    ),
    Case(
        "the failure of a child is caught by the class ChildError",
        lambda b: Try("t", call(b), b.step("never")).catch(ChildError, b.step("mend"), into=b.call(keep)),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@mend
            mend | Step:
        """,
        log="mend",
        script=[Callback(CHILD_ENDED, BROKE)],
        ends={"kept": ["NoMoney", "child"]},
    ),
    Case(
        "the failure of a child is caught by the name of its own error, through a finally",
        lambda b: (
            Try("t", Try("inner", call(b)).finally_(b.step("close")))
            .catch("Other", b.step("never"))
            .catch("NoMoney", b.step("mend"))
        ),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@close
            close | Step: main@mend
            mend | Step:
        """,
        log="close mend",
        script=[Callback(CHILD_ENDED, BROKE)],
    ),
    Case(
        "the cancellation of a child is caught by name",
        lambda b: Try("t", call(b)).catch("Cancelled", b.step("mend")),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@mend
            mend | Step:
        """,
        log="mend",
        script=[Callback(CHILD_ENDED, CANCELLED)],
    ),
    Case(
        "a failure that nobody takes is that of the run, and undoes what was done",
        lambda b: Saga("saga", book(b, "room"), call(b)),
        """
            Resume: main@room
            room | Step: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@room:compensate
            room:compensate | Step:
        """,
        log="room undo(1)",
        script=[Callback(CHILD_ENDED, BROKE)],
    ),
    Case(
        "a child without an error to tell fails as a ChildError",
        lambda b: Try("t", call(b)).catch("ChildError", b.step("mend"), into=b.call(keep)),
        """
            Resume: main?child
            child setup | Setup: main?child
            callback child:ended | Callback: main>child
            Resume: main@mend
            mend | Step:
        """,
        log="mend",
        script=[Callback(CHILD_ENDED, ChildEnd("Failed"))],
        ends={"kept": ["ChildError", "child"]},
    ),
    Case(
        "branches of a Map are children, a few at once, and their results are those of the branches",
        lambda b: Map(
            "all",
            b.value(lambda w: w.items),
            Call("each", b.call(lambda *given: Child(given[-1]))),
            max_concurrency=2,
            into="kept",
        ),
        """
            Resume: main~all all:0?each all:1?each
            each by all:0 setup | Setup: main~all all:0?each all:1?each
            each by all:1 setup | Setup: main~all all:0?each all:1?each
            callback child:ended | Callback: main~all all:0?each all:1>each
            Resume: main~all all:0?each all:2?each
            each by all:2 setup | Setup: main~all all:0?each all:2?each
            callback child:ended | Callback: main~all all:0>each all:2?each
            Resume: main~all all:2?each
            callback child:ended | Callback: main~all all:2>each
            Resume:
        """,
        start={"items": [1, 2, 3]},
        script=[ends("two", "all:1"), ends("one"), ends("three")],
        ends={"kept": ["one", "two", "three"]},
    ),
    Case(
        "a child that is not needed any more is cancelled",
        lambda b: S(
            Parallel("race", Branch("child", call(b, "run")), Branch("nap", Sleep("doze", timedelta(hours=1))), join=ANY),
            b.step("after"),
        ),
        """
            Resume: main~race race:child?run race:nap+doze
            run by race:child setup | Setup: main~race race:child?run race:nap+doze
            clock 1:00:00 | Resume: main~race race:child.run
            run by race:child teardown | Teardown: main@after
            after | Step:
        """,
        log="after",
        script=[Advance(timedelta(hours=1))],
    ),
    Case(
        "a tolerated failure leaves its error in the results",
        lambda b: Map("all", [1, 2], call(b), tolerate=1, into="kept"),
        """
            Resume: main~all all:0?child all:1?child
            child by all:0 setup | Setup: main~all all:0?child all:1?child
            child by all:1 setup | Setup: main~all all:0?child all:1?child
            callback child:ended | Callback: main~all all:0>child all:1?child
            Resume: main~all all:1?child
            callback child:ended | Callback: main~all all:1>child
            Resume:
        """,
        script=[Callback(CHILD_ENDED, BROKE), ends("fine")],
    ),
    Case(
        "a Return elsewhere cancels the child for which a Go waits",
        lambda b: S(Go("side", Scope("s", call(b))), Wait("end", On("over")), Return("done")),
        """
            Resume: main?end side?s/child
            s/child by side setup | Setup: main?end side?s/child
            callback over | Callback: main>end side?s/child
            Resume: side.s/child
            s/child by side teardown | Teardown:
        """,
        result="done",
        script=[Callback("over")],
    ),
    Case(
        "the end of a child lets a Break and a Join follow",
        lambda b: S(
            Go("side", ForEach("lines", ["a", "b"], call(b), Break()), b.step("aside")),
            Join("all", "side"),
            b.step("after"),
        ),
        """
            Resume: main~all side?child
            child by side setup | Setup: main~all side?child
            callback child:ended | Callback: main~all side>child
            Resume: main~all side@aside
            aside by side | Step: main@after
            after | Step:
        """,
        log="aside after",
        script=[ends(None)],
    ),
]
