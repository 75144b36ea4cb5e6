"""The table of failures: what a tree does when actions fail, loops end too late, and things have to be undone."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import (
    Break,
    Continue,
    Fail,
    FinalError,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Retry,
    Return,
    S,
    Saga,
    Sleep,
    Step,
    Timeout,
    Try,
    Wait,
    WaitFor,
    current,
)
from flowstmt.testing import Advance, Callback
from tests.core.styles import Build, Case

HOUR = timedelta(hours=1)
TWICE = Retry(max_attempts=2)


class DeclinedError(Exception):
    """What a bank might say."""


def decline(*_):
    raise DeclinedError("no money")


def spoil(work, *_):
    work.n += 100
    raise DeclinedError("no money")


def give_up(*_):
    raise FinalError("never again")


def first_time(work, *_):
    if current().attempt == 1:
        raise DeclinedError("not yet")
    return current().attempt


def number(work):
    work.n += 1
    return work.n


def undo(work, booked):
    work.log.append(f"undo({booked})")


def undo_blindly(work):
    work.log.append("undo")


def undo_item(work, booked, item):
    work.log.append(f"undo({booked},{item})")


def undo_badly(work, booked):
    work.log.append(f"undo({booked})")
    raise DeclinedError("no way back")


def undo_late(work, booked):
    if current().attempt == 1:
        raise DeclinedError("not yet")
    work.log.append(f"undo({booked})")


class Desk:
    def setup(self, request):
        return "set up"

    def teardown(self, request, handled):
        pass


def book(b: Build, name: str, how=undo, **options) -> Step:
    """A step that can be undone."""
    return b.step(name, number, compensate=b.act(how), **options)


CASES = [
    # --- Retry ---
    Case(
        "a step is tried again when its time has come, and not before",
        lambda b: S(b.step("a", first_time, retry=TWICE, into="kept"), b.step("b")),
        """
            Resume: main@a
            a | Failure: main+a
            clock 0:00:00.500000 | clock 0:00:01 | Resume: main@a
            a | Step: main@b
            b | Step:
        """,
        script=[Advance(timedelta(milliseconds=500)), Advance(timedelta(milliseconds=500))],
        log="a b",
        ends={"kept": 2},
    ),
    Case(
        "what a failed attempt did to the data is put back",
        lambda b: Try("t", b.step("a", spoil, retry=TWICE)).catch(DeclinedError, b.step("c"), into="kept"),
        """
            Resume: main@a
            a | Failure: main+a
            clock 0:00:01 | Resume: main@a
            a | Failure: main@c
            c | Step:
            clock 1:00:00
        """,
        script=[Advance(HOUR)],
        log="c",
        ends={"n": 0, "kept": {"type": "DeclinedError", "message": "no money", "step": "a", "attempts": 2}},
    ),
    Case(
        "a policy without a delay tries again in the same resume",
        lambda b: b.step("a", first_time, retry=Retry(initial=timedelta(0)), into="kept"),
        """
            Resume: main@a
            a | Failure: main@a
            a | Step:
        """,
        log="a",
        ends={"kept": 2},
    ),
    Case(
        "the last failure of a policy fails the run",
        lambda b: S(b.step("a", decline, retry=TWICE), b.step("never")),
        """
            Resume: main@a
            a | Failure: main+a
            clock 0:00:01 | Resume: main@a
            a | Failure:
            clock 1:00:00
        """,
        script=[Advance(HOUR)],
    ),
    Case(
        "a FinalError is not tried again",
        lambda b: Try("t", b.step("a", give_up, retry=Retry())).catch(FinalError, b.step("c")),
        """
            Resume: main@a
            a | Failure: main@c
            c | Step:
        """,
        log="c",
    ),
    Case(
        "an item that a failed attempt changed is put back",
        lambda b: ForEach(
            "l",
            b.value(lambda w: w.items),
            b.each("a", lambda w, item: (item.append(1), first_time(w)), retry=TWICE),
            b.each("b"),
        ),
        """
            Resume: main@a
            a | Failure: main+a
            clock 0:00:01 | Resume: main@a
            a | Step: main@b
            b | Step: main@a
            a | Failure: main+a
            clock 0:00:02 | Resume: main@a
            a | Step: main@b
            b | Step:
            clock 1:00:00 | clock 2:00:00
        """,
        start={"items": [[], [5]]},
        script=[Advance(HOUR), Advance(HOUR)],
        log="a([]) b([1]) a([5]) b([5, 1])",
    ),
    Case(
        "the handler of a WaitFor may be caught as any action",
        lambda b: Try("t", WaitFor("w", b.value(lambda w: True), b.act(decline))).catch("DeclinedError", b.step("c")),
        """
            Resume: main@w
            w | Failure: main@c
            c | Step:
        """,
        log="c",
    ),
    # --- Try ---
    Case(
        "the first catch that matches takes a failure",
        lambda b: (
            Try("t", b.step("a", spoil), b.step("never"))
            .catch((KeyError, "Other"), b.step("no"))
            .catch(lambda error: isinstance(error, DeclinedError), b.step("yes"))
            .catch(Exception, b.step("late"))
        ),
        """
            Resume: main@a
            a | Failure: main@yes
            yes | Step:
        """,
        log="yes",
        ends={"n": 0},
    ),
    Case(
        "what comes after a Try comes after a failure that was caught",
        lambda b: S(Try("t", b.step("a", decline)).catch(DeclinedError), b.step("b")),
        """
            Resume: main@a
            a | Failure: main@b
            b | Step:
        """,
        log="b",
    ),
    Case(
        "finally runs at the end, after a catch, and on the way of a failure",
        lambda b: S(
            Try("one", b.step("a")).finally_(b.step("f1")),
            Try("two", b.step("b", decline)).catch(DeclinedError, b.step("c")).finally_(b.step("f2")),
            Try("out", Try("three", b.step("d", decline)).finally_(b.step("f3"))).catch(
                DeclinedError, b.step("e"), into="kept"
            ),
        ),
        """
            Resume: main@a
            a | Step: main@f1
            f1 | Step: main@b
            b | Failure: main@c
            c | Step: main@f2
            f2 | Step: main@d
            d | Failure: main@f3
            f3 | Step: main@e
            e | Step:
        """,
        log="a f1 c f2 f3 e",
        ends={"kept": {"type": "DeclinedError", "message": "no money", "step": "d", "attempts": 1}},
    ),
    Case(
        "finally runs on the way of Break, Continue and Return",
        lambda b: S(
            For(
                "l",
                Try(
                    "t",
                    b.step("a", number),
                    If("first", b.value(lambda w: w.n == 1), Continue()),
                    If("second", b.value(lambda w: w.n == 2), Break()),
                ).finally_(b.step("f")),
                b.step("never"),
            ),
            Try("u", Return(b.value(lambda w: w.n))).finally_(b.step("g")),
            b.step("nor this"),
        ),
        """
            Resume: main@a
            a | Step: main@f
            f | Step: main@a
            a | Step: main@f
            f | Step: main@g
            g | Step:
        """,
        log="a f a f g",
        result=2,
    ),
    Case(
        "a failure in a catch goes outward, through its own finally",
        lambda b: Try(
            "out", Try("in", b.step("a", decline)).catch(DeclinedError, b.step("c", give_up)).finally_(b.step("f"))
        ).catch(FinalError, b.step("d"), into="kept"),
        """
            Resume: main@a
            a | Failure: main@c
            c | Failure: main@f
            f | Step: main@d
            d | Step:
        """,
        log="f d",
        ends={"kept": {"type": "FinalError", "message": "never again", "step": "c", "attempts": 1}},
    ),
    Case(
        "what a finally does overrules what was pending",
        lambda b: S(
            For("l", Try("t", b.step("a"), Fail("x", "lost")).finally_(b.step("f"), Break())),
            Try("u", Try("v", Return(1)).finally_(Fail("y", "stronger"))).catch("y", b.step("c")),
            Try("w", Fail("z", "swallowed")).finally_(Return(7)),
        ),
        """
            Resume: main@a
            a | Step: main@f
            f | Step: main@c
            c | Step:
        """,
        log="a f c",
        result=7,
    ),
    Case(
        "Fail is caught by its name, with a message that is computed",
        lambda b: Try("t", Fail("sold out", b.value(lambda w: f"only {w.n} left"))).catch("sold out", b.step("c"), into="kept"),
        """
            Resume: main@c
            c | Step:
        """,
        start={"n": 2},
        log="c",
        ends={"kept": {"type": "sold out", "message": "only 2 left", "step": "sold out", "attempts": 1}},
    ),
    Case(
        "conditions after a catch see the error that it kept",
        lambda b: S(
            Try("t", b.step("a", decline)).catch(
                DeclinedError, If("seen", b.value(lambda w: w.kept is not None), b.step("c")), into="kept"
            ),
            If("still", b.value(lambda w: w.kept), b.step("d")),
        ),
        """
            Resume: main@a
            a | Failure: main@c
            c | Step: main@d
            d | Step:
        """,
        log="c d",
    ),
    Case(
        "a setter may take the error",
        lambda b: Try("t", b.step("a", decline)).catch(DeclinedError, into=b.call(lambda w, error: w.keep(error.message))),
        """
            Resume: main@a
            a | Failure:
        """,
        ends={"kept": ["kept", "no money"]},
    ),
    Case(
        "a failure inside of loops leaves them, and the item of the loop outside stays",
        lambda b: ForEach(
            "out",
            [1, 2],
            Try("t", ForEach("in", [8, 9], b.each("a"), Try("u", b.step("x", decline)).finally_(b.each("f")))).catch(
                DeclinedError, b.each("c")
            ),
        ),
        """
            Resume: main@a
            a | Step: main@x
            x | Failure: main@f
            f | Step: main@c
            c | Step: main@a
            a | Step: main@x
            x | Failure: main@f
            f | Step: main@c
            c | Step:
        """,
        log="a(8) f(8) c(1) a(8) f(8) c(2)",
    ),
    # --- the end of a run ---
    Case(
        "a failure that nobody catches fails the run: the other threads clean up first",
        lambda b: S(
            Go("g", Try("t", Wait("w", On("e", via=Desk()))).finally_(b.step("f"), Sleep("s", HOUR), b.step("g2"))),
            Go("h", Sleep("h2", HOUR)),
            b.step("a"),
            Fail("bad", "very"),
        ),
        """
            Resume: main@a g?w h+h2
            w by g setup | Setup: main@a g?w h+h2
            a | Step: main~main g@f
            w by g teardown | Teardown: main~main g@f
            f by g | Step: main~main g+s
            clock 1:00:00 | Resume: main~main g@g2
            g2 by g | Step:
        """,
        script=[Advance(HOUR)],
        log="a f g2",
    ),
    Case(
        "the failure of a plain thread fails the run, and main cleans up",
        lambda b: S(
            Go("g", b.step("x"), Fail("bad", "very")),
            Try("t", Wait("w", On("e", via=Desk()), Timeout("late", HOUR))).catch("bad", b.step("never")).finally_(b.step("f")),
        ),
        """
            Resume: main?w g@x
            w setup | Setup: main?w g@x
            x by g | Step: main@f
            w teardown | Teardown: main@f
            f | Step:
        """,
        log="x f",
    ),
    Case(
        "when main ends, what the others have to clean up comes before the end",
        lambda b: S(Go("g", Try("t", Sleep("s", HOUR)).finally_(b.step("f"), Sleep("s2", HOUR))), b.step("a"), Return(3)),
        """
            Resume: main@a g+s
            a | Step: main~main g@f
            f by g | Step: main~main g+s2
            clock 1:00:00 | Resume:
        """,
        script=[Advance(HOUR)],
        log="a f",
        result=3,
    ),
    Case(
        "a Return in a finally does not keep a thread that has to end",
        lambda b: S(
            Go("g", For("l", Try("t", Sleep("s", HOUR)).finally_(b.step("f"), Break())), b.step("never")),
            b.step("a"),
            Return(3),
        ),
        """
            Resume: main@a g+s
            a | Step: main~main g@f
            f by g | Step:
        """,
        log="a f",
        result=3,
    ),
    Case(
        "a failure on the way out of a thread that ends anyway is noted",
        lambda b: S(Go("g", Try("t", Sleep("s", HOUR)).finally_(b.step("f"), Fail("bad", "too late"))), b.step("a"), Return(3)),
        """
            Resume: main@a g+s
            a | Step: main~main g@f
            f by g | Step:
        """,
        log="a f",
        result=3,
    ),
    # --- loops ---
    Case(
        "a loop that begins too many rounds fails",
        lambda b: Try("t", For("l", b.step("a"), max_iterations=2), b.step("never")).catch(FinalError, b.step("c")),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@c
            c | Step:
        """,
        log="a a c",
    ),
    Case(
        "a loop that ends in time does not",
        lambda b: S(
            For("l", b.value(lambda w: w.n < 2), b.step("a", number), max_iterations=2),
            For("m", Break(), b.step("never"), max_iterations=1),
            For("k", b.step("c", number), If("odd", b.value(lambda w: w.n % 2), Continue()), Break(), max_iterations=9),
            b.step("b"),
        ),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@c
            c | Step: main@c
            c | Step: main@b
            b | Step:
        """,
        log="a a c c b",
    ),
    # --- sagas ---
    Case(
        "a saga that fails undoes its steps, the newest first, and the failure goes outward",
        lambda b: S(
            book(b, "before"),
            Try("t", Saga("s", book(b, "a"), b.step("plain"), book(b, "c", undo_blindly), Fail("bad", "x"))).catch(
                "bad", b.step("d")
            ),
        ),
        """
            Resume: main@before
            before | Step: main@a
            a | Step: main@plain
            plain | Step: main@c
            c | Step: main@c:compensate
            c:compensate | Step: main@a:compensate
            a:compensate | Step: main@d
            d | Step:
        """,
        log="before a plain c undo undo(2) d",
    ),
    Case(
        "a failure that is caught inside undoes nothing, nor do Break and Return",
        lambda b: S(
            Saga("s", book(b, "a"), Try("t", Fail("bad", "x")).catch("bad", b.step("c"))),
            For("l", Saga("u", book(b, "d"), Break())),
            Saga("v", book(b, "e"), Return(1)),
        ),
        """
            Resume: main@a
            a | Step: main@c
            c | Step: main@d
            d | Step: main@e
            e | Step:
        """,
        log="a c d e",
        result=1,
    ),
    Case(
        "a run that fails undoes what all its sagas have done",
        lambda b: S(
            Saga("s", book(b, "a")),
            ForEach("l", [7, 8], b.each("b", lambda w, i: i, compensate=b.act(undo_item))),
            Fail("bad", "x"),
        ),
        """
            Resume: main@a
            a | Step: main@b
            b | Step: main@b
            b | Step: main@b:compensate
            b:compensate | Step: main@b:compensate
            b:compensate | Step: main@a:compensate
            a:compensate | Step:
        """,
        log="a b(7) b(8) undo(8,8) undo(7,7) undo(1)",
    ),
    Case(
        "a compensation is tried again; one that fails for good is noted, and the others go on",
        lambda b: S(book(b, "a", undo_late), book(b, "c", undo_badly, retry=Retry(max_attempts=1)), Fail("bad", "x")),
        """
            Resume: main@a
            a | Step: main@c
            c | Step: main@c:compensate
            c:compensate | Failure: main@a:compensate
            a:compensate | Failure: main+a:compensate
            clock 0:00:01 | Resume: main@a:compensate
            a:compensate | Step:
            clock 1:00:00
        """,
        script=[Advance(HOUR)],
        log="a c undo(1)",
    ),
    Case(
        "sagas inside of each other are undone from the inside out, and a finally between has its turn",
        lambda b: Try(
            "t",
            Saga("out", book(b, "a"), Try("u", Saga("in", book(b, "c"), Fail("bad", "x"))).finally_(b.step("f"))),
        ).catch("bad", b.step("d")),
        """
            Resume: main@a
            a | Step: main@c
            c | Step: main@c:compensate
            c:compensate | Step: main@f
            f | Step: main@a:compensate
            a:compensate | Step: main@d
            d | Step:
        """,
        log="a c undo(2) f undo(1) d",
    ),
    Case(
        "threads that a saga has started end before it is undone, and what they did is undone with it",
        lambda b: Try(
            "t",
            Saga(
                "s",
                Go("g", book(b, "x"), Try("u", Sleep("long", 5 * HOUR)).finally_(b.step("f"), Sleep("short", HOUR))),
                Go("h", book(b, "y")),
                Join("j", "h"),
                book(b, "a"),
                Fail("bad", "z"),
            ),
        ).catch("bad", b.step("d")),
        """
            Resume: main~j g@x h@y
            x by g | Step: main~j g+long h@y
            y by h | Step: main@a g+long
            a | Step: main~s g@f
            f by g | Step: main~s g+short
            clock 1:00:00 | Resume: main@a:compensate
            a:compensate | Step: main@y:compensate
            y:compensate | Step: main@x:compensate
            x:compensate | Step: main@d
            d | Step:
        """,
        script=[Advance(HOUR)],
        log="x y a f undo(3) undo(2) undo(1) d",
    ),
    Case(
        "a callback beside what has to be undone",
        lambda b: Saga(
            "s", book(b, "a"), Wait("w", On("go", None, b.step("c"), Fail("bad", "x")), On("stop", None, b.step("e")))
        ),
        """
            Resume: main@a
            a | Step: main?w
            callback go | Callback: main>w
            Resume: main@c
            c | Step: main@a:compensate
            a:compensate | Step:
        """,
        script=[Callback("go")],
        log="a c undo(1)",
    ),
    Case(
        "a compensation whose parameter has a default keeps it, as any callable does",
        lambda b: S(b.step("a", number, compensate=b.act(lambda w, name="mine": undo(w, name))), Fail("bad", "x")),
        """
            Resume: main@a
            a | Step: main@a:compensate
            a:compensate | Step:
        """,
        log="a undo(mine)",
    ),
]
