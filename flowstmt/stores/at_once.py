"""What a store may offer beside the protocol: commits that need no thread.

To hand a checkpoint to another thread, and its answer back, takes longer than SQLite needs to write it, or PostgreSQL's client
to send it. A store that has ``commit_at_once`` is asked in the event loop first; all else stays as it is, and a store that
does not have it lacks nothing but that speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, cast

from flowstmt.stores.protocol import Outcome, Store, Write

__all__ = ["AtOnce", "CommitsAtOnce", "Underway", "at_once_of"]


class Underway(Protocol):
    """A commit that was sent; its answers are on their way."""

    def fileno(self) -> int:
        """The descriptor that can be read once there is news."""

    def outcomes(self) -> list[Outcome] | None:
        """The answers, as those of ``commit``; None if they are not all there yet. Does not wait.

        Raises ``StoreError``. With ``retry`` it is not known whether it was committed, or it was not: the same writes are then
        handed to ``commit``.
        """

    def abandon(self) -> None:
        """Nobody waits for the answers any more. Whether it was committed is not known."""


class CommitsAtOnce(Protocol):
    """Has a second way to commit, for the thread of an event loop."""

    def commit_at_once(self, writes: Sequence[Write]) -> list[Outcome] | Underway | None:
        """Commit without waiting for anybody: neither for a lock, nor for a connection, nor for a server.

        It may wait for the disk: the engine measures how long, and turns to ``commit`` while that takes long. It returns the
        answers, or an ``Underway``, or None if it can't be done now, or not in this way: then nothing was done, and the same
        writes are handed to ``commit``. While a commit is underway the other calls that write wait for its end.
        """


AtOnce: TypeAlias = Callable[[Sequence[Write]], list[Outcome] | Underway | None]


def at_once_of(store: Store) -> AtOnce | None:
    """The ``commit_at_once`` of a store, if its class has one.

    It must be at home where ``commit`` is: a class that changes ``commit``, or hands on to another store what it does not do
    itself, means all commits.
    """
    for cls in type(store).__mro__:
        if "commit_at_once" in vars(cls):
            return cast(Any, store).commit_at_once  # type: ignore[no-any-return] # the protocol above
        if "commit" in vars(cls):
            return None
    return None
