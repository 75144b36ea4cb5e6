"""Waiting for news of PostgreSQL (LISTEN), or for somebody of this process who calls ``wake``.

A pair of sockets wakes the thread that waits, as no other thread may touch its connection. Without a connection it waits for
the pair alone: whoever calls ``wait`` looks now and then anyway.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable
from threading import Lock

import psycopg

from flowstmt.errors import StoreError, said
from flowstmt.stores.postgres.connections import Connection

__all__ = ["Listener"]

_log = logging.getLogger("flowstmt.stores.postgres")


class Listener:
    """``listen`` makes a connection that hears of news. It is made at the first wait, and again after it was lost."""

    def __init__(self, listen: Callable[[], Connection], where: str) -> None:
        self._listen = listen
        self._where = where
        self._lock = Lock()
        self._connection: Connection | None = None
        self._silent = False
        self._closed = False
        self._bell: socket.socket
        self._button: socket.socket | None = None

    def open(self) -> None:
        """Get ready to be woken. Not before: a store that nobody opens has nothing to close."""
        if self._button is None:
            self._bell, self._button = socket.socketpair()
            self._bell.setblocking(False)
            self._button.setblocking(False)
            self._closed = False

    def wait(self, seconds: float) -> None:
        """Return when there is news, after ``wake``, or when time is over."""
        with self._lock:
            if self._closed or self._button is None:
                return
            fresh = self._connected()
            with selectors.DefaultSelector() as selector:
                selector.register(self._bell, selectors.EVENT_READ)
                if self._connection is not None:
                    selector.register(self._connection.pgconn.socket, selectors.EVENT_READ)
                # What happened before this connection was made was not heard: it is looked for at once.
                ready = selector.select(0 if fresh else max(0.0, seconds))
            for key, _ in ready:
                if key.fileobj is self._bell:
                    self._emptied()
                else:
                    self._heard()

    def wake(self) -> None:
        """Let a wait return; if there is none just now, the next one."""
        if self._button is None:
            return
        try:
            self._button.send(b"!")
        except BlockingIOError:
            pass  # it is rung already, many times
        except OSError:
            if not self._closed:
                raise

    def close(self) -> None:
        """Let a wait return, and give the connection up."""
        self._closed = True
        self.wake()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._button is not None:
                self._bell.close()
                self._button.close()
                self._button = None

    def _connected(self) -> bool:
        """Whether the connection is new."""
        if self._connection is not None:
            return False
        try:
            self._connection = self._listen()
        except (psycopg.Error, StoreError) as error:
            if not self._silent:
                self._silent = True
                _log.warning("PostgreSQL (%s) tells no news just now, polling goes on: %s", self._where, said(error))
            return False
        if self._silent:
            self._silent = False
            _log.info("PostgreSQL (%s) tells news again", self._where)
        return True

    def _heard(self) -> None:
        """Take in all that has come, so that the next wait waits."""
        assert self._connection is not None
        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies() is not None:
                pass
        except psycopg.Error as error:
            self._silent = True
            _log.warning("the connection that hears news of PostgreSQL (%s) was lost: %s", self._where, said(error))
            self._connection.close()
            self._connection = None

    def _emptied(self) -> None:
        try:
            while self._bell.recv(4096):
                pass
        except BlockingIOError:
            pass
