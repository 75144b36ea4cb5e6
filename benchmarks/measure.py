"""Operations measured side by side: they take turns, so that whatever slows the machine down slows all of them down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, thread_time

__all__ = ["Figure", "Operation", "in_turns", "interleaved", "percentile", "ratio"]

Operation = Callable[[], object]
Measured = Callable[[], Awaitable[float]]
"""Does something, and answers how long it took."""
Clock = Callable[[], float]

TURN = 0.004
"""About how many seconds an operation runs before it is the next one's turn."""


@dataclass(frozen=True)
class Figure:
    """A line of the table. ``met``: whether the limit is, where that is one number."""

    what: str
    measured: str
    limit: str = ""
    met: bool | None = None


def interleaved(
    *operations: Operation, rounds: int, turn: float = TURN, clock: Clock = thread_time, at_most: float = 8.0
) -> list[float]:
    """The microseconds that one call of each operation takes: medians of ``rounds`` turns each, A B A B ...

    By default those in which this thread has a CPU; ``perf_counter`` counts waiting, too. Fewer rounds are made when they
    would take more than ``at_most`` seconds.
    """
    counts = [_count(operation, turn, clock) for operation in operations]
    taken: list[list[float]] = [[] for _ in operations]
    end = perf_counter() + at_most
    for _ in range(rounds):
        for operation, count, times in zip(operations, counts, taken, strict=True):
            times.append(_seconds(operation, count, clock) / count)
        if perf_counter() > end:
            break
    return [median(times) * 1e6 for times in taken]


def _count(operation: Operation, turn: float, clock: Clock) -> int:
    """How many calls make up a turn. Warms the operation up, too."""
    count = 1
    while (seconds := _seconds(operation, count, clock)) < turn:
        count = max(count + 1, min(10 * count, int(count * turn / max(seconds, 1e-6))))
    return count


def _seconds(operation: Operation, count: int, clock: Clock) -> float:
    turns = range(count)
    start = clock()
    for _ in turns:
        operation()
    return clock() - start


async def in_turns(*operations: Measured, rounds: int) -> list[list[float]]:
    """What operations that measure themselves answered, A B A B ... The first turn of each only warms it up."""
    taken: list[list[float]] = [[] for _ in operations]
    for turn in range(rounds + 1):
        for operation, times in zip(operations, taken, strict=True):
            found = await operation()
            if turn:
                times.append(found)
    return taken


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios within each turn: what slows the machine down for a while slows down both."""
    return median(ours / theirs for ours, theirs in zip(times, base, strict=True))


def percentile(times: Sequence[float], percent: int) -> float:
    return quantiles(times, n=100, method="inclusive")[percent - 1]
