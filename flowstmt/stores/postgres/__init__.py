"""Runs on a server of PostgreSQL."""

from flowstmt.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
