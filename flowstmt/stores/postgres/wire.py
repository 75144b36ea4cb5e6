"""Statements and values as they are sent to PostgreSQL where the driver's adaptation takes too long."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

__all__ = ["Sent", "UnsendableError", "encoded", "number", "numbers", "positional", "texts"]

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")

_TEXT = 25  # its type's number


class UnsendableError(ValueError):
    """Nothing was sent: the driver says what is wrong with it, if anything is."""


class Sent(NamedTuple):
    """A statement to send: its name and text, its parameters as they are sent, and their formats (None: all text).

    ``answers``: somebody looks at the rows that it gives.
    """

    name: str
    text: bytes
    values: Sequence[bytes | None]
    formats: Sequence[int] | None
    answers: bool


def positional(text: str) -> tuple[bytes, Sequence[str]]:
    """A statement with ``$1`` for each ``%(name)s``, and the names by their number."""
    names = list(dict.fromkeys(_PLACEHOLDER.findall(text)))
    return _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", text).encode(), names


def encoded(value: Any) -> bytes | None:
    """A value in the format ``text``. Raises ``UnsendableError``, ``UnicodeError``."""
    if value is None:
        return None
    encode = _ENCODERS.get(type(value)) or next((_ENCODERS[base] for base in type(value).__mro__ if base in _ENCODERS), None)
    if encode is None:
        raise UnsendableError
    return encode(value)


def number(value: int) -> bytes:
    """A bigint in the format ``binary``. Raises ``OverflowError`` if it is none."""
    return value.to_bytes(8, "big", signed=True)


def numbers(values: Sequence[int]) -> bytes:
    """An array of bigints in the format ``text``."""
    return b"{%s}" % ",".join(map(str, values)).encode()


def texts(values: Sequence[bytes]) -> bytes:
    """An array of texts in the format ``binary``; they are UTF-8."""
    parts = [struct.pack(">5i", 1, 0, _TEXT, len(values), 1)]
    for value in values:
        parts += (len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


def _text(value: str) -> bytes:
    text = value.encode()
    if b"\0" in text:
        raise UnsendableError  # for libpq that would be its end
    return text


def _interval(value: timedelta) -> bytes:
    # With the sign of each, as one sign may stand for all.
    return b"%+d days %+d microseconds" % (value.days, value.seconds * 1_000_000 + value.microseconds)


def _array(values: Sequence[str]) -> bytes:
    return b"{%s}" % b",".join([b'"%s"' % _text(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') for value in values])


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _text,
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"%d" % value,
    datetime: lambda value: value.isoformat().encode(),
    timedelta: _interval,
    list: _array,
    UUID: lambda value: str(value).encode(),
}
