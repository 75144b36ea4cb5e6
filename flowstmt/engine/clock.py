"""The database's clock, kept in this process: workers whose machines disagree about the time agree about timers.

Rules:

1. It is never ahead of the database's clock: no timer fires early. It lags behind by what an answer takes to arrive.
2. When an answer says that a run is due, it is due by this clock too: it is set before anybody acts upon the answer.
   Else a run would be claimed, found to be early, handed back, and claimed again.
3. Between two answers only time that passed counts, not what somebody sets the machine's clock to.

It goes on by ticks of a millisecond: that makes it late by one more at most, and while a tick lasts all who ask get the instant
that the first of them has worked out. Each step of each run asks twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

__all__ = ["StoreClock"]


_TICK = 0.001
"""Seconds."""


class StoreClock:
    """Tells the database's time. It may be set, and asked, by any thread."""

    __slots__ = ("_local", "_set", "_tick")

    def __init__(self, local: Callable[[], datetime] | None = None) -> None:
        self._local = local
        self._set: tuple[datetime, float]
        self.align(datetime.now(UTC) if local is None else local())
        # What was said last: from what it was worked out, what it is, and until when it holds. Nothing does at first.
        self._tick: tuple[tuple[datetime, float], datetime, float] = (self._set, self._set[0], 0.0)

    def align(self, now: datetime) -> None:
        """The database has just said that it is this late."""
        # One assignment: who asks meanwhile must not get one half of it.
        self._set = (now.astimezone(UTC), self._elapsed())

    def __call__(self) -> datetime:
        """How late it is there."""
        known = self._set
        if self._local is not None:
            return _later(known[0], self._local().timestamp() - known[1])
        elapsed = monotonic()
        since, instant, until = self._tick
        # Of a thread that was overtaken by ``align`` the tick is that of the clock as it was set before.
        if elapsed < until and since is known:
            return instant
        instant = _later(known[0], elapsed - known[1])
        self._tick = (known, instant, elapsed + _TICK)
        return instant

    def _elapsed(self) -> float:
        return monotonic() if self._local is None else self._local().timestamp()


def _later(now: datetime, seconds: float) -> datetime:
    # A clock of the user's own may be set back.
    return now + timedelta(0, seconds) if seconds > 0 else now
