"""What each contender is asked to do, and the loop in which its process does it.

A contender is one small module with a class ``Peer``. It runs in a process of its own, in an environment that holds its
packages, so this module knows the standard library only. Orders come as lines of JSON on stdin, answers go to stdout.

The work is the same for all: a run adds one to a number, step by step, and each step is durable before the next one begins.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from abc import ABC, abstractmethod
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Any, ClassVar

__all__ = ["ENDLESS", "STEPS", "Contender", "DiedError", "Server", "Steps", "serve"]

STEPS = 20
"""A workflow's."""

ENDLESS = 10**9


class DiedError(Exception):
    """The process dies at the beginning of a step: all that it had in memory is lost."""


class Steps:
    """What the steps of all contenders call. It counts, so that nobody gets away with less, and dies when it has to."""

    def __init__(self) -> None:
        self.left = ENDLESS
        self.number = -1
        self.begun: list[float] = []

    def allow(self, steps: int) -> None:
        """Let that many steps be done before the process dies."""
        self.left = steps
        self.begun.clear()

    def __call__(self, number: int) -> int:
        begun = perf_counter()
        if self.left == 0:
            raise DiedError(f"at step {number}")
        self.left -= 1
        self.number = number
        self.begun.append(begun)
        return number + 1


class Contender(ABC):
    """A durable execution of runs whose only data is a number."""

    packages: ClassVar[tuple[str, ...]] = ()
    """The distributions that are measured: their versions are reported."""

    replays_only: ClassVar[bool] = False
    """It can't run steps here, but can be told of steps that a run has done, and be asked to resume it."""

    def __init__(self, store: str, steps: Steps) -> None:
        """``store``: the path of a SQLite file in WAL mode, or the URI of an empty database in PostgreSQL."""
        self.store = store
        self.steps = steps

    @abstractmethod
    def begin(self, run_id: str, until: int) -> None:
        """Run from 0 ``until`` that number, or up to the step at which the process dies; then forget the run."""

    @abstractmethod
    def resume(self, run_id: str) -> float:
        """Go on with a run that died, as a new process would, until it dies again. When did that begin?"""

    @abstractmethod
    def close(self) -> None:
        """Let go of the store."""


class Server:
    """Does what it is ordered to, and checks that it was done."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.steps = contender.steps
        self.begun = 0
        self.numbers: dict[int, int] = {}

    def versions(self) -> list[str]:
        """What is measured."""
        return [f"{package} {version(package)}" for package in self.contender.packages]

    def workflows(self, seconds: float) -> tuple[float, float] | None:
        """The seconds that a step takes, and those of CPU in this process, over the whole workflows that begin in that time.

        None if it can't run any.
        """
        if self.contender.replays_only:
            return None
        count = 0
        used = process_time()
        start = now = perf_counter()
        while now - start < seconds or not count:
            self.steps.allow(ENDLESS)
            self.begun += 1
            self.contender.begin(f"workflow-{self.begun}", STEPS)
            self._expect(STEPS - 1, STEPS)
            count += 1
            now = perf_counter()
        return (now - start) / (count * STEPS), (process_time() - used) / (count * STEPS)

    def prepare(self, done: int) -> int:
        """A run that has died after so many steps."""
        self.steps.allow(done)
        self.contender.begin(f"after-{done}", ENDLESS)
        if not self.contender.replays_only:
            self._expect(done - 1, done)
        self.numbers[done] = done
        return done

    def resume(self, done: int) -> float:
        """How many seconds it takes the prepared run to come to its next step."""
        self.steps.allow(1)
        start = self.contender.resume(f"after-{done}")
        self._expect(self.numbers[done], 1)
        if not self.contender.replays_only:
            self.numbers[done] += 1
        return self.steps.begun[0] - start

    def _expect(self, number: int, steps: int) -> None:
        if (self.steps.number, len(self.steps.begun)) != (number, steps):
            found = f"{len(self.steps.begun)} up to number {self.steps.number}"
            raise AssertionError(
                f"{type(self.contender).__module__}: expected {steps} steps up to number {number}, not {found}"
            )


def serve(module: str, store: str) -> None:
    """Answer orders until stdin ends."""
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    contender: Contender = importlib.import_module(module).Peer(store, Steps())
    server = Server(contender)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        print(json.dumps(getattr(server, order.pop("do"))(**order)), file=answers)
    contender.close()


if __name__ == "__main__":
    # Not those of __main__: the contender imports this module by its name.
    importlib.import_module("benchmarks.peers.contract").serve(*sys.argv[1:])
