"""What goes from the event loop to a thread, and what comes back: each checkpoint of each run takes this way there and back.

Theory: writing to a pipe gives the interpreter's lock away, so whoever is woken by it gets that lock at once. A ``SimpleQueue``
wakes the other side while it holds the lock: that side wakes, finds it taken, sleeps, and has to be woken once more. And a
loop that reads a pipe of its own has what was told at hand, where ``call_soon_threadsafe`` has it go round twice.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Answers", "Entries"]


class _Bell:
    """A pipe: ``ring`` it, and who reads ``door`` wakes up. Closed when nobody rings any more, or with the last reference."""

    __slots__ = ("__weakref__", "close", "door", "ring")

    def __init__(self) -> None:
        self.door, self.ring = os.pipe()
        # Not when the interpreter exits: there may be threads that nobody has ended, and that would complain.
        self.close = weakref.finalize(self, _close, self.door, self.ring)
        self.close.atexit = False


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Entries:
    """What waits for a thread, in the order in which it was handed in."""

    __slots__ = ("_bell", "_entries", "_rung")

    def __init__(self) -> None:
        self._entries: deque[Any] = deque()
        self._bell = _Bell()
        # Whether the thread was rung for since it has last slept.
        self._rung = False

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Any) -> None:
        """Hand something in, from any thread."""
        self._entries.append(entry)
        if not self._rung:
            self._rung = True
            os.write(self._bell.ring, b".")

    def put_all(self, entries: Iterable[Any]) -> None:
        """Hand several things in: whoever takes them takes all."""
        self._entries.extend(entries)
        if not self._rung:
            self._rung = True
            os.write(self._bell.ring, b".")

    def close(self) -> None:
        """The thread has ended: nothing more is handed in."""
        self._bell.close()

    def take(self, most: int) -> list[Any]:
        """For the thread: what there is, up to so many, once there is anything."""
        entries = self._entries
        while not entries:
            os.read(self._bell.door, 64)
            # Whoever hands in from here on rings again; what was handed in before is found now.
            self._rung = False
        return [entries.popleft() for _ in range(min(most, len(entries)))]


class Answers:
    """What a thread tells an event loop: functions that are called there, in order."""

    __slots__ = ("_bell", "_calls", "_loop", "_reads", "_rung")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._rung = False
        self._bell = _Bell()
        self._reads = True
        try:
            loop.add_reader(self._bell.door, self._hear)
        except NotImplementedError:  # that of Windows reads no pipes
            self._reads = False

    def tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        """For the thread: have a function called in the event loop, if that is still there."""
        self._calls.append((function, arguments))
        if self._rung:
            return
        self._rung = True
        if self._reads:
            os.write(self._bell.ring, b".")
            return
        try:
            self._loop.call_soon_threadsafe(self._make_calls)
        except RuntimeError:
            return  # it was closed: nobody waits any more

    def _hear(self) -> None:
        os.read(self._bell.door, 64)
        self._make_calls()

    def _make_calls(self) -> None:
        self._rung = False
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            function(*arguments)

    def leave(self) -> None:
        """Hear nothing more."""
        if self._reads:
            self._loop.remove_reader(self._bell.door)

    def close(self) -> None:
        """Hear nothing more, from a thread that has ended."""
        self.leave()
        self._bell.close()
