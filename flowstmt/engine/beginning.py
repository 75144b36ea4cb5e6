"""What a new run does before its first action, done before the run is written: one commit less for each run.

The moves that come first are pure: a run that is stored behind them is the same as one that is stored before them and moved. So
only those are made here, with a copy of the data. As soon as anything outside would have to be done, or something is wrong
with the run, it is stored as it was born, and whoever moves it meets that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flowstmt.core.state import RUN_RESUMING, CheckpointType, State
from flowstmt.current import CURRENT
from flowstmt.drive import resume_async
from flowstmt.engine.surroundings import Surroundings
from flowstmt.snapshot import dump, load
from flowstmt.stores.protocol import NewRun

__all__ = ["Begun", "begin"]


class Begun(NamedTuple):
    """The objects of a run that stands before its first action, and their snapshot."""

    workflow: Any
    state: State
    snapshot: bytes


class _NotYetError(BaseException):
    """Ends the resume before anything outside is done. No ``Exception``: nothing in between may take it for a failure."""


async def begin(around: Surroundings, run: NewRun) -> Begun | None:
    """Make the first moves of a run that this process is to move; None if they are left to whoever does."""
    if CURRENT.get() is not None:
        return None  # it is started from inside of another run, whose calls are none of its business
    begun: list[bytes] = []
    try:
        workflow, state = load(around.catalogue.class_of(run.workflow), run.snapshot)

        def save(kind: CheckpointType) -> None:
            if begun or state.status is not RUN_RESUMING or any(thread.events for thread in state.threads):
                raise _NotYetError
            begun.append(dump(workflow, state))

        await resume_async(workflow, state, save, now=around.clock, deps=around.settings.deps, max_steps=0)
    except _NotYetError:
        return None
    except Exception:  # noqa: BLE001 whoever moves the run meets it again, where it is kept and told
        return None
    return Begun(workflow, state, begun[0]) if begun else None
