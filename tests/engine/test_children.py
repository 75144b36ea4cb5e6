"""Children of runs, through an engine: started once, ended once, cancelled when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import pytest

from flowstmt import (
    ANY,
    Branch,
    Call,
    ChildError,
    ConflictError,
    Engine,
    ErrorInfo,
    Fail,
    If,
    Map,
    On,
    Parallel,
    Return,
    RunFailedError,
    RunInfo,
    S,
    Saga,
    Sleep,
    State,
    StateError,
    Statement,
    Step,
    StoreError,
    Try,
    UnknownEventError,
    Wait,
)
from flowstmt.core.children import CHILD_ENDED, child_run_id, parent_of
from flowstmt.stores.protocol import NewRun, Outcome, Save, Store, Write
from tests.engine.databases import Database
from tests.engine.running import SOON, engine_on, run, until


@dataclass
class Invoice:
    """Doubles an amount, waits to be paid, or fails."""

    amount: int = 0
    waits: bool = False
    fails: bool = False

    def definition(self) -> Statement:
        return S(
            If("to be paid", self.waits, Wait("payment", On("paid"))),
            If("wrong", self.fails, Fail("NoMoney", "the account is empty")),
            Return(self.amount * 2),
        )


@dataclass
class Order:
    child: Invoice
    total: int = 0
    error: ErrorInfo | None = None
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            Try("invoicing", Call("invoice", self.child, into="total")).catch(
                ("NoMoney", "Cancelled"), Return(lambda: "not paid"), into="error"
            ),
            Step("ship", lambda: self.log.append("shipped")),
            Return(self.total),
        )


@dataclass
class Plain:
    child: Any

    def definition(self) -> Statement:
        return S(Call("child", lambda: Invoice(**self.child)), Return("done"))


@dataclass
class Outer:
    def definition(self) -> Statement:
        return Try("all", Call("order", Plain({"fails": True}))).catch(ChildError, Return("caught"))


@dataclass
class Grandparent:
    def definition(self) -> Statement:
        return Call("order", Plain({"waits": True}))


@dataclass
class Trip:
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return Saga(
            "trip",
            Step("book", lambda: self.log.append("booked"), compensate=lambda: self.log.append("unbooked")),
            Call("pay", Invoice(fails=True)),
        )


@dataclass
class Race:
    def definition(self) -> Statement:
        return S(
            Parallel(
                "race",
                Branch("billed", Call("invoice", Invoice(waits=True))),
                Branch("nap", Sleep("doze", timedelta(milliseconds=300))),
                join=ANY,
            ),
            Return("slept"),
        )


@dataclass
class Batch:
    """A child for each number, a few at once."""

    count: int = 0
    sums: list[Any] = field(default_factory=list)

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Map(
                "all",
                lambda w: range(w.count),
                Call("each", cls.invoice),
                max_concurrency=20,
                into="sums",
            ),
            Return(lambda w: sum(w.sums)),
        )

    def invoice(self, number: int) -> Invoice:
        return Invoice(number)


ALL = [Invoice, Order, Plain, Outer, Grandparent, Trip, Race, Batch]


async def children_of(engine: Engine, run_id: str) -> list[RunInfo]:
    found: list[RunInfo] = []
    page = await engine.list(parent=run_id, limit=1_000)
    while page.runs:
        found += page.runs
        if page.next is None:
            break
        page = await engine.list(parent=run_id, limit=1_000, after=page.next)
    return found


async def has_children(engine: Engine, run_id: str, count: int = 1) -> bool:
    return len(await children_of(engine, run_id)) == count


def test_the_result_of_a_child_goes_to_its_parent(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(21)), run_id="order-1")
            assert await engine.result("order-1", SOON) == 42
            [child] = await children_of(engine, "order-1")
            assert (child.status, child.parent, child.workflow) == ("Finished", "order-1", "Invoice")
            assert parent_of(child.run_id) is not None

    run(main())


def test_the_failure_of_a_child_is_caught_by_its_name(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(fails=True)), run_id="order-1")
            assert await engine.result("order-1", SOON) == "not paid"

    run(main())


def test_a_failure_that_nobody_takes_travels_through_all_parents(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Plain({"fails": True}), run_id="plain-1")
            with pytest.raises(RunFailedError) as caught:
                await engine.result("plain-1", SOON)
            assert caught.value.error.type == "NoMoney"
            assert caught.value.error.step == "child"
            await engine.start(Outer(), run_id="outer-1")
            assert await engine.result("outer-1", SOON) == "caught"

    run(main())


def test_who_cancels_a_child_tells_its_parent(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await until(lambda: has_children(engine, "order-1"), "the child is there")
            [child] = await children_of(engine, "order-1")
            await engine.await_status(child.run_id, "Waiting", SOON)
            await engine.cancel(child.run_id, "by ann")
            assert await engine.result("order-1", SOON) == "not paid"

    run(main())


def test_a_child_that_is_waited_for_is_not_deleted_before_it_was_cancelled(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine, engine_on(database, workflows=[Batch]) as stranger:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await until(lambda: has_children(engine, "order-1"), "the child is there")
            [child] = await children_of(engine, "order-1")
            await engine.await_status(child.run_id, "Waiting", SOON)
            await engine.await_status("order-1", "Waiting", SOON)
            for either in (engine, stranger):
                with pytest.raises(
                    ConflictError, match=r"it is Waiting, and the run 'order-1' waits for its end.*Cancel it first"
                ):
                    await either.delete(child.run_id)
            await engine.cancel(child.run_id, "by ann")
            assert await engine.result("order-1", SOON) == "not paid"
            await until(lambda: is_given_up(engine, child.run_id), "it is over")
            assert await engine.delete(child.run_id)
            assert not await engine.delete(child.run_id)

    run(main())


def test_a_child_that_can_not_even_be_cancelled_is_deleted_once_its_parent_was_moved_on(database: Database) -> None:
    async def main() -> None:
        store = database.store()
        child = child_run_id("order-1", State.new("order-1", "Order").threads[0].birth, 1)
        async with Engine(store, workflows=ALL, poll=timedelta(milliseconds=100)) as engine:
            await asyncio.to_thread(store.commit, [NewRun(child, "Invoice", 1, b'{"broken": 1}', "", parent="order-1")])
            await engine.await_status(child, "Paused", SOON)
            await engine.start(Order(Invoice()), run_id="order-1")
            await engine.await_status("order-1", "Waiting", SOON)
            with pytest.raises(StateError):
                await engine.cancel(child, "nobody can read it")
            with pytest.raises(ConflictError, match="If it can't be cancelled, cancel the parent, or move that on with goto"):
                await engine.delete(child)
            await engine.goto("order-1", "main", "ship", reason="invoiced by hand")
            assert await engine.result("order-1", SOON) == 0
            await until(lambda: is_given_up(engine, child), "nobody looks at it")
            assert await engine.delete(child)

    run(main())


@pytest.mark.parametrize("parent", ["deleted", "unreadable", "none"])
def test_a_child_for_which_nobody_waits_is_deleted_as_any_other_run(database: Database, parent: str) -> None:
    async def main() -> None:
        store = database.store()
        child = child_run_id("order-1", State.new("order-1", "Order").threads[0].birth, 1)
        async with Engine(store, workflows=[Order, Invoice], poll=timedelta(milliseconds=100)) as engine:
            if parent == "unreadable":
                await asyncio.to_thread(store.commit, [NewRun("order-1", "Order", 1, b'{"broken": 1}', "")])
                await engine.await_status("order-1", "Paused", SOON)
                await engine.start(Invoice(waits=True), run_id=child)
            elif parent == "deleted":
                await engine.start(Order(Invoice(waits=True)), run_id="order-1")
                await engine.await_status("order-1", "Waiting", SOON)
                assert await engine.delete("order-1")
            else:
                await engine.start(Invoice(waits=True), run_id=child)
            await engine.await_status(child, "Waiting", SOON)
            assert await engine.delete(child)

    run(main())


async def is_given_up(engine: Engine, run_id: str) -> bool:
    return (await engine.get(run_id)).owner is None


def test_who_cancels_a_parent_cancels_its_child(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await until(lambda: has_children(engine, "order-1"), "the child is there")
            [child] = await children_of(engine, "order-1")
            await engine.await_status(child.run_id, "Waiting", SOON)
            await engine.cancel("order-1", "by ann")
            await engine.await_status("order-1", "Cancelled", SOON)
            await engine.await_status(child.run_id, "Cancelled", SOON)

    run(main())


def test_a_child_that_is_not_needed_any_more_is_cancelled(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Race(), run_id="race-1")
            assert await engine.result("race-1", SOON) == "slept"
            [child] = await children_of(engine, "race-1")
            await engine.await_status(child.run_id, "Cancelled", SOON)

    run(main())


def test_parent_and_child_need_not_be_known_to_the_same_worker(shared_database: Database) -> None:
    async def main() -> None:
        async with engine_on(shared_database, workflows=[Order]) as parents:
            await parents.start(Order(Invoice(4)), run_id="order-1")
            await parents.await_status("order-1", "Waiting", SOON)

            async def told() -> bool:
                return b"SetupError" in ((await parents.get("order-1")).snapshot or b"")

            # A run of a class that nobody knows here could not be started: that is tried again where it is known.
            await until(told, "the setup has failed")
        async with engine_on(shared_database, workflows=ALL) as engine:
            assert await engine.result("order-1", SOON) == 8

    run(main())


class Forgetful:
    """A store whose connection is lost at the first write of each kind with children or to a parent, before or after it."""

    def __init__(self, store: Store, *, after: bool) -> None:
        self._store = store
        self._after = after
        self.lost: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        saves = [write for write in writes if isinstance(write, Save)]
        kinds = {"child" for save in saves if save.children} | {"message" for save in saves if save.messages}
        fresh = kinds - self.lost
        if not fresh:
            return self._store.commit(writes)
        self.lost |= fresh
        if self._after:
            self._store.commit(writes)
        error = StoreError("the connection is lost")
        error.retry = True
        raise error


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_what_is_written_again_starts_and_ends_a_child_once(database: Database, after: bool) -> None:
    async def main() -> None:
        store: Any = Forgetful(database.store(), after=after)
        async with Engine(store, workflows=ALL, poll=timedelta(milliseconds=100)) as engine:
            await engine.start(Order(Invoice(4)), run_id="order-1")
            assert await engine.result("order-1", SOON) == 8
            assert store.lost == {"child", "message"}
            [child] = await children_of(engine, "order-1")
            assert child.status == "Finished"

    run(main())


def test_a_run_with_the_id_of_a_child_is_that_child(database: Database) -> None:
    """Whoever wants to may start it first: it is the same run, and its parent gets its result."""

    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await until(lambda: has_children(engine, "order-1"), "the child is there")
            [child] = await children_of(engine, "order-1")
            again = await engine.start(Invoice(waits=True), run_id=child.run_id)
            assert again.run_id == child.run_id
            await engine.callback(child.run_id, "paid")
            assert await engine.result("order-1", SOON) == 0

    run(main())


def test_a_run_that_looks_like_a_child_of_nobody_tells_nobody(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await engine.await_status("order-1", "Waiting", SOON)
            for run_id in ("nobody:0123456789abcdef:1", "order-1:0123456789abcdef:1"):
                await engine.start(Invoice(3), run_id=run_id)
                assert await engine.result(run_id, SOON) == 6
            # The one to whom it was told looks at it, and waits on.
            await engine.await_status("order-1", "Waiting", SOON)

    run(main())


def test_a_child_of_a_child_is_cancelled_with_the_run_that_began_it_all(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Grandparent(), run_id="g-1")
            await until(lambda: has_children(engine, "g-1"), "the child is there")
            [child] = await children_of(engine, "g-1")
            await until(lambda: has_children(engine, child.run_id), "its child is there")
            [grandchild] = await children_of(engine, child.run_id)
            await engine.await_status(grandchild.run_id, "Waiting", SOON)
            await engine.cancel("g-1", "by ann")
            for run_id in ("g-1", child.run_id, grandchild.run_id):
                await engine.await_status(run_id, "Cancelled", SOON)

    run(main())


def test_what_was_done_before_a_child_failed_is_undone(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Trip(), run_id="trip-1")
            with pytest.raises(RunFailedError):
                await engine.result("trip-1", SOON)
            assert b'"log":["booked","unbooked"]' in ((await engine.get("trip-1")).snapshot or b"")

    run(main())


def test_nobody_else_can_tell_that_a_child_has_ended(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=ALL) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await engine.await_status("order-1", "Waiting", SOON)
            with pytest.raises(UnknownEventError, match="has no event 'child:ended'"):
                await engine.callback("order-1", CHILD_ENDED.name, {"status": "Finished"})

    run(main())


def test_thousands_of_children_of_one_run(database: Database) -> None:
    count = 300 if database.url else 2_000  # where each write waits for a disk, fewer tell as much

    async def main() -> None:
        async with engine_on(database, workflows=ALL, concurrency=50) as engine:
            await engine.start(Batch(count), run_id="batch-1")
            assert await engine.result("batch-1", 5 * SOON) == count * (count - 1)
            children = await children_of(engine, "batch-1")
            assert len(children) == count
            assert {child.status for child in children} == {"Finished"}

    run(main())


def test_a_result_that_does_not_come_in_time_says_that_a_child_is_waited_for(database: Database) -> None:
    async def main() -> None:
        async with engine_on(database, workflows=[Order, Invoice]) as engine:
            await engine.start(Order(Invoice(waits=True)), run_id="order-1")
            await engine.await_status("order-1", "Waiting", SOON)
            with pytest.raises(TimeoutError, match=r"at 'invoice'; it waits for a child run: list\(parent='order-1'\) tells"):
                await engine.result("order-1", timedelta(seconds=0.1))

    run(main())
