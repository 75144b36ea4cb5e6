"""Durable workflows as plain Python: statements, a pure machine, and one JSON document in your own database."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from flowstmt.compensation import UndoStep, compensation_plan
from flowstmt.control import cancel, goto, pause, retry_now, set_data, unpause
from flowstmt.core.approvals import APPROVE, REJECT, Answer, Approval, ApprovalResult, GivenAnswer
from flowstmt.core.children import Call
from flowstmt.core.fanout import ALL, ANY, AtLeast, Branch, Map, Parallel, Percent
from flowstmt.core.options import step
from flowstmt.core.policies import Retry
from flowstmt.core.program import validate
from flowstmt.core.recovery import Catch, Fail, Finally, Saga, Try
from flowstmt.core.state import (
    CallbackRequest,
    CheckpointType,
    ErrorInfo,
    EventStatus,
    Frame,
    State,
    Thread,
    ThreadStatus,
    WaitEvent,
    WorkflowStatus,
)
from flowstmt.core.statements import (
    Break,
    Case,
    Continue,
    Default,
    Event,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Scope,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
    find,
    walk,
)
from flowstmt.core.waits import Every, When
from flowstmt.current import Current, current
from flowstmt.drive import Workflow, handle_callback, handle_callback_async, resume, resume_async
from flowstmt.errors import (
    AmbiguousCallbackError,
    CallbackError,
    ChildError,
    ConflictError,
    ControlError,
    DefinitionError,
    FinalError,
    FlowstmtError,
    InvalidPayloadError,
    LeaseLostError,
    NotFoundError,
    NotWaitingError,
    ParallelError,
    PausedError,
    PositionError,
    RefusedError,
    RemoteError,
    RunCancelledError,
    RunFailedError,
    SchemaError,
    SetupError,
    StaleCallbackError,
    StateError,
    StepError,
    StepTimeoutError,
    StoreError,
    UnknownEventError,
    WorkflowFinishedError,
)
from flowstmt.snapshot import dump, load

if _TYPE_CHECKING:
    from flowstmt.describe import legal
    from flowstmt.engine import Engine, Queue, RunInfo, SyncEngine
    from flowstmt.stores import MemoryStore, PostgresStore, SQLiteStore
else:
    _ELSEWHERE = {
        "describe": None,
        "legal": "flowstmt.describe",
        "lint": None,
        "Engine": "flowstmt.engine",
        "MemoryStore": "flowstmt.stores",
        "PostgresStore": "flowstmt.stores",
        "Queue": "flowstmt.engine",
        "RunInfo": "flowstmt.engine",
        "SQLiteStore": "flowstmt.stores",
        "SyncEngine": "flowstmt.engine",
    }

    # For type checkers this would be a module that has every name, misspelt ones too.
    def __getattr__(name: str) -> object:
        """What most programs don't ask for is loaded when one does."""
        if name in _ELSEWHERE:
            from importlib import import_module  # noqa: PLC0415 `from flowstmt import describe` would end up here again

            module = _ELSEWHERE[name]
            return import_module(f"flowstmt.{name}") if module is None else getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ALL",
    "ANY",
    "APPROVE",
    "REJECT",
    "AmbiguousCallbackError",
    "Answer",
    "Approval",
    "ApprovalResult",
    "AtLeast",
    "Branch",
    "Break",
    "Call",
    "CallbackError",
    "CallbackRequest",
    "Case",
    "Catch",
    "CheckpointType",
    "ChildError",
    "ConflictError",
    "Continue",
    "ControlError",
    "Current",
    "Default",
    "DefinitionError",
    "Engine",
    "ErrorInfo",
    "Event",
    "EventStatus",
    "Every",
    "Fail",
    "FinalError",
    "Finally",
    "FlowstmtError",
    "For",
    "ForEach",
    "Frame",
    "GivenAnswer",
    "Go",
    "If",
    "InvalidPayloadError",
    "Join",
    "LeaseLostError",
    "Map",
    "MemoryStore",
    "NotFoundError",
    "NotWaitingError",
    "On",
    "Parallel",
    "ParallelError",
    "PausedError",
    "Percent",
    "PositionError",
    "PostgresStore",
    "Queue",
    "RefusedError",
    "RemoteError",
    "Retry",
    "Return",
    "RunCancelledError",
    "RunFailedError",
    "RunInfo",
    "S",
    "SQLiteStore",
    "Saga",
    "SchemaError",
    "Scope",
    "SetupError",
    "Sleep",
    "StaleCallbackError",
    "State",
    "StateError",
    "Statement",
    "Step",
    "StepError",
    "StepTimeoutError",
    "StoreError",
    "Switch",
    "SyncEngine",
    "Thread",
    "ThreadStatus",
    "Timeout",
    "Try",
    "UndoStep",
    "UnknownEventError",
    "Wait",
    "WaitEvent",
    "WaitFor",
    "When",
    "Workflow",
    "WorkflowFinishedError",
    "WorkflowStatus",
    "cancel",
    "compensation_plan",
    "current",
    "dump",
    "find",
    "goto",
    "handle_callback",
    "handle_callback_async",
    "legal",
    "load",
    "pause",
    "resume",
    "resume_async",
    "retry_now",
    "set_data",
    "step",
    "unpause",
    "validate",
    "walk",
]
