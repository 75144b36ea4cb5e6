# pyright: strict
"""The shapes of the workflows in ``examples``: what people write first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from flowstmt import (
    Break,
    CallbackRequest,
    Event,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Statement,
    Step,
    Timeout,
    Wait,
    WaitFor,
)


@dataclass
class Who:
    by: str


@dataclass
class Desk:
    role: str
    reminders: int = 0


@dataclass
class Approval:
    """Threads for items, class style: handlers by name that take the item, loops around waits, timeouts with branches."""

    desks: list[Desk] = field(default_factory=list[Desk])
    outcome: str = ""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Go("may withdraw", Wait("withdrawal", On("withdraw", cls.withdraw))),
            Step("route", cls.route, into="desks"),
            ForEach("desks", lambda w: w.desks, Go("approval", cls.approval(), id=lambda w, desk: desk.role)),
            WaitFor("decision", lambda w: w.outcome != ""),
            If("approved", lambda w: w.outcome == "approved", Step("pay", cls.pay, into="outcome")),
            Return(lambda w: w.outcome),
        )

    @classmethod
    def approval(cls) -> Statement[Self, Desk]:
        silence = If("too silent", cls.too_silent, Step("escalate", cls.remind), Break()).else_(Step("remind", cls.remind))
        verdict = Wait(
            "verdict",
            On("approve", cls.approve, Return()),
            On("question", cls.question, S(Step("pass on", cls.remind), Break())),
            Timeout("silence", timedelta(days=2), silence),
        )
        return For("deciding", lambda w: w.outcome == "", Step("ask", cls.remind), For("patience", verdict))

    def withdraw(self, who: Who) -> str:
        return who.by

    def approve(self, who: Who, desk: Desk) -> str:
        return who.by + desk.role

    def question(self, who: Who, desk: Desk) -> None: ...

    def too_silent(self, desk: Desk) -> bool:
        return desk.reminders > 3

    def remind(self, desk: Desk) -> None: ...

    def route(self) -> list[Desk]:
        return [Desk("manager")]

    def pay(self) -> str:
        return "paid"


@dataclass
class Call:
    id: str
    dangerous: bool = False


class Page:
    def setup(self, request: CallbackRequest) -> str:
        return f"/{request.run_id}"


@dataclass
class Agent:
    """A loop around threads for items, instance style: lambdas over items, ``via``, setters that take the item."""

    budget: int = 10
    turns: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    results: dict[str, str] = field(default_factory=dict[str, str])

    def definition(self) -> Statement:
        return S(
            For(
                "turns",
                self.turns < self.budget,
                Step("ask the model", self.ask, into=self.keep_answer, concurrent=True),
                If("done", lambda: not self.calls, Return(lambda: f"done after {self.turns}")),
                ForEach(
                    "calls",
                    lambda: self.calls,
                    Go(
                        "tool",
                        If(
                            "dangerous",
                            lambda call: call.dangerous,
                            Wait(
                                "approval",
                                On("decide", self.decide, via=Page()),
                                Timeout("nobody decided", timedelta(days=1), Step("expire", self.expire)),
                            ),
                        ),
                        If(
                            "allowed",
                            lambda call: call.id not in self.results,
                            Step("run the tool", self.run, into=self.keep_result, concurrent=True),
                        ),
                        id=lambda call: call.id,
                    ),
                ),
                Join("all have results", "tool"),
            ),
            Return(lambda: f"gave up after {self.turns} turns"),
        )

    async def ask(self) -> list[Call]:
        return []

    def keep_answer(self, calls: list[Call]) -> None:
        self.calls = calls

    def decide(self, allowed: bool, call: Call) -> str:
        return "noted"

    def expire(self, call: Call) -> None: ...

    async def run(self, call: Call) -> str:
        return call.id

    def keep_result(self, result: str, call: Call) -> None:
        self.results[call.id] = result


def logged(call: Callable[..., Any]) -> Callable[..., Any]:
    return call


PAID = Event("paid", Who, str)


@dataclass
class Decorated:
    """A decorator without types: nobody knows what is behind it, so it fits."""

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Step("act", cls.act),
            Wait("token", On(PAID, cls.take, Return("thanks"))),
            Wait("name", On("name", cls.take)),
        )

    def act(self) -> None: ...

    @logged
    def take(self, who: Who) -> str:
        return who.by


WORKFLOWS = [Approval, Agent, Decorated]
