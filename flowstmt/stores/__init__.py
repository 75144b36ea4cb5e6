"""Where an engine keeps its runs: the protocol, and the stores that follow it."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from flowstmt.stores.memory import MemoryStore
    from flowstmt.stores.postgres import PostgresStore
    from flowstmt.stores.sqlite import SQLiteStore
else:
    _MODULES = {"MemoryStore": "memory", "PostgresStore": "postgres", "SQLiteStore": "sqlite"}

    def __getattr__(name: str) -> object:
        """A store is loaded, and its driver, when somebody asks for it."""
        if name in _MODULES:
            from importlib import import_module  # noqa: PLC0415 as cheap as it is needed

            return getattr(import_module(f"flowstmt.stores.{_MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["MemoryStore", "PostgresStore", "SQLiteStore"]
