"""A store between an engine and the real one, of which one operation, the n-th, is struck: before it is done, or after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from flowstmt.stores.at_once import at_once_of
from flowstmt.stores.protocol import Save, Store, Transaction, Write

__all__ = ["StruckStore"]

COUNTED = ("commit", "claim", "claim_run", "renew", "admit", "purge", "delete", "join")


class StruckStore:
    """``strike`` is called at the n-th: it raises, or does something to the database.

    A strike after an operation is an answer that gets lost: what was asked has been done.
    """

    def __init__(self, store: Store, n: int, strike: Callable[[], None], *, after: bool) -> None:
        self._store = store
        self._n = n
        self._strike = strike
        self._after = after
        self._lock = Lock()
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in COUNTED:
            return partial(self.counted, found)
        return found

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: to begin and to commit it are two operations."""
        is_struck = self._is_struck()
        if is_struck and not self._after:
            self._strike()
        with self._store.transaction() as transaction:
            if is_struck and self._after:
                self._strike()
            yield StruckTransaction(transaction, self)

    def commit_at_once(self, writes: Sequence[Write]) -> Any:
        """A commit without a thread is an operation as well; one that was struck before it was done is left to the thread."""
        commit = at_once_of(self._store)
        if commit is None:
            return None
        is_struck = self._is_struck()
        if is_struck and not self._after:
            self._strike()
        found = commit(writes)
        if is_struck and self._after:
            self._strike()
        return found

    def counted(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make a call, which may be struck."""
        is_struck = self._is_struck()
        if is_struck and not self._after:
            self._strike()
        result = call(*arguments)
        if is_struck and self._after:
            self._strike()
        return result

    def _is_struck(self) -> bool:
        with self._lock:
            self.count += 1
            return self.count == self._n


class StruckTransaction:
    """A transaction of it."""

    def __init__(self, transaction: Transaction, store: StruckStore) -> None:
        self._transaction = transaction
        self._store = store

    @property
    def connection(self) -> Any:
        """The real one."""
        return self._transaction.connection

    def commit(self, save: Save) -> bool:
        """Commit, counted."""
        return bool(self._store.counted(self._transaction.commit, save))
