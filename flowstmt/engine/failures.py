"""What becomes of a run that can't be moved: tried again later, or parked with its error until somebody looks at it.

Rules:

1. The snapshot stays as it is. Only the row of the run says that, and why, it was set back.
2. What code can't change by itself is not tried again: a definition, a position or a snapshot that does not fit. All else is,
   by the engine's policy, and is Paused when that is used up.
3. What the database did is no failure of the run: it does not count. Nor does code that is too old for it, as there is in
   the middle of a deploy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstmt.core.policies import Retry
from flowstmt.core.state import MAIN, ErrorInfo
from flowstmt.engine.invoking import UnsavedError
from flowstmt.errors import DefinitionError, StateError, StepError, message_of, quoted, said

__all__ = ["Failure", "NewerRunError", "failure_of", "log_failure"]

logger = logging.getLogger("flowstmt.engine")

_AFTER_THE_DATABASE = timedelta(seconds=1)
_FOR_NEWER_CODE = timedelta(seconds=5)


class NewerRunError(StateError):
    """A run that newer code has moved meanwhile: it is for a worker that has that. It does not leave the engine."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run is set back: it is due again at ``retry_at``; None: Paused. ``attempts`` counts those that failed in a row."""

    attempts: int
    info: ErrorInfo
    retry_at: datetime | None


def failure_of(error: BaseException, attempts: int, retry: Retry, run_id: str, clock: Callable[[], datetime]) -> Failure:
    """What follows from what moving a run raised, after so many failures before."""
    if isinstance(error, UnsavedError):
        cause = error.__cause__ or error
        return Failure(
            attempts, ErrorInfo(type(cause).__name__, message_of(cause), "", attempts), clock() + _AFTER_THE_DATABASE
        )
    if isinstance(error, NewerRunError):
        return Failure(attempts, ErrorInfo("StateError", message_of(error), "", attempts), clock() + _FOR_NEWER_CODE)
    attempts += 1
    cause, step = _cause(error)
    info = ErrorInfo(type(cause).__name__, message_of(cause), step, attempts)
    if not _is_worth_it(error, cause, retry) or attempts >= retry.max_attempts:
        return Failure(attempts, info, None)
    return Failure(attempts, info, clock() + retry.delay_after(attempts, run_id))


def log_failure(run_id: str, error: BaseException, failure: Failure) -> None:
    """Say it once: with its traceback, and what happens next."""
    # Not a StepError around it: what that advises is for who calls the drivers, and its traceback is none of the user's code.
    cause, step = _cause(error)
    thread = error.thread_id if isinstance(error, StepError) else MAIN
    at = (f" at {quoted(step)}" if step else "") + (f" in thread {quoted(thread)}" if thread != MAIN else "")
    if failure.retry_at is None:
        line = "run %r is Paused%s after %s: %s. Mend the cause, then let it go on with engine.retry"
        logger.error(line, run_id, at, _times(failure.attempts), said(cause), exc_info=cause)
    elif isinstance(error, NewerRunError):
        line = "run %r is left to a worker with newer code, if there is one: %s. It is due again at %s"
        logger.warning(line, run_id, error, failure.retry_at)
    elif failure.attempts == 0:
        line = "run %r could not be moved, for its database: %s. It is tried again at %s"
        logger.warning(line, run_id, said(cause), failure.retry_at, exc_info=cause)
    else:
        line = "run %r could not be moved%s (%s): %s. It is tried again at %s"
        logger.warning(line, run_id, at, _times(failure.attempts), said(cause), failure.retry_at, exc_info=cause)


def _times(attempts: int) -> str:
    return f"{attempts} {'failure' if attempts == 1 else 'failures'}"


def _cause(error: BaseException) -> tuple[BaseException, str]:
    """What the user's code raised, and at which step."""
    if isinstance(error, StepError):
        cause = error.__cause__
        return (error if cause is None or isinstance(error, TimeoutError) else cause), error.step
    cause = error.__cause__
    if cause is not None and not isinstance(error, Exception):
        return cause, ""
    return error, ""


def _is_worth_it(error: BaseException, cause: BaseException, retry: Retry) -> bool:
    if isinstance(error, DefinitionError | StateError):
        return False
    if not isinstance(cause, Exception):
        return True
    try:
        return retry.retries(cause)
    except Exception:
        logger.exception("the engine's retry policy raised, and is taken to say yes")
        return True
