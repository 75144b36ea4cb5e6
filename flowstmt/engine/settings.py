"""How an engine works: what can be set, checked before anything is opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from flowstmt.core.policies import Retry
from flowstmt.errors import StateError, quoted
from flowstmt.stores.protocol import QueueLimits

__all__ = ["DEFAULT_RETRY", "Settings", "new_worker_id"]

DEFAULT_RETRY = Retry(max_attempts=10, initial=timedelta(seconds=1), multiplier=2, max_delay=timedelta(minutes=5), jitter=0.1)
"""For steps whose failure nobody takes: about seven minutes in all."""


def new_worker_id() -> str:
    """A name for a worker that no other one has, and that tells people where to look."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an engine was given. Raises ``StateError``.

    Attributes:
        deps: What ``current().deps`` gives.
        worker: Whether this process moves runs; if not, it starts them, and hands in callbacks, for others.
        concurrency: So many runs are moved at once.
        step_concurrency: So many actions of concurrent steps run at once in one run.
        lease: A run is taken over when its worker was not heard of for so long. It is renewed every third of that.
        poll: How often the database is looked at when nobody says that there is something to do.
        retry: The policy for runs that fail without anybody taking the failure.
        history: Whether each attempt at a step is kept.
        queues: The queues that this process lets runs in from.
        shutdown_timeout: So long, at most, is waited for actions when the engine is closed.
        worker_id: How this worker is called in the database.
        clock: What stands in for the clock of this machine; it is set by the database's.
    """

    deps: Any = None
    worker: bool = True
    concurrency: int = 100
    step_concurrency: int = 10
    lease: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=1)
    retry: Retry = DEFAULT_RETRY
    history: bool = False
    queues: Sequence[QueueLimits] = ()
    shutdown_timeout: timedelta = timedelta(seconds=10)
    worker_id: str = field(default_factory=new_worker_id)
    clock: Callable[[], datetime] | None = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "step_concurrency"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise StateError(f"Engine: {name} must be a whole number from 1, not {quoted(count)}")
        for name in ("lease", "poll", "shutdown_timeout"):
            duration = getattr(self, name)
            least = timedelta(0) if name == "shutdown_timeout" else timedelta(milliseconds=1)
            if not isinstance(duration, timedelta) or duration < least:
                raise StateError(f"Engine: {name} must be a timedelta above 0, not {quoted(duration)}")
        if not isinstance(self.retry, Retry):
            raise StateError(f"Engine: retry must be a Retry, not {quoted(self.retry)}")
        faults = list(self.retry.faults())
        if faults:
            raise StateError(f"Engine: retry: {'; '.join(faults)}")
        if not isinstance(self.worker_id, str) or not self.worker_id:
            raise StateError(f"Engine: worker_id must be a text that is not empty, not {quoted(self.worker_id)}")
        if self.clock is not None and not callable(self.clock):
            raise StateError(f"Engine: clock must be a function that returns aware datetimes, not {quoted(self.clock)}")
