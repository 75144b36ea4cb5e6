"""What can be wrong with options that stand with their action."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flowstmt import S, Statement, Step, step, validate
from tests.messages.definitions import wrong
from tests.messages.rows import Table

OPTIONS = Table("Definitions: options near the code")
TABLES = [OPTIONS]


@dataclass
class Booking:
    receipt: str = ""

    @step(into="reciept", retry=wrong(3), concurrent=wrong("yes"), compensate="refnd")
    def charge(self) -> str:
        return ""

    @step(compensate=wrong(7))
    def reserve(self) -> str:
        return ""

    def refund(self, receipt: str) -> None: ...

    def definition(self) -> Statement:
        return Step("charge", self.charge)


@OPTIONS.row
def options_that_make_no_sense() -> None:
    validate(Booking())


@OPTIONS.row
def what_undoes_is_no_function() -> None:
    @dataclass
    class Reserved(Booking):
        def definition(self) -> Statement:
            return Step("reserve", self.reserve)

    validate(Reserved())


@OPTIONS.row
def transactions_that_can_not_be() -> None:
    @dataclass
    class Ledger(Booking):
        def definition(self) -> Statement:
            return S(
                Step("book", self.book, transactional=True, compensate=self.unbook),
                Step("sell", self.reserve, transactional=True, inline=True, compensate=None),
                Step("look", print, transactional=True, concurrent=True, timeout=timedelta(seconds=3)),
                Step("both", print, transactional=wrong("yes"), inline=wrong(1)),
            )

        async def book(self) -> None: ...

        async def unbook(self) -> None: ...

        def reserve(self) -> str:
            return ""

    validate(Ledger())


@OPTIONS.row
def options_of_a_builtin() -> None:
    act: Any = print
    step(into="receipt")(act)
