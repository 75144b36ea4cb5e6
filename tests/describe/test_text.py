"""A definition as a tree of text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from textwrap import dedent
from typing import Any

import pytest

from flowstmt import (
    Break,
    Case,
    Continue,
    Default,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    PositionError,
    Return,
    S,
    Scope,
    Sleep,
    State,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
    describe,
    handle_callback,
    resume,
)

HOUR = timedelta(hours=1)


class Desk:
    type = "a desk"

    def setup(self, request): ...

    def handle(self, request, payload): ...


class Rings:
    def __call__(self): ...


@dataclass
class Everything:
    paid: bool = False

    def definition(self) -> Statement:
        return S(
            Step("charge", self.act, into="paid"),
            Step("quote", print, into=self.keep, concurrent=True),
            If("paid", self.is_paid, S(Step("ship", lambda: None), S())).else_if("free", self.paid, Return("gift")).else_(),
            Switch(Case("one", self.is_paid, Return()), Case("two", self.paid), Default(Return(self.act))),
            For(
                "tries",
                For("more", self.is_paid, Sleep("nap", HOUR), Continue()),
                For("plain", self.paid, Sleep("s", HOUR)),
                Break(),
            ),
            ForEach("lines", [1, 2], Step("pack", partial(self.act))),
            ForEach("computed", lambda: [1], Step("ring", Rings())),
            Go("courier", Scope("parcel", Step("wrap", self.act)), id=7, arg=self.act),
            Join("delivered", "courier"),
            Wait(
                "answer",
                On("yes", self.take, into="paid"),
                On("no", Desk()),
                On("maybe", via=Desk()),
                Timeout("late", HOUR, Return([1])),
                Timeout("new year", datetime(2030, 1, 1, tzinfo=UTC)),
                Timeout("computed late", lambda: HOUR),
            ),
            WaitFor("ready", self.is_paid, self.act),
            WaitFor("plainly", self.paid),
            Sleep("rest", timedelta(days=1, seconds=1.5)),
            Sleep("until", datetime(2030, 1, 1, tzinfo=UTC)),
            Return("x" * 100),
        )

    def act(self) -> None: ...
    def is_paid(self) -> bool:
        return self.paid

    def keep(self, value: Any) -> None: ...
    def take(self, paid: bool) -> None: ...


def test_every_statement_has_a_line():
    assert describe.to_text(Everything()) == dedent(
        """\
        Everything
        ├─ Step charge: Everything.act, into paid
        ├─ Step quote: print, into Everything.keep, concurrent
        ├─ If paid
        │  ├─ then: Everything.is_paid
        │  │  └─ Step ship: lambda in Everything.definition
        │  ├─ else if free
        │  │  └─ Return 'gift'
        │  └─ else
        ├─ Switch
        │  ├─ Case one: Everything.is_paid
        │  │  └─ Return
        │  ├─ Case two
        │  └─ default
        │     └─ Return Everything.act
        ├─ For tries: until Break
        │  ├─ For more: while Everything.is_paid
        │  │  ├─ Sleep nap: 1 hour
        │  │  └─ Continue
        │  ├─ For plain: while its condition holds
        │  │  └─ Sleep s: 1 hour
        │  └─ Break
        ├─ ForEach lines
        │  └─ Step pack: partial of Everything.act
        ├─ ForEach computed: lambda in Everything.definition
        │  └─ Step ring: Rings object
        ├─ Go courier: id 7, arg Everything.act
        │  └─ Scope parcel
        │     └─ Step parcel/wrap: Everything.act
        ├─ Join delivered: waits for courier
        ├─ Wait answer
        │  ├─ On yes: Everything.take, into paid
        │  ├─ On no: Desk.handle, via a desk
        │  ├─ On maybe: via a desk
        │  ├─ Timeout late: after 1 hour
        │  │  └─ Return list
        │  ├─ Timeout new year: until 2030-01-01 00:00:00+00:00
        │  └─ Timeout computed late: lambda in Everything.definition
        ├─ WaitFor ready: Everything.is_paid, then Everything.act
        ├─ WaitFor plainly
        ├─ Sleep rest: 1 day 1.5 seconds
        ├─ Sleep until: until 2030-01-01 00:00:00+00:00
        └─ Return 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."""
    )


@dataclass
class Parcels:
    def definition(self) -> Statement:
        return S(
            ForEach("lines", range(4), Go("ship", Wait("courier", On("taken", Step("note", print))), id=self.number)),
            Join("shipped", "ship"),
            Return("done"),
        )

    def number(self, line: int) -> int:
        return line


def test_positions_are_marked():
    run, state = Parcels(), State.new("p-1", "Parcels")
    assert describe.to_text(run, state).splitlines()[0] == "Parcels, run p-1: Resuming  <- main (Resuming)"
    resume(run, state)
    handle_callback(describe.legal(run, state).callbacks[2].request, run, state)
    assert describe.to_text(run, state) == dedent(
        """\
        Parcels, run p-1: Resuming
        ├─ ForEach lines
        │  └─ Go ship: id Parcels.number
        │     └─ Wait courier  <- ship:0, ship:1, ship:3 (WaitingEvent)
        │        └─ On taken  <- ship:2 (Resuming)
        │           └─ Step note: print
        ├─ Join shipped: waits for ship  <- main (WaitingCondition)
        └─ Return 'done'"""
    )
    thread = state.threads[1]
    thread.status, thread.position, thread.events = type(thread.status)("Resuming"), "", []
    assert "│  └─ Go ship: id Parcels.number  <- ship:0 (Resuming, not begun)\n" in describe.to_text(run, state)


def test_many_threads_are_counted_and_a_result_is_told():
    run, state = Parcels(), State.new("p-1", "Parcels")
    resume(run, state)
    assert "Wait courier  <- 4 threads (WaitingEvent)" in describe.to_text(run, state)
    for callback in describe.legal(run, state).callbacks:
        handle_callback(callback.request, run, state)
    resume(run, state)
    assert describe.to_text(run, state).startswith("Parcels, run p-1: Finished, result 'done'\n")
    assert "<-" not in describe.to_text(run, state)


def test_a_state_of_something_else_is_refused():
    run, state = Parcels(), State.new("p-1", "Parcels")
    resume(run, state)
    with pytest.raises(PositionError):
        describe.to_text(Everything(), state)


def test_nothing_that_a_terminal_obeys_gets_through():
    text = describe.to_text(S(Step("red \x1b[31m\n", print), Return("\x07\u202e")))
    assert text == "definition\n├─ Step red \\x1b[31m\\n: print\n└─ Return '\\x07\\u202e'"
