"""The database's clock, kept in this process: workers whose machines disagree about the time agree about timers.

Rules:

1. It is never ahead of the database's clock: no timer fires early. It lags behind by what an answer takes to arrive.
2. When an answer says that a run is due, it is due by this clock too: it is set before anybody acts upon the answer.
   Else a run would be claimed, found to be early, handed back, and claimed again.
3. Between two answers only time that passed counts, not what somebody sets the machine's clock to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

__all__ = ["StoreClock"]


class StoreClock:
    """Tells the database's time. It may be set, and asked, by any thread."""

    __slots__ = ("_local", "_set")

    def __init__(self, local: Callable[[], datetime] | None = None) -> None:
        self._local = local
        self._set: tuple[datetime, float]
        self.align(datetime.now(UTC) if local is None else local())

    def align(self, now: datetime) -> None:
        """The database has just said that it is this late."""
        # One assignment: who asks meanwhile must not get one half of it.
        self._set = (now.astimezone(UTC), self._elapsed())

    def __call__(self) -> datetime:
        """How late it is there."""
        # Asked twice a step, so that what ``_elapsed`` does is spelt out.
        now, at = self._set
        local = self._local
        elapsed = (monotonic() if local is None else local().timestamp()) - at
        # A clock of the user's own may be set back.
        return now + timedelta(0, elapsed) if elapsed > 0 else now

    def _elapsed(self) -> float:
        return monotonic() if self._local is None else self._local().timestamp()
