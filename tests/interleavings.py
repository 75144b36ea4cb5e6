"""Every order in which a few awaits can come to their end, one after the other, in an event loop without surprises."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

__all__ = ["Loop", "Timer", "World", "every_interleaving"]


class Loop:
    """First come, first served, without I/O or threads: what runs next is what was ready first.

    Of an event loop it has what tasks and futures ask for. Its clock stands still: ``timers`` are over when somebody says so.
    """

    def __init__(self) -> None:
        self._ready: deque[tuple[Context, Callable[..., Any], tuple[Any, ...]]] = deque()
        self.timers: list[Timer] = []
        self.complaints: list[str] = []

    def time(self) -> float:
        return 0.0

    def call_later(self, delay: float, callback: Any, *args: Any) -> Timer:
        timer = Timer(self, lambda: callback(*args))
        self.timers.append(timer)
        return timer

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        self._ready.append((context or copy_context(), callback, args))

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)  # type: ignore[arg-type] # see the class

    def create_task(self, coro: Any, **named: Any) -> Any:
        return asyncio.Task(coro, loop=self, **named)  # type: ignore[arg-type] # see the class

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: Any) -> None:
        self.complaints.append(str(context.get("message")))

    def run_until_idle(self) -> None:
        asyncio._set_running_loop(self)  # type: ignore[arg-type] # see the class
        try:
            while self._ready:
                context, callback, args = self._ready.popleft()
                context.run(callback, *args)
        finally:
            asyncio._set_running_loop(None)


class Timer:
    """Something that is to be called when its time is over."""

    def __init__(self, loop: Loop, fire: Callable[[], Any]) -> None:
        self._loop = loop
        self.fire = fire

    def cancel(self) -> None:
        if self in self._loop.timers:
            self._loop.timers.remove(self)


class World:
    """What a scenario acts in: gates that hold awaits back until they are chosen, and acts that are begun when chosen."""

    def __init__(self, choose: Callable[[list[str]], int]) -> None:
        self.loop = Loop()
        self.done: list[str] = []
        self._choose = choose
        self._gates: dict[str, asyncio.Future[None]] = {}
        self._acts: dict[str, Callable[[], Any]] = {}
        self._counts: dict[str, int] = {}

    async def gate(self, name: str) -> None:
        """Wait until this gate is chosen."""
        self._counts[name] = self._counts.get(name, 0) + 1
        label = f"{name} {self._counts[name]}"
        self._gates[label] = self.loop.create_future()
        try:
            await self._gates[label]
        finally:
            self._gates.pop(label, None)

    def may(self, name: str, act: Callable[[], Any]) -> None:
        """Something that can happen once, at any time from now on."""
        self._acts[name] = act

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a task."""
        task: asyncio.Task[Any] = self.loop.create_task(coroutine)
        return task

    def play(self) -> None:
        """Let things happen, one at a time, until nothing can."""
        self.loop.run_until_idle()
        while True:
            gates = [label for label, gate in self._gates.items() if not gate.done()]
            timers = {f"timer {i}": timer for i, timer in enumerate(self.loop.timers, 1)}
            if not (options := [*self._acts, *gates, *timers]):
                return
            chosen = options[self._choose(options)]
            self.done.append(chosen)
            if chosen in timers:
                timers[chosen].cancel()
                self.loop.call_soon(timers[chosen].fire)
            elif chosen in self._acts:
                self.loop.call_soon(self._acts.pop(chosen))
            else:
                self._gates[chosen].set_result(None)
            self.loop.run_until_idle()


def every_interleaving(scenario: Callable[[World], Callable[[], None]], *, most: int) -> int:
    """Play ``scenario`` in every order; it prepares the world and returns what checks it afterwards. Returns how many.

    Fails with the order that was played if a check fails, and if there are more than ``most`` orders.
    """
    path: list[int] = []
    count = 0
    while True:
        widths: list[int] = []

        def choose(options: list[str], path: list[int] = path, widths: list[int] = widths) -> int:
            if len(widths) == len(path):
                path.append(0)
            widths.append(len(options))
            return path[len(widths) - 1]

        world = World(choose)
        try:
            check = scenario(world)
            world.play()
            check()
            assert world.loop.complaints == []
        except BaseException as error:
            error.add_note(f"order: {', '.join(world.done)}")
            raise
        count += 1
        assert count <= most, "more orders than expected: make the scenario smaller"
        while path and path[-1] == widths[len(path) - 1] - 1:
            path.pop()
        if not path:
            return count
        path[-1] += 1
