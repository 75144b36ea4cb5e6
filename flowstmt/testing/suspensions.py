"""Async calls that may die wherever they suspend.

Theory: between two suspensions a coroutine runs as plain code does, so the instants at which a process can die in it are
its suspensions. ``Watched`` stands between the event loop and a coroutine, and calls ``point`` at each of them; tasks that
a call starts are watched as well.

A process that is dead runs no ``finally`` and no ``except``: from the kill on nothing is sent or thrown into the user's
coroutines any more. They are kept aside, and unwound by ``close``, once nobody looks any more.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeAlias

from flowstmt.deadlines import Worker

__all__ = ["AsyncCalls", "Killed"]

_UNWINDINGS = 100
"""How often a coroutine is unwound that awaits something else each time."""

_undying: list[Coroutine[Any, Any, Any]] = []
"""Coroutines that can't be unwound. If they were collected, Python would complain about them in somebody else's test."""


class Killed(BaseException):
    """The process is dead: raised by the ``probe`` of a ``Harness`` to kill its run at this very point.

    It is no ``Exception``, so that neither workflow nor driver can do anything about it. After that call ``harness.reload()``,
    as a new process would, and go on.

    >>> from dataclasses import dataclass
    >>> from flowstmt import Step
    >>> from flowstmt.testing import Harness, Killed
    >>> @dataclass
    ... class Count:
    ...     n: int = 0
    ...
    ...     def definition(self):
    ...         return Step("count", self.count)
    ...
    ...     def count(self):
    ...         self.n += 1
    >>> deadly = ["after the effect of action at 'count' (thread main)"]
    >>> def probe(label):
    ...     if label in deadly:
    ...         deadly.remove(label)
    ...         raise Killed(label)
    >>> harness = Harness(Count(), probe=probe)
    >>> try:
    ...     harness.run()
    ... except Killed:
    ...     harness.reload()
    >>> harness.run(), harness.workflow
    (<WorkflowStatus.Finished: 'Finished'>, Count(n=1))
    """


class AsyncCalls:
    """The event loops in which one run's async calls are made, and what is left of those that died."""

    def __init__(self) -> None:
        self._life = _Life()
        self._left: list[_Left] = []
        # Not a ``__del__``: in a cycle the coroutines might be collected first.
        weakref.finalize(self, _bury, self._left)

    @property
    def dead(self) -> bool:
        """Whether something was killed since ``run`` was called last."""
        return self._life.dead

    def die(self) -> None:
        """From now on nothing of what is under way goes on."""
        self._life.dead = True

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """``asyncio.run``, but a loop whose process was killed is left as it is."""
        if asyncio._get_running_loop() is not None:
            coroutine.close()
            raise RuntimeError(
                "the harness drives an async workflow in an event loop of its own: use it from a plain test, not from an "
                "async one"
            )
        self._life = life = _Life()
        runner = asyncio.Runner()
        loop = runner.get_loop()
        loop.set_exception_handler(life.complain)
        threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(threads)
        loop.set_task_factory(_task)
        try:
            result = runner.run(coroutine)
        except asyncio.CancelledError:
            if not life.dead:
                raise
        finally:
            life.ending = True
            if life.dead:
                # A thread can't be killed. Waited for, it is at least not at work in the next life.
                threads.shutdown(cancel_futures=True)
                for thread in threading.enumerate():
                    if isinstance(thread, Worker) and not thread.abandoned:
                        thread.ended.wait(thread.limit.seconds)
                asyncio.set_event_loop(None)
                self._left += [loop, *asyncio.all_tasks(loop), *life.suspended]
            else:
                runner.close()
        if life.dead:
            raise Killed("the process is dead")
        return result

    async def watch(self, call: Callable[[], Awaitable[Any]], label: str, point: Callable[[str], None]) -> Any:
        """Make a call and await what it gives; ``point("at await 2 of ...")`` is called whenever that suspends."""
        within = _Call(label, point, asyncio.current_task(), self._life)
        token = _CALL.set(within)
        try:
            return await Watched(_awaited(call()), within, label)
        finally:
            _CALL.reset(token)

    def close(self) -> None:
        """Unwind what the killed calls left suspended. Whatever that raises is dropped: nobody was there to see it."""
        _bury(self._left)


class _Life:
    """From the start of an event loop to its end; with the coroutines that stand still since it was killed."""

    __slots__ = ("dead", "ending", "suspended")

    def __init__(self) -> None:
        self.dead = False
        # While a loop is closed, what was left behind in it is cancelled: nobody dies of that.
        self.ending = False
        self.suspended: list[Coroutine[Any, Any, Any]] = []

    def complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a loop says of tasks that nobody awaited; of the dead it says nothing."""
        if not self.dead:
            loop.default_exception_handler(context)


class _Call:
    """A call under way, and how many tasks it has started."""

    __slots__ = ("label", "life", "owner", "point", "tasks")

    def __init__(self, label: str, point: Callable[[str], None], owner: asyncio.Task[Any] | None, life: _Life) -> None:
        self.label = label
        self.point = point
        self.owner = owner
        self.life = life
        self.tasks = 0


_CALL: ContextVar[_Call | None] = ContextVar("flowstmt.testing.call", default=None)


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    within = _CALL.get()
    if within is not None and inspect.iscoroutine(coroutine):
        within.tasks += 1
        coroutine = Watched(coroutine, within, f"task {within.tasks} of {within.label}")
    return asyncio.Task(coroutine, loop=loop, **options)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that calls ``point`` whenever the one that it wraps suspends, and stands still once that has killed.

    An object, not an ``async def`` around another: of that the inner one would never be awaited if its task is cancelled
    before it starts.
    """

    __slots__ = ("__weakref__", "_label", "_suspensions", "_within", "coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], within: _Call, label: str) -> None:
        self.coroutine = coroutine
        self._within = within
        self._label = label
        self._suspensions = 0

    def send(self, value: Any) -> Any:
        """Go on."""
        if self._within.life.dead:
            self._stand_still()
            raise Killed("the process is dead")
        return self._suspended(self.coroutine.send(value))

    def throw(self, *raised: Any) -> Any:
        """Go on with an exception: a cancellation, mostly."""
        if self._within.life.dead:
            self._stand_still()
            raise raised[0]
        return self._suspended(self.coroutine.throw(*raised))

    def close(self) -> None:
        """End it where it is."""
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self)

    def __iter__(self) -> Watched:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _suspended(self, waits_for: Any) -> Any:
        if self._within.life.ending:
            return waits_for
        self._suspensions += 1
        try:
            self._within.point(f"at await {self._suspensions} of {self._label}")
        except BaseException:
            self._stand_still()
            # A task that dies takes along who started it, whatever that is waiting for.
            owner = self._within.owner
            if owner is not None and owner is not asyncio.current_task():
                owner.cancel()
            raise
        return waits_for

    def _stand_still(self) -> None:
        self._within.life.suspended.append(self.coroutine)


_Left: TypeAlias = asyncio.AbstractEventLoop | asyncio.Task[Any] | Coroutine[Any, Any, Any]


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _bury(left: list[_Left]) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    with warnings.catch_warnings():
        # What is awaited while a dead coroutine is unwound never is.
        warnings.simplefilter("ignore")
        while left:
            found = left.pop()
            if isinstance(found, asyncio.AbstractEventLoop):
                loops.append(found)
                continue
            coroutine: Any = found.get_coro() if isinstance(found, asyncio.Task) else found
            _unwind(coroutine.coroutine if isinstance(coroutine, Watched) else coroutine)
        for loop in loops:
            loop.close()


def _unwind(coroutine: Coroutine[Any, Any, Any]) -> None:
    """End a coroutine, as often as its ``finally`` awaits.

    Not by ``close``: that gives up on the innermost one first, and Python complains about it.
    """
    for _ in range(_UNWINDINGS):
        try:
            coroutine.throw(Killed("the process is dead"))
        except BaseException:  # noqa: BLE001 said by the dead
            return
    _undying.append(coroutine)
