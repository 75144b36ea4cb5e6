"""Every error that flowstmt raises, in one tree.

::

    FlowstmtError
    ├─ DefinitionError              the workflow's definition has faults: all of them, with their places
    ├─ StateError                   a snapshot or state that can't be used
    │  └─ PositionError             a thread stands where the definition has nothing
    ├─ StepError                    an action or a condition raised; the original is __cause__
    │  └─ StepTimeoutError          an action took longer than the timeout of its step
    ├─ ParallelError                too many branches of a Parallel or Map failed; one line for each
    ├─ SetupError                   events could not be set up outside; everything else was done and saved
    ├─ CallbackError                a callback was refused; nothing changed
    │  ├─ UnknownEventError         the definition has no such event
    │  ├─ NotWaitingError           it has, but nobody waits for it now
    │  ├─ AmbiguousCallbackError    several threads wait for it
    │  ├─ StaleCallbackError        the stop that it was meant for has passed
    │  ├─ InvalidPayloadError       the payload has faults, one line each
    │  ├─ RefusedError              the handler's own refusal
    │  ├─ PausedError               the run is paused, and takes no callbacks until it is unpaused
    │  └─ WorkflowFinishedError     the run is over
    ├─ ControlError                 pause, cancel, goto ... can't be done to this run now; nothing changed
    ├─ FinalError                   raised by actions: trying again would not help
    ├─ ConflictError                the run was, or is being, moved by somebody else; or another one has this id
    │  └─ LeaseLostError            a worker no longer owns the run that it moves; what it did since was not saved
    ├─ NotFoundError                the store has no such run
    ├─ RunFailedError               the run whose result was asked for failed
    │  └─ RunCancelledError         it was cancelled
    ├─ ChildError                   a child run, for which a Call waited, failed or was cancelled
    ├─ RemoteError                  a handler raised in another process; its type and message
    └─ StoreError                   the database can't be used for this
       └─ SchemaError               its tables are missing, older or newer than this version of flowstmt

A message says what happened, to which run, thread and step, what was expected and what to do next. It never quotes payloads
or data, and neither do the causes that a traceback shows with it. What each error means for the run: ``docs/errors.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AmbiguousCallbackError",
    "CallbackError",
    "ChildError",
    "ConflictError",
    "ControlError",
    "DefinitionError",
    "FinalError",
    "FlowstmtError",
    "InvalidPayloadError",
    "LeaseLostError",
    "NotFoundError",
    "NotWaitingError",
    "ParallelError",
    "PausedError",
    "PositionError",
    "RefusedError",
    "RemoteError",
    "RunCancelledError",
    "RunFailedError",
    "SchemaError",
    "SetupError",
    "StaleCallbackError",
    "StateError",
    "StepError",
    "StepTimeoutError",
    "StoreError",
    "UnknownEventError",
    "WorkflowFinishedError",
]


class FlowstmtError(Exception):
    """The root of every error that flowstmt raises by itself; ``current()`` raises it where it has nothing to give.

    What ``save``, a handler or a ``BaseException`` of yours raises passes through the drivers as it is, and is none of these.
    """


class DefinitionError(FlowstmtError):
    """The definition of a workflow can't be used; ``faults`` holds one line per fault, each with its place."""

    def __init__(self, message: str, faults: Iterable[str] = ()) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(message + lines)


class StateError(FlowstmtError):
    """A snapshot, a state or an argument of a call can't be used; the message holds the JSON path of what is in a snapshot."""


class PositionError(StateError):
    """A thread stands at a position that the definition no longer has, or no longer has there, under no old name either.

    Raised before anything runs; the run in the store is as it was, and goes on once the definition knows the position: give
    the statement that took its place ``was=("old name",)``, or bring the old one back.
    """


class StepError(FlowstmtError):
    """An action, or a callable of a statement, raised.

    ``step`` is the name of the statement (a Return, which has none, is "Return"), ``run_id`` and ``thread_id`` say where;
    the original exception is ``__cause__``. The objects in memory may hold half of the action's changes: discard them and
    load the last snapshot.
    """

    def __init__(self, message: str, *, step: str, run_id: str = "", thread_id: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.run_id = run_id
        self.thread_id = thread_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_step_error, (type(self), self.args[0], self.step, self.run_id, self.thread_id)


def _rebuild_step_error(cls: type[StepError], message: str, step: str, run_id: str, thread_id: str) -> StepError:
    """Errors travel between processes (worker pools, test runners); keyword-only arguments need help to."""
    return cls(message, step=step, run_id=run_id, thread_id=thread_id)


class StepTimeoutError(StepError, TimeoutError):
    """An action took longer than the ``timeout`` of its step.

    It is a failure like any other, and a ``TimeoutError``: retry policies and catches see this very error. An async action has
    been cancelled and has come to its end; where it stood is ``__cause__``, or what it raised on its way out.

    The thread of a plain function can't be ended: it is left alone, and the objects are lost to it. So this error leaves
    ``resume`` also when the failure was taken. Then it is ``saved``, and the run goes on from the last snapshot when it is due.
    """

    def __init__(self, message: str, *, step: str, run_id: str = "", thread_id: str = "", saved: bool = False) -> None:
        super().__init__(message, step=step, run_id=run_id, thread_id=thread_id)
        self.saved = saved

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), {"saved": self.saved})


class ParallelError(FlowstmtError):
    """The join of a ``Parallel`` or ``Map`` can't be met any more: too many of its branches have failed.

    ``errors`` has an ``ErrorInfo`` for each of them, by the key of the branch. It is a failure like that of an action: a
    ``Try`` around may catch it, else the run fails.
    """

    def __init__(self, message: str, errors: Mapping[str, Any] | None = None) -> None:
        self.errors: Mapping[str, Any] = {} if errors is None else errors
        super().__init__(message)


class SetupError(FlowstmtError):
    """Events could not be set up; ``failures`` has a line for each.

    It is raised when ``resume`` has done, and saved, everything else it could. The failures are kept in the state
    and tried again by the next ``resume``; the objects stay usable. The first failure is ``__cause__``.
    """

    def __init__(self, message: str, failures: Iterable[str] = ()) -> None:
        self.failures: tuple[str, ...] = tuple(failures)
        super().__init__(message + "".join(f"\n  - {failure}" for failure in self.failures))


class CallbackError(FlowstmtError):
    """A callback was refused; data and state are as they were.

    By itself: the request is malformed, or names another run.
    """


class UnknownEventError(CallbackError):
    """The definition has no event of this name that can be called from outside: what time or a condition fires can't."""


class NotWaitingError(CallbackError):
    """The definition has the event, but no thread waits for it now: it is too early, or over.

    If the run is due (``wake_at``), resume it and hand the callback in once more: it may get to its wait by that.
    """


class AmbiguousCallbackError(CallbackError):
    """Several threads wait for the event: the request must name one, as ``thread_id`` of a ``CallbackRequest``."""


class StaleCallbackError(CallbackError):
    """The request names a stop (``birth``, ``pc``) at which nobody waits now: it came twice, or too late."""


class InvalidPayloadError(CallbackError):
    """The payload does not fit the event; ``faults`` has one line per fault: paths and reasons, never values."""

    def __init__(self, message: str, faults: Iterable[str] = ()) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        super().__init__(message + "".join(f"\n  - {fault}" for fault in self.faults))


class RefusedError(CallbackError):
    """A handler's own refusal ("not your turn"); handlers raise it, and the caller of the callback gets it.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, State, Wait, handle_callback, resume
    >>> @dataclass
    ... class Order:
    ...     cart: list[str]
    ...
    ...     def definition(self):
    ...         return Wait("cart", On("submit", self.submit))
    ...
    ...     def submit(self):
    ...         if not self.cart:
    ...             raise RefusedError("the cart is empty")
    >>> order, state = Order([]), State.new("r1", "Order")
    >>> resume(order, state)
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> try:
    ...     handle_callback("submit", order, state)
    ... except RefusedError as error:
    ...     print(error)
    the cart is empty
    """


class PausedError(CallbackError):
    """The run is paused, and takes no callbacks meanwhile: hand it in once more when the run has been unpaused."""


class WorkflowFinishedError(CallbackError):
    """The run is over and takes no more callbacks."""


class ControlError(FlowstmtError):
    """``pause``, ``unpause``, ``cancel``, ``goto``, ``retry_now`` or ``set_data`` can't be done to this run now.

    Data and state are as they were, byte for byte. What may be done when is in ``flowstmt.control.LEGALITY``.
    """


class FinalError(FlowstmtError):
    """Raised by an action whose failure no further try can mend."""


class ConflictError(FlowstmtError):
    """The run was, or is being, moved by somebody else; nothing was overwritten: load it again.

    For your ``save`` to raise when the stored revision is not the one that was loaded. The drivers raise it when the same
    objects are moved twice at once, and ``handle_callback_async`` when the resume beside it ended before the callback was
    taken and saved. Discard the objects, load the run and try once more. ``Engine.start`` raises it when there is another run
    of this id, or an unfinished one of the same ``single_flight`` key.
    """


class LeaseLostError(ConflictError):
    """A worker no longer owns the run that it moves: its lease ran out, and another worker took the run over.

    What was done since the last checkpoint was not saved; the other worker does it again.
    """


class NotFoundError(FlowstmtError):
    """The store has no such run."""


class RunFailedError(FlowstmtError):
    """The run whose result was asked for has failed; ``run_id``, and ``error``, the ``ErrorInfo`` of its state."""

    def __init__(self, message: str, *, run_id: str = "", error: Any = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.error = error


class RunCancelledError(RunFailedError):
    """The run whose result was asked for was cancelled; ``error.message`` has the reason."""


class ChildError(FlowstmtError):
    """A child run, for which a ``Call`` waited, has failed or was cancelled.

    ``run_id`` is the child's, ``error`` the ``ErrorInfo`` of its state. It is a failure like that of an action: a ``Try``
    around the ``Call`` may catch it, else the run fails.
    """

    def __init__(self, message: str, *, run_id: str = "", error: Any = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.error = error


class RemoteError(FlowstmtError):
    """A handler raised in the process that moves the run; ``type`` is the name of the class of what it raised."""

    def __init__(self, message: str, *, type: str = "") -> None:
        super().__init__(message)
        self.type = type


class StoreError(FlowstmtError):
    """A store can't be used for what was asked; nothing was changed.

    With ``retry`` it may be asked again: its database is locked, full, or can't be reached just now. Whether the last commit
    took effect may then be unknown.
    """

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class SchemaError(StoreError):
    """The tables of a store are missing, older or newer than this version of flowstmt."""


_MOST = 500
"""So long is what is told of another error: all of it is in its traceback."""


def said(error: BaseException) -> str:
    """An error in one line that can be shown and saved, whatever its own ``__str__`` does."""
    name = type(error).__name__
    message = " ".join(message_of(error).split())
    if not message:
        return f"{name} (without a message)"
    return f"{name}: {message if len(message) <= _MOST else f'{message[: _MOST - 3]}...'}"


def message_of(error: BaseException) -> str:
    """The message of an error as a text that can be shown and saved, whatever its own ``__str__`` does."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 the failure to be told is the first one
        message = f"(its message raised {type(broken).__name__})"
    return message.encode("utf-8", "backslashreplace").decode()


_ADDRESS = re.compile(r"\sat 0x[0-9A-Fa-f]+")


def quoted(value: Any) -> str:
    """A value as a message shows it, cut short: names, numbers and the like, nothing that may be secret.

    What may be data is told by its type; and what can't be shown. An address in memory says nothing to anybody.
    """
    if isinstance(value, type):
        return value.__name__
    if (isinstance(value, dict) and value) or hasattr(type(value), "__dataclass_fields__"):
        return a_kind_of(value)
    try:
        shown = _ADDRESS.sub("", repr(value))
    except Exception:  # noqa: BLE001 the fault to be told is another one
        return a_kind_of(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def a_kind_of(value: Any) -> str:
    """A value by its type alone, where what it holds may be secret, or long."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


_SHOWN = 20
"""Of so many things a message tells all: there may be thousands of threads."""


def listed(found: Sequence[str], separator: str = ", ") -> str:
    """The first of many, and how many more there are."""
    more = len(found) - _SHOWN
    return separator.join(found[:_SHOWN]) + (f"{separator.strip(', ')} and {more} more" if more > 0 else "")


def did_you_mean(word: Any, words: Iterable[str]) -> str:
    """The end of a message about a name that there is not: one that looks like it, if there is one."""
    close = get_close_matches(str(word), list(words), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
