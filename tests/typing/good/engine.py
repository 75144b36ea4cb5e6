# pyright: strict
"""The engine: callbacks and signals take and give what their event says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from flowstmt import Engine, Event, MemoryStore, On, Queue, RunInfo, Statement, SyncEngine, Wait


@dataclass
class Payment:
    amount: int


@dataclass
class Receipt:
    number: str


PAID = Event("paid", Payment, Receipt)
PINGED = Event("pinged")


@dataclass
class Order:
    paid: int = 0

    def definition(self) -> Statement:
        return Wait("payment", On(PAID, self.pay), On(PINGED))

    def pay(self, payment: Payment) -> Receipt:
        self.paid += payment.amount
        return Receipt("1")


async def use() -> None:
    queues = [Queue("mail", concurrency=2, rate=(10, timedelta(minutes=1)))]
    async with Engine(MemoryStore(), workflows=[Order], queues=queues) as engine:
        run = await engine.start(Order(), run_id="o-1", labels={"customer": "c-42"}, queue="mail")
        assert_type(run, RunInfo)
        assert_type(await engine.callback("o-1", PAID, Payment(5)), Receipt)
        assert_type(await engine.callback("o-1", PAID, b'{"amount": 5}'), Receipt)
        assert_type(await engine.callback("o-1", PINGED), Any)
        assert_type(await engine.callback("o-1", "paid", Payment(5)), Any)
        assert_type(await engine.signal("o-1", PAID, Payment(5), key="evt-17"), bool)
        assert_type(await engine.signal("o-1", PINGED), bool)
        assert_type(await engine.result("o-1", timedelta(seconds=30)), Any)
        async for change in engine.watch("o-1"):
            assert_type(change.run_id, str)
        page = await engine.list(workflow=Order, status="Waiting")
        print(page.next, [each.position for each in page.runs])


def use_sync() -> None:
    with SyncEngine(MemoryStore(), {"Order": Order}) as engine:
        assert_type(engine.start(Order()), RunInfo)
        assert_type(engine.callback("o-1", PAID, Payment(5)), Receipt)
        assert_type(engine.signal("o-1", PAID, Payment(5)), bool)
        for change in engine.watch("o-1"):
            assert_type(change.revision, int)


WORKFLOWS = [Order]
