"""The order of ``pizza.py`` on the engine: two workers share a file of SQLite, one is killed, the other takes over.

This process is the web server, so to speak: its engine starts runs, hands in callbacks and watches, and moves nothing. The
workers are ``flowstmt worker examples.pizza_engine_show:make_worker``, as anybody would start them. ``make demo`` plays this
after ``pizza_show.py``; alone: ``python -m examples.pizza_engine_show``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from examples.pizza import Line, Order
from examples.pizza_show import ROOT, Town, receipt, show, title
from flowstmt import CallbackError, Engine, SQLiteStore, WorkflowStatus, current

RUN = "order-3"
LEASE = timedelta(seconds=2)  # the default is 30: the show is not to take that long
SOON = timedelta(seconds=60)


# --- the engines ---------------------------------------------------------------------------------------------------


class Kitchen(Town):
    """Tells how far each pizza is. An oven goes on baking when the process dies that told so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "town.db", lambda point: None)
        self.folder = folder
        self.db.execute("CREATE TABLE IF NOT EXISTS oven (key TEXT PRIMARY KEY, percent INTEGER) STRICT")

    def bake(self, key: str, line: Line) -> None:
        super().bake(key, line)
        row = self.db.execute("SELECT percent FROM oven WHERE key = ?", (key,)).fetchone()
        for percent in range(row[0] if row else 0, 101, 25):
            self.db.execute("INSERT OR REPLACE INTO oven VALUES (?, ?)", (key, percent))
            current().publish({"pizza": line.pizza, "percent": percent})
            self.wait_at(f"{line.pizza} {percent}")

    def wait_at(self, point: str) -> None:
        """A moment; and where the show says so, until it kills this process: so that nothing depends on timing."""
        time.sleep(0.1)
        held = self.folder / "held"
        while held.exists() and held.read_text() == point:
            time.sleep(0.02)


def make_engine(folder: Path, worker_id: str, *, worker: bool) -> Engine:
    return Engine(
        SQLiteStore(folder / "runs.db"),
        workflows=[Order],
        deps=Kitchen(folder),
        lease=LEASE,
        poll=timedelta(milliseconds=200),
        worker=worker,
        worker_id=worker_id,
    )


def make_worker() -> Engine:
    """What ``flowstmt worker`` is given."""
    return make_engine(Path(os.environ["PIZZA_FOLDER"]), os.environ["PIZZA_WORKER"], worker=True)


# --- the show ------------------------------------------------------------------------------------------------------


class Worker:
    """``flowstmt worker`` in a process of its own, and what it says."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.log: list[str] = []
        self._moves = asyncio.Event()
        self._hearing = asyncio.gather(self._hear_of_town(), self._hear_log())

    @classmethod
    async def started(cls, name: str, folder: Path) -> Self:
        env = {**os.environ, "PIZZA_FOLDER": str(folder), "PIZZA_WORKER": name}
        command = [sys.executable, "-m", "flowstmt", "worker", f"{__spec__.name}:make_worker"]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stdout=PIPE, stderr=PIPE)
        worker = cls(name, process)
        async with asyncio.timeout(SOON.total_seconds()):
            await worker._moves.wait()
        show("process", f"flowstmt worker, pid {process.pid}", "process", f"[{name}]")
        return worker

    async def _hear_of_town(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            kind, text = json.loads(line)
            show(kind, text, kind, f"[{self.name}]")

    async def _hear_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode())
            if "moves runs of" in self.log[-1]:
                self._moves.set()

    async def end(self, number: signal.Signals) -> int:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        status = await self.process.wait()
        await self._hearing
        return status


class Play:
    def __init__(self, engine: Engine, folder: Path, workers: dict[str, Worker]) -> None:
        self.engine = engine
        self.folder = folder
        self.workers = workers
        self.seen = 0  # the revision up to which the run was shown
        self.percent: dict[str, int] = {}
        self.news = asyncio.Condition()

    async def watch(self) -> None:
        """The progress, live, whichever process makes it: where the run rests, and what its actions publish."""
        async for change in self.engine.watch(RUN):
            if change.kind == "published":
                pizza, percent = change.body["pizza"], change.body["percent"]
                show("progress", f"{pizza:<11}{'#' * (percent // 5):<20} {percent:>3} %", "saved")
                self.percent[pizza] = percent
            elif change.status is not WorkflowStatus.Resuming:
                where = ", ".join(f"{thread} at {position!r}" for thread, position in change.positions.items())
                show("progress", f"{change.status}{f': {where}' if where else ''}", "saved")
                self.seen = change.revision
            async with self.news:
                self.news.notify_all()

    async def rests(self) -> None:
        """Wait until the run has come to rest, and that was shown."""
        run = await self.engine.await_status(RUN, {"Waiting", "Finished"}, SOON)
        async with asyncio.timeout(SOON.total_seconds()), self.news:
            await self.news.wait_for(lambda: self.seen >= run.revision)

    async def call(self, who: str, event: str, payload: Any = None, *, why: str = "") -> None:
        shown = f" {json.dumps(payload)}" if payload is not None else ""
        show(who, f"{event}{shown}{': ' + why if why else ''}", "who")
        try:
            answer = await self.engine.callback(RUN, event, payload, timeout=SOON)
        except CallbackError as error:
            show("refused", f"{type(error).__name__}: {error}", "refused")
        else:
            show("answer", "taken" if answer is None else f"taken: {answer}", "done")
            await self.rests()

    async def send(self, who: str, event: str, payload: Any, key: str) -> None:
        show(who, f"{event} {json.dumps(payload)}, as a signal with the key {key!r}", "who")
        new = await self.engine.signal(RUN, event, payload, key=key)
        show("answer", "kept, until somebody waits for it" if new else "it has that one already", "done")

    async def kill_the_owner(self, pizza: str, percent: int) -> None:
        """Kill the worker that moves the run, once its pizza is so far."""
        async with asyncio.timeout(SOON.total_seconds()), self.news:
            await self.news.wait_for(lambda: self.percent.get(pizza, 0) >= percent)
        run = await self.engine.get(RUN)
        assert run.owner is not None, "a run that is moved has an owner"
        worker = self.workers.pop(run.owner)
        status = await worker.end(signal.SIGKILL)
        if status != -signal.SIGKILL:
            raise SystemExit(f"the worker was not killed: {status}\n{''.join(worker.log)}")
        why = f"its lease ends {LEASE.seconds} s after it was last heard of"
        show("KILLED", f"by SIGKILL, exit status {status}, while it moved {RUN}: {why}", "killed", f"[{worker.name}]")
        (self.folder / "held").unlink()


async def play(play_: Play) -> None:
    engine = play_.engine

    title(f"Cleo orders; the file is shared by all, and this process only asks ({type(engine).__name__}, worker=False)")
    show("Cleo", "wants to order", "who")
    await engine.start(Order("Cleo"), run_id=RUN, labels={"customer": "Cleo"})
    watching = asyncio.create_task(play_.watch())
    await play_.rests()
    await play_.call("Cleo", "add", {"pizza": "margherita", "count": 2})
    await play_.call("Cleo", "add", {"pizza": "hawaii"}, why="INVALID, and refused with its reason from another process")
    await play_.call("Cleo", "add", {"pizza": "funghi"})
    await play_.call("Cleo", "submit")

    title("The bank's webhook comes too early, and twice")
    for _ in range(2):
        await play_.send("bank", "pay", {"number": "4242424242424242"}, "evt-17")

    title("A worker dies with a pizza in the oven; nobody tells the other one")
    (play_.folder / "held").write_text("margherita 50")
    killing = asyncio.create_task(play_.kill_the_owner("margherita", 50))
    await play_.call("manager", "confirm")
    await killing
    await play_.call("oven", "baked")
    await play_.call("oven", "baked")
    await play_.call("courier", "delivered")
    await watching
    await play_.call("courier", "delivered", why="DUPLICATE, the run is over")


async def account(engine: Engine, folder: Path) -> None:
    """What the files hold in the end. Ends the program if the bank or the kitchen worked twice."""
    result = await engine.result(RUN, SOON)
    run = await engine.get(RUN)
    town = sqlite3.connect(folder / "town.db")
    book = town.execute("SELECT what, asked FROM book ORDER BY rowid").fetchall()
    town.close()
    title("What became of it")
    for what, asked in book:
        show("asked once" if asked == 1 else f"asked {asked}x", f"done once: {what}")
    show(RUN, f"{run.status}, revision {run.revision}, owner {run.owner}")
    receipt("Cleo", result)
    if result["payment"] is None or len([what for what, _ in book if what.startswith(("charge", "bake"))]) != 3:
        raise SystemExit("this is not how it should have ended")


async def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        title("The same order on the engine: two workers, one of which gets killed")
        workers: dict[str, Worker] = {}
        try:
            for name in ("A", "B"):
                workers[name] = await Worker.started(name, folder)
            async with make_engine(folder, "web", worker=False) as engine:
                await play(Play(engine, folder, workers))
                for name, worker in workers.items():
                    status = await worker.end(signal.SIGTERM)
                    show("process", f"told to go by SIGTERM, exit status {status}", "process", f"[{name}]")
                await account(engine, folder)
        finally:
            for worker in workers.values():
                await worker.end(signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
