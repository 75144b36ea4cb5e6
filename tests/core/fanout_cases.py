"""The table of fan-out: what a tree does with several branches at once, and with what becomes of them."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import (
    ANY,
    AtLeast,
    Branch,
    CallbackRequest,
    Fail,
    ForEach,
    If,
    Map,
    On,
    Parallel,
    ParallelError,
    Percent,
    Retry,
    Return,
    S,
    Saga,
    Scope,
    Sleep,
    Timeout,
    Try,
    Wait,
)
from flowstmt.testing import Advance, Callback
from tests.core.recovery_cases import DeclinedError, Desk, book, decline, first_time
from tests.core.styles import Build, Case

HOUR = timedelta(hours=1)


def give(value):
    return lambda *_: value


def double(work, item):
    return item * 2


def odd_fails(work, item):
    if item % 2:
        raise DeclinedError(f"{item} is odd")
    return item


def error(step: str, kind: str, message: str, attempts: int = 1) -> dict[str, object]:
    return {"type": kind, "message": message, "step": step, "attempts": attempts}


def odd(b: Build):
    return b.call(lambda w, item: item % 2 == 1)


CASES = [
    Case(
        "branches run step by step in turn, and the parent goes on after the last",
        lambda b: S(Parallel("p", Branch("x", b.step("a"), b.step("c")), Branch("y", b.step("b"))), b.step("d")),
        """
            Resume: main~p p:x@a p:y@b
            a by p:x | Step: main~p p:x@c p:y@b
            b by p:y | Step: main~p p:x@c
            c by p:x | Step: main@d
            d | Step:
        """,
        log="a b c d",
    ),
    Case(
        "results are kept in the order of the branches: a Return's value, else that of the last step",
        lambda b: S(
            Parallel(
                "p",
                Branch("x", Sleep("late", HOUR), b.step("a", give(1))),
                Branch("y", b.step("b", give(2)), Return(b.value(lambda w: "ret"))),
                Branch("z"),
                into="kept",
            ),
            Return(b.value(lambda w: w.kept)),
        ),
        """
            Resume: main~p p:x+late p:y@b
            b by p:y | Step: main~p p:x+late
            clock 1:00:00 | Resume: main~p p:x@a
            a by p:x | Step:
        """,
        script=[Advance(HOUR)],
        log="b a",
        result=[1, "ret", None],
    ),
    Case(
        "ANY goes on with the first success: what the others have to clean up comes first",
        lambda b: S(
            Parallel(
                "p",
                Branch("slow", Try("t", Wait("w", On("e", via=Desk()), Timeout("late", 5 * HOUR))).finally_(b.step("f"))),
                Branch("bad", Fail("x", "no")),
                Branch("good", Sleep("s", HOUR), b.step("a", give("won"))),
                join=ANY,
                into="kept",
            ),
            b.step("d"),
        ),
        """
            Resume: main~p p:slow?w p:good+s
            w by p:slow setup | Setup: main~p p:slow?w p:good+s
            clock 1:00:00 | Resume: main~p p:slow?w p:good@a
            a by p:good | Step: main~p p:slow@f
            w by p:slow teardown | Teardown: main~p p:slow@f
            f by p:slow | Step: main@d
            d | Step:
        """,
        script=[Advance(HOUR)],
        log="a f d",
        ends={"kept": [None, error("x", "x", "no"), "won"]},
    ),
    Case(
        "AtLeast that can't be met any more is a ParallelError, at once",
        lambda b: Try(
            "t",
            Parallel("p", Branch("x", b.step("a")), Branch("y", Fail("u", "1")), Branch("z", Fail("v", "2")), join=AtLeast(2)),
        ).catch(ParallelError, b.step("c"), into="kept"),
        """
            Resume: main@c
            c | Step:
        """,
        log="c",
        ends={
            "kept": error(
                "p",
                "ParallelError",
                "0 of 3 branches of Parallel 'p' succeeded, 2 failed, which is not enough for its join: y: u at 'u': 1; "
                "z: v at 'v': 2",
            )
        },
    ),
    Case(
        "without fail_fast the others come to their end first",
        lambda b: Try(
            "t", Parallel("p", Branch("x", Fail("u", "1")), Branch("y", Sleep("s", HOUR), b.step("a")), fail_fast=False)
        ).catch("ParallelError", b.step("c")),
        """
            Resume: main~p p:y+s
            clock 1:00:00 | Resume: main~p p:y@a
            a by p:y | Step: main@c
            c | Step:
        """,
        script=[Advance(HOUR)],
        log="a c",
    ),
    Case(
        "so many failures are tolerated, and no more",
        lambda b: S(
            Map("m", [1, 2, 3, 4], b.each("a", odd_fails), tolerate=2, into="kept"),
            Try("t", Map("n", [1, 2, 3, 4], b.each("b", odd_fails), tolerate=Percent(49), fail_fast=False)).catch(
                ParallelError, b.step("c")
            ),
        ),
        """
            Resume: main~m m:0@a m:1@a m:2@a m:3@a
            a by m:0 | Failure: main~m m:1@a m:2@a m:3@a
            a by m:1 | Step: main~m m:2@a m:3@a
            a by m:2 | Failure: main~m m:3@a
            a by m:3 | Step: main~n n:0@b n:1@b n:2@b n:3@b
            b by n:0 | Failure: main~n n:1@b n:2@b n:3@b
            b by n:1 | Step: main~n n:2@b n:3@b
            b by n:2 | Failure: main~n n:3@b
            b by n:3 | Step: main@c
            c | Step:
        """,
        log="a(2) a(4) b(2) b(4) c",
        ends={"kept": [error("a", "DeclinedError", "1 is odd"), 2, error("a", "DeclinedError", "3 is odd"), 4]},
    ),
    Case(
        "Map runs at most max_concurrency branches at once, and keeps results by item",
        lambda b: Map(
            "m",
            b.value(lambda w: [5, 6, 7, 8, 9]),
            b.each("a", double),
            into="kept",
            max_concurrency=2,
            key=b.call(lambda w, i: f"k{i}"),
        ),
        """
            Resume: main~m m:k5@a m:k6@a
            a by m:k5 | Step: main~m m:k6@a m:k7@a
            a by m:k6 | Step: main~m m:k7@a m:k8@a
            a by m:k7 | Step: main~m m:k8@a m:k9@a
            a by m:k8 | Step: main~m m:k9@a
            a by m:k9 | Step:
        """,
        log="a(5) a(6) a(7) a(8) a(9)",
        ends={"kept": [10, 12, 14, 16, 18]},
    ),
    Case(
        "Map over nothing is done at once; ANY of nothing fails",
        lambda b: S(
            Map("m", [], b.each("a"), into="kept"),
            Try("t", Map("n", [], b.each("b"), join=ANY)).catch(ParallelError, b.step("c")),
        ),
        """
            Resume: main@c
            c | Step:
        """,
        log="c",
        ends={"kept": []},
    ),
    Case(
        "an item is the branch's own object: what actions change stays changed",
        lambda b: Map("m", b.value(lambda w: w.items), b.each("a", lambda w, i: i.append(1)), b.each("b"), max_concurrency=1),
        """
            Resume: main~m m:0@a
            a by m:0 | Step: main~m m:0@b
            b by m:0 | Step: main~m m:1@a
            a by m:1 | Step: main~m m:1@b
            b by m:1 | Step:
        """,
        start={"items": [[], [5]]},
        log="a([]) b([1]) a([5]) b([5, 1])",
        ends={"items": [[], [5]]},
    ),
    Case(
        "a branch gets the item of the loop around",
        lambda b: ForEach("l", [1, 2], Parallel("p", Branch("x", b.each("a", double)), Branch("y", b.each("b")), into="kept")),
        """
            Resume: main~p p:x@a p:y@b
            a by p:x | Step: main~p p:y@b
            b by p:y | Step: main~p p:x@a p:y@b
            a by p:x | Step: main~p p:y@b
            b by p:y | Step:
        """,
        log="a(1) b(1) a(2) b(2)",
        ends={"kept": [4, None]},
    ),
    Case(
        "Maps inside of each other",
        lambda b: Map(
            "m",
            ["u", "v"],
            Map("n", b.call(lambda w, i: [i + "1", i + "2"]), b.each("a", lambda w, i: i)),
            key=b.call(lambda w, i: i),
            into="kept",
        ),
        """
            Resume: main~m m:u~n m:v~n m:u/n:0@a m:u/n:1@a m:v/n:0@a m:v/n:1@a
            a by m:u/n:0 | Step: main~m m:u~n m:v~n m:u/n:1@a m:v/n:0@a m:v/n:1@a
            a by m:u/n:1 | Step: main~m m:v~n m:v/n:0@a m:v/n:1@a
            a by m:v/n:0 | Step: main~m m:v~n m:v/n:1@a
            a by m:v/n:1 | Step:
        """,
        log="a(u1) a(u2) a(v1) a(v2)",
        ends={"kept": [None, None]},
    ),
    Case(
        "a Map in a Branch of a Parallel",
        lambda b: Scope(
            "sc",
            Parallel(
                "p", Branch("x", Map("n", [1, 2], b.each("a", double), into="items")), Branch("y", b.step("c")), into="kept"
            ),
        ),
        """
            Resume: main~sc/p sc/p:x~sc/n sc/p:y@sc/c sc/p:x/sc/n:0@sc/a sc/p:x/sc/n:1@sc/a
            sc/c by sc/p:y | Step: main~sc/p sc/p:x~sc/n sc/p:x/sc/n:0@sc/a sc/p:x/sc/n:1@sc/a
            sc/a by sc/p:x/sc/n:0 | Step: main~sc/p sc/p:x~sc/n sc/p:x/sc/n:1@sc/a
            sc/a by sc/p:x/sc/n:1 | Step:
        """,
        log="c a(1) a(2)",
        ends={"items": [2, 4], "kept": [None, None]},
    ),
    Case(
        "an attempt is tried again inside of a branch while the others go on",
        lambda b: Map("m", [1, 2], b.each("a", first_time, retry=Retry()), b.each("b")),
        """
            Resume: main~m m:0@a m:1@a
            a by m:0 | Failure: main~m m:0+a m:1@a
            a by m:1 | Failure: main~m m:0+a m:1+a
            clock 0:00:01 | Resume: main~m m:0@a m:1@a
            a by m:0 | Step: main~m m:0@b m:1@a
            a by m:1 | Step: main~m m:0@b m:1@b
            b by m:0 | Step: main~m m:1@b
            b by m:1 | Step:
            clock 1:00:00
        """,
        script=[Advance(HOUR)],
        log="a(1) a(2) b(1) b(2)",
    ),
    Case(
        "what the branches of a failed saga have done is undone, the newest first",
        lambda b: Try(
            "t",
            Saga(
                "s",
                Parallel(
                    "p",
                    Branch("x", book(b, "flight")),
                    Branch("y", Saga("own", book(b, "hotel"), Sleep("night", HOUR))),
                    Branch("z", b.step("wait"), b.step("car", decline)),
                ),
            ),
        ).catch(ParallelError, b.step("c")),
        """
            Resume: main~p p:x@flight p:y@hotel p:z@wait
            flight by p:x | Step: main~p p:y@hotel p:z@wait
            hotel by p:y | Step: main~p p:y+night p:z@wait
            wait by p:z | Step: main~p p:y+night p:z@car
            car by p:z | Failure: main~p p:y@hotel:compensate
            hotel:compensate by p:y | Step: main@flight:compensate
            flight:compensate | Step: main@c
            c | Step:
        """,
        log="flight hotel wait undo(2) undo(1) c",
    ),
    Case(
        "a run that fails in a branch, by the name of its error",
        lambda b: S(Map("m", [1, 2, 3], b.each("a", odd_fails, retry=Retry(max_attempts=1)), b.each("b"))),
        """
            Resume: main~m m:0@a m:1@a m:2@a
            a by m:0 | Failure:
        """,
        log="",
    ),
    Case(
        "Return in the middle of a branch ends it alone",
        lambda b: S(Map("m", [1, 2], If("odd", odd(b), Return(0)), b.each("a"), into="kept"), b.step("d")),
        """
            Resume: main~m m:1@a
            a by m:1 | Step: main@d
            d | Step:
        """,
        log="a(2) d",
        ends={"kept": [0, None]},
    ),
    Case(
        "main ends while branches of another thread are under way",
        lambda b: S(
            Parallel(
                "p",
                Branch("x", b.step("a"), Sleep("s", HOUR)),
                Branch(
                    "y", Try("t", Map("m", [1, 2], Try("u", Wait("w", On("e"))).finally_(b.each("f")))).finally_(b.step("g"))
                ),
                join=ANY,
            ),
            b.step("d"),
        ),
        """
            Resume: main~p p:x@a p:y~m p:y/m:0?w p:y/m:1?w
            a by p:x | Step: main~p p:x+s p:y~m p:y/m:0?w p:y/m:1?w
            clock 1:00:00 | Resume: main~p p:y~m p:y/m:0@f p:y/m:1@f
            f by p:y/m:0 | Step: main~p p:y~m p:y/m:1@f
            f by p:y/m:1 | Step: main~p p:y@g
            g by p:y | Step: main@d
            d | Step:
        """,
        script=[Advance(HOUR)],
        log="a f(1) f(2) g d",
    ),
    Case(
        "events of branches are for the one that is named",
        lambda b: Map("m", [1, 2], Wait("w", On("go", into=b.call(lambda w, p: w.keep(p)))), b.each("a"), join=AtLeast(1)),
        """
            Resume: main~m m:0?w m:1?w
            callback go | Callback: main~m m:0?w m:1>w
            Resume: main~m m:0?w m:1@a
            a by m:1 | Step:
        """,
        script=[Callback(CallbackRequest("go", thread_id="m:1"), 7)],
        log="a(2)",
        ends={"kept": ["kept", 7]},
    ),
    Case(
        "a key may look at the item of the loop around",
        lambda b: ForEach(
            "l", ["x"], Map("m", [1, 2], Wait("w", On("go")), key=b.call(lambda w, item, outer: f"{outer}{item}"))
        ),
        """
            Resume: main~m m:x1?w m:x2?w
            callback go | Callback: main~m m:x1?w m:x2>w
            Resume: main~m m:x1?w
            callback go | Callback: main~m m:x1>w
            Resume:
        """,
        script=[Callback(CallbackRequest("go", thread_id="m:x2")), Callback(CallbackRequest("go", thread_id="m:x1"))],
    ),
]
