"""Queues: how many runs may be under way at once, across all workers of a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flowstmt.errors import StateError, a_kind_of, did_you_mean, listed, quoted
from flowstmt.stores.protocol import QueueLimits

__all__ = ["Queue", "queue_named", "queues_by_name"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that runs stand in until they are let in: ``engine.start(..., queue=name)``.

    Attributes:
        name: Its name, the same in all processes.
        concurrency: So many of its runs may be under way at once. A run is under way from when it is let in until it is over
            or paused; also while it waits for a callback or for time.
        per_key_concurrency: So many of one ``queue_key``, as ``engine.start`` gives it.
        rate: So many may be let in per time: ``(100, timedelta(minutes=1))``.
        priority: That of runs which are started without one. The highest goes first, then the oldest.

    Limits hold across all workers of the database. Where workers are told different limits, whoever lets in goes by its own.

    >>> from datetime import timedelta
    >>> Queue("mail", concurrency=20, per_key_concurrency=2, rate=(100, timedelta(minutes=1))).name
    'mail'
    """

    name: str
    concurrency: int | None = None
    per_key_concurrency: int | None = None
    rate: tuple[int, timedelta] | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise StateError(f"the name of a queue must be a text that is not empty, not {quoted(self.name)}")
        what = f"queue {self.name!r}"
        for name in ("concurrency", "per_key_concurrency"):
            limit = getattr(self, name)
            if limit is not None and not _is_count(limit):
                raise StateError(f"{what}: {name} must be a whole number from 1, or None, not {quoted(limit)}")
        if self.rate is not None and not _is_rate(self.rate):
            raise StateError(
                f"{what}: rate must be how many per time, like (100, timedelta(minutes=1)), not {quoted(self.rate)}"
            )
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            raise StateError(f"{what}: priority must be a whole number, not {quoted(self.priority)}")

    def limits(self) -> QueueLimits:
        """As a store takes them."""
        return QueueLimits(self.name, self.concurrency, self.per_key_concurrency, self.rate)


def queues_by_name(queues: Iterable[Queue]) -> dict[str, Queue]:
    """The queues of an engine. Raises ``StateError`` if two have one name."""
    found: dict[str, Queue] = {}
    for queue in queues:
        if not isinstance(queue, Queue):
            raise StateError(f"queues must be Queue objects, not {a_kind_of(queue)}")
        if queue.name in found:
            raise StateError(f"two queues are called {queue.name!r}: the limits of a queue are said once")
        found[queue.name] = queue
    return found


def queue_named(queues: Mapping[str, Queue], name: Any) -> Queue:
    """The queue that a run is to stand in. Raises ``StateError``: nobody would ever let it in."""
    found = queues.get(name) if isinstance(name, str) else None
    if found is None:
        known = listed([repr(each) for each in queues]) or "none"
        raise StateError(
            f"this engine has no queue {quoted(name)}; those that Engine(queues=...) was given: {known}"
            f"{did_you_mean(name, queues)}"
        )
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_rate(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and _is_count(value[0])
        and isinstance(value[1], timedelta)
        and value[1] > timedelta(0)
    )
