"""Children that are killed by SIGKILL: before and after each of their SQL statements, or whenever it comes.

They are forked, since hundreds of interpreters would take minutes to start; hence from a process of their own, without
threads: ``python -m tests.examples.mortal transfer``. What it prints is how many were killed.
"""

from __future__ import annotations

import importlib
import os
import random
import select
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.examples.processes import Countdown, child, ended

# A process that dies takes nothing with it that the system has taken over already, so these need no disk that syncs.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class MortalConnection(sqlite3.Connection):
    """A connection whose process may die before and after each of its statements."""

    countdown: Countdown

    def execute(self, *args: Any) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.countdown.around(super().execute, *args)
        return cursor

    def commit(self) -> None:
        self.countdown.around(super().commit)


def die_at(n: int) -> None:
    """From here on every connection of this process counts down from ``n``."""
    MortalConnection.countdown = Countdown(n)
    sqlite3.connect = partial(sqlite3.connect, factory=MortalConnection)  # type: ignore[assignment]


def was_killed(work: Callable[[], None], after: float | None = None) -> bool:
    """Run ``work`` in a child; whether it was killed. It is killed from here ``after`` so many seconds."""
    reading, writing = os.pipe()
    pid = child(work)
    os.close(writing)
    if after is not None:
        select.select([reading], [], [], after)  # the pipe is closed by the end of the child
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    return not ended(pid)


def kill_at_every_statement(prepare: Callable[[Path], None], work: Callable[[Path], None], check: Callable[..., None]) -> int:
    """Kill ``work`` at its n-th instant, then let it be done by another; for every n, each with a file of its own."""
    n = 0
    while True:
        n += 1
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            path = Path(folder) / "runs.db"
            prepare(path)

            def dying(path: Path = path, n: int = n) -> None:
                die_at(n)
                work(path)

            killed = was_killed(dying)
            check(path, over=not killed)
            if not killed:
                return n - 1
            assert not was_killed(partial(work, path))
            check(path, over=True)


def kill_at_any_time(
    prepare: Callable[[Path], None],
    endless: Callable[[Path], None],
    finish: Callable[[Path], None],
    check: Callable[..., None],
    times: int,
    within: float,
) -> int:
    """Kill one child after the other in the middle of ``endless`` work on one file, then finish what they have begun."""
    delays = random.Random(times)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "runs.db"
        prepare(path)
        for _ in range(times):
            assert was_killed(partial(endless, path), after=delays.uniform(0, within))
            check(path, over=False)
        assert not was_killed(partial(finish, path))
        check(path, over=True)
    return times


if __name__ == "__main__":
    play = importlib.import_module(f"tests.examples.{sys.argv[1]}_killed")
    print(kill_at_every_statement(play.prepare, play.work, play.check))
    print(kill_at_any_time(play.prepare, play.endless, play.finish, play.check, times=40, within=0.05))
