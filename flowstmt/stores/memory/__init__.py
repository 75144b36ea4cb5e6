"""Runs in this process: the shortest reading of the protocol."""

from flowstmt.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
