"""What ``import flowstmt`` gives, and what it loads."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import flowstmt
from flowstmt import errors

ALL = """
ALL ANY APPROVE REJECT AmbiguousCallbackError Answer Approval ApprovalResult AtLeast Branch Break Call CallbackError
CallbackRequest Case Catch CheckpointType ChildError ConflictError Continue ControlError Current Default DefinitionError
Engine ErrorInfo Event EventStatus Every Fail FinalError Finally FlowstmtError For ForEach Frame GivenAnswer Go If
InvalidPayloadError Join LeaseLostError Map MemoryStore NotFoundError NotWaitingError On Parallel ParallelError PausedError
Percent PositionError PostgresStore Queue RefusedError RemoteError Retry Return RunCancelledError RunFailedError RunInfo S
SQLiteStore Saga SchemaError Scope SetupError Sleep StaleCallbackError State StateError Statement Step StepError
StepTimeoutError StoreError Switch SyncEngine Thread ThreadStatus Timeout Try UndoStep UnknownEventError Wait WaitEvent
WaitFor When Workflow WorkflowFinishedError WorkflowStatus cancel compensation_plan current dump find goto handle_callback
handle_callback_async legal load pause resume resume_async retry_now set_data step unpause validate walk
""".split()

LAZY = {"legal", "Engine", "MemoryStore", "PostgresStore", "Queue", "RunInfo", "SQLiteStore", "SyncEngine"}
"""These are looked up when they are asked for."""

TREE = {
    "FlowstmtError": "Exception",
    "DefinitionError": "FlowstmtError",
    "StateError": "FlowstmtError",
    "PositionError": "StateError",
    "StepError": "FlowstmtError",
    "StepTimeoutError": "StepError",
    "ParallelError": "FlowstmtError",
    "SetupError": "FlowstmtError",
    "CallbackError": "FlowstmtError",
    "UnknownEventError": "CallbackError",
    "NotWaitingError": "CallbackError",
    "AmbiguousCallbackError": "CallbackError",
    "StaleCallbackError": "CallbackError",
    "InvalidPayloadError": "CallbackError",
    "RefusedError": "CallbackError",
    "WorkflowFinishedError": "CallbackError",
    "FinalError": "FlowstmtError",
    "ConflictError": "FlowstmtError",
    "LeaseLostError": "ConflictError",
    "NotFoundError": "FlowstmtError",
    "RunFailedError": "FlowstmtError",
    "RunCancelledError": "RunFailedError",
    "ChildError": "FlowstmtError",
    "RemoteError": "FlowstmtError",
    "StoreError": "FlowstmtError",
    "SchemaError": "StoreError",
    "ControlError": "FlowstmtError",
    "PausedError": "CallbackError",
}


def test_the_public_names_are_these_and_sorted() -> None:
    assert flowstmt.__all__ == ALL
    assert sorted(ALL, key=lambda name: (len(name) == 1 or not name.isupper(), name)) == ALL  # constants first, as ruff has it
    for name in ALL:
        assert getattr(flowstmt, name) is not None
    assert flowstmt.legal is flowstmt.describe.legal


def test_nothing_else_is_public() -> None:
    found = {name for name, value in vars(flowstmt).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert found == set(ALL) - LAZY


def test_the_errors_are_one_tree_and_all_importable() -> None:
    found = {
        name: cls.__mro__[1].__name__
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.FlowstmtError)
    }
    assert found == TREE
    assert sorted(errors.__all__) == errors.__all__ == sorted(TREE)
    for name in TREE:
        assert getattr(flowstmt, name) is getattr(errors, name)


def test_the_tree_is_drawn_in_the_modules_docstring() -> None:
    assert errors.__doc__ is not None
    for name in TREE:
        assert name in errors.__doc__


@pytest.mark.parametrize(
    "error",
    [
        errors.StepError("message", step="charge", run_id="r", thread_id="main"),
        errors.ParallelError("message", {"left": "full"}),
        errors.StepTimeoutError("message", step="charge", run_id="r", thread_id="main"),
        errors.SetupError("message", ["one", "two"]),
        errors.DefinitionError("message", ["one", "two"]),
        errors.InvalidPayloadError("message", ["one", "two"]),
        errors.RefusedError("message"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_a_trip_between_processes(error: errors.FlowstmtError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_public_thing_says_what_it_is_for() -> None:
    for name in ALL:
        assert inspect.getdoc(getattr(flowstmt, name)), name


def test_importing_flowstmt_loads_no_extra() -> None:
    """``jsonschema`` is needed by one argument of one statement, the rest by nobody who doesn't ask."""
    loaded = loaded_by("import flowstmt")
    assert "flowstmt.drive" in loaded
    unwanted = "jsonschema asyncio sqlite3 psycopg fastapi starlette opentelemetry hypothesis pytest flowstmt.testing"
    assert not set(unwanted.split()) & loaded
    lazy = ("flowstmt.describe", "flowstmt.engine", "flowstmt.lint", "flowstmt.stores")
    assert not any(name.startswith(lazy) for name in loaded)


def test_what_describes_is_loaded_when_it_is_asked_for() -> None:
    for asked in ("flowstmt.legal", "flowstmt.describe.to_text"):
        loaded = loaded_by(f"import flowstmt; {asked}")
        assert "flowstmt.describe" in loaded
        assert "jsonschema" not in loaded
    assert "flowstmt.lint" in loaded_by("import flowstmt; flowstmt.lint.check")
    assert not {"sqlite3", "psycopg"} & loaded_by("import flowstmt; flowstmt.Engine, flowstmt.MemoryStore")
    assert "psycopg" not in loaded_by("import flowstmt; flowstmt.SQLiteStore")
    with pytest.raises(AttributeError, match="has no attribute 'legall'"):
        getattr(flowstmt, "legall")  # noqa: B009 mypy knows that there is none


def test_importing_flowstmt_loads_no_more_of_its_dependencies_than_their_entrances_do() -> None:
    """``pydantic.fields``, say, takes as long to load as all of flowstmt; who has no use for it should not wait for it."""
    more = loaded_by("import flowstmt") - loaded_by("from pydantic import TypeAdapter; import orjson")
    theirs = {name for name in more if name.split(".")[0] not in {"flowstmt", *sys.stdlib_module_names}}
    assert theirs == set()


def loaded_by(imports: str) -> set[str]:
    script = f"{imports}; import sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    return set(found.stdout.split())
