"""The tables of PostgreSQL: brought up to date, or found to be so. One process at a time does it, under an advisory lock."""

from __future__ import annotations

from collections.abc import Sequence

from flowstmt.errors import SchemaError
from flowstmt.stores.named_sql import Migration
from flowstmt.stores.postgres.connections import Connection, Statements

__all__ = ["check_schema", "migrate_schema"]


def migrate_schema(
    connection: Connection, sql: Statements, migrations: Sequence[Migration], schema: str, where: str
) -> Sequence[str]:
    """Do the migrations that were not done, all or none; their names."""
    with connection.transaction():
        sql.execute(connection, "lock_migrations", {"schema": schema})
        done = _done(connection, sql, schema, prepared=False)
        _refuse_newer(done, migrations, schema, where)
        names = []
        for migration in migrations:
            if migration.number not in done:
                connection.execute(migration.sql.encode(), prepare=False)  # several statements
                sql.execute(connection, "add_migration", {"number": migration.number, "name": migration.name})
                names.append(migration.name)
        return names


def check_schema(connection: Connection, sql: Statements, migrations: Sequence[Migration], schema: str, where: str) -> None:
    """Raise ``SchemaError`` if the tables are missing, older or newer."""
    done = _done(connection, sql, schema, prepared=True)
    _refuse_newer(done, migrations, schema, where)
    missing = [migration.name for migration in migrations if migration.number not in done]
    if missing:
        what = "has no tables of flowstmt" if not done else f"lacks the migrations {', '.join(missing)}"
        raise SchemaError(
            f"the schema {schema!r} of {where} {what}: run `flowstmt migrate`, or open the store with migrate=True"
        )


def _done(connection: Connection, sql: Statements, schema: str, *, prepared: bool) -> dict[int, str]:
    """The migrations that were done; where there is no table of them yet it is made, unless all should be ``prepared``."""
    [(has_schema, has_table)] = sql.rows(connection, "has_schema", {"schema": schema})
    if has_table:
        return dict(sql.rows(connection, "migrations"))
    if not prepared:
        if not has_schema:  # who may not make schemas may be given one
            sql.execute(connection, "create_schema")
        sql.execute(connection, "create_migrations")
    return {}


def _refuse_newer(done: dict[int, str], migrations: Sequence[Migration], schema: str, where: str) -> None:
    known = {migration.number for migration in migrations}
    newer = [name for number, name in sorted(done.items()) if number not in known]
    if newer:
        raise SchemaError(
            f"the schema {schema!r} of {where} is newer than this version of flowstmt, which doesn't know the migration "
            f"{newer[-1]!r}: upgrade flowstmt here; nothing was changed"
        )
