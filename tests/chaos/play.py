"""A round: workers, a play with every run, and what is done to them; then calm, and a look at how all of it ended."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from flowstmt import StoreError
from flowstmt.stores.protocol import RunQuery, Store, StoredRun
from tests.chaos.cases import Case
from tests.chaos.checks import OVER, Ends, faults_of
from tests.chaos.databases import Postgres, SQLite, store_of
from tests.chaos.plan import Disturbance, Plan
from tests.chaos.senders import Clients
from tests.chaos.worker import engine_of
from tests.chaos.workers import Workers
from tests.chaos.world import World

__all__ = ["Played", "all_over", "all_played", "cancelled", "play", "watch"]


class Played:
    """What came of a round. ``faults``: what is wrong; nothing should be."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.faults: list[str] = []
        self.ends: Ends = {}
        self.deaths = 0
        self.answers: dict[str, int] = {}

    def __str__(self) -> str:
        plan = self.plan
        how = f"seed {plan.seed} on {plan.kind}: {plan.runs} runs, {len(plan.disturbances)} disturbances in {plan.seconds} s"
        return f"{how}, {self.deaths} workers killed, answers {self.answers}, {len(self.faults)} faults"


async def play(
    plan: Plan,
    database: SQLite | Postgres,
    folder: Path,
    *,
    pace: float = 0.002,
    calm: float = 60.0,
    planted: str | None = None,
) -> Played:
    """Play a round in a folder of its own.

    ``calm`` are the seconds after the last disturbance in which everybody has to come to an end, and every run. ``planted``
    is the name of a bug that the workers have.
    """
    played = Played(plan)
    world = World(database.url, pace)
    store = store_of(database.url)
    store.open()
    world.create()
    draw = random.Random(f"{plan.seed} play")
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        clients = Clients([], world, draw)
        workers = Workers(plan, database, folder, clients, pace, planted)
        await workers.open(stack)
        for name, skew in (("right", 0.0), ("wrong", 300.0)):
            engine = engine_of(store_of(database.url), world, worker=False, lease=plan.lease, skew=skew, name=name)
            clients.engines.append(await stack.enter_async_context(engine))
        watcher = asyncio.create_task(watch(store, clients))
        stack.push_async_callback(cancelled, watcher)
        plays = [asyncio.create_task(_play_one(plan, case, clients)) for case in plan.cases]
        one = asyncio.Lock()
        await asyncio.gather(*(_disturb(disturbance, workers, database, draw, one) for disturbance in plan.disturbances))
        await all_played(plan.cases, plays, clients, calm)
        await all_over(clients, calm)
        await workers.leave()
        played.deaths = workers.deaths
        played.answers = clients.counts
        played.ends, faults = faults_of(plan.cases, store, world)
        played.faults = [*clients.complaints, *workers.strange_lines(), *faults]
    world.close()
    return played


async def _play_one(plan: Plan, case: Case, clients: Clients) -> None:
    await asyncio.sleep(case.draw.uniform(0, 0.7 * plan.seconds))
    await case.play(clients)


async def _disturb(
    disturbance: Disturbance, workers: Workers, database: SQLite | Postgres, draw: random.Random, one: asyncio.Lock
) -> None:
    """``one``: what is done to a database is done before the next thing is."""
    await asyncio.sleep(disturbance.at)
    match disturbance.fault:
        case "kill":
            workers.signal(disturbance.worker, signal.SIGKILL)
        case "kill all":
            for place in range(workers.plan.workers):
                workers.signal(place, signal.SIGKILL)
        case "stop":
            workers.signal(disturbance.worker, signal.SIGTERM)
        case "freeze":
            workers.signal(disturbance.worker, signal.SIGSTOP)
            await asyncio.sleep(disturbance.seconds)
            workers.signal(disturbance.worker, signal.SIGCONT)
        case fault:
            async with one:
                await asyncio.to_thread(database.disturb, fault, disturbance.seconds, draw)


async def all_played(cases: Sequence[Case], plays: Sequence[asyncio.Task[None]], clients: Clients, calm: float) -> None:
    """Wait until everybody has done what they wanted to do."""
    _, unfinished = await asyncio.wait(plays, timeout=calm)
    for task, case in zip(plays, cases, strict=True):
        if task in unfinished:
            clients.complain(case.run_id, f"has a play that does not end: {clients.last.get(case.run_id)}")
            await cancelled(task)
        elif (error := task.exception()) is not None:
            clients.complain(case.run_id, f"has a play that raised {error!r}")


async def watch(store: Store, clients: Clients) -> None:
    """See how the runs stand: once for all who wait for that."""
    reader = ThreadPoolExecutor(1, "watch")  # the reading methods of a store are called from one thread

    def look() -> list[StoredRun]:
        found: list[StoredRun] = []
        after = None
        while rows := store.list(RunQuery(after=after, limit=200)):
            found += rows
            after = (rows[-1].created_at, rows[-1].run_id)
        return found

    try:
        while True:
            with suppress(StoreError):
                for row in await asyncio.get_running_loop().run_in_executor(reader, look):
                    clients.statuses[row.run_id], clients.errors[row.run_id] = row.status, row.error
                clients.looks += 1
            await asyncio.sleep(0.25)
    finally:
        reader.shutdown()


async def all_over(clients: Clients, calm: float) -> None:
    """Wait until all runs are over, children too, or the time for that is: what is not over then is told by the checks."""
    until = asyncio.get_running_loop().time() + calm
    seen = clients.looks
    while asyncio.get_running_loop().time() < until:
        if any(status not in OVER for status in clients.statuses.values()):
            seen = clients.looks
        elif clients.looks > seen + 1:
            return  # also those that had just been started when somebody looked
        await clients.a_moment()


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel it, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
