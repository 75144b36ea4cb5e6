"""What is read from a state to give a run up: where it stands, when it is due, and whether anything is left to do."""

from __future__ import annotations

from datetime import datetime

from flowstmt.core.state import ENDED, MAIN, RUN_RESUMING, SET_UP, State
from flowstmt.engine.messages import write_error_info
from flowstmt.stores.protocol import Rest

__all__ = ["goes_on_by_itself", "is_due", "is_quiet", "position_of", "rest_of"]


def is_due(state: State, now: datetime) -> bool:
    """Whether its time has come."""
    return state.wake_at is not None and state.wake_at <= now


def goes_on_by_itself(state: State, now: datetime) -> bool:
    """Whether a resume would move it."""
    return state.status is RUN_RESUMING or is_due(state, now)


def is_quiet(state: State, now: datetime) -> bool:
    """Whether nothing is left to do for a run that is parked, in this resume or another one."""
    for thread in state.threads:
        for event in thread.events:
            if event.status is not SET_UP:
                return False
    return not is_due(state, now)


def position_of(state: State) -> str:
    """Where its main thread stands; empty once that has ended."""
    main = next((thread for thread in state.threads if thread.id == MAIN and thread.status is not ENDED), None)
    return "" if main is None else main.position


def rest_of(state: State) -> Rest:
    """What a run is at rest."""
    error = None if state.error is None else write_error_info(state.error)
    return Rest(state.status.value, position_of(state), state.wake_at, error)
