"""The transaction of one step: what its action writes commits with the checkpoint."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from flowstmt.errors import StoreError
from flowstmt.stores.protocol import Save
from flowstmt.stores.sqlite.connections import CONTENT, StepConnection, translated
from flowstmt.stores.sqlite.writes import Writes, is_news, refused

__all__ = ["SQLiteTransaction"]


class SQLiteTransaction:
    """The transaction of one step."""

    def __init__(
        self, connection: StepConnection, cursor: sqlite3.Cursor, writes: Writes, now: Callable[[], int], path: str
    ) -> None:
        self.connection = connection
        self.news = False
        self._cursor = cursor
        self._writes = writes
        self._now = now
        self._path = path

    def commit(self, save: Save) -> bool:
        """Commit what was written, with the checkpoint; ``False``, and nothing is committed, if the lease is lost."""
        with translated(self._path):
            if not self.connection.in_transaction:
                raise StoreError(
                    f"the action of run {save.run_id!r} has ended its transaction itself, with COMMIT or ROLLBACK: what it "
                    "wrote is not committed together with its checkpoint; take those out of it"
                )
            self.connection.text_factory = str
            if not self._writes.leased(self._cursor, save):
                self._cursor.execute("ROLLBACK")
                return False
            try:
                self._writes.save(self._cursor, save, self._now())
            except CONTENT as error:
                raise refused(save, error) from error
            self._cursor.execute("COMMIT")
        self.news = is_news(save)
        return True
