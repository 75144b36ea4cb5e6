"""Dead letters: signals that could not be delivered, as an engine tells them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flowstmt.core.state import CallbackRequest
from flowstmt.engine.messages import EventBody, read_answer
from flowstmt.errors import FlowstmtError, RemoteError, message_of
from flowstmt.stores.protocol import Message, Taken

__all__ = ["DeadLetter", "dead_letter"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A signal that could not be delivered.

    Attributes:
        run_id: The run that it was for.
        event: The name of its event; empty if the message could not be read.
        request: What it was addressed to, as ``signal`` takes it; None if the message could not be read.
        payload: Its payload as JSON, as ``signal`` takes it; None if it had none.
        key: The key that it was sent with.
        sent_at: When it was sent, by the database's clock.
        error: Why it could not be delivered.
    """

    run_id: str
    event: str
    request: CallbackRequest | None
    payload: bytes | None
    key: str | None
    sent_at: datetime | None
    error: str


def dead_letter(message: Message, taken: Taken | None) -> DeadLetter:
    """A message that is dead, with what it was answered."""
    request = None
    try:
        body = EventBody.read(message.body, message.run_id)
        request, payload = body.request, body.payload
    except (ValueError, KeyError):
        payload = message.body  # who looks for the reason wants to see it
    event = "" if request is None else request.name
    return DeadLetter(message.run_id, event, request, payload, message.key, message.created_at, _why(taken))


def _why(taken: Taken | None) -> str:
    if taken is None or taken.answer is None:
        return ""
    try:
        read_answer(taken.answer)
    except RemoteError as error:
        return message_of(error)  # which says what it was
    except FlowstmtError as error:
        return f"{type(error).__name__}: {message_of(error)}"
    return ""
