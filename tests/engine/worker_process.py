"""A worker process: moves runs of a database until its standard input ends. ``python -m tests.engine.worker_process URL``."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from flowstmt import Engine, On, RefusedError, Return, S, Statement, Step, Wait, current
from tests.engine.databases import opened
from tests.engine.flows import PAID, Receipt


@dataclass
class Paced:
    """Its first step goes on once a file is there; whoever runs it writes its name into another one."""

    gate: str
    got: list[int] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Step("long", self.long),
            Wait("payment", On(PAID, self.pay), On("stop")),
            Return(self.got),
        )

    def long(self) -> None:
        with Path(f"{self.gate}.come").open("a") as come:
            come.write(f"{current().idempotency_key}\n")
        deadline = time.monotonic() + 30
        while not Path(self.gate).exists():
            assert time.monotonic() < deadline, "nobody opened the gate"
            time.sleep(0.01)

    def pay(self, amount: int) -> Receipt:
        if amount < 0:
            raise RefusedError("that is not how paying works")
        if amount == 13:
            raise OSError("the till is jammed")
        self.got.append(amount)
        return Receipt(amount)


LEASE = timedelta(seconds=2)


async def main(url: str) -> None:
    async with Engine(opened(url), [Paced], lease=LEASE, shutdown_timeout=timedelta(seconds=1)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
