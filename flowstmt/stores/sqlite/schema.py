"""Which tables there are, and how they are brought up to date.

Migrations are numbered and only ever added; what is in the file ``0001_...`` stays as it is. They expand (a column, an index)
in one release and contract (what nothing reads any more) in a later one, so that processes which are still running while
others are being upgraded go on. A version of flowstmt refuses to open tables that are newer than itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from flowstmt.errors import SchemaError
from flowstmt.stores.named_sql import Migration
from flowstmt.stores.sqlite.connections import begin, patiently

__all__ = ["check_schema", "migrate_schema"]


def check_schema(
    cursor: sqlite3.Cursor, sql: Mapping[str, str], migrations: Sequence[Migration], path: str, busy_timeout: float
) -> None:
    """Raise ``SchemaError`` unless the tables are exactly those of this version."""
    missing = patiently(partial(_missing, cursor, sql, migrations, path), busy_timeout)
    if missing:
        raise SchemaError(
            f"the tables in {path} are {'missing' if len(missing) == len(migrations) else 'older than this flowstmt'}: run "
            f"`flowstmt migrate`, or leave out migrate=False; to do: {', '.join(migration.name for migration in missing)}"
        )


def migrate_schema(
    cursor: sqlite3.Cursor, sql: Mapping[str, str], migrations: Sequence[Migration], path: str, now: int, busy_timeout: float
) -> Sequence[str]:
    """Do the migrations that were not done, all in one transaction; their names. Raises ``SchemaError`` if there are newer."""
    if not patiently(partial(_missing, cursor, sql, migrations, path), busy_timeout):
        return ()
    begin(cursor, busy_timeout)
    try:
        missing = _missing(cursor, sql, migrations, path)  # another process may have been faster
        cursor.execute(sql["create_migrations"])
        for migration in missing:
            for statement in _statements(migration.sql):
                cursor.execute(statement)
            cursor.execute(sql["add_migration"], (migration.number, migration.name, now))
        cursor.execute("COMMIT")
    except BaseException:
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return [migration.name for migration in missing]


def _missing(cursor: sqlite3.Cursor, sql: Mapping[str, str], migrations: Sequence[Migration], path: str) -> Sequence[Migration]:
    if cursor.execute(sql["find_migrations"]).fetchone() is None:
        return migrations
    done = dict(cursor.execute(sql["list_migrations"]).fetchall())
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
