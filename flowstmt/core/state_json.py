"""The state as JSON, and back.

A key that holds its default is left out, a missing key takes its default; unknown keys and wrong shapes are a
``StateError`` that holds the JSON path. ``run_id``, ``workflow``, ``status``, ``revision``, ``wake_at`` and ``threads`` are
always written, so that a query over stored documents need not know the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import StrEnum
from sys import intern
from typing import Any

from flowstmt.core.state import (
    MAIN,
    OVER,
    CallbackRequest,
    ErrorInfo,
    EventStatus,
    Frame,
    State,
    Thread,
    ThreadStatus,
    WaitEvent,
    WorkflowStatus,
    aware,
)
from flowstmt.errors import StateError, quoted

__all__ = ["check_kept", "read_state", "write_state"]

Encode = Callable[[Any, str], Any]
"""Turns a value of the user's (an arg, an item) into JSON; gets the path for its error message."""


def write_state(state: State, encode: Encode) -> dict[str, Any]:
    """The state as a dict whose leaves are JSON values and aware datetimes. Keys at their default are left out."""
    threads = state.threads
    # ``_value_``: in Python 3.11 ``value`` is a descriptor that takes longer than the rest of a key.
    out: dict[str, Any] = {
        "run_id": state.run_id,
        "workflow": state.workflow,
        "status": state.status._value_,
        "revision": state.revision,
        "wake_at": state.wake_at,
        # Of a run that has one thread, as most have, a comprehension would take a fifth of all this.
        "threads": [_thread_to_json(threads[0], 0, encode)]
        if len(threads) == 1
        else [_thread_to_json(thread, i, encode) for i, thread in enumerate(threads)],
    }
    if state.result is not None:
        out["result"] = state.result
    if state.error is not None:
        out["error"] = _plain(state.error)
    if state.undo:
        out["undo"] = state.undo
    if state.notes:
        out["notes"] = state.notes
    return out


def _thread_to_json(thread: Thread, i: int, encode: Encode) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": thread.id,
        "name": thread.name,
        "status": thread.status._value_,
        "position": thread.position,
        "pc": thread.pc,
        "birth": thread.birth,
    }
    if thread.ready:
        out["ready"] = thread.ready
    if thread.since is not None:
        out["since"] = thread.since
    if thread.event is not None:
        out["event"] = thread.event
    if thread.events:
        out["events"] = [_event_to_json(event) for event in thread.events]
    if thread.parent is not None:
        out["parent"] = thread.parent
    if thread.due_at is not None:
        out["due_at"] = thread.due_at
    if thread.attempt != 1:
        out["attempt"] = thread.attempt
    if thread.error is not None:
        out["error"] = _plain(thread.error)
    if thread.arg is not None:
        out["arg"] = encode(thread.arg, f"$.state.threads[{i}].arg")
    if thread.frames:
        out["frames"] = [
            _frame_to_json(frame, f"$.state.threads[{i}].frames[{k}].item", encode) for k, frame in enumerate(thread.frames)
        ]
    if thread.sagas:
        out["sagas"] = thread.sagas
    return out


def _event_to_json(event: WaitEvent) -> dict[str, Any]:
    out: dict[str, Any] = {"name": event.name, "wait": event.wait}
    if event.type:
        out["type"] = event.type
    out["request"] = _request_to_json(event.request)
    out["status"] = event.status._value_
    if event.handled:
        out["handled"] = True
    if event.error is not None:
        out["error"] = _plain(event.error)
    if event.due_at is not None:
        out["due_at"] = event.due_at
    return out


def _request_to_json(request: CallbackRequest) -> dict[str, Any]:
    # ``_plain`` spelt out: every parked thread has one, and it was a third of what a dump of many took.
    out: dict[str, Any] = {"name": request.name}
    if request.thread_id is not None:
        out["thread_id"] = request.thread_id
    if request.pc is not None:
        out["pc"] = request.pc
    if request.birth is not None:
        out["birth"] = request.birth
    if request.run_id is not None:
        out["run_id"] = request.run_id
    if request.setup_data is not None:
        out["setup_data"] = request.setup_data
    return out


def _frame_to_json(frame: Frame, path: str, encode: Encode) -> dict[str, Any]:
    out: dict[str, Any] = {"statement": frame.statement, "index": frame.index}
    if frame.item is not None:
        out["item"] = encode(frame.item, path)
    if frame.exit is not None:
        out["exit"] = frame.exit
    if frame.data is not None:
        out["data"] = frame.data
    return out


def _plain(record: Any) -> dict[str, Any]:
    """A record of JSON values, without what is None."""
    return {key: value for key in record.__slots__ if (value := getattr(record, key)) is not None}


def read_state(value: Any, path: str = "$.state") -> State:
    """The state that ``write_state`` wrote. Args and items stay JSON until the state meets its definition."""
    found: State | None = None
    try:
        found = _read(State, _STATE, value, "")
    except StateError:
        pass  # told by reading it again with paths: these take a fifth of the time, and nobody sees those of what is well
    state: State = found or _read(State, _STATE, value, path)
    state.raw = True
    if state.status not in OVER:
        live = [thread.id for thread in state.threads if thread.status is not ThreadStatus.Ended]
        if MAIN not in live:
            raise StateError(f"{path}.threads: a run that is {state.status} needs a thread with the id 'main'")
        if len(set(live)) != len(live):
            raise StateError(f"{path}.threads: two live threads have one id: {sorted(live)}")
    return state


Reader = Callable[[Any, str], Any]
"""Reads a value; gets its path for the error message, or "" where nobody wants to know it."""


def _read(cls: type[Any], readers: Mapping[str, Reader], value: Any, path: str) -> Any:
    _has_keys(value, path, readers, _REQUIRED[cls])
    # By its own names for its fields: equal ones, as a parser makes them, are compared with one after the other.
    return cls(**{intern(key): readers[key](item, path and f"{path}.{key}") for key, item in value.items()})


def _has_keys(value: Any, path: str, known: Mapping[str, Reader], required: Collection[str]) -> None:
    """Refuse what is no object, or one with other keys."""
    _is_object(value, path)
    if not value.keys() <= known.keys():
        unknown = next(key for key in value if key not in known)
        raise StateError(f"{path}: unknown key {unknown!r}; known are {', '.join(known)}")
    for key in required:
        if key not in value:
            raise StateError(f"{path}: the key {key!r} is missing")


def _is_object(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise StateError(f"{path}: expected an object, not {quoted(value)}")


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise StateError(f"{path}: expected a text, not {quoted(value)}")
    return value


def _count(value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise StateError(f"{path}: expected a whole number from 0, not {quoted(value)}")
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise StateError(f"{path}: expected true or false, not {quoted(value)}")
    return value


def _any(value: Any, path: str) -> Any:
    return value


def _instant(value: Any, path: str) -> datetime:
    try:
        return aware(datetime.fromisoformat(_text(value, path)), path)
    except ValueError as error:
        raise StateError(f"{path}: expected an ISO 8601 instant with a time zone, not {quoted(value)}") from error


def _one_of(kind: type[StrEnum]) -> Reader:
    members = {member.value: member for member in kind}  # to call an Enum takes longer

    def read(value: Any, path: str) -> StrEnum:
        found = members.get(value) if isinstance(value, str) else None
        if found is None:
            raise StateError(f"{path}: expected one of {', '.join(kind)}, not {quoted(value)}")
        return found

    return read


def _optional(reader: Reader) -> Reader:
    return lambda value, path: None if value is None else reader(value, path)


def _list(reader: Reader) -> Reader:
    def read(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise StateError(f"{path}: expected a list, not {quoted(value)}")
        return [reader(item, path and f"{path}[{i}]") for i, item in enumerate(value)]

    return read


def _object(required: Mapping[str, Reader], optional: Mapping[str, Reader] | None = None) -> Reader:
    """Reads what stays a dict: looked at, and left as it is."""
    readers = {**required, **(optional or {})}

    def read(value: Any, path: str) -> Any:
        _has_keys(value, path, readers, required)
        for key, item in value.items():
            readers[key](item, f"{path}.{key}")
        return value

    return read


def _keyed(value: Any, path: str) -> Any:
    """The indexes of items by their keys."""
    _is_object(value, path)
    for key, item in value.items():
        _count(item, f"{path}.{key}")
    return value


def _exit(value: Any, path: str) -> Any:
    """What a thread is leaving for."""
    _EXIT(value, path)
    if value["exit"] not in _EXITS:
        raise StateError(f"{path}.exit: expected one of {', '.join(_EXITS)}, not {quoted(value['exit'])}")
    if value["exit"] == "failure" and "error" not in value:
        raise StateError(f"{path}: the key 'error' is missing")
    return value


def _kept(value: Any, path: str) -> Any:
    """What a statement keeps in a frame: which it is shows in its first key."""
    _is_object(value, path)
    reader = next((reader for key, reader in _KEPT.items() if key in value), None)
    if reader is None:
        raise StateError(f"{path}: expected an object with one of the keys {', '.join(_KEPT)}")
    return reader(value, path)


def check_kept(state: State) -> None:
    """Refuse what statements can't have kept: in frames of live threads, and in records of what may have to be undone.

    Asked when a state that was read meets its definition: what a run that is over has kept is nobody's any more.
    """
    try:
        _check_kept(state, "$.state")
    except StateError as error:
        raise StateError(f"run {state.run_id!r}: {error}") from error


def _check_kept(state: State, path: str) -> None:
    for i, thread in enumerate(state.threads):
        if thread.status is ThreadStatus.Ended:
            continue
        for k, frame in enumerate(thread.frames):
            where = f"{path}.threads[{i}].frames[{k}]"
            if frame.exit is not None:
                _exit(frame.exit, f"{where}.exit")
            if frame.data is not None:
                _kept(frame.data, f"{where}.data")
    for i, record in enumerate(state.undo):
        _UNDO(record, f"{path}.undo[{i}]")


def _record(cls: type[Any], readers: Mapping[str, Reader]) -> Reader:
    return lambda value, path: _read(cls, readers, value, path)


_REQUIRED: Mapping[type[Any], tuple[str, ...]] = {
    State: ("run_id", "workflow"),
    Thread: ("id", "name"),
    Frame: ("statement",),
    WaitEvent: ("name", "wait"),
    CallbackRequest: ("name",),
    ErrorInfo: ("type", "message"),
}
_ERROR_KEYS: Mapping[str, Reader] = {"type": _text, "message": _text, "step": _text, "attempts": _count}
_ERROR = _record(ErrorInfo, _ERROR_KEYS)
_REQUEST = _record(
    CallbackRequest,
    {
        "name": _text,
        "thread_id": _optional(_text),
        "pc": _optional(_count),
        "birth": _optional(_text),
        "run_id": _optional(_text),
        "setup_data": _optional(_text),
    },
)
_EVENT = _record(
    WaitEvent,
    {
        "name": _text,
        "wait": _text,
        "type": _text,
        "request": _REQUEST,
        "status": _one_of(EventStatus),
        "handled": _flag,
        "error": _optional(_ERROR),
        "due_at": _optional(_instant),
    },
)
_PLAIN_ERROR = _object(_ERROR_KEYS)
_EXITS = ("end", "break", "continue", "return", "failure", "cancel")
_CATCH = _object({"try": _text, "case": _count}, {"errors": _text})
_EXIT = _object(
    {"exit": _text},
    {
        "value": _any,
        "error": _PLAIN_ERROR,
        "catch": _object({"try": _text, "case": _count}, {"errors": _text}),
        "sticky": _flag,
    },
)
_TEXTS = _list(_text)
_OPEN: Mapping[str, Reader] = {"event": _text, "decided": _text}
_KEPT: Mapping[str, Reader] = {
    "saga": _object({"saga": _text}),
    "count": _object(
        {"count": _count, "next": _count, "live": _count, "succeeded": _count, "failed": _count},
        {
            "errors": _list(_object({"branch": _text, **_ERROR_KEYS}, {"index": _count})),
            "results": _list(_any),
            "index": _keyed,
            "places": _keyed,
            "met": _flag,
        },
    ),
    "approvers": _object(
        {
            "approvers": _TEXTS,
            "answers": _list(_object({"who": _text, "comment": _text, "approved": _flag, "at": _instant})),
            "then": _TEXTS,
        },
        _OPEN,
    ),
    "child": _object({"child": _text, "status": _text, "result": _any, "error": _optional(_PLAIN_ERROR)}),
    "then": _object({"then": _TEXTS}, _OPEN),
}
_UNDO = _object(
    {"step": _text, "thread": _text, "birth": _text, "pc": _count},
    {"result": _any, "item": _any, "sagas": _TEXTS, "error": _PLAIN_ERROR},
)
_FRAME = _record(
    Frame,
    {"statement": _text, "index": _count, "item": _any, "exit": _any, "data": _any},
)
_THREAD = _record(
    Thread,
    {
        "id": _text,
        "name": _text,
        "status": _one_of(ThreadStatus),
        "position": _text,
        "event": _optional(_text),
        "events": _list(_EVENT),
        "pc": _count,
        "birth": _text,
        "parent": _optional(_text),
        "ready": _count,
        "since": _optional(_instant),
        "due_at": _optional(_instant),
        "attempt": _count,
        "error": _optional(_ERROR),
        "arg": _any,
        "frames": _list(_FRAME),
        "sagas": _list(_text),
    },
)
_STATE: Mapping[str, Reader] = {
    "run_id": _text,
    "workflow": _text,
    "status": _one_of(WorkflowStatus),
    "revision": _count,
    "threads": _list(_THREAD),
    "wake_at": _optional(_instant),
    "result": _any,
    "error": _optional(_ERROR),
    "undo": _list(_any),
    "notes": _list(_any),
}
