"""Those who start runs, call back, signal and cancel: through engines of their own, and through those of workers.

What they send may be acknowledged, refused, or get no answer: then it has happened or not, and nobody knows.
"""

from __future__ import annotations

import asyncio
import pickle
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from flowstmt import (
    CallbackError,
    CallbackRequest,
    ConflictError,
    ControlError,
    Engine,
    LeaseLostError,
    NotFoundError,
    RemoteError,
    RunFailedError,
    StoreError,
)
from tests.chaos.world import World

if TYPE_CHECKING:
    from tests.chaos.cases import Case

__all__ = ["Answer", "Clients", "Remote", "perform", "receive", "send"]

PATIENCE = timedelta(seconds=5)
"""So long a caller waits for the answer to a callback."""


NOT_APPLIED = ("was not applied", "will not be applied")
"""Words of errors that promise that nothing has happened, nor will. The checks hold engines to that."""


MAY_BE_APPLIED = "may be applied all the same"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender got: ``acked`` with a value, ``refused`` with the name of an error, or neither, and ``why`` not.

    ``strange`` is what an engine should never raise.
    """

    acked: bool = False
    value: Any = None
    refused: str = ""
    why: str = ""
    strange: bool = False


async def perform(engine: Engine, operation: str, arguments: tuple[Any, ...]) -> Answer:
    """Do it, and tell what came of it."""
    try:
        value = await OPERATIONS[operation](engine, *arguments)
    except LeaseLostError as error:
        return Answer(why=repr(error))
    except (CallbackError, NotFoundError, ControlError, ConflictError, RunFailedError) as error:
        return Answer(refused=type(error).__name__, why=str(error))
    except Exception as error:
        if any(words in str(error) for words in NOT_APPLIED):
            return Answer(refused="NotApplied", why=str(error))
        is_told = isinstance(error, RemoteError | StoreError | TimeoutError) or MAY_BE_APPLIED in str(error)
        return Answer(why=repr(error), strange=not is_told)
    return Answer(acked=True, value=value)


async def _start(engine: Engine, run_id: str, workflow: Any, options: dict[str, Any]) -> None:
    await engine.start(workflow, run_id=run_id, **options)


async def _callback(engine: Engine, run_id: str, request: CallbackRequest | str, payload: Any) -> Any:
    return await engine.callback(run_id, request, payload, timeout=PATIENCE)


async def _signal(engine: Engine, run_id: str, event: str, payload: Any, key: str | None) -> None:
    await engine.signal(run_id, event, payload, key=key)


async def _result(engine: Engine, run_id: str) -> Any:
    return await engine.result(run_id, PATIENCE)


async def _control(engine: Engine, name: str, run_id: str, *arguments: Any) -> None:
    await getattr(engine, name)(run_id, *arguments)


OPERATIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "start": _start,
    "callback": _callback,
    "signal": _signal,
    "result": _result,
    "pause": lambda engine, *arguments: _control(engine, "pause", *arguments),
    "unpause": lambda engine, *arguments: _control(engine, "unpause", *arguments),
    "cancel": lambda engine, *arguments: _control(engine, "cancel", *arguments),
    "retry": lambda engine, *arguments: _control(engine, "retry", *arguments),
    "set_data": lambda engine, *arguments: _control(engine, "set_data", *arguments),
}


# -- between the play and the workers


async def send(writer: asyncio.StreamWriter, message: Any) -> None:
    """One message of two processes of this round to each other."""
    blob = pickle.dumps(message)
    writer.write(len(blob).to_bytes(4, "big") + blob)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next one; raises ``IncompleteReadError`` if the other process is gone."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    return pickle.loads(await reader.readexactly(size))


class Remote:
    """The engine of a worker, which may die at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.asked = 0
        self.waiting: dict[int, asyncio.Future[Answer]] = {}

    async def listen(self) -> None:
        """Hand on what it answers, until it is gone."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, answer = await receive(self.reader)
                if (future := self.waiting.pop(number, None)) is not None and not future.done():
                    future.set_result(answer)
        for future in self.waiting.values():
            if not future.done():
                future.set_result(Answer(why="the worker is gone"))
        self.waiting.clear()
        self.writer.close()

    async def do(self, operation: str, arguments: tuple[Any, ...]) -> Answer:
        """Let it do that. A worker that is frozen does not answer for a while."""
        self.asked += 1
        number, future = self.asked, asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        try:
            await send(self.writer, (number, operation, arguments))
            return await asyncio.wait_for(future, timeout=2 * PATIENCE.total_seconds())
        except (ConnectionError, TimeoutError) as error:
            return Answer(why=repr(error))
        finally:
            self.waiting.pop(number, None)


class Clients:
    """All ways to an engine, and what the play knows."""

    def __init__(self, engines: list[Engine], world: World, draw: random.Random) -> None:
        self.engines = engines
        self.remotes: list[Remote] = []
        self.world = world
        self.draw = draw
        self.statuses: dict[str, str] = {}
        """How the runs stand, as ``play`` has seen it last."""
        self.errors: dict[str, bytes | None] = {}
        self.looks = 0
        """How often that was looked at."""
        self.complaints: list[str] = []
        self.last: dict[str, str] = {}
        """The last thing that was done to a run, and what came of it."""
        self.counts: dict[str, int] = {"acked": 0, "refused": 0, "unknown": 0}

    def complain(self, run_id: str, what: str) -> None:
        """Something is wrong already, whatever comes of the run."""
        if (complaint := f"{run_id} {what}") not in self.complaints:
            self.complaints.append(complaint)

    async def do(self, operation: str, *arguments: Any) -> Answer:
        """Once, by whichever engine."""
        ways: list[Engine | Remote] = [*self.engines, *self.remotes]
        engine = self.draw.choice(ways)
        answer = await (
            engine.do(operation, arguments) if isinstance(engine, Remote) else perform(engine, operation, arguments)
        )
        self.last[str(arguments[0])] = f"{operation}: {answer}"
        if answer.strange:
            self.complain(str(arguments[0]), f"{operation} raised {answer.why}")
        self.counts["acked" if answer.acked else "refused" if answer.refused else "unknown"] += 1
        return answer

    async def until_answered(self, operation: str, *arguments: Any) -> Answer:
        """Again and again, for what may happen twice. The answer is one of those that are known."""
        while True:
            answer = await self.do(operation, *arguments)
            if answer.acked or (answer.refused and answer.refused != "NotApplied"):
                return answer
            await self.a_moment()

    async def a_moment(self) -> None:
        """Give others a chance, and the machine a rest."""
        await asyncio.sleep(self.draw.uniform(0.02, 0.1))

    async def start(self, case: Case) -> None:
        """Start the run of a case; a start is the same again, so it is repeated until it is acknowledged."""
        answer = await self.until_answered("start", case.run_id, case.workflow, case.options)
        if answer.refused:
            self.complain(case.run_id, f"could not be started: {answer.why}")

    async def start_with_an_order(self, case: Case, *, commits: bool) -> None:
        """Start it in a transaction with a row of one's own."""
        while case.run_id not in await asyncio.to_thread(self.world.orders):
            with suppress(sqlite3.OperationalError, psycopg.OperationalError, StoreError):
                await self._order(case, commits)
            if not commits:
                return
            await self.a_moment()

    async def _order(self, case: Case, commits: bool) -> None:
        url, insert = self.world.url, f"INSERT INTO orders VALUES ('{case.run_id}')"
        db: Any
        if url.startswith("postgresql:"):
            db = psycopg.connect(url)
        else:
            db = sqlite3.connect(url, timeout=0.1, isolation_level=None)
        try:
            if isinstance(db, sqlite3.Connection):
                db.execute("BEGIN IMMEDIATE")
            db.execute(insert)
            await self.draw.choice(self.engines).start(case.workflow, run_id=case.run_id, connection=db)
            if commits:
                db.commit()
            else:
                db.rollback()
        finally:
            db.close()

    async def mend(self, run_id: str) -> None:
        """See to it that the actions of the run do not raise any more."""
        await asyncio.to_thread(self.world.mend, run_id)

    async def booked(self, run_id: str) -> int:
        """How many effects were committed with a step of the run so far."""
        return await asyncio.to_thread(self.world.booked, run_id)

    async def page(self, run_id: str, event: str) -> CallbackRequest:
        """The request of an event, once somebody waits for it."""
        self.last[run_id] = f"waits for the page of {event}"
        while True:
            for request in await asyncio.to_thread(self.world.open_requests, run_id):
                if request.name == event:
                    return request
            await self.a_moment()

    def is_over(self, run_id: str) -> bool:
        """Whether the run was over when somebody looked last."""
        return self.statuses.get(run_id) in ("Finished", "Failed", "Cancelled")

    async def over(self, run_id: str) -> None:
        """Wait until the run is over."""
        self.last[run_id] = "waits for the end"
        while not self.is_over(run_id):
            await self.a_moment()

    async def parked(self, run_id: str) -> bytes | None:
        """Wait until the run is parked, and tell its error."""
        while self.statuses.get(run_id) != "Paused":
            await self.a_moment()
        return self.errors.get(run_id)
