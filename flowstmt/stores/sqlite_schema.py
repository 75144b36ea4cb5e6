"""Which tables there are, and how they are brought up to date.

Migrations are numbered and only ever added; what is in the file ``0001_...`` stays as it is. They expand (a column, an index)
in one release and contract (what nothing reads any more) in a later one, so that processes which are still running while
others are being upgraded go on. A version of flowstmt refuses to open tables that are newer than itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from flowstmt.errors import SchemaError
from flowstmt.stores.named_sql import Migration

__all__ = ["check_schema", "migrate_schema"]


def check_schema(connection: sqlite3.Connection, sql: Mapping[str, str], migrations: Sequence[Migration], path: str) -> None:
    """Raise ``SchemaError`` unless the tables are exactly those of this version."""
    missing = _missing(connection, sql, migrations, path)
    if missing:
        raise SchemaError(
            f"the tables in {path} are {'missing' if len(missing) == len(migrations) else 'older than this flowstmt'}: run "
            f"`flowstmt migrate`, or leave out migrate=False; to do: {', '.join(migration.name for migration in missing)}"
        )


def migrate_schema(
    connection: sqlite3.Connection, sql: Mapping[str, str], migrations: Sequence[Migration], path: str, now: int
) -> Sequence[str]:
    """Do the migrations that were not done, all in one transaction; their names. Raises ``SchemaError`` if there are newer."""
    if not _missing(connection, sql, migrations, path):
        return ()
    connection.execute("BEGIN IMMEDIATE")
    try:
        missing = _missing(connection, sql, migrations, path)  # another process may have been faster
        connection.execute(sql["create_migrations"])
        for migration in missing:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(sql["add_migration"], (migration.number, migration.name, now))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.name for migration in missing]


def _missing(
    connection: sqlite3.Connection, sql: Mapping[str, str], migrations: Sequence[Migration], path: str
) -> Sequence[Migration]:
    if connection.execute(sql["find_migrations"]).fetchone() is None:
        return migrations
    done = dict(connection.execute(sql["list_migrations"]).fetchall())
    newest = max(done, default=0)
    if newest > migrations[-1].number:
        raise SchemaError(
            f"the tables in {path} are newer than this version of flowstmt: it knows migrations up to {migrations[-1].name}, "
            f"and {done[newest]} was done; upgrade flowstmt here too"
        )
    return [migration for migration in migrations if migration.number not in done]


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would commit before the first one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"a migration ends within a statement: {statement}"
