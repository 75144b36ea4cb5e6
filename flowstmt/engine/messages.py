"""What messages say, and what is answered: JSON documents, as they lie in an inbox.

Rules:

1. A payload, and what a handler returns, are JSON texts inside of the documents: a database that reads its JSON (``jsonb``)
   must not touch the numbers in them.
2. An error of flowstmt's own comes back as what it was, with what it holds. Of every other error comes back a
   ``RemoteError``: the class may not be importable where it is read.

What this module must not know: who sends, and how documents get from one process to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic_core import from_json

from flowstmt import errors
from flowstmt.codec import Codec
from flowstmt.core.state import CallbackRequest, ErrorInfo
from flowstmt.errors import FlowstmtError, InvalidPayloadError, RemoteError, StateError, a_kind_of, message_of, said

__all__ = [
    "ControlBody",
    "EventBody",
    "encode_output",
    "encode_payload",
    "read_answer",
    "read_error",
    "read_error_info",
    "read_retry_at",
    "refusal",
    "success",
    "typed_output",
    "write_error",
    "write_error_info",
]

_codec = Codec()


@dataclass(frozen=True, slots=True)
class EventBody:
    """What a callback or a signal says. ``payload`` is JSON; None if none was given."""

    request: CallbackRequest
    payload: bytes | None = None

    def write(self) -> bytes:
        """As the body of a message."""
        request = self.request
        pins = {"thread_id": request.thread_id, "pc": request.pc, "birth": request.birth}
        document: dict[str, Any] = {"event": request.name}
        document |= {key: value for key, value in pins.items() if value is not None}
        if self.payload is not None:
            document["payload"] = self.payload.decode()
        return orjson.dumps(document)

    @classmethod
    def read(cls, body: bytes, run_id: str) -> EventBody:
        """The body of a message to this run."""
        found = orjson.loads(body)
        payload = found.get("payload")
        request = CallbackRequest(found["event"], found.get("thread_id"), found.get("pc"), found.get("birth"), run_id)
        return cls(request, None if payload is None else payload.encode())


@dataclass(frozen=True, slots=True)
class ControlBody:
    """What a control message says: pause, cancel, goto ..., and the arguments by their names."""

    action: str
    arguments: Mapping[str, Any]

    def write(self, run_id: str = "", called: str = "") -> bytes:
        """As the body of a message to a run. Raises ``StateError``, by what was ``called``, if an argument has no JSON."""
        arguments = _text(dict(self.arguments), f"run {run_id!r}: what {called or self.action} was given")
        return orjson.dumps({"action": self.action, "arguments": arguments})

    @classmethod
    def read(cls, body: bytes) -> ControlBody:
        """The body of a control message."""
        found = orjson.loads(body)
        return cls(found["action"], from_json(found["arguments"]))


def encode_payload(payload: Any, event: str, run_id: str) -> bytes | None:
    """A payload as JSON; None if there is none. Bytes are JSON already. Raises ``InvalidPayloadError``."""
    refused = f"run {run_id!r}: the payload for event {event!r} does not fit:"
    if isinstance(payload, bytes | bytearray | memoryview):
        blob = bytes(payload)
        if not blob:
            return None  # the body of a request that has none
        try:
            from_json(blob)
            blob.decode()
        except ValueError as error:
            raise InvalidPayloadError(refused, [f"it is no JSON: {error}"]) from error
        return blob
    if payload is None:
        return None
    try:
        return orjson.dumps(_codec.encode(payload))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidPayloadError(refused, [f"{a_kind_of(payload)} can't be turned into JSON: {error}"]) from error


# --- answers ---


def encode_output(output: Any, event: str, run_id: str) -> bytes:
    """What a handler returned as JSON. Raises ``StateError``, before anything is saved: the callback must be refused."""
    return _text(output, f"run {run_id!r}: what the handler of event {event!r} returned").encode()


def typed_output(output: bytes, wanted: Any, event: str, run_id: str) -> Any:
    """The output for whoever handed the callback in: of the type that the ``Event`` says, else plain JSON values."""
    try:
        return _codec.decode(output, Any if wanted is None else wanted)
    except ValueError as error:
        raise StateError(
            f"run {run_id!r}: the callback {event!r} was taken and saved, but what its handler returned is {error}. Let the "
            "Event say what it returns"
        ) from error


def success(output: bytes = b"null") -> bytes:
    """The answer to a message that was taken; ``output`` is JSON."""
    return orjson.dumps({"ok": output.decode()})


def refusal(error: BaseException) -> bytes:
    """The answer to a message that was refused, or a dead letter's reason."""
    return orjson.dumps({"error": write_error(error)})


def read_answer(answer: bytes) -> bytes:
    """The output as JSON. Raises the error that the message was answered with."""
    found = orjson.loads(answer)
    if "error" in found:
        raise read_error(found["error"])
    output: str = found["ok"]
    return output.encode()


# --- errors ---


def write_error(error: BaseException) -> dict[str, Any]:
    """An error as JSON: its class, its message and what it holds. Of a user's subclass the class of flowstmt's is kept."""
    if isinstance(error, RemoteError):
        return {"class": "RemoteError", "message": message_of(error), "holds": {"type": error.type}}
    for cls in type(error).__mro__:
        if getattr(errors, cls.__name__, None) is cls and cls is not FlowstmtError:
            return {"class": cls.__name__, "message": message_of(error), "holds": _held(error)}
    return {"class": "RemoteError", "message": said(error), "holds": {"type": type(error).__name__}}


def read_error(document: Mapping[str, Any]) -> FlowstmtError:
    """The error that was written; a ``RemoteError`` if this version of flowstmt has none of this class."""
    cls = getattr(errors, document["class"], None)
    message, holds = document["message"], dict(document["holds"])
    if not (isinstance(cls, type) and issubclass(cls, FlowstmtError)):
        return RemoteError(f"{document['class']}: {message}", type=document["class"])
    for name, value in holds.items():
        if name in ("faults", "failures"):
            holds[name] = tuple(value)
        elif isinstance(value, dict):
            holds[name] = ErrorInfo(**value)
    # Not by its constructor: that would add the faults, which the message has, once more.
    error: FlowstmtError = cls.__new__(cls, message)
    vars(error).update(holds)
    return error


def write_error_info(error: ErrorInfo, retry_at: datetime | None = None) -> bytes:
    """How a run failed, or why it was set back and until when, as its row keeps it."""
    document = asdict(error)
    if retry_at is not None:
        document["retry_at"] = retry_at.isoformat()
    return orjson.dumps(document)


def read_error_info(document: bytes | None) -> ErrorInfo | None:
    """What ``write_error_info`` wrote."""
    if document is None:
        return None
    found = orjson.loads(document)
    found.pop("retry_at", None)
    return ErrorInfo(**found)


def read_retry_at(document: bytes | None) -> datetime | None:
    """Until when a run was set back; None if it was not, or until somebody releases it."""
    retry_at = None if document is None else orjson.loads(document).get("retry_at")
    return None if retry_at is None else datetime.fromisoformat(retry_at)


def _held(error: BaseException) -> dict[str, Any]:
    """What an error holds beside its message, as far as it is made of texts."""
    held: dict[str, Any] = {}
    for name, value in vars(error).items():
        if value is None or isinstance(value, str | bool | int):
            held[name] = value
        elif isinstance(value, ErrorInfo):
            held[name] = asdict(value)
        elif isinstance(value, tuple) and all(isinstance(part, str) for part in value):
            held[name] = list(value)
    return {name: value for name, value in held.items() if not name.startswith("_")}


def _text(value: Any, what: str) -> str:
    try:
        return orjson.dumps(_codec.encode(value)).decode()
    except (ValueError, TypeError, RecursionError) as error:
        raise StateError(f"{what} can't be turned into JSON: {error}") from error
