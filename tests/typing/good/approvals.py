# pyright: strict
"""Approvals, both styles: who approves, what follows, how often they are reminded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from flowstmt import (
    ALL,
    ANY,
    APPROVE,
    REJECT,
    Answer,
    Approval,
    ApprovalResult,
    AtLeast,
    Every,
    ForEach,
    If,
    Return,
    S,
    State,
    Statement,
    Step,
    Try,
    handle_callback,
)


@dataclass
class Desk:
    role: str
    people: list[str]


@dataclass
class Release:
    urgent: bool = False
    people: list[str] = field(default_factory=lambda: ["ann"])
    desks: list[Desk] = field(default_factory=list[Desk])
    result: ApprovalResult | None = None

    def definition(self) -> Statement:
        return S(
            Approval(
                "release",
                ["ann", "bob"],
                Step("deploy", self.deploy),
                need=AtLeast(1),
                timeout=timedelta(days=3),
                remind=Every("daily", timedelta(days=1), Step("write", self.write)),
                into="result",
                was=("sign-off",),
            )
            .rejected(Step("revert", self.deploy), If("urgent", lambda: self.urgent, Return("urgent")))
            .expired(self.section("expired"), Return("expired")),
            Approval("again", self.people, need=ANY, into=self.keep),
            Approval("by method", self.who, Step("deploy more", self.deploy), need=ALL, timeout=self.until),
            Approval("by lambda", lambda: self.people[:1], timeout=datetime(2030, 1, 1, tzinfo=UTC)).expired(),
            ForEach(
                "desks",
                self.desks,
                Approval(
                    "desk",
                    self.people_of,
                    Step("stamp", self.stamp),
                    If("many", lambda desk: len(desk.people) > 1, Step("stamp again", self.stamp)),
                    into=self.keep_of,
                    timeout=lambda desk: timedelta(days=len(desk.people)),
                ).rejected(Step("tear", self.stamp)),
            ),
        )

    def section(self, name: str) -> Statement:
        return Try(f"try {name}", Step(f"do {name}", self.deploy)).catch(ValueError)

    def deploy(self) -> None: ...

    def write(self) -> None: ...

    def who(self) -> list[str]:
        return self.people

    def until(self) -> timedelta:
        return timedelta(days=1)

    def people_of(self, desk: Desk) -> list[str]:
        return desk.people

    def stamp(self, desk: Desk) -> None: ...

    def keep(self, result: ApprovalResult) -> None:
        self.result = result

    def keep_of(self, result: ApprovalResult, desk: Desk) -> None: ...


@dataclass
class FastRelease:
    urgent: bool = False
    people: list[str] = field(default_factory=lambda: ["ann"])
    desks: list[Desk] = field(default_factory=list[Desk])
    result: ApprovalResult | None = None

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Approval(
                "release",
                ("ann", "bob"),
                Step("deploy", cls.deploy),
                need=AtLeast(1),
                timeout=timedelta(days=3),
                remind=Every("daily", timedelta(days=1), Step("write", cls.write)),
                into="result",
            )
            .rejected(Step("revert", cls.deploy), If("urgent", lambda w: w.urgent, Return("urgent")))
            .expired(cls.section("expired"), Return("expired")),
            Approval("again", lambda w: w.people, Step("deploy again", cls.deploy), need=ANY, into=cls.keep),
            Approval("by method", cls.who, Step("deploy more", cls.deploy), need=ALL, timeout=cls.until),
            ForEach(
                "desks",
                lambda w: w.desks,
                Approval("desk", cls.people_of, Step("stamp", cls.stamp), into=cls.keep_of).rejected(Step("tear", cls.stamp)),
            ),
        )

    @classmethod
    def section(cls, name: str) -> Statement[Self]:
        return Try(f"try {name}", Step(f"do {name}", cls.deploy)).catch(ValueError)

    def deploy(self) -> None: ...

    def write(self) -> None: ...

    def who(self) -> list[str]:
        return self.people

    def until(self) -> timedelta:
        return timedelta(days=1)

    def people_of(self, desk: Desk) -> list[str]:
        return desk.people

    def stamp(self, desk: Desk) -> None: ...

    def keep(self, result: ApprovalResult) -> None:
        self.result = result

    def keep_of(self, result: ApprovalResult, desk: Desk) -> None: ...


def decide(release: Release, state: State) -> list[str]:
    result = handle_callback(APPROVE, release, state, Answer("ann"))
    result = handle_callback(REJECT, release, state, Answer("bob", comment="not on a Friday"))
    return [] if result.decision == "approved" else result.missing


WORKFLOWS = [Release, FastRelease]
