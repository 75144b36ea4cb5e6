"""Many items, one trivial step each, in memory: what a Map takes of the time that the same steps take in a For.

Each is one ``resume`` of a run that is over when it returns. A For has one thread; a ForEach a frame with the item; a Map a
thread for each item, all at once or at most a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from benchmarks.measure import Figure, interleaved
from flowstmt import For, ForEach, Map, State, Statement, Step, WorkflowStatus, resume

__all__ = ["COUNT", "figures", "run"]

COUNT = 10_000
LIMIT = "1.5 x"


@dataclass
class Items:
    """So many items, and how many are done."""

    count: int = COUNT
    done: int = 0

    def step(self) -> None:
        self.done += 1


class InFor(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return For("loop", lambda w: w.done < w.count, Step("step", cls.step))


class InForEach(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return ForEach("each", lambda w: range(w.count), Step("step", cls.step))


class InMap(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), Step("step", cls.step))


class InNarrowMap(Items):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return Map("map", lambda w: range(w.count), Step("step", cls.step), max_concurrency=100)


class InstanceFor(Items):
    def definition(self) -> Statement:
        return For("loop", self.done < self.count, Step("step", self.step))


class InstanceForEach(Items):
    def definition(self) -> Statement:
        return ForEach("each", range(self.count), Step("step", self.step))


class InstanceMap(Items):
    def definition(self) -> Statement:
        return Map("map", range(self.count), Step("step", self.step))


class InstanceNarrowMap(Items):
    def definition(self) -> Statement:
        return Map("map", range(self.count), Step("step", self.step), max_concurrency=100)


STYLES: tuple[tuple[str, list[type[Items]]], ...] = (
    ("class", [InFor, InForEach, InMap, InNarrowMap]),
    ("instance", [InstanceFor, InstanceForEach, InstanceMap, InstanceNarrowMap]),
)
NAMES = ("ForEach", "Map", "Map, 100 at once")


def run(cls: type[Items], count: int = COUNT) -> Callable[[], Items]:
    """One run of so many items, from its start to its end."""

    def operation() -> Items:
        workflow, state = cls(count), State.new("run-1", "Items")
        status = resume(workflow, state, max_steps=count)  # type: ignore[arg-type] # each of them has a definition
        assert status is WorkflowStatus.Finished
        assert workflow.done == count
        return workflow

    return operation


def figures() -> list[Figure]:
    figures = []
    for style, classes in STYLES:
        of_for, *others = interleaved(*map(run, classes), rounds=9, at_most=15.0)
        figures.append(Figure(f"{COUNT:_} steps in a For, {style} style", f"{of_for / 1e3:.0f} ms"))
        for name, taken in zip(NAMES, others, strict=True):
            limit = LIMIT if name.startswith("Map") else ""
            figures.append(Figure(f"the same in a {name}", f"{taken / 1e3:.0f} ms = {taken / of_for:.2f} x", limit))
    return figures
