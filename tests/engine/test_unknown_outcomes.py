"""A commit that was cut off, and whose lease is lost before it can be made again: nobody can know whether it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from flowstmt import ConflictError, Engine, MemoryStore, On, S, Statement, Step, StoreError, Wait
from flowstmt.stores.protocol import Outcome, Save, Write
from tests.engine.running import SOON, run


@dataclass
class Order:
    paid: int = 0
    counted: int = 0

    def definition(self) -> Statement:
        return S(Wait("payment", On("paid", self.pay)), Step("count", self.count), Wait("end", On("over")))

    def pay(self, amount: int) -> str:
        self.paid += amount
        return "thank you"

    def count(self) -> None:
        self.counted += 1


class CutOff(MemoryStore):
    """The first commit of what ``marked`` says is made, but not answered; when it is made again another worker has the run."""

    def __init__(self, marked: bytes) -> None:
        super().__init__()
        self.marked = marked
        self.cut = 0

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if not any(isinstance(write, Save) and self.marked in write.snapshot for write in writes) or self.cut == 2:
            return super().commit(writes)
        self.cut += 1
        if self.cut == 1:
            super().commit(writes)
            raise StoreError("the connection is gone", retry=True)
        return [False for _ in writes]


def test_a_callback_of_which_that_is_so_is_not_handed_in_again_by_itself() -> None:
    async def main() -> None:
        store = CutOff(b'"paid":5')
        async with Engine(store, [Order], lease=timedelta(seconds=1), poll=timedelta(milliseconds=50)) as engine:
            await engine.start(Order(), run_id="o-1")
            await engine.await_status("o-1", "Waiting", timeout=SOON)
            with pytest.raises(ConflictError, match=r"it is not known whether .*'paid' was applied"):
                await engine.callback("o-1", "paid", 5)
            await engine.callback("o-1", "over", timeout=SOON)  # the lease has run out: it goes on from what was saved
            await engine.result("o-1", timeout=SOON)
            snapshot = (await engine.get("o-1")).snapshot
            assert snapshot is not None
            assert b'"paid":5,"counted":1' in snapshot

    run(main())


def test_the_run_goes_on_from_what_was_saved() -> None:
    async def main() -> None:
        store = CutOff(b'"counted":1')
        async with Engine(store, [Order], lease=timedelta(seconds=1), poll=timedelta(milliseconds=50)) as engine:
            await engine.start(Order(), run_id="o-1")
            assert await engine.callback("o-1", "paid", 5) == "thank you"
            await engine.callback("o-1", "over", timeout=SOON)
            await engine.result("o-1", timeout=SOON)
            snapshot = (await engine.get("o-1")).snapshot
            assert snapshot is not None
            assert b'"paid":5,"counted":1' in snapshot

    run(main())
