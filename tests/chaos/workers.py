"""The worker processes of a round: started, killed, frozen, stopped, and replaced when they have ended."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from tests.chaos.databases import Postgres, SQLite
from tests.chaos.plan import Plan
from tests.chaos.senders import Clients, Remote, receive
from tests.examples.processes import ROOT

__all__ = ["Workers"]

STRANGE = ("asyncio ERROR", "was never retrieved", "was never awaited", "Exception ignored", "Task was destroyed")
"""Words of a log that tell of a mistake in the engine, whatever came of the runs."""


class Workers:
    """The processes, by way of the nursery. Each place has one at a time; whoever ends is replaced, until all are to go."""

    def __init__(
        self, plan: Plan, database: SQLite | Postgres, folder: Path, clients: Clients, pace: float, planted: str | None
    ) -> None:
        self.plan = plan
        self.database = database
        self.folder = folder
        self.clients = clients
        self.pace = pace
        self.planted = planted
        self.names = [""] * plan.workers
        self.born = 0
        self.deaths = 0
        self.leaving: set[str] = set()
        self.is_closing = False
        self.all_gone = asyncio.Event()
        self.remotes: dict[str, Remote] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the nursery, and a worker for each place."""
        self.socket = str(self.folder / "play.sock")
        server = await asyncio.start_unix_server(self._arrived, self.socket)
        stack.callback(server.close)
        with (self.folder / "nursery.log").open("wb") as log:
            self.nursery = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", "tests.chaos.nursery"),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        stack.push_async_callback(self._close)
        self.watching = asyncio.create_task(self._watch())
        for place in range(self.plan.workers):
            self._start(place)

    async def _close(self) -> None:
        assert self.nursery.stdin is not None
        self.nursery.stdin.close()
        await self.nursery.wait()
        await self.watching

    def _order(self, order: dict[str, Any]) -> None:
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(json.dumps(order).encode() + b"\n")

    def _start(self, place: int) -> None:
        self.born += 1
        name = self.names[place] = f"w{place}-{self.born}"
        config = {
            "name": name,
            "url": self.database.url,
            "socket": self.socket,
            "full": str(self.database.full) if self.database.full is not None else None,
            "pace": self.pace,
            "planted": self.planted,
            "lease": self.plan.lease,
            "skew": self.plan.skews[place],
            "log": str(self.folder / f"worker-{place}.log"),
        }
        self._order({"start": config})

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            name = await receive(reader)
            remote = self.remotes[name] = Remote(reader, writer)
            self.clients.remotes.append(remote)
            try:
                await remote.listen()
            finally:
                self.clients.remotes.remove(remote)

    async def _watch(self) -> None:
        """See who has ended, and start another."""
        assert self.nursery.stdout is not None
        async for line in self.nursery.stdout:
            ended = json.loads(line)
            name, status = ended["ended"], ended["status"]
            if status == -signal.SIGKILL:
                self.deaths += 1
            elif name not in self.leaving or status != (0 if name in self.remotes else -signal.SIGTERM):
                self.clients.complain(name, f"ended with status {status}: see {self.folder}")
            place = self.names.index(name)
            if self.is_closing:
                self.names[place] = ""
                if not any(self.names):
                    self.all_gone.set()
            else:
                self._start(place)

    def signal(self, place: int, number: signal.Signals) -> None:
        """Send it to whoever has this place now."""
        if number == signal.SIGTERM:
            self.leaving.add(self.names[place])
        self._order({"name": self.names[place], "signal": number})

    async def leave(self) -> None:
        """Tell all to stop, and see that they do."""
        self.is_closing = True
        for place in range(self.plan.workers):
            self.signal(place, signal.SIGCONT)
            self.signal(place, signal.SIGTERM)
        try:
            await asyncio.wait_for(self.all_gone.wait(), timeout=20)
        except TimeoutError:
            self.clients.complain("workers", f"{[name for name in self.names if name]} do not stop when they are told to")

    def strange_lines(self) -> list[str]:
        """What no worker should ever have to say."""
        logs = sorted(self.folder.glob("*.log"))
        lines = [f"{log.name}: {line}" for log in logs for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if any(words in line for words in STRANGE)]
