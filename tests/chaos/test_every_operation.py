"""The n-th operation of a store fails, for every n until a few runs come to their end unharmed: each ends as it has to.

It fails before it is done, or after it is done, so that the answer is lost; or the database itself can't do it for a while.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias, cast

import psycopg
import pytest

from flowstmt import StoreError
from flowstmt.stores.protocol import Store
from tests.chaos.cases import Case, MailboxCase, NapCase, ParcelCase, TripCase
from tests.chaos.checks import faults_of
from tests.chaos.databases import Postgres, store_of
from tests.chaos.play import all_over, all_played, cancelled, watch
from tests.chaos.senders import Clients
from tests.chaos.struck import StruckStore
from tests.chaos.worker import engine_of
from tests.chaos.world import World
from tests.examples.mortal import MEMORY

Strike: TypeAlias = Callable[[str], None]
"""Does something to the database of this URL, or raises."""


def lose_the_connection(_: str) -> None:
    raise StoreError("the connection was lost, as a test wants it", retry=True)


def cut(url: str) -> None:
    """All sessions of the database are ended, but for the one that does it."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def lock(url: str) -> None:
    """Somebody else holds the only write lock, for longer than the store waits for it."""
    db = sqlite3.connect(url, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        db.rollback()
        db.close()

    threading.Timer(0.4, unlock).start()


PATIENCE = 20.0
"""So many seconds a play may take, whatever is struck."""


class Few:
    """A few runs that do everything which a store is asked for."""

    def __init__(self) -> None:
        draws = iter(range(1000))

        def case(kind: type[Case], fits: Callable[[Any], bool]) -> Case:
            """The first one that is drawn and fits."""
            return next(found for n in draws if fits(found := kind(f"{kind.__name__}-{n}", random.Random(n))))

        self.cases: list[Case] = [
            case(ParcelCase, lambda each: len(each.workflow.lines) == 1),
            case(MailboxCase, lambda each: {way for way, _ in each.ways} >= {"callback", "keyed"} and len(each.ways) == 2),
            case(TripCase, lambda each: each.workflow.ends == "fails" and len(each.workflow.legs) == 1),
            case(NapCase, lambda each: each.workflow.naps[0] < 0.1 and len(each.workflow.naps) == 1),
        ]


async def struck(url: str, n: int, strike: Strike, *, after: bool) -> tuple[int, list[str]]:
    """Play them while the n-th operation is struck; how many operations there were, and what is wrong at the end."""
    cases = Few().cases
    world = World(url)
    world.create()
    store = StruckStore(store_of(url), n, lambda: strike(url), after=after)
    looking = store_of(url)
    looking.open()
    async with AsyncExitStack() as stack:
        stack.callback(looking.close)
        clients = Clients([], world, random.Random(n))
        watcher = asyncio.create_task(watch(looking, clients))
        stack.push_async_callback(cancelled, watcher)
        async with engine_of(cast(Store, store), world, worker=True, lease=1.0, skew=0.0, name="worker") as engine:
            clients.engines.append(engine)
            plays = [asyncio.create_task(case.play(clients)) for case in cases]
            await all_played(cases, plays, clients, PATIENCE)
            await all_over(clients, PATIENCE)
    looking = store_of(url)  # another one, since connections may have been cut
    looking.open()
    _, faults = faults_of(cases, looking, world)
    looking.close()
    world.close()
    return store.count, clients.complaints + faults


def until_unharmed(urls: Iterator[str], strike: Strike, *, after: bool, every: int = 1, at_once: int = 8) -> None:
    """For n = 1, 2, 3 ..., until there is no n-th operation any more.

    Some are played at a time, each with a database of its own: they spend their time waiting.
    """

    async def main() -> None:
        n, reached = 1, True
        while reached:
            some = [n + every * more for more in range(at_once)]
            for n, (count, faults) in zip(
                some, await asyncio.gather(*(struck(next(urls), n, strike, after=after) for n in some)), strict=True
            ):
                assert faults == [], f"operation {n} of {count} was struck"
                reached = count >= n
            n += every
        assert n > 20

    asyncio.run(main())


@pytest.fixture
def files() -> Iterator[Iterator[str]]:
    """New files of SQLite, one after the other. They are in memory: processes don't die here."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield (str(Path(folder) / f"{n}.db") for n in range(10_000))


def test_an_operation_that_is_not_done_is_made_up_for_whichever_it_is(files: Iterator[str]):
    until_unharmed(files, lose_the_connection, after=False)


def test_an_operation_whose_answer_is_lost_is_not_done_twice_whichever_it_is(files: Iterator[str]):
    until_unharmed(files, lose_the_connection, after=True)


def test_a_locked_file_keeps_nobody_from_the_end_at_whichever_operation_it_is_locked(files: Iterator[str]):
    until_unharmed(files, lock, after=False, every=9)


def test_connections_that_are_cut_keep_nobody_from_the_end_at_whichever_operation_it_is(server: Any):
    urls = (Postgres(server, f"cut_{n}").url for n in range(10_000))
    until_unharmed(urls, cut, after=False, every=9, at_once=3)
