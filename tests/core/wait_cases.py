"""The table of Waits whose cases stay: reminders, events that fire again, conditions, and callbacks that come meanwhile."""

from __future__ import annotations

from datetime import timedelta

from flowstmt import (
    ANY,
    Branch,
    Break,
    CallbackRequest,
    Continue,
    Event,
    Every,
    Fail,
    For,
    ForEach,
    Go,
    Join,
    Map,
    On,
    Parallel,
    Retry,
    Return,
    S,
    Saga,
    Scope,
    Sleep,
    Statement,
    Timeout,
    Try,
    Wait,
    WaitFor,
    When,
    current,
)
from flowstmt.testing import Advance, Callback
from tests.core.cases import Bell, Desk, add, put
from tests.core.recovery_cases import book
from tests.core.styles import Build, Case

HOUR = timedelta(hours=1)
ADD: Event[int, None] = Event("add", int)


def note(work, payload: str):
    work.log.append(f"noted {payload}")


def late(work):
    if current().attempt == 1:
        raise OSError("not yet")


def payment(b: Build, *reminder: Statement) -> Statement:
    """A reminder each hour until the payment comes, or five hours have passed."""
    return S(
        Wait(
            "payment",
            On("paid", b.act(put), b.step("thank"), via=Desk()),
            Every("remind", HOUR, *reminder),
            Timeout("late", 5 * HOUR, b.step("give up")),
        ),
        b.step("after"),
    )


def basket(b: Build, *body: Statement, **options) -> Statement:
    """Things are added until somebody is done."""
    return S(
        Wait(
            "basket",
            On("add", b.act(put), b.step("added"), *body, stay=True, via=Desk(), **options),
            On("done", None, b.step("bye"), via=Bell()),
        ),
        b.step("after"),
    )


def subscription(b: Build) -> Statement:
    """It goes on until it is cancelled, and can be changed at any time."""
    return S(
        For(
            "months",
            Wait(
                "month",
                On("change", b.act(note), b.step("changed"), stay=True),
                On("cancel", None, Break()),
                When("unpaid", b.value(lambda w: w.n > 1), b.step("suspend"), Return("suspended")),
                Timeout("over", 30 * HOUR, b.step("bill", add)),
            ),
        ),
        b.step("after"),
    )


CASES = [
    # --- Every ---
    Case(
        "a reminder runs its body and the thread is back, with its siblings still set up",
        lambda b: payment(b, b.step("nudge")),
        """
            Resume: main?payment
            payment setup | Setup: main?payment
            clock 1:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            clock 2:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            callback paid | payment handler | Callback: main>payment
            Resume: main@thank
            payment teardown | Teardown: main@thank
            thank | Step: main@after
            after | Step:
        """,
        log="nudge nudge thank after",
        script=[Advance(2 * HOUR), Callback("paid", 7)],
        ends={"n": 7},
    ),
    Case(
        "a reminder and a Timeout that are due at one instant: in declaration order",
        lambda b: payment(b, b.step("nudge")),
        """
            Resume: main?payment
            payment setup | Setup: main?payment
            clock 1:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            clock 2:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            clock 3:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            clock 4:00:00 | Resume: main@nudge
            nudge | Step: main?payment
            clock 5:00:00 | Resume: main@nudge
            nudge | Step: main@give up
            payment teardown | Teardown: main@give up
            give up | Step: main@after
            after | Step:
            clock 9:00:00
        """,
        log="nudge nudge nudge nudge nudge give up after",
        script=[Advance(9 * HOUR)],
    ),
    Case(
        "of the reminders that were missed while the body took its time one is made up for",
        lambda b: payment(b, b.step("nudge"), Sleep("nap", 2.5 * HOUR)),
        """
            Resume: main?payment
            payment setup | Setup: main?payment
            clock 1:00:00 | Resume: main@nudge
            nudge | Step: main+nap
            clock 3:30:00 | Resume: main@nudge
            nudge | Step: main+nap
            clock 4:00:00 | callback paid | payment handler | Callback: main+nap
            payment teardown | Teardown: main+nap
            clock 6:00:00 | Resume: main@thank
            thank | Step: main@after
            after | Step:
            clock 7:00:00
        """,
        log="nudge nudge thank after",
        script=[Advance(4 * HOUR), Callback("paid", 7), Advance(3 * HOUR)],
    ),
    Case(
        "a Timeout that became due in the body of a reminder fires when the thread is back",
        lambda b: payment(b, Sleep("nap", 7 * HOUR)),
        """
            Resume: main?payment
            payment setup | Setup: main?payment
            clock 1:00:00 | Resume: main+nap
            clock 8:00:00 | Resume: main+nap
            clock 15:00:00 | Resume: main@give up
            payment teardown | Teardown: main@give up
            give up | Step: main@after
            after | Step:
            clock 16:00:00
        """,
        log="give up after",
        script=[Advance(16 * HOUR)],
    ),
    Case(
        "a reminder without a body does nothing but come",
        payment,
        """
            Resume: main?payment
            payment setup | Setup: main?payment
            clock 1:00:00 | Resume: main?payment
            clock 2:00:00 | Resume: main?payment
            callback paid | payment handler | Callback: main>payment
            Resume: main@thank
            payment teardown | Teardown: main@thank
            thank | Step: main@after
            after | Step:
        """,
        log="thank after",
        script=[Advance(2 * HOUR), Callback("paid", 7)],
    ),
    Case(
        "a period that is computed, and others of its kind: the earliest first, then in declaration order",
        lambda b: ForEach(
            "l",
            [1, 2],
            Wait(
                "w",
                Every("slow", b.call(lambda w, item: 2 * item * HOUR), b.step("slow step")),
                Every("quick", b.call(lambda w, item: item * HOUR), b.step("quick step")),
                On("on"),
            ),
        ),
        """
            Resume: main?w
            clock 1:00:00 | Resume: main@quick step
            quick step | Step: main?w
            clock 2:00:00 | Resume: main@slow step
            slow step | Step: main@quick step
            quick step | Step: main?w
            callback on | Callback: main>w
            Resume: main?w
            clock 4:00:00 | Resume: main@quick step
            quick step | Step: main?w
            clock 6:00:00 | Resume: main@slow step
            slow step | Step: main@quick step
            quick step | Step: main?w
            callback on | Callback: main>w
            Resume:
        """,
        log="quick step slow step quick step quick step slow step quick step",
        script=[Advance(2 * HOUR), Callback("on"), Advance(4 * HOUR), Callback("on")],
    ),
    # --- stay ---
    Case(
        "an event that stays fires again and again",
        basket,
        """
            Resume: main?basket
            basket setup | Setup: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main@added
            added | Step: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main@added
            added | Step: main?basket
            callback done | Callback: main>basket
            Resume: main@bye
            basket teardown | Teardown: main@bye
            basket teardown | Teardown: main@bye
            bye | Step: main@after
            after | Step:
        """,
        log="added added bye after",
        script=[Callback("add", 2), Callback("add", 3), Callback("done")],
        ends={"n": 5},
    ),
    Case(
        "callbacks that come while such a body waits are acted upon when it is done, in their order",
        lambda b: basket(b, Sleep("nap", HOUR)),
        """
            Resume: main?basket
            basket setup | Setup: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main@added
            added | Step: main+nap
            callback add | basket handler | Callback: main+nap
            callback done | Callback: main+nap
            basket teardown | Teardown: main+nap
            basket teardown | Teardown: main+nap
            clock 1:00:00 | Resume: main@added
            added | Step: main+nap
            clock 2:00:00 | Resume: main@bye
            bye | Step: main@after
            after | Step:
            clock 3:00:00
        """,
        log="added added bye after",
        script=[Callback("add", 1), Callback("add", 2), Callback("done"), Advance(3 * HOUR)],
        ends={"n": 3},
    ),
    Case(
        "callbacks that come during a backoff in such a body",
        lambda b: S(
            Wait(
                "basket",
                On("add", b.act(put), b.step("added", late, retry=Retry(max_attempts=2)), stay=True),
                On("done", None, b.step("bye")),
            ),
        ),
        """
            Resume: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main@added
            added | Failure: main+added
            callback add | basket handler | Callback: main+added
            callback done | Callback: main+added
            clock 0:00:01 | Resume: main@added
            added | Step: main@added
            added | Failure: main+added
            clock 0:00:02 | Resume: main@added
            added | Step: main@bye
            bye | Step:
            clock 1:00:00
        """,
        log="added added bye",
        script=[Callback("add", 1), Callback("add", 2), Callback("done"), Advance(HOUR)],
        ends={"n": 3},
    ),
    Case(
        "a body that is empty leaves the thread where it is",
        lambda b: S(Wait("basket", On(ADD, b.act(put), stay=True), On("done")), b.step("after")),
        """
            Resume: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main?basket
            callback add | basket handler | Callback: main>basket
            Resume: main?basket
            callback done | Callback: main>basket
            Resume: main@after
            after | Step:
        """,
        log="after",
        script=[Callback(ADD, 1), Callback("add", 2), Callback("done")],
        ends={"n": 3},
    ),
    Case(
        "a loop in such a body begins anew each time, also where two were taken at once",
        lambda b: S(
            Wait(
                "w",
                On("go", None, For("twice", b.value(lambda w: w.n > 9), b.step("never")), stay=True),
                On("slow", None, Sleep("nap", HOUR), stay=True),
                On("done"),
            ),
        ),
        """
            Resume: main?w
            callback slow | Callback: main>w
            Resume: main+nap
            callback go | Callback: main+nap
            callback go | Callback: main+nap
            clock 1:00:00 | Resume: main?w
            callback go | Callback: main>w
            Resume: main?w
            callback done | Callback: main>w
            Resume:
        """,
        log="",
        script=[Callback("slow"), Callback("go"), Callback("go"), Advance(HOUR), Callback("go"), Callback("done")],
    ),
    # --- ways out of such a body ---
    Case(
        "Break, Continue and Return out of a body that stays leave the Wait",
        lambda b: S(
            For(
                "l",
                b.step("count", add),
                Wait(
                    "w",
                    On("again", None, Continue(), stay=True, via=Bell()),
                    On("out", None, Break(), stay=True, via=Desk()),
                    On("back", None, b.step("backed"), stay=True),
                ),
            ),
            Wait("v", On("end", None, Return("ended"), stay=True, via=Bell()), On("other", via=Bell())),
            b.step("never"),
        ),
        """
            Resume: main@count
            count | Step: main?w
            w setup | Setup: main?w
            callback back | Callback: main>w
            Resume: main@backed
            backed | Step: main?w
            callback again | Callback: main>w
            Resume: main@count
            w teardown | Teardown: main@count
            w teardown | Teardown: main@count
            count | Step: main?w
            w setup | Setup: main?w
            callback out | Callback: main>w
            Resume: main?v
            w teardown | Teardown: main?v
            w teardown | Teardown: main?v
            callback end | Callback: main>v
            Resume: main.v
            v teardown | Teardown: main.v
            v teardown | Teardown:
        """,
        log="count backed count",
        script=[Callback("back"), Callback("again"), Callback("out"), Callback("end")],
        result="ended",
    ),
    Case(
        "a failure out of a body that stays is caught outside, and nobody waits any more",
        lambda b: S(
            Try(
                "t",
                Wait(
                    "w",
                    On("go", None, b.step("went"), Fail("lost", "it is gone"), stay=True, via=Desk()),
                    On("other", via=Desk()),
                ),
                b.step("never"),
            )
            .catch("lost", b.step("caught"))
            .finally_(b.step("cleaned")),
            b.step("after"),
        ),
        """
            Resume: main?w
            w setup | Setup: main?w
            w setup | Setup: main?w
            callback go | Callback: main>w
            Resume: main@went
            went | Step: main@caught
            w teardown | Teardown: main@caught
            w teardown | Teardown: main@caught
            caught | Step: main@cleaned
            cleaned | Step: main@after
            after | Step:
        """,
        log="went caught cleaned after",
        script=[Callback("go")],
    ),
    Case(
        "a failure that is caught inside of a body that stays leaves the thread at its Wait",
        lambda b: S(
            Wait(
                "w",
                On("go", None, Try("t", Fail("lost", "it is gone")).catch("lost", b.step("caught")), stay=True, via=Desk()),
                On("done", via=Bell()),
            ),
            b.step("after"),
        ),
        """
            Resume: main?w
            w setup | Setup: main?w
            callback go | Callback: main>w
            Resume: main@caught
            caught | Step: main?w
            callback go | Callback: main>w
            Resume: main@caught
            caught | Step: main?w
            callback done | Callback: main>w
            Resume: main@after
            w teardown | Teardown: main@after
            w teardown | Teardown: main@after
            after | Step:
        """,
        log="caught caught after",
        script=[Callback("go"), Callback("go"), Callback("done")],
    ),
    Case(
        "a Break through a finally in the body: what comes meanwhile for the loop inside is taken",
        lambda b: S(
            Wait(
                "w",
                On(
                    "go",
                    None,
                    For("l", Try("t", Break()).finally_(Sleep("nap", HOUR), b.step("cleaned"))),
                    stay=True,
                    via=Desk(),
                ),
                On("done", None, b.step("bye")),
            ),
        ),
        """
            Resume: main?w
            w setup | Setup: main?w
            callback go | Callback: main>w
            Resume: main+nap
            callback go | Callback: main+nap
            callback done | Callback: main+nap
            w teardown | Teardown: main+nap
            clock 1:00:00 | Resume: main@cleaned
            cleaned | Step: main+nap
            clock 2:00:00 | Resume: main@cleaned
            cleaned | Step: main@bye
            bye | Step:
        """,
        log="cleaned cleaned bye",
        script=[Callback("go"), Callback("go"), Callback("done"), Advance(2 * HOUR)],
    ),
    Case(
        "a saga is undone out of the body of a reminder",
        lambda b: S(
            Try(
                "t",
                Saga(
                    "trip",
                    book(b, "book"),
                    Wait("w", Every("e", HOUR, book(b, "extend"), Fail("full", "no room")), On("paid", via=Desk())),
                ),
            ).catch("full", b.step("caught")),
        ),
        """
            Resume: main@book
            book | Step: main?w
            w setup | Setup: main?w
            clock 1:00:00 | Resume: main@extend
            extend | Step: main@extend:compensate
            w teardown | Teardown: main@extend:compensate
            extend:compensate | Step: main@book:compensate
            book:compensate | Step: main@caught
            caught | Step:
        """,
        log="book extend undo(2) undo(1) caught",
        script=[Advance(HOUR)],
    ),
    Case(
        "a thread that is told to end in such a body tears down what its Waits had set up",
        lambda b: S(
            Go(
                "other",
                Wait(
                    "w",
                    Every("e", HOUR, Wait("inner", On("in", via=Bell()))),
                    On("stop", via=Desk()),
                ),
            ),
            Wait("end", On("end")),
        ),
        """
            Resume: main?end other?w
            w by other setup | Setup: main?end other?w
            clock 1:00:00 | Resume: main?end other?inner
            callback end | Callback: main>end other?inner
            Resume: other.inner
            w by other teardown | Teardown: other.inner
            inner by other teardown | Teardown:
        """,
        log="",
        script=[Advance(HOUR), Callback("end")],
    ),
    Case(
        "a branch that lost runs its finally before its Waits are torn down",
        lambda b: S(
            Parallel(
                "p",
                Branch(
                    "slow",
                    Wait(
                        "w",
                        On(
                            "ping", None, Try("t", Wait("inner", On("pong"))).finally_(b.step("cleaned")), stay=True, via=Desk()
                        ),
                    ),
                ),
                Branch("quick", Sleep("nap", HOUR)),
                join=ANY,
            ),
            b.step("after"),
        ),
        """
            Resume: main~p p:slow?w p:quick+nap
            w by p:slow setup | Setup: main~p p:slow?w p:quick+nap
            callback ping | Callback: main~p p:slow>w p:quick+nap
            Resume: main~p p:slow?inner p:quick+nap
            clock 1:00:00 | Resume: main~p p:slow@cleaned
            cleaned by p:slow | Step: main~p p:slow.cleaned
            w by p:slow teardown | Teardown: main@after
            after | Step:
        """,
        log="cleaned after",
        script=[Callback("ping"), Advance(HOUR)],
    ),
    # --- nested ---
    Case(
        "of two Waits around a thread that know an event the inner one takes it",
        lambda b: S(
            Wait(
                "outer",
                On("go", None, Wait("inner", On("go", None, b.step("in")), On("out", None, Sleep("nap", HOUR), stay=True))),
                On("open", None, Wait("middle", On("go", None, b.step("mid"), stay=True), On("close")), stay=True),
                On("done", None, b.step("bye")),
            ),
        ),
        """
            Resume: main?outer
            callback open | Callback: main>outer
            Resume: main?middle
            callback go | Callback: main>middle
            Resume: main@mid
            mid | Step: main?middle
            callback done | Callback: main?middle
            callback close | Callback: main>middle
            Resume: main@bye
            bye | Step:
        """,
        log="mid bye",
        script=[
            Callback("open"),
            Callback("go"),
            Callback("done"),
            Callback("close"),
        ],
    ),
    Case(
        "callbacks for the Wait around are taken while the thread is two Waits deep",
        lambda b: S(
            Wait(
                "outer",
                On("note", b.act(note), stay=True, via=Desk()),
                On(
                    "open",
                    None,
                    Wait(
                        "inner",
                        On("slow", None, Sleep("nap", HOUR), stay=True, via=Desk()),
                        On("close", None, b.step("closed")),
                    ),
                    stay=True,
                ),
                On("done", None, b.step("bye")),
            ),
        ),
        """
            Resume: main?outer
            outer setup | Setup: main?outer
            callback open | Callback: main>outer
            Resume: main?inner
            inner setup | Setup: main?inner
            callback slow | Callback: main>inner
            Resume: main+nap
            callback note | outer handler | Callback: main+nap
            callback slow | Callback: main+nap
            callback close | Callback: main+nap
            inner teardown | Teardown: main+nap
            callback open | Callback: main+nap
            callback note | outer handler | Callback: main+nap
            clock 1:00:00 | Resume: main+nap
            clock 2:00:00 | Resume: main@closed
            closed | Step: main?inner
            inner setup | Setup: main?inner
            callback done | Callback: main?inner
            outer teardown | Teardown: main?inner
            callback close | Callback: main>inner
            Resume: main@closed
            inner teardown | Teardown: main@closed
            closed | Step: main@bye
            bye | Step:
        """,
        log="noted a noted b closed closed bye",
        script=[
            Callback("open"),
            Callback("slow"),
            Callback("note", "a"),
            Callback("slow"),
            Callback("close"),
            Callback("open"),
            Callback("note", "b"),
            Advance(2 * HOUR),
            Callback("done"),
            Callback("close"),
        ],
    ),
    # --- items ---
    Case(
        "handlers and bodies get the item of their place",
        lambda b: S(
            ForEach(
                "l",
                ["p", "q"],
                Wait(
                    "w",
                    On("say", b.act(lambda w, payload, item: w.log.append(f"{payload} {item}")), stay=True),
                    On("each", None, ForEach("m", [1, 2], b.each("a"), Wait("v", On("next"))), stay=True),
                    On("done", b.act(lambda w, payload, item: w.log.append(f"done {item}"))),
                ),
            ),
        ),
        """
            Resume: main?w
            callback each | Callback: main>w
            Resume: main@a
            a | Step: main?v
            callback say | w handler | Callback: main?v
            callback next | Callback: main>v
            Resume: main@a
            a | Step: main?v
            callback next | Callback: main>v
            Resume: main?w
            callback done | w handler | Callback: main>w
            Resume: main?w
            callback done | w handler | Callback: main>w
            Resume:
        """,
        log="a(1) hello p a(2) done p done q",
        script=[
            Callback("each"),
            Callback("say", "hello"),
            Callback("next"),
            Callback("next"),
            Callback("done", 0),
            Callback("done", 0),
        ],
    ),
    Case(
        "every branch of a Map has its own reminders",
        lambda b: S(
            Map("m", ["p", "q"], Wait("w", Every("e", HOUR, b.each("nudge")), On("done", via=Desk()))),
            b.step("after"),
        ),
        """
            Resume: main~m m:0?w m:1?w
            w by m:0 setup | Setup: main~m m:0?w m:1?w
            w by m:1 setup | Setup: main~m m:0?w m:1?w
            clock 1:00:00 | Resume: main~m m:0@nudge m:1@nudge
            nudge by m:0 | Step: main~m m:0?w m:1@nudge
            nudge by m:1 | Step: main~m m:0?w m:1?w
            callback done | Callback: main~m m:0>w m:1?w
            Resume: main~m m:0.w m:1?w
            w by m:0 teardown | Teardown: main~m m:1?w
            clock 2:00:00 | Resume: main~m m:1@nudge
            nudge by m:1 | Step: main~m m:1?w
            callback done | Callback: main~m m:1>w
            Resume: main~m m:1.w
            w by m:1 teardown | Teardown: main@after
            after | Step:
        """,
        log="nudge(p) nudge(q) nudge(q) after",
        script=[
            Advance(HOUR),
            Callback(CallbackRequest("done", thread_id="m:0")),
            Advance(HOUR),
            Callback("done"),
        ],
    ),
    Case(
        "names in a Scope",
        lambda b: Scope("s", Wait("w", On("go", None, b.step("a"), stay=True), Every("e", HOUR, b.step("b2")), On("done"))),
        """
            Resume: main?s/w
            callback go | Callback: main>s/w
            Resume: main@s/a
            s/a | Step: main?s/w
            clock 1:00:00 | Resume: main@s/b2
            s/b2 | Step: main?s/w
            callback done | Callback: main>s/w
            Resume:
        """,
        log="a b2",
        script=[Callback("go"), Advance(HOUR), Callback("done")],
    ),
    # --- When ---
    Case(
        "a condition fires as soon as it holds, and its siblings are torn down",
        lambda b: S(
            Go("g", Sleep("s", HOUR), b.step("inc", add)),
            Wait("w", On("e", via=Desk()), When("enough", b.value(lambda w: w.n > 0), b.step("seen"))),
            b.step("after"),
        ),
        """
            Resume: main?w g+s
            w setup | Setup: main?w g+s
            clock 1:00:00 | Resume: main?w g@inc
            inc by g | Step: main@seen
            w teardown | Teardown: main@seen
            seen | Step: main@after
            after | Step:
        """,
        log="inc seen after",
        script=[Advance(HOUR)],
    ),
    Case(
        "a condition that holds on arrival fires at once; the first of several in declaration order",
        lambda b: S(
            Wait(
                "w",
                When("no", b.value(lambda w: w.n > 0), b.step("never")),
                When("yes", b.value(lambda w: w.n == 0), b.step("seen")),
                When("too", b.value(lambda w: w.n == 0), b.step("never either")),
                On("e"),
            ),
        ),
        """
            Resume: main@seen
            seen | Step:
        """,
        log="seen",
    ),
    Case(
        "a timer that is due comes before a condition that holds",
        lambda b: S(
            Wait(
                "w",
                Every("e", HOUR, b.step("inc", add)),
                When("enough", b.value(lambda w: w.n == 2), b.step("seen")),
                Timeout("late", 2 * HOUR, b.step("was late")),
            ),
        ),
        """
            Resume: main?w
            clock 1:00:00 | Resume: main@inc
            inc | Step: main?w
            clock 2:00:00 | Resume: main@inc
            inc | Step: main@was late
            was late | Step:
        """,
        log="inc inc was late",
        script=[Advance(2 * HOUR)],
    ),
    Case(
        "a subscription: changes at any time, a bill each month, until it is not paid",
        subscription,
        """
            Resume: main?month
            callback change | month handler | Callback: main>month
            Resume: main@changed
            changed | Step: main?month
            clock 1 day, 6:00:00 | Resume: main@bill
            bill | Step: main?month
            callback change | month handler | Callback: main>month
            Resume: main@changed
            changed | Step: main?month
            clock 2 days, 12:00:00 | Resume: main@bill
            bill | Step: main@suspend
            suspend | Step:
        """,
        log="noted big changed bill noted small changed bill suspend",
        script=[Callback("change", "big"), Advance(30 * HOUR), Callback("change", "small"), Advance(30 * HOUR)],
        result="suspended",
    ),
    Case(
        "a subscription that is cancelled",
        subscription,
        """
            Resume: main?month
            callback change | month handler | Callback: main>month
            Resume: main@changed
            changed | Step: main?month
            callback cancel | Callback: main>month
            Resume: main@after
            after | Step:
        """,
        log="noted big changed after",
        script=[Callback("change", "big"), Callback("cancel")],
    ),
    Case(
        "conditions of a Wait are asked when the thread is back, and by those who wait beside it",
        lambda b: S(
            Go("g", WaitFor("two", b.value(lambda w: w.n >= 2)), b.step("two seen")),
            Wait(
                "w",
                On("add", b.act(put), Sleep("nap", HOUR), stay=True),
                When("three", b.value(lambda w: w.n >= 3), b.step("three seen")),
            ),
            Join("j", "g"),
        ),
        """
            Resume: main?w g~two
            callback add | w handler | Callback: main>w g~two
            Resume: main+nap g@two seen
            two seen by g | Step: main+nap
            callback add | w handler | Callback: main+nap
            clock 1:00:00 | Resume: main+nap
            clock 2:00:00 | Resume: main@three seen
            three seen | Step:
            clock 3:00:00
        """,
        log="two seen three seen",
        script=[Callback("add", 2), Callback("add", 1), Advance(3 * HOUR)],
    ),
]
