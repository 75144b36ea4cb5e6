"""The published JSON Schema of snapshots says what is written and read, no more and no less.

Every snapshot that the suite dumps is held against it as well: see ``conftest.py``.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from flowstmt import (
    CallbackRequest,
    ErrorInfo,
    EventStatus,
    Frame,
    Go,
    On,
    S,
    State,
    StateError,
    Statement,
    Step,
    Thread,
    ThreadStatus,
    Timeout,
    Wait,
    WaitEvent,
    WorkflowStatus,
    dump,
    resume,
)
from flowstmt.core.state_json import read_state, write_state
from flowstmt.snapshot import FORMAT
from tests.conftest import SNAPSHOT_SCHEMA

SCHEMA: Any = json.loads(SNAPSHOT_SCHEMA.read_text("utf-8"))
DEFS: dict[str, Any] = SCHEMA["$defs"]
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
RECORDS: list[type[Any]] = [State, Thread, Frame, WaitEvent, CallbackRequest, ErrorInfo]

every_record = pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:00:00.000001Z"
BIRTH = "0123456789abcdef"


def request(name: str) -> dict[str, Any]:
    return {"name": name, "thread_id": "main", "pc": 1, "birth": BIRTH, "run_id": "run-1", "setup_data": "page"}


def error() -> dict[str, Any]:
    return {"type": "OSError", "message": "down", "step": "w", "attempts": 2}


def failure() -> dict[str, Any]:
    return {"exit": "failure", "error": error(), "catch": {"try": "t", "case": 0}}


def branches() -> dict[str, Any]:
    return {
        "count": 3,
        "next": 3,
        "live": 1,
        "succeeded": 1,
        "failed": 1,
        "errors": [{"branch": "b", **error(), "index": 1}],
        "results": [None, None, {"any": "value"}],
        "index": {"c": 2},
        "places": {"a": 0},
        "met": True,
    }


def approval() -> dict[str, Any]:
    answer = {"who": "ann", "comment": "", "approved": True, "at": NOW}
    return {"approvers": ["ann"], "answers": [answer], "then": ["approve"], "event": "remind", "decided": "approve"}


def step() -> dict[str, Any]:
    """Which step it was, in a record and in a note."""
    return {"step": "charge", "thread": "main", "birth": BIRTH, "pc": 2}


def full() -> dict[str, Any]:
    """A snapshot with every key that there is, but for those of a run that is over."""
    main = {
        "id": "main",
        "name": "main",
        "status": "WaitingEvent",
        "position": "w",
        "pc": 1,
        "birth": BIRTH,
        "ready": 3,
        "since": NOW,
        "events": [
            {"name": "a", "wait": "w", "request": request("a"), "status": "Setup"},
            {"name": "b", "wait": "w", "type": "Page", "request": request("b"), "status": "PendingSetup"},
            {"name": "t", "wait": "w", "type": "Timeout", "request": request("t"), "status": "Setup", "due_at": LATER},
            {
                "name": "c",
                "wait": "v",
                "type": "Page",
                "request": request("c"),
                "status": "TeardownError",
                "handled": True,
                "error": error(),
                "due_at": LATER,
            },
        ],
        "arg": {"sku": "tea"},
        "frames": [
            {"statement": "each", "index": 1, "item": "x"},
            {"statement": "saga", "index": 0, "exit": failure(), "data": {"saga": BIRTH}},
            {"statement": "around", "index": 0, "data": {"event": "a", "then": ["b", "a"], "decided": "b"}},
            {"statement": "map", "index": 0, "data": branches()},
            {"statement": "ok", "index": 0, "data": approval()},
            {"statement": "call", "index": 0, "data": {"child": "c-1", "status": "Failed", "result": None, "error": error()}},
        ],
    }
    napping = {
        "id": "nap:1",
        "name": "nap",
        "status": "WaitingTime",
        "position": "z",
        "pc": 1,
        "birth": BIRTH,
        "parent": "main",
        "due_at": LATER,
        "attempt": 2,
        "error": error(),
    }
    fired = {
        "id": "go",
        "name": "go",
        "status": "Resuming",
        "position": "v",
        "pc": 1,
        "birth": BIRTH,
        "parent": "main",
        "event": "c",
        "sagas": [BIRTH],
    }
    state = {
        "run_id": "run-1",
        "workflow": "Order",
        "status": "Resuming",
        "revision": 4,
        "wake_at": NOW,
        "threads": [main, napping, fired],
        "undo": [
            {**step(), "result": None, "item": 7, "sagas": [BIRTH]},
            {**step(), "error": error()},
        ],
        "notes": [
            {"note": "dropped", **step(), "at": NOW, "message": "it was cancelled"},
            {"note": "paused", "at": NOW, "by": "ann", "what": "it was Waiting", "reason": "lunch"},
        ],
    }
    return {"format": 1, "workflow": "Order", "version": 2, "data": {"paid": 1}, "state": state}


def put(document: Any, path: str, value: Any) -> Any:
    """The document with another value at a path; ``...`` takes the key away."""
    document = copy.deepcopy(document)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    owner = document
    for part in way:
        owner = owner[part]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return document


def paths(value: Any, way: str = "") -> Iterator[str]:
    """Every path into a document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield f"{way}{key}"
        yield from paths(inner, f"{way}{key}.")


def known_keys(cls: type[Any]) -> list[str]:
    """The keys that the reader knows, as it says itself when it meets another."""
    event = {"name": "e", "wait": "w", "request": {"name": "e"}, "error": {"type": "T", "message": "m"}}
    thread = {"id": "main", "name": "main", "events": [event], "frames": [{"statement": "f"}]}
    state: Any = {"run_id": "r", "workflow": "w", "threads": [thread]}
    owners: dict[type[Any], Any] = {
        State: state,
        Thread: thread,
        Frame: thread["frames"][0],
        WaitEvent: event,
        CallbackRequest: event["request"],
        ErrorInfo: event["error"],
    }
    owners[cls]["?"] = 1
    with pytest.raises(StateError) as caught:
        read_state(state)
    return str(caught.value).split("known are ")[1].split(", ")


def written_by_default() -> dict[type[Any], dict[str, Any]]:
    """What is written of records that hold nothing but defaults."""
    event = WaitEvent("e", "w", error=ErrorInfo("T", "m"))
    thread = Thread("main", "main", events=[event], frames=[Frame("f")])
    state = write_state(State("r", "w", threads=[thread]), lambda value, path: value)
    (main,) = state["threads"]
    (waited,) = main.pop("events")
    (frame,) = main.pop("frames")
    return {
        State: state,
        Thread: main,
        Frame: frame,
        WaitEvent: waited,
        CallbackRequest: waited["request"],
        ErrorInfo: waited.pop("error"),
    }


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert SCHEMA["$id"] == f"urn:flowstmt:snapshot:{FORMAT}"
    assert SCHEMA["properties"]["format"]["const"] == FORMAT


def test_all_that_it_refers_to_is_in_it() -> None:
    references = re.findall(r'"\$ref": "([^"]*)"', SNAPSHOT_SCHEMA.read_text("utf-8"))
    assert {f"#/$defs/{name}" for name in DEFS} == set(references)


@every_record
def test_it_has_the_keys_that_are_kept_and_no_others(cls: type[Any]) -> None:
    kept = [field.name for field in dataclasses.fields(cls) if field.name != "raw"]
    assert list(DEFS[cls.__name__]["properties"]) == kept == known_keys(cls)
    assert DEFS[cls.__name__]["additionalProperties"] is False


@every_record
def test_it_requires_the_keys_that_are_always_written(cls: type[Any]) -> None:
    assert sorted(DEFS[cls.__name__]["required"]) == sorted(written_by_default()[cls])


@every_record
def test_a_key_that_may_be_left_out_has_the_default_that_it_stands_for(cls: type[Any]) -> None:
    described = DEFS[cls.__name__]
    for field in dataclasses.fields(cls):
        if field.name == "raw" or field.name in described["required"]:
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        assert described["properties"][field.name].get("default") == default, field.name


def test_every_key_is_explained() -> None:
    for described in (SCHEMA, *(each for name, each in DEFS.items() if name != "Instant")):
        assert described["description"]
        for key, inner in described["properties"].items():
            assert inner["description"], key


@pytest.mark.parametrize(("name", "words"), [("State", WorkflowStatus), ("Thread", ThreadStatus), ("WaitEvent", EventStatus)])
def test_it_has_every_status(name: str, words: Any) -> None:
    assert DEFS[name]["properties"]["status"]["enum"] == list(words)


def test_a_snapshot_with_every_key_fits() -> None:
    document = full()
    assert list(VALIDATOR.iter_errors(document)) == []
    state = document["state"]
    main = state["threads"][0]
    held = [
        (State, [state]),
        (Thread, state["threads"]),
        (Frame, main["frames"]),
        (WaitEvent, main["events"]),
        (CallbackRequest, [main["events"][0]["request"]]),
        (ErrorInfo, [state["threads"][1]["error"]]),
    ]
    for cls, examples in held:
        found = {key for example in examples for key in example}
        assert found | {"result", "error"} == set(DEFS[cls.__name__]["properties"]) | {"result", "error"}
    others = [
        ("Exit", [main["frames"][1]["exit"], {"exit": "return", "value": None}, {"exit": "cancel", "sticky": True}]),
        ("Saga", [main["frames"][1]["data"]]),
        ("OpenWait", [main["frames"][2]["data"]]),
        ("Branches", [main["frames"][3]["data"]]),
        ("BranchError", main["frames"][3]["data"]["errors"]),
        ("Approval", [main["frames"][4]["data"]]),
        ("Answer", main["frames"][4]["data"]["answers"]),
        ("ChildEnd", [main["frames"][5]["data"]]),
        ("Record", state["undo"]),
        ("Note", state["notes"]),
    ]
    for name, examples in others:
        assert {key for example in examples for key in example} == set(DEFS[name]["properties"])
    assert set(DEFS) == {"Instant", *(cls.__name__ for cls, _ in held), *(name for name, _ in others)}
    over = put(put(put(document, "state.threads", []), "state.status", "Finished"), "state.undo", ...)
    assert VALIDATOR.is_valid(put(over, "state.result", 0))
    assert VALIDATOR.is_valid(put(over, "state.undo", [{**step(), "error": error()}]))
    failed = put(put(over, "state.status", "Failed"), "state.error", error())
    assert VALIDATOR.is_valid(put(failed, "state.undo", [{**step(), "error": error()}]))
    assert VALIDATOR.is_valid(put(failed, "state.status", "Cancelled"))


SHAPES: list[Any] = [None, True, -1, 0, 1.5, "", "x", [], {}, ["x"], {"x": 1}, [{}], ...]


def test_what_fits_can_be_read() -> None:
    fits = jsonschema_rs.validator_for(SCHEMA).is_valid  # thousands of documents
    refused = 0
    for path in paths(full()):
        if path.startswith("state."):
            for shape in SHAPES:
                document = put(full(), path, shape)
                if fits(document):
                    read_state(document["state"])
                else:
                    refused += 1
    assert refused > 500


MISFITS: list[tuple[str, str, Any]] = [
    ("another format", "format", 2),
    ("no version", "version", 0),
    ("no data", "data", ...),
    ("an unknown key", "more", 1),
    ("an unknown key of the state", "state.more", 1),
    ("an unknown key of a thread", "state.threads.0.more", 1),
    ("an unknown key of an event", "state.threads.0.events.0.more", 1),
    ("an unknown key of a request", "state.threads.0.events.0.request.more", 1),
    ("an unknown key of a frame", "state.threads.0.frames.0.more", 1),
    ("an unknown key of an error", "state.threads.1.error.more", 1),
    ("an unknown status", "state.status", "Running"),
    ("a negative revision", "state.revision", -1),
    ("an instant without a zone", "state.wake_at", "2026-01-01T00:00:00"),
    ("an instant in another zone", "state.wake_at", "2026-01-01T00:00:00+01:00"),
    ("an instant with milliseconds", "state.wake_at", "2026-01-01T00:00:00.001Z"),
    ("no main", "state.threads", []),
    ("main has ended", "state.threads.0", {**full()["state"]["threads"][0], "status": "Ended"}),
    ("two threads main", "state.threads.1", full()["state"]["threads"][0]),
    ("main with another id", "state.threads.0.id", "other"),
    ("main with a parent", "state.threads.0.parent", "main"),
    ("a thread named main that is not", "state.threads.1.name", "main"),
    ("a thread without a parent", "state.threads.1.parent", ...),
    ("a run that is over with live threads", "state.status", "Cancelled"),
    ("a result of a run that goes on", "state.result", 5),
    ("a run that can go on, but never", "state.wake_at", None),
    ("a thread that waits for no instant", "state.threads.1.due_at", ...),
    ("an instant for which nobody waits", "state.threads.0.due_at", LATER),
    ("an event that fired, of a thread that waits", "state.threads.0.event", "a"),
    ("a thread that waits for no event", "state.threads.0.events", []),
    ("a thread that waits for events of the past", "state.threads.0.events", full()["state"]["threads"][0]["events"][3:]),
    ("an event that nobody waits for", "state.threads.1.events", full()["state"]["threads"][0]["events"]),
    ("a thread at no position", "state.threads.0.position", ""),
    ("a thread that has made no stop", "state.threads.0.pc", 0),
    ("no birth", "state.threads.0.birth", ""),
    ("an attempt without a failure before it", "state.threads.1.error", ...),
    ("a failure before the first attempt", "state.threads.1.attempt", ...),
    ("an attempt at a Wait", "state.threads.0.attempt", 2),
    ("an error of a run that goes on", "state.error", error()),
    ("what was undone of no step", "state.undo.0.step", ...),
    ("a record of nothing that is known", "state.undo.0.more", 1),
    ("a step in sagas without a name", "state.undo.0.sagas", ["trip"]),
    ("a thread in sagas without a name", "state.threads.2.sagas", ["trip"]),
    ("a note about nothing", "state.notes.0.note", ...),
    ("a note without an instant", "state.notes.1.at", ...),
    ("an exit that is none", "state.threads.0.frames.1.exit.exit", "jump"),
    ("a failure without its error", "state.threads.0.frames.1.exit.error", ...),
    ("a catch of what is no failure", "state.threads.0.frames.1.exit.exit", "cancel"),
    ("a value of what is no return", "state.threads.0.frames.1.exit.value", 1),
    ("a catch without its place", "state.threads.0.frames.1.exit.catch.case", ...),
    ("a saga without its mark", "state.threads.0.frames.1.data.saga", "trip"),
    ("a Wait around without its case", "state.threads.0.frames.2.data.event", ...),
    ("an approval by nobody", "state.threads.0.frames.4.data.approvers", []),
    ("an answer of nobody", "state.threads.0.frames.4.data.answers.0.who", ...),
    ("branches without a count", "state.threads.0.frames.3.data.live", ...),
    ("a join that is met by nothing", "state.threads.0.frames.3.data.met", False),
    ("a branch without its key", "state.threads.0.frames.3.data.errors.0.branch", ...),
    ("an arg that is null", "state.threads.0.arg", None),
    ("an error without a next try", "state.threads.0.events.3.due_at", ...),
    ("a failure without an error", "state.threads.0.events.3.error", ...),
    ("an error of what worked", "state.threads.0.events.0.error", error()),
    ("an event handled before it fired", "state.threads.0.events.0.handled", True),
    ("a timer that is no Timeout", "state.threads.0.events.2.type", "Page"),
    ("a timer without a type", "state.threads.0.events.2.type", ...),
    ("a setup with a due_at", "state.threads.0.events.1.due_at", LATER),
    ("a setup of a plain function", "state.threads.0.events.1.type", ...),
    ("a request that pins no stop", "state.threads.0.events.0.request.pc", ...),
]


FAILED = put(put(full(), "state.threads", []), "state.undo", [{**step(), "error": error()}])
FAILED = put(put(FAILED, "state.status", "Failed"), "state.error", error())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("state.error", ...),
        ("state.status", "Finished"),
        ("state.status", "Waiting"),
        ("state.undo.0.error", ...),
        ("state.result", 1),
    ],
)
def test_what_no_failed_run_leaves_does_not_fit(path: str, value: Any) -> None:
    assert VALIDATOR.is_valid(FAILED)
    assert not VALIDATOR.is_valid(put(FAILED, path, value))


@pytest.mark.parametrize(("path", "value"), [pytest.param(*case, id=name) for name, *case in MISFITS])
def test_what_no_run_leaves_does_not_fit(path: str, value: Any) -> None:
    assert not VALIDATOR.is_valid(put(full(), path, value))


class Page:
    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        raise OSError("down")


@dataclass
class Order:
    def definition(self) -> Statement:
        return S(
            Go("side", Wait("w", On("a", None, via=Page()), Timeout("late", timedelta(hours=1)))),
            Step("step", lambda: None),
        )


def test_the_suite_holds_every_snapshot_against_it(snapshots: list[str], odd_states: None) -> None:
    kinds = []

    def save(kind: str) -> None:
        kinds.append(kind)
        document = json.loads(dump(order, state))
        assert list(VALIDATOR.iter_errors(document)) == []

    order, state = Order(), State.new("run-1", "Order", datetime(2026, 1, 1, tzinfo=UTC))
    assert resume(order, state, save) == "Finished"
    assert kinds == ["afterResume", "afterStep", "afterTeardown"]
    assert [thread.status for thread in state.threads] == ["Ended"]
    assert snapshots == []
    state.threads[0].events.clear()
    blob = dump(order, state)
    (unfit,) = snapshots
    assert "'state', 'threads', 0" in unfit
    assert not VALIDATOR.is_valid(json.loads(blob))
