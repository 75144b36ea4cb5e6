"""The table of the core: a tree, what happens to it from outside, and the trace, log and result that must come of it.

``test_cases.py`` runs every case in every style, sync and async, round-tripped and killed everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from flowstmt import (
    Break,
    CallbackRequest,
    Continue,
    Default,
    Event,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Scope,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)
from flowstmt import (
    Case as When,
)
from flowstmt.testing import START, Advance, Callback
from tests.core.styles import Build, Case

HOUR = timedelta(hours=1)
PAID: Event[int, str] = Event("paid", int, str)


@dataclass
class Line:
    sku: str
    price: Decimal


def add(work):
    work.n += 1


def reserve(work, line: Line):
    work.log.append(f"{line.sku} for {line.price}")
    line.price *= 2


def shrink(work, item):
    del work.items[0]


class Desk:
    """Something outside that has to be set up and torn down."""

    def setup(self, request):
        return f"{request.name}/{request.pc}"

    def teardown(self, request, handled):
        pass


class Bell:
    """Something outside that needs no setup."""

    def teardown(self, request, handled):
        pass


class Form:
    """Something outside that needs no teardown."""

    type = "a form"

    def setup(self, request):
        return None


class Counter:
    """Function and ``via`` at once."""

    def setup(self, request):
        return "open"

    def teardown(self, request, handled):
        pass

    def handle(self, request, payload):
        return [request.setup_data, payload]


def branches(b: Build) -> Statement:
    return S(
        If("one", b.value(lambda w: w.n == 1), b.step("first"))
        .else_if("two", b.value(lambda w: w.n == 2), b.step("second"))
        .else_(b.step("other")),
        b.step("after"),
    )


def shipment(b: Build) -> Statement:
    """A section that is used twice: it loops, starts threads, waits for them, and leaves its loop."""
    return S(
        For(
            "tries",
            b.step("try", add),
            Go("ship", Wait("parcel", On("sent", None, b.step("note")))),
            Join("shipped", "ship"),
            If("enough", b.value(lambda w: w.n % 2 == 0), Break()),
        ),
    )


def switched(b: Build) -> Statement:
    return S(
        Switch(
            When("one", b.value(lambda w: w.n == 1), b.step("first")),
            When("small", b.value(lambda w: w.n < 3), b.step("second")),
            Default(b.step("other")),
        ),
        b.step("after"),
    )


def nested_loops(b: Build) -> Statement:
    """for: n += 1; if n == 4: break; for: odd n: continue; inner, break."""
    return S(
        For(
            "outer",
            b.step("count", add),
            If("enough", b.value(lambda w: w.n == 4), Break()),
            For(
                "inner",
                b.value(lambda w: True),
                b.step("try"),
                If("odd", b.value(lambda w: w.n % 2 == 1 and w.log[-2:] != ["try", "try"]), Continue()).else_(
                    If("even", b.value(lambda w: w.n % 2 == 0), S(S(), Break())).else_(b.step("tail"), Break())
                ),
                b.step("never"),
            ),
            b.step("end"),
        ),
        b.step("after"),
    )


def put(work, count: int):
    work.n += count


def cart(b: Build) -> Statement:
    return S(
        For(
            "shopping",
            Wait(
                "cart",
                On("add", b.act(put), b.step("added")),
                On("submit", None, Break()),
                Timeout("forgotten", HOUR, Return("forgotten")),
            ),
        ),
        b.step("ship"),
        Return(b.value(lambda w: w.n)),
    )


def two_threads(b: Build) -> Statement:
    return S(Go("other", b.step("x"), b.step("y"), b.step("z")), b.step("a"), b.step("b"), b.step("c"), Join("all", "other"))


CASES = [
    # --- steps, and the end ---
    Case(
        "a definition without statements ends at once",
        lambda b: S(),
        """
            Resume:
        """,
    ),
    Case(
        "one step",
        lambda b: b.step("a"),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "steps in a row, grouped and not",
        lambda b: S(b.step("a"), S(S(), b.step("b"), S(b.step("c")))),
        """
            Resume: main@a
            a | Step: main@b
            b | Step: main@c
            c | Step:
        """,
        log="a b c",
    ),
    Case(
        "what a step returns goes into a field or a setter",
        lambda b: S(
            b.step("field", lambda w: 7, into="n"),
            b.step("setter", lambda w: [w.n], into=b.call(lambda w, value: w.keep(value))),
            b.step("ignored", lambda w: "lost"),
        ),
        """
            Resume: main@field
            field | Step: main@setter
            setter | Step: main@ignored
            ignored | Step:
        """,
        log="field setter ignored",
        ends={"n": 7, "kept": ["kept", [7]]},
    ),
    Case(
        "Return ends the run with its value",
        lambda b: S(b.step("a"), Return({"b": [1]}), b.step("never")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
        result={"b": [1]},
    ),
    Case(
        "Return computes its value when it is reached",
        lambda b: S(b.step("a", add), Return(b.value(lambda w: w.n))),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
        result=1,
    ),
    Case(
        "Return leaves nested loops",
        lambda b: S(For("o", ForEach("i", [1, 2], For("p", b.each("a"), Return("out")))), b.step("never")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a(1)",
        result="out",
    ),
    # --- branches ---
    *[
        Case(
            f"If, else_if and else_ when n is {n}",
            branches,
            f"Resume: main@{word}\n{word} | Step: main@after\nafter | Step:",
            log=f"{word} after",
            start={"n": n},
        )
        for n, word in ((1, "first"), (2, "second"), (3, "other"))
    ],
    *[
        Case(
            f"Switch takes the first true case when n is {n}",
            switched,
            f"Resume: main@{word}\n{word} | Step: main@after\nafter | Step:",
            log=f"{word} after",
            start={"n": n},
        )
        for n, word in ((1, "first"), (2, "second"), (3, "other"))
    ],
    Case(
        "a Switch without a true case goes on, one with only a Default takes it",
        lambda b: S(
            Switch(When("no", b.value(lambda w: False), b.step("never"))), Switch(Default(b.step("a"))), Switch(Default())
        ),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "conditions see what the step before them did",
        lambda b: S(
            If("before", b.value(lambda w: w.n), b.step("never")),
            b.step("a", add),
            If("after", b.value(lambda w: w.n), If("inside", b.value(lambda w: w.n == 1), b.step("b"))),
        ),
        """
            Resume: main@a
            a | Step: main@b
            b | Step:
        """,
        log="a b",
    ),
    # --- loops ---
    Case(
        "For runs while its condition holds",
        lambda b: For("l", b.value(lambda w: w.n < 3), b.step("a", add)),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@a
            a | Step:
        """,
        log="a a a",
    ),
    Case(
        "For that never holds is skipped",
        lambda b: S(For("l", b.value(lambda w: False), b.step("never")), b.step("a")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "a For without a condition runs until Break",
        lambda b: S(For("l", b.step("a", add), If("done", b.value(lambda w: w.n > 1), Break()), b.step("b")), b.step("c")),
        """
            Resume: main@a
            a | Step: main@b
            b | Step: main@a
            a | Step: main@c
            c | Step:
        """,
        log="a b a c",
    ),
    Case(
        "nested loops with Break and Continue",
        nested_loops,
        """
            Resume: main@count
            count | Step: main@try
            try | Step: main@try
            try | Step: main@tail
            tail | Step: main@end
            end | Step: main@count
            count | Step: main@try
            try | Step: main@end
            end | Step: main@count
            count | Step: main@try
            try | Step: main@try
            try | Step: main@tail
            tail | Step: main@end
            end | Step: main@count
            count | Step: main@after
            after | Step:
        """,
        log="count try try tail end count try end count try try tail end count after",
    ),
    Case(
        "code that can't be reached is legal",
        lambda b: S(For("l", b.step("a"), Break(), b.step("never"), Continue()), Return(), b.step("never either")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    # --- items ---
    Case(
        "ForEach gives each item",
        lambda b: S(ForEach("l", ["p", "q"], b.each("a"), b.step("b")), b.step("c")),
        """
            Resume: main@a
            a | Step: main@b
            b | Step: main@a
            a | Step: main@b
            b | Step: main@c
            c | Step:
        """,
        log="a(p) b a(q) b c",
    ),
    Case(
        "ForEach over a range",
        lambda b: ForEach("l", range(2), b.each("a")),
        """
            Resume: main@a
            a | Step: main@a
            a | Step:
        """,
        log="a(0) a(1)",
    ),
    Case(
        "ForEach over a tuple that the workflow computes",
        lambda b: ForEach("l", b.value(lambda w: (w.n, None)), b.each("a")),
        """
            Resume: main@a
            a | Step: main@a
            a | Step:
        """,
        log="a(5) a(None)",
        start={"n": 5},
    ),
    Case(
        "ForEach over nothing is skipped",
        lambda b: S(ForEach("l", b.value(lambda w: w.items), b.each("never")), b.step("a")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "a list that grows and shrinks meanwhile: the index counts",
        lambda b: ForEach("l", b.value(lambda w: w.items), b.each("a", lambda w, item: shrink(w, item) if item == 1 else None)),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@a
            a | Step:
        """,
        log="a(0) a(1) a(3)",
        start={"items": [0, 1, 2, 3]},
        ends={"items": [1, 2, 3]},
    ),
    Case(
        "an item is the thread's own copy, and may be changed",
        lambda b: S(
            ForEach(
                "l",
                b.value(lambda w: w.items),
                b.each("a", lambda w, item: item.update(seen=True)),
                b.step("forget", lambda w: w.items.clear()),
                b.each("b"),
            )
        ),
        """
            Resume: main@a
            a | Step: main@forget
            forget | Step: main@b
            b | Step:
        """,
        log="a({'id': 1}) forget b({'id': 1, 'seen': True})",
        start={"items": [{"id": 1}]},
        ends={"items": []},
    ),
    Case(
        "nested ForEach: the innermost item, and the outer one again",
        lambda b: ForEach("rows", [[1, 2], [], [3]], ForEach("cells", b.call(lambda w, row: row), b.each("a")), b.each("row")),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@row
            row | Step: main@row
            row | Step: main@a
            a | Step: main@row
            row | Step:
        """,
        log="a(1) a(2) row([1, 2]) row([]) a(3) row([3])",
    ),
    Case(
        "Break and Continue inside ForEach",
        lambda b: S(
            ForEach(
                "l",
                range(9),
                If("odd", b.call(lambda w, i: i % 2 == 1), Continue()),
                If("enough", b.call(lambda w, i: i > 3), Break()),
                b.each("a"),
            ),
            b.step("b"),
        ),
        """
            Resume: main@a
            a | Step: main@a
            a | Step: main@b
            b | Step:
        """,
        log="a(0) a(2) b",
    ),
    Case(
        "Break out of an inner ForEach goes on in the outer one",
        lambda b: ForEach("o", "xy", ForEach("i", [1, 2], b.each("a"), Break()), For("w", b.each("b"), Break())),
        """
            Resume: main@a
            a | Step: main@b
            b | Step: main@a
            a | Step: main@b
            b | Step:
        """,
        log="a(1) b(x) a(1) b(y)",
    ),
    Case(
        "conditions, waits and sleeps get the item too",
        lambda b: ForEach(
            "l",
            [1, 2],
            Sleep("nap", b.call(lambda w, i: i * HOUR)),
            WaitFor("ready", b.call(lambda w, i: i > 0), b.act(put)),
            Wait(
                "w",
                On("go", b.act(lambda w, payload, i: w.log.append(f"{payload}{i}"))),
                Timeout("t", b.call(lambda w, i: i * HOUR)),
            ),
        ),
        """
            Resume: main+nap
            clock 1:00:00 | Resume: main@ready
            ready | Condition: main?w
            callback go | w handler | Callback: main>w
            Resume: main+nap
            clock 3:00:00 | Resume: main@ready
            ready | Condition: main?w
            clock 5:00:00 | Resume:
            clock 6:00:00
        """,
        log="x1",
        script=[Advance(HOUR), Callback("go", "x"), Advance(5 * HOUR)],
        ends={"n": 3},
    ),
    # --- threads ---
    Case(
        "two threads take turns",
        two_threads,
        """
            Resume: main@a other@x
            a | Step: main@b other@x
            x by other | Step: main@b other@y
            b | Step: main@c other@y
            y by other | Step: main@c other@z
            c | Step: main~all other@z
            z by other | Step:
        """,
        log="a x b y c z",
    ),
    Case(
        "a thread that does nothing ends at once",
        lambda b: S(Go("t", S()), b.step("a")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "when main ends, the others end",
        lambda b: S(
            Go("stepping", For("forever", b.step("x"))),
            Go("sleeping", Sleep("s", HOUR)),
            Go("waiting", Wait("w", On("e"))),
            Go("hoping", WaitFor("h", b.value(lambda w: False))),
            b.step("a"),
            b.step("b"),
        ),
        """
            Resume: main@a stepping@x sleeping+s waiting?w hoping~h
            a | Step: main@b stepping@x sleeping+s waiting?w hoping~h
            x by stepping | Step: main@b stepping@x sleeping+s waiting?w hoping~h
            b | Step:
        """,
        log="a x b",
    ),
    Case(
        "Return in a thread ends that thread only",
        lambda b: S(Go("t", b.step("x"), Return("lost"), b.step("never")), b.step("a"), Join("j", "t")),
        """
            Resume: main@a t@x
            a | Step: main~j t@x
            x by t | Step:
        """,
        log="a x",
    ),
    Case(
        "ids tell siblings apart, arg is the thread's own",
        lambda b: S(
            ForEach(
                "l",
                b.value(lambda w: w.items),
                Go(
                    "t",
                    b.each("x", lambda w, own: own.append(9)),
                    b.each("y"),
                    id=b.call(lambda w, item: item[0]),
                    arg=b.call(lambda w, item: item),
                ),
            ),
            Join("j", "t"),
        ),
        """
            Resume: main~j t:1@x t:2@x
            x by t:1 | Step: main~j t:1@y t:2@x
            x by t:2 | Step: main~j t:1@y t:2@y
            y by t:1 | Step: main~j t:2@y
            y by t:2 | Step:
        """,
        log="x([1]) x([2]) y([1, 9]) y([2, 9])",
        start={"items": [[1], [2]]},
        ends={"items": [[1], [2]]},
    ),
    Case(
        "items and args come as the type that those who take them annotate",
        lambda b: S(
            ForEach("l", b.value(lambda w: w.items), Step("r", b.act(reserve)), Go("t", Step("r2", b.act(reserve)))),
            Go("u", Step("r3", b.act(reserve)), Step("r4", b.act(reserve)), arg=Line("milk", Decimal(2))),
            Join("j", "t", "u"),
        ),
        """
            Resume: main@r
            r | Step: main~j t@r2 u@r3
            r2 by t | Step: main~j u@r3
            r3 by u | Step: main~j u@r4
            r4 by u | Step:
        """,
        log="tea for 1.5 tea for 3.0 milk for 2 milk for 4",
        start={"items": [{"sku": "tea", "price": "1.5"}]},
    ),
    Case(
        "a Go without arg hands its item on, to threads of threads too",
        lambda b: S(
            ForEach(
                "l", [1, 2], Go("t", Go("u", b.each("x"), id=b.call(lambda w, i: i)), b.each("y"), id=b.call(lambda w, i: i))
            ),
            Join("k", "t", "u"),
        ),
        """
            Resume: main~k t:1@y t:2@y u:1@x u:2@x
            y by t:1 | Step: main~k t:2@y u:1@x u:2@x
            y by t:2 | Step: main~k u:1@x u:2@x
            x by u:1 | Step: main~k u:2@x
            x by u:2 | Step:
        """,
        log="y(1) y(2) x(1) x(2)",
    ),
    Case(
        "a thread started anew in each round of a loop",
        lambda b: For("l", b.value(lambda w: w.n < 2), Go("t", b.step("x", add)), Join("j", "t")),
        """
            Resume: main~j t@x
            x by t | Step: main~j t@x
            x by t | Step:
        """,
        log="x x",
    ),
    Case(
        "Join waits for all threads of all its names",
        lambda b: S(
            Go("t", b.step("x1"), b.step("x2")),
            Go("u", b.step("y1")),
            Go("v", For("l", Wait("w", On("tick")))),
            Join("j", "t", "u"),
            b.step("a"),
        ),
        """
            Resume: main~j t@x1 u@y1 v?w
            x1 by t | Step: main~j t@x2 u@y1 v?w
            y1 by u | Step: main~j t@x2 v?w
            x2 by t | Step: main@a v?w
            a | Step:
        """,
        log="x1 y1 x2 a",
    ),
    Case(
        "Join for a thread that never lived goes on",
        lambda b: S(If("no", b.value(lambda w: False), Go("t", b.step("x"))), Join("j", "t"), b.step("a")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "a thread waits for a condition that another one makes true",
        lambda b: S(
            Go("t", b.step("x"), b.step("y", add)), WaitFor("n", b.value(lambda w: w.n == 1)), b.step("a"), Return("done")
        ),
        """
            Resume: main~n t@x
            x by t | Step: main~n t@y
            y by t | Step: main@a
            a | Step:
        """,
        log="x y a",
        result="done",
    ),
    # --- events ---
    Case(
        "a callback fires one of several events",
        lambda b: S(Wait("w", On("no", None, b.step("x")), On("yes", None, b.step("y"))), b.step("a")),
        """
            Resume: main?w
            callback yes | Callback: main>w
            Resume: main@y
            y | Step: main@a
            a | Step:
        """,
        log="y a",
        script=[Callback("yes")],
    ),
    Case(
        "an event without a body, and one with its handler left out",
        lambda b: S(Wait("w", On("empty")), Wait("v", On("body", b.step("x")))),
        """
            Resume: main?w
            callback empty | Callback: main>w
            Resume: main?v
            callback body | Callback: main>v
            Resume: main@x
            x | Step:
        """,
        log="x",
        script=[Callback("empty"), Callback("body")],
    ),
    Case(
        "into keeps the payload in a field or by a setter",
        lambda b: S(
            Wait("w", On("a", into="n")),
            Wait("v", On("b", b.act(lambda w, p: w.log.append(f"handled {p}")), into=b.call(lambda w, p: w.keep(p)))),
        ),
        """
            Resume: main?w
            callback a | Callback: main>w
            Resume: main?v
            callback b | v handler | Callback: main>v
            Resume:
        """,
        log="handled {'x': 1}",
        script=[Callback("a", 4), Callback("b", b'{"x":1}')],
        ends={"n": 4, "kept": ["kept", {"x": 1}]},
    ),
    Case(
        "a typed event",
        lambda b: Wait("w", On(PAID, b.act(lambda w, p: f"receipt {p}"), b.step("a"), into="n")),
        """
            Resume: main?w
            callback paid | w handler | Callback: main>w
            Resume: main@a
            a | Step:
        """,
        log="a",
        script=[Callback(PAID, b"5")],
        ends={"n": 5},
    ),
    Case(
        "a cart",
        cart,
        """
            Resume: main?cart
            callback add | cart handler | Callback: main>cart
            Resume: main@added
            added | Step: main?cart
            callback add | cart handler | Callback: main>cart
            Resume: main@added
            added | Step: main?cart
            callback submit | Callback: main>cart
            Resume: main@ship
            ship | Step:
        """,
        log="added added ship",
        script=[Callback("add", 2), Callback("add", 3), Callback("submit")],
        result=5,
        ends={"n": 5},
    ),
    Case(
        "a cart that is forgotten",
        cart,
        """
            Resume: main?cart
            clock 0:30:00 | callback add | cart handler | Callback: main>cart
            Resume: main@added
            added | Step: main?cart
            clock 1:00:00 | clock 1:30:00 | Resume:
            clock 2:00:00
        """,
        log="added",
        script=[Advance(HOUR / 2), Callback("add", 1), Advance(HOUR / 2), Advance(HOUR)],
        result="forgotten",
    ),
    Case(
        "what was set up is torn down, fired or not",
        lambda b: S(
            Wait("w", On("a", via=Desk()), On("b", via=Desk()), On("c", via=Bell()), On("d", via=Form()), On("e")),
            b.step("x"),
        ),
        """
            Resume: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            callback a | Callback: main>w
            Resume: main@x
            w teardown | Teardown: main@x
            w teardown | Teardown: main@x
            w teardown | Teardown: main@x
            x | Step:
        """,
        log="x",
        script=[Callback("a")],
    ),
    Case(
        "a handler object is its own via, and sees what its setup returned",
        lambda b: Wait("w", On("count", Counter(), b.step("a"))),
        """
            Resume: main?w
            w setup | Setup: main?w
            callback count | w handler | Callback: main>w
            Resume: main@a
            w teardown | Teardown: main@a
            a | Step:
        """,
        log="a",
        script=[Callback("count", "payload")],
    ),
    Case(
        "events set up in each round of a loop",
        lambda b: S(For("l", Wait("w", On("again", b.act(add), via=Desk()), On("stop", None, Break(), via=Desk())))),
        """
            Resume: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            callback again | w handler | Callback: main>w
            Resume: main?w
            w teardown | Teardown: main?w
            w teardown | Teardown: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            callback again | w handler | Callback: main>w
            Resume: main?w
            w teardown | Teardown: main?w
            w teardown | Teardown: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            callback stop | Callback: main>w
            Resume: main.w
            w teardown | Teardown: main.w
            w teardown | Teardown:
        """,
        script=[Callback("again"), Callback("again"), Callback("stop")],
        ends={"n": 2},
    ),
    Case(
        "a run that ends tears down the events of all its threads",
        lambda b: S(
            Go("t", Wait("v", On("x", via=Desk()))), Go("u", Wait("y", On("z", via=Bell()))), Wait("w", On("end", via=Desk()))
        ),
        """
            Resume: main?w t?v u?y
            w setup | Setup: main?w t?v u?y
            v by t setup | Setup: main?w t?v u?y
            callback end | Callback: main>w t?v u?y
            Resume: main.w t.v u.y
            w teardown | Teardown: t.v u.y
            v by t teardown | Teardown: u.y
            y by u teardown | Teardown:
        """,
        script=[Callback("end")],
    ),
    Case(
        "a thread that ended is kept until its events are torn down, and its id is free",
        lambda b: S(
            For("l", b.value(lambda w: w.n < 2), Go("t", Wait("v", On("x", b.act(add), via=Bell()))), Join("j", "t")),
            b.step("a"),
        ),
        """
            Resume: main~j t?v
            callback x | v by t handler | Callback: main~j t>v
            Resume: main~j t.v t?v
            v by t teardown | Teardown: main~j t?v
            callback x | v by t handler | Callback: main~j t>v
            Resume: main@a t.v
            v by t teardown | Teardown: main@a
            a | Step:
        """,
        log="a",
        script=[Callback("x"), Callback("x")],
    ),
    Case(
        "a callback names one of several threads",
        lambda b: S(
            ForEach(
                "l",
                ["p", "q"],
                Go(
                    "t",
                    Wait("w", On("e", b.act(lambda w, payload, item: w.log.append(f"{item}{payload}")))),
                    id=b.call(lambda w, i: i),
                ),
            ),
            Join("j", "t"),
        ),
        """
            Resume: main~j t:p?w t:q?w
            callback e | w by t:q handler | Callback: main~j t:p?w t:q>w
            Resume: main~j t:p?w
            callback e | w by t:p handler | Callback: main~j t:p>w
            Resume:
        """,
        log="q1 p2",
        script=[Callback(CallbackRequest("e", thread_id="t:q"), 1), Callback("e", 2)],
    ),
    # --- time ---
    Case(
        "Sleep for a while, and until an instant",
        lambda b: S(Sleep("s", HOUR), b.step("a"), Sleep("u", START + 3 * HOUR), b.step("b")),
        """
            Resume: main+s
            clock 1:00:00 | Resume: main@a
            a | Step: main+u
            clock 3:00:00 | Resume: main@b
            b | Step:
            clock 6:00:00
        """,
        log="a b",
        script=[Advance(HOUR), Advance(5 * HOUR)],
    ),
    Case(
        "a Sleep that is over before it begins does not stop",
        lambda b: S(Sleep("s", -HOUR), b.step("a"), Sleep("t", b.value(lambda w: START)), b.step("b")),
        """
            Resume: main@a
            a | Step: main@b
            b | Step:
        """,
        log="a b",
    ),
    Case(
        "durations count from the last outcome of the thread",
        lambda b: S(
            Go("t", Sleep("long", 3 * HOUR), b.step("x")),
            Sleep("s", HOUR),
            b.step("a"),
            Sleep("u", HOUR),
            b.step("b"),
            Join("j", "t"),
        ),
        """
            Resume: main+s t+long
            clock 1:00:00 | Resume: main@a t+long
            a | Step: main+u t+long
            clock 2:00:00 | Resume: main@b t+long
            b | Step: main~j t+long
            clock 3:00:00 | Resume: main~j t@x
            x by t | Step:
            clock 10:00:00
        """,
        log="a b x",
        script=[Advance(10 * HOUR)],
    ),
    Case(
        "of two timeouts the earlier one fires",
        lambda b: Wait("w", Timeout("later", 3 * HOUR, b.step("x")), Timeout("sooner", START + 2 * HOUR, b.step("y"))),
        """
            Resume: main?w
            clock 2:00:00 | Resume: main@y
            y | Step:
            clock 10:00:00
        """,
        log="y",
        script=[Advance(10 * HOUR)],
    ),
    Case(
        "of several events due at one instant the first one wins",
        lambda b: Wait(
            "w",
            On("e"),
            Timeout("first", b.value(lambda w: -HOUR), b.step("x"), Return("first")),
            Timeout("second", -HOUR, b.step("y")),
        ),
        """
            Resume: main@x
            x | Step:
        """,
        log="x",
        result="first",
    ),
    Case(
        "an event that never got to its setup is torn down all the same",
        lambda b: S(Wait("w", On("e", via=Desk()), Timeout("at once", timedelta(0))), b.step("a")),
        """
            Resume: main@a
            w teardown | Teardown: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "several timers of several threads fire in their order",
        lambda b: S(
            ForEach("l", [3, 1, 2], Go("t", Sleep("s", b.call(lambda w, h: h * HOUR)), b.each("x"), id=b.call(lambda w, h: h))),
            Join("j", "t"),
            Return("all"),
        ),
        """
            Resume: main~j t:3+s t:1+s t:2+s
            clock 1:00:00 | Resume: main~j t:3+s t:1@x t:2+s
            x by t:1 | Step: main~j t:3+s t:2+s
            clock 2:00:00 | Resume: main~j t:3+s t:2@x
            x by t:2 | Step: main~j t:3+s
            clock 3:00:00 | Resume: main~j t:3@x
            x by t:3 | Step:
            clock 4:00:00
        """,
        log="x(1) x(2) x(3)",
        script=[Advance(4 * HOUR)],
        result="all",
    ),
    # --- scopes ---
    Case(
        "one section used twice, under names of its own each time",
        lambda b: S(Scope("left", shipment(b)), Scope("right", Scope("far", shipment(b))), b.step("end")),
        """
            Resume: main@left/try
            left/try | Step: main~left/shipped left/ship?left/parcel
            callback sent | Callback: main~left/shipped left/ship>left/parcel
            Resume: main~left/shipped left/ship@left/note
            left/note by left/ship | Step: main@left/try
            left/try | Step: main~left/shipped left/ship?left/parcel
            callback sent | Callback: main~left/shipped left/ship>left/parcel
            Resume: main~left/shipped left/ship@left/note
            left/note by left/ship | Step: main@right/far/try
            right/far/try | Step: main~right/far/shipped right/far/ship?right/far/parcel
        """,
        log="try note try note try",
        script=[Callback("sent"), Callback(CallbackRequest("sent", thread_id="left/ship"))],
    ),
    Case(
        "Break, Continue and Return pass through a scope",
        lambda b: S(
            ForEach(
                "l",
                [1, 2, 3],
                Scope(
                    "a",
                    b.each("x"),
                    If("one", b.call(lambda w, item: item == 1), Continue()),
                    If("two", b.call(lambda w, item: item == 2), Scope("b", Break())),
                ),
                b.step("never"),
            ),
            Scope("c", Return("out")),
            b.step("nor"),
        ),
        """
            Resume: main@a/x
            a/x | Step: main@a/x
            a/x | Step:
        """,
        log="x(1) x(2)",
        result="out",
    ),
    # --- conditions ---
    Case(
        "WaitFor that holds does not stop",
        lambda b: S(WaitFor("c", b.value(lambda w: True)), b.step("a")),
        """
            Resume: main@a
            a | Step:
        """,
        log="a",
    ),
    Case(
        "WaitFor with a handler",
        lambda b: S(
            Go("t", Wait("w", On("e", b.act(add)))),
            WaitFor("c", b.value(lambda w: w.n > 0), b.act(lambda w: w.log.append("holds"))),
            b.step("a"),
        ),
        """
            Resume: main~c t?w
            callback e | w by t handler | Callback: main~c t>w
            Resume: main@c
            c | Condition: main@a
            a | Step:
        """,
        log="holds a",
        script=[Callback("e")],
    ),
    Case(
        "whoever arrived first has its turn first, handlers of WaitFor too",
        lambda b: S(
            Go("t", WaitFor("c", b.value(lambda w: w.n > 0), b.act(lambda w: w.log.append("holds")))),
            Go("u", b.step("x"), b.step("y", add), b.step("z")),
            b.step("a"),
            b.step("b"),
            b.step("c2"),
            Join("j", "t", "u"),
        ),
        """
            Resume: main@a t~c u@x
            a | Step: main@b t~c u@x
            x by u | Step: main@b t~c u@y
            b | Step: main@c2 t~c u@y
            y by u | Step: main@c2 t@c u@z
            c2 | Step: main~j t@c u@z
            c by t | Condition: main~j u@z
            z by u | Step:
        """,
        log="a x b y c2 holds z",
    ),
    Case(
        "one outcome that lets several threads go on is one save",
        lambda b: S(
            Go("t", WaitFor("c", b.value(lambda w: w.n > 0))),
            Go("u", WaitFor("d", b.value(lambda w: w.n > 0)), Sleep("s", HOUR)),
            b.step("a", add),
            Join("j", "t", "u"),
        ),
        """
            Resume: main@a t~c u~d
            a | Step: main~j u+s
            clock 1:00:00 | Resume:
        """,
        log="a",
        script=[Advance(HOUR)],
    ),
]
