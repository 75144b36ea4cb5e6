"""Runs in a file of SQLite."""

from flowstmt.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
