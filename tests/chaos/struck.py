"""A store between an engine and the real one, of which one operation, the n-th, is struck: before it is done, or after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from flowstmt.stores.protocol import Save, Store, Transaction

__all__ = ["StruckStore"]

READS = ("get", "list", "history", "published", "answers", "messages", "now")
WRITES = ("commit", "claim", "claim_run", "renew", "admit", "purge", "delete", "join")


class StruckStore:
    """Counts the operations of ``names``. ``strike`` is called at the n-th: it raises, or does something to the database.

    A strike after an operation is an answer that gets lost: what was asked has been done.
    """

    def __init__(self, store: Store, n: int, strike: Callable[[], None], *, after: bool, names: Sequence[str] = WRITES) -> None:
        self._store = store
        self._n = n
        self._strike = strike
        self._after = after
        self._names = names
        self._lock = Lock()
        self.count = 0

    @property
    def was_struck(self) -> bool:
        """Whether the n-th operation was reached."""
        return self.count >= self._n

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in self._names:
            return partial(self._counted, found)
        return found

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: to begin and to commit it are two operations."""
        transactions = self._store.transaction()
        transaction = self._counted(transactions.__enter__)
        try:
            yield StruckTransaction(transaction, self)
        except BaseException as error:
            if not transactions.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            transactions.__exit__(None, None, None)

    def _counted(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with self._lock:
            self.count += 1
            is_struck = self.count == self._n
        if is_struck and not self._after:
            self._strike()
        result = call(*arguments)
        if is_struck and self._after:
            self._strike()
        return result


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
        return bool(self._store._counted(self._transaction.commit, save))
