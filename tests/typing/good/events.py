# pyright: strict
"""Events: handlers, tokens, ``via``, callbacks."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt import CallbackRequest, Event, On, Return, S, State, Statement, Step, Wait, dump, handle_callback, load


@dataclass
class Payment:
    amount: int


@dataclass
class Receipt:
    number: str


PAID = Event("paid", Payment, Receipt)
NOTED = Event("noted", str)
PINGED = Event("pinged")


class Page:
    def setup(self, request: CallbackRequest) -> str:
        return f"/pay/{request.run_id}"

    def teardown(self, request: CallbackRequest, handled: bool) -> None: ...


class Answers:
    def handle(self, request: CallbackRequest, payload: object) -> str:
        return "yes"


@dataclass
class Invoice:
    paid: int = 0
    note: str = ""

    def definition(self) -> Statement:
        return S(
            Wait(
                "payment",
                On(PAID, self.take, Return("thanks"), via=Page()),
                On(NOTED, into="note"),
                On(PINGED, self.ping),
            ),
            Wait(
                "more",
                On(PAID, self.take_later),
                On(NOTED, self.ignore, Step("ping", self.ping), into=self.keep),
                On("plain", self.take),
                On("none", self.ping),
                On("nothing", Return("nothing")),
                On("object", Answers()),
                On("raw", self.ignore_any, schema={"type": "object"}),
            ),
        )

    def take(self, payment: Payment) -> Receipt:
        self.paid += payment.amount
        return Receipt("1")

    async def take_later(self, payment: Payment) -> Receipt:
        return self.take(payment)

    def ignore(self, note: str) -> None: ...

    def ignore_any(self, payload: dict[str, int]) -> None: ...

    def keep(self, note: str) -> None:
        self.note = note

    def ping(self) -> None: ...


def callbacks(blob: bytes) -> str:
    invoice, state = load(Invoice, blob)
    receipt = handle_callback(PAID, invoice, state, Payment(12))
    receipt = handle_callback(PAID, invoice, state, b'{"amount": 12}')
    handle_callback(NOTED, invoice, state, "well")
    handle_callback(PINGED, invoice, state)
    handle_callback("paid", invoice, state, Payment(12))
    handle_callback(CallbackRequest("paid", "main"), invoice, state, b"{}")
    return receipt.number + dump(invoice, state).decode()


def start() -> tuple[Invoice, State]:
    return Invoice(), State.new("invoice-1", "Invoice")


WORKFLOWS = [Invoice]
