"""Commits in the event loop's own thread, where the store offers them: without the way to another thread and back.

Rules:

1. A store that waits for its disk is asked for one write at a time, and while the disk is quick: the event loop stands still
   meanwhile. Once commits are slow the thread makes the next ones; and twice as many each time that one is seen to be slow
   still. One slow commit among quick ones, as disks have them, changes nothing.
2. A store that sends, and is answered later, is asked for any number.

Theory: on a quick disk a commit takes no longer than it takes to wake a thread and to be woken by it. So for a lone run the
loop stands still for no longer than it would be idle, and what else it has to do waits a few tenths of a millisecond.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter

from flowstmt.stores.at_once import Underway, at_once_of
from flowstmt.stores.protocol import Outcome, Store, Write

__all__ = ["AtOnce"]

logger = logging.getLogger("flowstmt.engine")

_QUICK = 0.0005
"""So many seconds the event loop may stand still for one commit, on average of the last ones."""
_WEIGHT = 1 / 8
"""Of the newest in that average, in which none counts for more than four quick ones."""
_FIRST_DETOUR = 16
_LONGEST_DETOUR = 4096
"""So many commits the thread makes before it is seen whether the disk is quick again."""


class AtOnce:
    """The commits of a store that need no thread; none, if it offers none."""

    __slots__ = ("_commit", "_detour", "_left", "_takes", "sends", "spent")

    def __init__(self, store: Store) -> None:
        self._commit = at_once_of(store)
        self._takes = 0.0
        self._detour = self._left = 0
        # Whether it sends, and need not wait: known once it has done so.
        self.sends = False
        # So many seconds went by in commits since somebody has set this back.
        self.spent = 0.0

    def suits(self, count: int) -> bool:
        """Whether so many writes may be committed in this way now."""
        if self._commit is None or (count > 1 and not self.sends):
            return False
        if self._left:
            self._left -= 1
            return False
        return True

    def renounce(self) -> None:
        """From now on the thread makes all commits."""
        self._commit = None

    def commit(self, writes: Sequence[Write]) -> list[Outcome] | Underway | None:
        """The answers, or the way to them; None: the thread has to do it."""
        assert self._commit is not None  # it suits
        began = perf_counter()
        found = self._commit(writes)
        took = perf_counter() - began
        if found is not None:
            self.sends = not isinstance(found, list)
        self.spent += took
        self._takes += (min(took, 4 * _QUICK) - self._takes) * _WEIGHT
        if self._takes <= _QUICK:
            self._detour = 0
        elif took > _QUICK:
            self._detour = self._left = min(max(2 * self._detour, _FIRST_DETOUR), _LONGEST_DETOUR)
            logger.debug("a commit took %.1f ms of the event loop: the thread makes the next %s", 1000 * took, self._left)
        return found
