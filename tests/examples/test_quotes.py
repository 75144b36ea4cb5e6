"""The purchase: suppliers are asked side by side over real HTTP, and one order is placed, whatever is killed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.quotes import Purchase, Purchases
from examples.quotes_show import Key, Market, serving
from flowstmt import ConflictError, State, WorkflowStatus, validate
from flowstmt.testing import CrashError, explore
from tests.examples.processes import python

PRICES = {"acme": "88.00", "bert": "99.00", "dora": "79.50"}


class Prompt(Market):
    """Answers without a clock, so that the awaits are as many each time."""

    async def think(self, supplier: str) -> None:
        await asyncio.sleep(0)


class Gathering(Market):
    """Answers no supplier's request before all have come: nobody who asks one after the other gets a price."""

    def __init__(self, prices: dict[str, str]) -> None:
        super().__init__(prices)
        self.all_here = asyncio.Event()

    async def think(self, supplier: str) -> None:
        if self.under_way == len(self.prices):
            self.all_here.set()
        await self.all_here.wait()


def purchase() -> Purchase:
    return Purchase("bolt", 1000, ["acme", "bert", "dora", "eddy"])


def test_the_definition_is_sound():
    validate(purchase())


# --- through the crash explorer, with requests that go through the whole of httpx and FastAPI but no network ---


@pytest.fixture
def markets() -> list[Market]:
    return []


@pytest.fixture
def client(markets: list[Market]) -> Callable[[], httpx.AsyncClient]:
    def make() -> httpx.AsyncClient:
        markets.append(Prompt(PRICES, sold_out=("dora",)))
        return httpx.AsyncClient(transport=httpx.ASGITransport(markets[-1].app), base_url="http://market")

    return make


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_purchase_ends_the_same_wherever_it_is_killed(client, markets, concurrency):
    found = explore(purchase, deps=client, concurrency=concurrency)
    assert found.undisturbed.result == "1000 x bolt from acme for 88.00, order acme-1"
    assert found.undisturbed.workflow.silent["eddy"].startswith("HTTPStatusError: Server error '503")
    assert [point for point in found.points if point.startswith("at await") and "thread inquiry:dora" in point]
    assert [point for point in found.points if point.startswith("at await") and "'order'" in point]
    assert len(markets) == len(found.points) + 1
    for market in markets:
        assert list(market.orders.values()) == ["acme-1"]
        assert {what for what, _ in market.asked} == {
            *("quote acme", "quote bert", "quote dora", "quote eddy"),
            *("order dora", "order acme"),
        }
        assert len(market.asked) == 6, "whatever is asked again is asked under the same key"
    assert max(times for market in markets for times in market.asked.values()) == 2


def test_a_market_that_ignored_keys_would_be_found_out():
    markets: list[Market] = []

    class Forgetful(Prompt):
        async def order(self, supplier: str, key: Key) -> dict[str, str]:
            return await super().order(supplier, f"{key} {len(self.orders)}")

    def client() -> httpx.AsyncClient:
        markets.append(Forgetful(PRICES))
        return httpx.AsyncClient(transport=httpx.ASGITransport(markets[-1].app), base_url="http://market")

    with pytest.raises(CrashError, match=r"after the crash \{.*'number': 'dora-2'"):
        explore(purchase, deps=client, concurrency=4)
    assert max(len(market.orders) for market in markets) == 2


prices = st.decimals(1, 3, places=0).map(str)


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from("abc"), prices), st.sets(st.sampled_from("abc")))
def test_it_orders_from_the_cheapest_that_delivers_wherever_it_is_killed(prices, sold_out):
    markets: list[Market] = []

    def client() -> httpx.AsyncClient:
        markets.append(Prompt(prices, sold_out=tuple(sold_out)))
        return httpx.AsyncClient(transport=httpx.ASGITransport(markets[-1].app), base_url="http://market")

    found = explore(lambda: Purchase("bolt", 1, ["b", "a", "c"]), deps=client, concurrency=3)
    able = sorted((price, supplier) for supplier, price in prices.items() if supplier not in sold_out)
    for market in markets:
        assert list(market.orders.values()) == [f"{supplier}-1" for _, supplier in able[:1]]
    expected = f"1 x bolt from {able[0][1]} for {able[0][0]}, order {able[0][1]}-1" if able else "nobody can deliver"
    assert found.undisturbed.result == expected


# --- over real HTTP, kept in a real file ---


def bought(path: Path, market: Market, purchase: Purchase, wakings: int = 1) -> tuple[Purchase, State]:
    async def buy(url: str) -> tuple[Purchase, State]:
        async with httpx.AsyncClient(base_url=url) as client:
            purchases = Purchases(path, client)
            purchases.start("purchase-1", purchase)
            for _ in range(wakings):
                assert await purchases.wake(datetime.now(UTC)) == ["purchase-1"]
            assert await purchases.wake(datetime.now(UTC)) == []
            found = purchases.load("purchase-1")
            purchases.db.close()
            return found

    with serving(market.app) as url:
        return asyncio.run(buy(url))


def test_all_suppliers_are_asked_side_by_side(tmp_path):
    market = Gathering(PRICES)
    found, state = bought(tmp_path / "purchases.db", market, Purchase("bolt", 1000, list(PRICES), patience=20))
    assert sorted(found.quotes) == sorted(PRICES)
    assert market.most == len(PRICES)
    assert (state.status, list(market.orders.values())) == (WorkflowStatus.Finished, ["dora-1"])


def test_who_says_nothing_is_not_waited_for(tmp_path):
    market = Prompt(PRICES, silent=("acme",))
    found, state = bought(tmp_path / "purchases.db", market, Purchase("bolt", 1000, [*PRICES, "eddy"], patience=2.0))
    assert found.silent["acme"] == "no answer within 2.0 s"
    assert sorted(found.quotes) == ["bert", "dora"]
    assert state.result == "1000 x bolt from dora for 79.50, order dora-1"


def test_an_order_without_an_answer_is_sent_again_with_the_same_key(tmp_path, caplog):
    class Failing(Prompt):
        async def order(self, supplier: str, key: Key) -> dict[str, str]:
            number = await super().order(supplier, key)
            if self.asked[f"order {supplier}", key] == 1:
                raise HTTPException(502, "the order is placed, and the answer is lost on its way")
            return number

    market = Failing(PRICES)
    _, state = bought(tmp_path / "purchases.db", market, purchase(), wakings=2)
    assert "purchase-1 can't go on now" in caplog.text
    assert [times for (what, _), times in market.asked.items() if what == "order dora"] == [2]
    assert (list(market.orders.values()), state.result) == (["dora-1"], "1000 x bolt from dora for 79.50, order dora-1")


def test_a_purchase_that_can_not_be_read_keeps_nobody_from_the_others(tmp_path, caplog):
    async def wake() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Prompt(PRICES).app), base_url="http://market") as client:
            purchases = Purchases(tmp_path / "purchases.db", client)
            purchases.db.execute("INSERT INTO purchases VALUES ('purchase-0', 0, 0, x'7B7D')")
            purchases.start("purchase-1", purchase())
            assert await purchases.wake(datetime.now(UTC)) == ["purchase-0", "purchase-1"]
            assert purchases.load("purchase-1")[1].status == WorkflowStatus.Finished
            purchases.db.close()

    asyncio.run(wake())
    assert "purchase-0 can't go on now" in caplog.text


def test_of_two_processes_that_move_one_purchase_the_slower_one_is_told_so(tmp_path):
    async def race() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Prompt(PRICES).app), base_url="http://market") as client:
            purchases = Purchases(tmp_path / "purchases.db", client)
            purchases.start("purchase-1", purchase())
            slow, state = purchases.load("purchase-1")
            save = purchases.saver(slow, state)
            await purchases.go_on("purchase-1")
            with pytest.raises(ConflictError, match="purchase-1 was moved by somebody else since revision 0"):
                await save()
            assert purchases.load("purchase-1")[1].status == WorkflowStatus.Finished
            purchases.db.close()

    asyncio.run(race())


def test_the_show_kills_two_processes_and_ends_with_one_order():
    done = python("examples/quotes.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"KILLED +by SIGKILL, (.+)", done.stdout) == ["after save 2", "after POST /acme/orders"]
    assert re.search(r"asked +2 times order acme\n.*asked +once +order dora", done.stdout)
    assert "placed    1 order: acme-1" in done.stdout
    assert done.stdout.endswith("Finished: 1000 x bolt M8 from acme for 88.00, order acme-1\n")
