"""``flowstmt migrate``: the tables of a database brought up to date, before newer code needs them."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from typing import Any

import flowstmt.stores  # each store is loaded, and its driver, when it is asked for
from flowstmt.cli.targets import TargetError, made, told, value_of
from flowstmt.errors import FlowstmtError, StoreError, said
from flowstmt.stores.protocol import Store

__all__ = ["VARIABLE", "add_arguments", "run"]

DONE, FAILED, UNUSABLE = 0, 1, 2

VARIABLE = "FLOWSTMT_DATABASE"

_TARGETS = f"""\
database:
  shop:engine                the database of an engine, or of one that a function gives: as for `flowstmt worker`
  orders.db                  a file of SQLite
  postgresql://db/orders     a PostgreSQL database, as libpq takes it: also "host=db dbname=orders"
  (none)                     what the environment variable {VARIABLE} says

A password does not belong on a command line, which others can see: put the URL into the environment, or the password where
libpq looks for it (PGPASSWORD, ~/.pgpass).

exit codes: 0 the tables are up to date, 1 they could not be brought there, 2 the database or an argument can't be used
"""

_ENGINE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_POSTGRES = re.compile(r"postgres(ql)?://|\s*[a-z_]+\s*=")
_FILE = re.compile(r"\.(db|db3|sqlite|sqlite3)$|[/\\]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _TARGETS
    parser.add_argument("database", nargs="?", help="what is migrated: module:engine, file, or URL")
    parser.add_argument("--env", metavar="NAME", default=VARIABLE, help=f"the variable to look into instead of {VARIABLE}")
    parser.add_argument("--schema", metavar="NAME", help="the schema of the tables in PostgreSQL (flowstmt)")
    parser.add_argument("--prefix", metavar="NAME", help="how the names of the tables in SQLite begin (flowstmt_)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrate, write what was done to the standard output, and return the exit code."""
    # What came out of the environment stays there: it may hold a password.
    shown = arguments.database if arguments.database and not _POSTGRES.match(arguments.database) else "the database"
    try:
        database = _named(arguments)
        if _ENGINE.fullmatch(database) and not os.path.exists(database):
            _refuse(arguments, "schema", "prefix", by="an engine, whose store has its own")
            names = asyncio.run(_migrated_engine(database))
        else:
            names = _migrated(_store(database, arguments))
    except TargetError as error:
        sys.stderr.write(told("migrate", shown, error))
        return UNUSABLE
    except FlowstmtError as error:
        sys.stderr.write(f"flowstmt migrate: {shown}: {said(error)}\n")
        return FAILED
    sys.stdout.write("".join(f"done: {name}\n" for name in names) or "up to date: there was nothing to do\n")
    return DONE


def _named(arguments: argparse.Namespace) -> str:
    """What the database is called, here or in the environment. Raises ``TargetError``."""
    database: str = arguments.database or os.environ.get(arguments.env) or ""
    if not database:
        raise TargetError(f"name one, or set {arguments.env}; --help says how")
    return database


async def _migrated_engine(target: str) -> list[str]:
    async with made(value_of(target)) as engine:
        return await asyncio.to_thread(_migrated, engine.store)


def _migrated(store: Store) -> list[str]:
    try:
        return list(store.migrate())
    finally:
        store.close()


def _store(database: str, arguments: argparse.Namespace) -> Store:
    """A store by the name of its database. Raises ``TargetError``."""
    if _POSTGRES.match(database):
        _refuse(arguments, "prefix", by="PostgreSQL: --schema is where its tables are")
        try:
            return flowstmt.stores.PostgresStore(database, **_given(schema=arguments.schema))
        except (ImportError, StoreError) as error:
            raise TargetError(str(error)) from None
    _refuse(arguments, "schema", by="SQLite: --prefix is how the names of its tables begin")
    if not os.path.exists(database) and not _FILE.search(database):
        raise TargetError(
            "names neither an engine (module:name), nor a PostgreSQL URL, nor a file that is there; for a new file say "
            f"{os.path.join(os.curdir, database)}"
        )
    try:
        return flowstmt.stores.SQLiteStore(database, **_given(prefix=arguments.prefix))
    except StoreError as error:
        raise TargetError(str(error)) from None


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(arguments: argparse.Namespace, *options: str, by: str) -> None:
    for option in options:
        if getattr(arguments, option) is not None:
            raise TargetError(f"--{option} is not for {by}")
