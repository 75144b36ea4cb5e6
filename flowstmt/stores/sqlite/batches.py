"""The writes of one commit, in as few statements as there can be: what a checkpoint costs, every step of every run costs.

Most commits are checkpoints that change a snapshot and nothing else. One of them is one UPDATE, several are one UPDATE too,
and SQLite commits a lone statement by itself. Everything else is made in its order, in one transaction, where such checkpoints
go ahead. That changes no answer: only the first write about a run does so, and past others only a mere snapshot.

Nothing here waits, unless it is told how long: what can't be done at once is raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flowstmt.stores.protocol import Outcome, Save, Withdrawal, Write
from flowstmt.stores.sqlite.connections import CONTENT, begin, patiently
from flowstmt.stores.sqlite.writes import Writes, is_news, refused

__all__ = ["Batches"]

_FEWEST = 4
"""Fewer checkpoints are as fast one by one."""
_TOGETHER = (8, 64)
"""Up to so many checkpoints have a statement."""


class Batches:
    """Commits writes on a connection that is in no transaction. ``ring`` is called when there is news for those who wait."""

    def __init__(self, sql: Mapping[str, str], writes: Writes, now: Callable[[], int], ring: Callable[[], None]) -> None:
        self._writes = writes
        self._now = now
        self._ring = ring
        self._save_sql = sql["save"]
        # An older SQLite knows no UPDATE ... FROM.
        sizes = _TOGETHER if sqlite3.sqlite_version_info >= (3, 33) else ()
        self._many = [(size, sql[f"save_{size}"]) for size in sizes]

    def commit(self, cursor: sqlite3.Cursor, writes: Sequence[Write], busy_timeout: float) -> list[Outcome]:
        """Make all writes; if one is refused for its content, all over again, and each for itself."""
        try:
            return patiently(partial(self.at_once, cursor, writes), busy_timeout)
        except CONTENT:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
        return self._each_for_itself(cursor, writes, busy_timeout)

    def at_once(self, cursor: sqlite3.Cursor, writes: Sequence[Write]) -> list[Outcome]:
        """Make all writes, or raise what the driver raises; the transaction is then to be rolled back."""
        behind = _behind(writes)
        if not behind and self._saved(cursor, writes, self._now()):
            return [True] * len(writes)
        cursor.execute("BEGIN IMMEDIATE")
        now = self._now()
        if not behind:  # those that were saved before this are saved again
            outcomes = self._one_by_one(cursor, writes, now)
        else:
            outcomes = self._in_order(cursor, writes, behind, now)
        cursor.execute("COMMIT")
        if behind:
            self._tell([writes[number] for number in behind])
        return outcomes

    def _in_order(self, cursor: sqlite3.Cursor, writes: Sequence[Write], behind: Sequence[int], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = [True] * len(writes)
        ahead = sorted(set(range(len(writes))).difference(behind))
        saves = [writes[number] for number in ahead]
        if not self._saved(cursor, saves, now):
            for number, made in zip(ahead, self._one_by_one(cursor, saves, now), strict=True):
                outcomes[number] = made
        for number in behind:
            outcomes[number] = self._writes.write(cursor, writes[number], now)
        return outcomes

    def _saved(self, cursor: sqlite3.Cursor, saves: Sequence[Any], now: int) -> bool:
        """Plain checkpoints in one statement, if there is one for so many; whether all were made by it.

        Which of two checkpoints of the same run is made is not known: then they are fewer than all.
        """
        count = len(saves)
        if count == 1:
            save = saves[0]
            cursor.execute(self._save_sql, (save.snapshot, save.revision, now, save.run_id, save.fence))
            return cursor.rowcount == 1
        for size, sql in self._many:
            if _FEWEST <= count <= size:
                values: list[Any] = [now]
                for save in saves:
                    values += (save.run_id, save.fence, save.revision, save.snapshot)
                cursor.execute(sql, values + [None] * (4 * (size - count)))
                return cursor.rowcount == count
        return not count

    def _one_by_one(self, cursor: sqlite3.Cursor, saves: Sequence[Any], now: int) -> list[Outcome]:
        """Plain checkpoints in their order, by one call of the driver; which were made, now or before."""
        cursor.executemany(self._save_sql, [(save.snapshot, save.revision, now, save.run_id, save.fence) for save in saves])
        if cursor.rowcount == len(saves):
            return [True] * len(saves)
        return [self._writes.was_saved(cursor, save) for save in saves]

    def _each_for_itself(self, cursor: sqlite3.Cursor, writes: Sequence[Write], busy_timeout: float) -> list[Outcome]:
        """One of these can't be kept: the others are, in one transaction as ever."""
        begin(cursor, busy_timeout)
        now = self._now()
        outcomes: list[Outcome] = []
        for write in writes:
            cursor.execute("SAVEPOINT one")
            try:
                outcomes.append(self._writes.write(cursor, write, now))
            except CONTENT as error:
                cursor.execute("ROLLBACK TO one")
                outcomes.append(refused(write, error))
            cursor.execute("RELEASE one")
        cursor.execute("COMMIT")
        self._tell(writes)
        return outcomes

    def _tell(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if is_news(write):
                self._ring()
                break


def _behind(writes: Sequence[Write]) -> list[int]:
    """Which writes can't go ahead: all but plain checkpoints that no other write about their run comes before."""
    behind: list[int] = []
    met = set[str]()
    for number, write in enumerate(writes):
        if type(write) is Save and write.is_mere and (not met or write.run_id not in met):
            continue
        behind.append(number)
        if isinstance(write, Withdrawal):
            continue
        met.add(write.run_id)
        if type(write) is Save:
            met.update(message.run_id for message in write.messages)
            met.update(child.run_id for child in write.children)
    return behind
