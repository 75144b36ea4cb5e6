"""Commits for the thread of an event loop: sent without waiting, their answers read when they are there.

Whoever else uses the connection waits for the end of what is underway: its lock is taken with it, and given back with the
answers.
"""

from __future__ import annotations

import selectors
from collections.abc import Sequence
from typing import Any

import psycopg

from flowstmt.errors import StoreError
from flowstmt.stores.postgres.connections import CONTENT, Connection, Link, is_about_content, told, unavailable
from flowstmt.stores.postgres.exchanges import Conversation, Dialogue
from flowstmt.stores.postgres.wire import Sent, UnsendableError
from flowstmt.stores.protocol import Outcome

__all__ = ["PostgresUnderway", "begun"]

_MOST = 1 << 18
"""So many bytes are sent in the thread of an event loop, at most: what copying more takes would be felt there."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

_WATCHES = hasattr(selectors.DefaultSelector, "fileno")
"""Whether there is a descriptor that tells, by being readable, that another one can be written. Not on Windows."""


class PostgresUnderway(Conversation):
    """A commit that was sent, on a connection that was taken from its link."""

    __slots__ = ("_link", "_selector")

    def __init__(self, link: Link, connection: Connection, dialogue: Dialogue) -> None:
        super().__init__(connection, link.prepared, dialogue)
        self._link: Link | None = link
        self._selector: Any = None  # one that has a descriptor: see _WATCHES
        if self.unsent:
            self._selector = link.selector(connection)
            self._selector.modify(connection.pgconn.socket, _READ | _WRITE)

    def fileno(self) -> int:
        """The connection; if not all of it could be sent, what tells that there is room for more as well."""
        selector = self._selector
        descriptor: int = self._connection.pgconn.socket if selector is None else selector.fileno()
        return descriptor

    def outcomes(self) -> list[Outcome] | None:
        """The answers; None if they are not all there yet. Raises ``StoreError`` with ``retry``."""
        if self._link is None:
            raise StoreError("what was underway to PostgreSQL was abandoned; it may be committed", retry=True)
        where = self._link.where
        received = False
        try:
            outcomes: list[Outcome] | None = self.outcome()
            received = True
        except CONTENT as error:
            if isinstance(error, psycopg.Error) and not is_about_content(error):
                raise unavailable(error, where) from error
            raise StoreError(
                f"PostgreSQL ({where}) refused something of what was to be committed together, and nothing of that is there: "
                f"{told(error)}. All of it may be handed in again",
                retry=True,
            ) from error
        finally:
            if not received:
                self._ended().give_up()
        if self._selector is not None:
            self._selector.modify(self._connection.pgconn.socket, _READ | _WRITE if self.unsent else _READ)
        if outcomes is not None:
            self._ended().give_back()
        elif self.unsent and self._selector is None:  # of a question that came up since: nobody watches for room for it
            self.abandon()
            raise StoreError(f"PostgreSQL ({where}) can't be used just now: it takes in too little at a time", retry=True)
        return outcomes

    def abandon(self) -> None:
        """Close the connection, as its state isn't known, and let others have a new one."""
        if self._link is not None:
            self._connection.close()
            self._ended().give_up()

    def _send(self, sent: Sequence[Sent]) -> None:
        size = 0
        for one in sent:
            size += sum(map(len, filter(None, one.values)))
        if size > _MOST:
            raise UnsendableError
        super()._send(sent)

    def _ended(self) -> Link:
        """Where the connection has to be given back."""
        link, self._link = self._link, None
        assert link is not None  # it ends once
        return link


def begun(link: Link, dialogue: Dialogue) -> PostgresUnderway | None:
    """Begin a dialogue; None, and nothing was done, if that can't be done now, or not without waiting."""
    connection = link.taken() if _WATCHES else None
    if connection is None:
        return None
    underway = None
    try:
        underway = PostgresUnderway(link, connection, dialogue)
    except CONTENT:  # the thread will find the same, and say what it is
        return None
    finally:
        if underway is None:
            link.give_up()
    return underway
