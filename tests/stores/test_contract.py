"""The stores of flowstmt keep the contract that everybody's has to keep: the public suite, unchanged."""

from __future__ import annotations

from flowstmt.stores.memory import MemoryStore
from flowstmt.testing.store_suite import StoreSuite


class TestMemory(StoreSuite):
    """One object is the whole database: two workers on it share it."""

    def make_store(self, database):
        return self.__dict__.setdefault("databases", {}).setdefault(database, MemoryStore())
