"""A connection that belongs to another thread than the event loop's: what is written with it is written there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable
from queue import SimpleQueue
from typing import Any

from flowstmt.errors import StoreError
from flowstmt.stores.protocol import Message, NewRun, Outcome, Store

__all__ = ["Elsewhere", "join"]


class Elsewhere:
    """A connection of a caller who waits for the event loop in its own thread, and runs its errands there meanwhile."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def serve(self) -> None:
        """For the caller's thread: run errands until ``end``."""
        while (errand := self._errands.get()) is not None:
            errand()

    def end(self, _: Any) -> None:
        """There are no more errands."""
        self._errands.put(None)

    async def join(self, store: Store, write: NewRun | Message) -> Sequence[Outcome]:
        """For the event loop: have it written in the caller's thread."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Future[Sequence[Outcome]] = loop.create_future()
        self._errands.put(partial(self._write, store, write, loop, answers))
        return await answers

    def _write(
        self,
        store: Store,
        write: NewRun | Message,
        loop: asyncio.AbstractEventLoop,
        answers: asyncio.Future[Sequence[Outcome]],
    ) -> None:
        try:
            joined = store.join(self._connection, [write])
            if isawaitable(joined):
                if hasattr(joined, "close"):
                    joined.close()  # else Python complains as well
                raise StoreError("a connection that has to be awaited can't be used with a SyncEngine: hand it to an Engine")
        except Exception as error:  # noqa: BLE001 raised where it is awaited
            loop.call_soon_threadsafe(_settle, answers, None, error)
        else:
            loop.call_soon_threadsafe(_settle, answers, joined, None)


async def join(store: Store, connection: Any, write: NewRun | Message) -> Outcome:
    """Write in a transaction of the user's: what it was answered. Raises what the database refuses it with."""
    if isinstance(connection, Elsewhere):
        answers = await connection.join(store, write)
    else:
        joined = store.join(connection, [write])
        answers = await joined if isawaitable(joined) else joined
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


def _settle(answers: asyncio.Future[Any], joined: Any, error: Exception | None) -> None:
    if answers.done():
        return
    if error is None:
        answers.set_result(joined)
    else:
        answers.set_exception(error)
