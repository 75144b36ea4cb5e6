"""The threads that write and read: group commit, order, what is refused, and a database that goes away."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flowstmt.engine.lanes import ReadLane
from flowstmt.engine.write_lane import WriteLane
from flowstmt.errors import StoreError
from flowstmt.stores.protocol import Publication
from tests.engine.running import run, until


class Store:
    """Commits when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken: Callable[[list[str]], Any] = lambda _: None

    def commit(self, writes: Sequence[Any]) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(30)
        names = [write.run_id for write in writes]
        self.broken(names)
        self.batches.append(names)
        return [ValueError(name) if name.startswith("refused") else True for name in names]


def write(name: str) -> Publication:
    return Publication(name, b"")


def test_what_gathers_while_one_batch_is_committed_is_committed_at_once() -> None:
    async def main() -> None:
        store = Store()
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # it needs no more of a store
        lane.start()
        store.gate.clear()
        first = asyncio.ensure_future(lane.write(write("first")))
        assert await asyncio.to_thread(store.entered.wait, 30)
        others = [asyncio.ensure_future(lane.write(write(f"{number}"))) for number in range(5)]
        await until(lambda: _is(lane.backlog() == 5), "they gather")
        store.gate.set()
        assert await asyncio.gather(first, *others) == [True] * 6
        assert store.batches == [["first"], ["0", "1", "2", "3", "4"]]
        await lane.stop(1)

    run(main())


def test_calls_come_in_order_between_writes() -> None:
    async def main() -> None:
        store = Store()
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        store.gate.clear()
        waiting = [asyncio.ensure_future(lane.write(write("first")))]
        assert await asyncio.to_thread(store.entered.wait, 30)
        waiting.append(asyncio.ensure_future(lane.write(write("before"))))
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(lane.call(lambda: store.batches.append(["call"]))))
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(lane.write(write("after"))))
        await until(lambda: _is(lane.backlog() == 3), "they gather")
        store.gate.set()
        await asyncio.gather(*waiting)
        assert store.batches == [["first"], ["before"], ["call"], ["after"]]
        await lane.stop(1)

    run(main())


def test_a_write_that_is_refused_fails_for_its_own_caller() -> None:
    async def main() -> None:
        lane = WriteLane("lane", Store())  # type: ignore[arg-type] # as above
        lane.start()
        answers = await asyncio.gather(*(lane.write(write(name)) for name in ("a", "refused", "b")), return_exceptions=True)
        assert [type(answer) for answer in answers] == [bool, ValueError, bool]
        await lane.stop(1)

    run(main())


def test_what_breaks_a_batch_is_found_by_committing_alone() -> None:
    async def main() -> None:
        store = Store()

        def bad(names: list[str]) -> None:
            if "bad" in names:
                raise RuntimeError("a bug of the store")

        store.broken = bad
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        store.gate.clear()
        first = asyncio.ensure_future(lane.write(write("first")))
        assert await asyncio.to_thread(store.entered.wait, 30)
        others = [asyncio.ensure_future(lane.write(write(name))) for name in ("a", "bad", "b")]
        await until(lambda: _is(lane.backlog() == 3), "they gather")
        store.gate.set()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(answer) for answer in answers] == [bool, bool, RuntimeError, bool]
        await lane.stop(1)

    run(main())


def test_a_database_that_is_away_is_asked_until_it_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstmt.engine.lanes._LONGEST_PAUSE", 0.01)

    async def main() -> None:
        store = Store()
        away = threading.Event()
        away.set()

        def unreachable(_: list[str]) -> None:
            if away.is_set():
                raise StoreError("no route to the database", retry=True)

        store.broken = unreachable
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        written = asyncio.ensure_future(lane.write(write("a")))
        await until(lambda: _is(lane.health.failures >= 14), "it is tried again")
        assert "no route" in (lane.health.error or "")
        assert lane.health.since is not None
        away.clear()
        assert await written is True
        await until(lambda: _is(lane.health.error is None), "all is well")
        await lane.stop(1)

    with caplog.at_level(logging.INFO, "flowstmt.engine"):
        run(main())
    tries = [record.levelno for record in caplog.records if "tried again in" in record.getMessage()]
    assert tries[:13] == [logging.WARNING, *[logging.INFO] * 11, logging.WARNING]
    assert any("is back after" in line for line in caplog.messages)


def test_a_lane_that_is_closed_gives_up_what_the_database_can_t_do() -> None:
    async def main() -> None:
        store = Store()

        def unreachable(_: list[str]) -> None:
            raise StoreError("no route to the database", retry=True)

        store.broken = unreachable
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        written = asyncio.ensure_future(lane.write(write("a")))
        await until(lambda: _is(lane.health.failures >= 1), "it is tried")
        await lane.stop(0.01)
        with pytest.raises(StoreError, match="no route"):
            await written
        with pytest.raises(StoreError, match="closed"):
            await lane.write(write("b"))
        with pytest.raises(StoreError, match="closed"):
            await lane.call(int)
        await lane.stop(1)  # a second time it does nothing

    run(main())


def test_what_is_in_the_queue_is_done_before_a_lane_ends() -> None:
    async def main() -> None:
        store = Store()
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        written = [asyncio.ensure_future(lane.write(write(f"{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        closed: list[str] = []
        await lane.stop(5, lambda: closed.append("closed"))
        assert await asyncio.gather(*written) == [True] * 3
        assert closed == ["closed"]

    run(main())


def test_a_lane_that_has_ended_holds_no_descriptors() -> None:
    async def main() -> None:
        before = len(os.listdir("/dev/fd"))
        kept = []  # as somebody may keep an engine
        for _ in range(10):
            kept += [WriteLane("writing", Store()), ReadLane("reading")]  # type: ignore[arg-type] # as above
        for lane in kept:
            lane.start()
        for lane in kept:
            await lane.stop(5)
        assert len(os.listdir("/dev/fd")) <= before

    run(main())


def test_an_exception_in_a_call_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        lane = ReadLane("lane")
        lane.start()
        with pytest.raises(ZeroDivisionError):
            await lane.call(divmod, 1, 0)
        assert await lane.call(divmod, 7, 2) == (3, 1)
        await lane.stop(1)

    run(main())


def test_whoever_was_cancelled_is_not_told() -> None:
    async def main() -> None:
        store = Store()
        lane = WriteLane("lane", store)  # type: ignore[arg-type] # as above
        lane.start()
        store.gate.clear()
        written = asyncio.ensure_future(lane.write(write("a")))
        assert await asyncio.to_thread(store.entered.wait, 30)
        written.cancel()
        store.gate.set()
        assert await lane.write(write("b")) is True
        assert written.cancelled()
        await lane.stop(1)

    run(main())


async def _is(holds: bool) -> bool:
    return holds
