"""When a step that failed is tried again.

Rules:

1. A policy is data with one pure question, ``delay_after``: what it answers depends on its arguments only, so that a run
   which was killed and resumed waits as long as it would have.
2. Constructors never raise: ``faults`` says what is wrong, and linking collects it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from flowstmt.errors import FinalError, quoted

__all__ = ["ErrorFilter", "Retry", "filter_faults", "filter_name", "matches"]

# What a predicate may return. A coroutine is none of these: nobody awaits it, and it counts as true.
Opinion: TypeAlias = "float | Sized | None"
Predicate: TypeAlias = "Callable[[Exception], Opinion]"
ErrorFilter: TypeAlias = "type[Exception] | str | Predicate | tuple[ErrorFilter, ...]"
"""Which errors are meant: a class, the name of one, a predicate, or a tuple of these."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy: how often a step is tried, and how long a thread waits in between.

    No process waits: ``state.wake_at`` says when ``resume`` tries again. ``FinalError`` is never retried.

    Attributes:
        max_attempts: All attempts, the first one too; 1 makes the first failure final.
        initial: The delay after the first failure.
        multiplier: How much longer each delay is than the one before.
        max_delay: No delay is longer.
        jitter: The share of each delay, from 0 to 1, that is left to chance: so that many runs don't come back at once. It is
            drawn from the run, the stop and the attempt: the same run waits equally long after a crash.
        on: The errors that are retried: classes, names of classes, predicates, or a tuple of these.
        unless: Those among them that are not.
        when: A predicate that has to agree as well: it gets the exception.
        total: No attempt begins later than this after the thread got to the step; None for no limit.

    >>> Retry(max_attempts=5, initial=timedelta(seconds=2)).delay_after(3, "run-1/")
    datetime.timedelta(seconds=8)
    """

    max_attempts: int = 3
    initial: timedelta = timedelta(seconds=1)
    multiplier: float = 2
    max_delay: timedelta = timedelta(seconds=30)
    jitter: float = 0
    on: ErrorFilter = (Exception,)
    unless: ErrorFilter = ()
    when: Predicate | None = None
    total: timedelta | None = None

    def retries(self, error: Exception) -> bool:
        """Whether an error of this kind is worth another attempt. Raises what its predicates raise."""
        if isinstance(error, FinalError) or not matches(self.on, error) or matches(self.unless, error):
            return False
        return self.when is None or bool(self.when(error))

    def delay_after(self, attempt: int, seed: str) -> timedelta:
        """How long to wait after an attempt, the first being 1; ``seed`` stands for the stop, and settles the jitter."""
        try:
            delay = min(self.initial * self.multiplier ** (attempt - 1), self.max_delay)
        except OverflowError:
            delay = self.max_delay
        if self.jitter:
            digest = hashlib.blake2b(f"{seed}{attempt}".encode(), digest_size=8).digest()
            delay *= 1 - self.jitter * (int.from_bytes(digest, "big") / 2**64)
        return delay

    def faults(self) -> Iterator[str]:
        """What is wrong with it, for the checks."""
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool) or self.max_attempts < 1:
            yield f"max_attempts must be a whole number from 1, not {quoted(self.max_attempts)}"
        for name, duration in (("initial", self.initial), ("max_delay", self.max_delay), ("total", self.total)):
            if duration is None and name == "total":
                continue
            if not isinstance(duration, timedelta) or duration < timedelta(0):
                yield f"{name} must be a timedelta that is not negative, not {quoted(duration)}"
        if not _is_number(self.multiplier) or self.multiplier <= 0:
            yield f"multiplier must be a number above 0, not {quoted(self.multiplier)}"
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            yield f"jitter must be a number from 0 to 1, not {quoted(self.jitter)}"
        for name, errors in (("on", self.on), ("unless", self.unless)):
            yield from (f"{name}: {fault}" for fault in filter_faults(errors))
        if self.when is not None and (not callable(self.when) or iscoroutinefunction(self.when)):
            yield f"when must be a function that takes the exception, and not async, not {quoted(self.when)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def matches(errors: Any, error: Exception, name: str = "") -> bool:
    """Whether a filter means this error; ``name`` is what its ``Fail`` is called. Raises what predicates raise."""
    if isinstance(errors, tuple):
        return any(matches(each, error, name) for each in errors)
    if isinstance(errors, type):
        return isinstance(error, errors)
    if isinstance(errors, str):
        return errors == name or any(errors == cls.__name__ for cls in type(error).__mro__)
    return bool(errors(error))


def filter_name(errors: Any) -> str:
    """What a filter is called in a snapshot: new code may have another one in its place."""
    if isinstance(errors, tuple):
        return ", ".join(map(filter_name, errors))
    if isinstance(errors, str):
        return errors
    return getattr(errors, "__qualname__" if not isinstance(errors, type) else "__name__", type(errors).__name__)


def filter_faults(errors: Any) -> Iterator[str]:
    """What is wrong with a filter, for the checks."""
    if isinstance(errors, tuple):
        for each in errors:
            yield from filter_faults(each)
    elif isinstance(errors, type):
        if not issubclass(errors, Exception):
            yield f"{errors.__name__} is no Exception: only those are failures"
    elif iscoroutinefunction(errors):
        yield f"its predicate {errors.__qualname__} is async: nothing awaits it"
    elif not isinstance(errors, str) and not callable(errors):
        yield f"expected a class of exceptions, its name, a predicate, or a tuple of these, not {quoted(errors)}"
