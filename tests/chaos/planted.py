"""Stores with bugs that the checks of a round have to find: a test plays rounds with each, and wants to see faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flowstmt.stores.protocol import (
    Claims,
    Message,
    MessageKind,
    NewRun,
    Outcome,
    Posted,
    Save,
    Started,
    Store,
    Transaction,
    Write,
)

__all__ = ["BUGS"]


class Bug:
    """A store that does everything as it should, but for one thing."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class DeliversTwice(Bug):
    """A signal that was taken comes once more with the next claim."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.taken: dict[str, list[Message]] = {}

    def claim(self, *arguments: Any) -> Claims:
        return self._again(self.store.claim(*arguments))

    def claim_run(self, *arguments: Any) -> Claims:
        return self._again(self.store.claim_run(*arguments))

    def _again(self, claims: Claims) -> Claims:
        for run in claims.runs:
            seen = self.taken.setdefault(run.run_id, [])
            fresh = [message for message in run.messages if message.kind == MessageKind.signal]
            run.messages = [*run.messages, *seen]
            seen += fresh
        return claims


class AnswersTooEarly(Bug):
    """Who starts or signals is answered at once, and what was sent is written with whatever is written next."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.later: list[Write] = []

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        early = [isinstance(write, NewRun | Message) for write in writes]
        now, self.later = self.later, [write for write, is_early in zip(writes, early, strict=True) if is_early]
        rest = [write for write, is_early in zip(writes, early, strict=True) if not is_early]
        outcomes = iter(self.store.commit([*now, *rest])[len(now) :])
        return [self._fine(write) if is_early else next(outcomes) for write, is_early in zip(writes, early, strict=True)]

    def _fine(self, write: Write) -> Outcome:
        return Started(True) if isinstance(write, NewRun) else Posted.posted


class CommitsTwice(Bug):
    """What an action has written is committed first, and its checkpoint afterwards."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self.store.transaction() as transaction:
            yield _Halved(transaction, self.store)


class _Halved:
    def __init__(self, transaction: Transaction, store: Store) -> None:
        self.transaction = transaction
        self.store = store

    @property
    def connection(self) -> Any:
        return self.transaction.connection

    def commit(self, save: Save) -> bool:
        self.transaction.connection.commit()
        return self.transaction.commit(save)


@dataclass(frozen=True)
class Planted:
    """A bug, and which runs and disturbances show it best."""

    store: Callable[[Store], Any]
    cases: tuple[str, ...]
    faults: Mapping[str, int]


BUGS = {
    "delivers twice": Planted(DeliversTwice, ("mailbox",), {"kill": 1}),
    "answers too early": Planted(AnswersTooEarly, ("parcel", "mailbox"), {"kill": 1}),
    "commits twice": Planted(CommitsTwice, ("parcel", "stubborn"), {"kill": 1}),
}
