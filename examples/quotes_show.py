"""The show of ``quotes.py``: suppliers behind a real HTTP server, and purchases in processes that kill themselves.

``python -m examples.quotes_show worker <folder> <url> <point>`` is one process: it moves the purchase until it is over, or
dies at the point, a label such as "after save 3".
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request

from examples.quotes import Purchase, Purchases
from flowstmt import load

ROOT = Path(__file__).resolve().parent.parent
RUN = "purchase-1"
KILLS = {
    "after save 2": "one answer is saved, the others were on their way: they are asked for again, under the same keys",
    "after POST /acme/orders": "the order is placed, and the file does not know",
    "": "",
}

Key = Annotated[str, Header(alias="Idempotency-Key")]


def say(who: str, text: str) -> None:
    print(f"  {who:<9} {text}", flush=True)


class Market:
    """Suppliers with prices. ``asked`` counts requests by idempotency key; an order is placed once per key."""

    def __init__(self, prices: dict[str, str], *, sold_out: tuple[str, ...] = (), silent: tuple[str, ...] = ()) -> None:
        self.prices = prices
        self.sold_out = sold_out
        self.silent = silent
        self.asked: Counter[tuple[str, str]] = Counter()
        self.orders: dict[str, str] = {}
        self.under_way = self.most = 0
        self.app = FastAPI()
        self.app.get("/{supplier}/quote")(self.quote)
        self.app.post("/{supplier}/orders", status_code=201)(self.order)

    async def quote(self, supplier: str, part: str, count: int, key: Key, request: Request) -> dict[str, Any]:
        self.asked[f"quote {supplier}", key] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if supplier in self.silent:
                while (await request.receive())["type"] != "http.disconnect":
                    pass  # until the other side gives up
            await self.think(supplier)
        finally:
            self.under_way -= 1
        if supplier not in self.prices:
            raise HTTPException(503, "closed")
        return {"price": self.prices[supplier], "days": 3}

    async def think(self, supplier: str) -> None:
        await asyncio.sleep(0.02 * (1 + list(self.prices).index(supplier)) if supplier in self.prices else 0)

    async def order(self, supplier: str, key: Key) -> dict[str, str]:
        self.asked[f"order {supplier}", key] += 1
        await self.think(supplier)
        if supplier in self.sold_out:
            raise HTTPException(409, "sold out")
        return {"number": self.orders.setdefault(key, f"{supplier}-{len(self.orders) + 1}")}


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The URL of a real HTTP server for the app, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    sock = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        # Bound already: who connects before the server is up waits in the socket's queue.
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


class Mortal(Purchases):
    """Says what is saved and answered, and dies at a point."""

    def __init__(self, path: Path, client: httpx.AsyncClient, die_at: str) -> None:
        super().__init__(path, client)
        self.die_at = die_at
        client.event_hooks["response"].append(self.answered)

    def reach(self, label: str) -> None:
        if label == self.die_at:
            say("KILLED", f"by SIGKILL, {label}")
            os.kill(os.getpid(), signal.SIGKILL)

    async def answered(self, response: httpx.Response) -> None:
        request = response.request
        say("answer", f"{response.status_code} to {request.method} {request.url.path}")
        self.reach(f"after {request.method} {request.url.path}")

    def write(self, row: tuple[Any, ...]) -> None:
        super().write(row)
        say("saved", f"revision {row[0]}")
        self.reach(f"after save {row[0]}")


async def live(folder: Path, url: str, die_at: str) -> None:
    """One process: start the purchase if there is none, and go on with what is due."""
    async with httpx.AsyncClient(base_url=url) as client:
        purchases = Mortal(folder / "purchases.db", client, die_at)
        if purchases.db.execute("SELECT count(*) FROM purchases").fetchone() == (0,):
            purchases.start(RUN, Purchase("bolt M8", 1000, ["acme", "bert", "crank", "dora", "eddy"], patience=1.5))
        await purchases.wake(datetime.now(UTC))
        purchases.db.close()


def account(folder: Path, market: Market) -> None:
    db = sqlite3.connect(folder / "purchases.db")
    purchase, state = load(Purchase, db.execute("SELECT snapshot FROM purchases").fetchone()[0])
    db.close()
    print("\nWhat the suppliers saw")
    for (what, _), times in sorted(market.asked.items()):
        say("asked", f"{'once   ' if times == 1 else f'{times} times'} {what}")
    say("placed", f"{len(market.orders)} order: {', '.join(market.orders.values())}")
    print("\nWhat the file holds")
    for supplier, quote in sorted(purchase.quotes.items()):
        say(supplier, f"{quote.price}{', sold out' if supplier in purchase.sold_out else ''}")
    for supplier, why in sorted(purchase.silent.items()):
        say(supplier, why)
    print(f"\n{state.status}: {state.result}")


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(live(Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
        return
    market = Market({"acme": "88.00", "bert": "99.00", "dora": "79.50"}, sold_out=("dora",), silent=("crank",))
    with tempfile.TemporaryDirectory() as folder, serving(market.app) as url:
        for number, (die_at, why) in enumerate(KILLS.items(), 1):
            print(f"\nProcess {number}", flush=True)
            command = [sys.executable, "-m", "examples.quotes_show", "worker", folder, url, die_at]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            if code != (-signal.SIGKILL if die_at else 0):
                raise SystemExit(f"process {number} ended with {code}")
            if why:
                say("", why)
        account(Path(folder), market)


if __name__ == "__main__":
    main()
