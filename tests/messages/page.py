"""All messages on one page, as they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.messages import (
    callbacks,
    calling,
    commanding,
    controlling,
    deadlines,
    definitions,
    describing,
    documents,
    engines,
    failing,
    linting,
    moving,
    postgres_stores,
    runs,
    step_options,
    stores,
    testing,
)
from tests.messages.rows import Provoked, Table, provoke
from tests.postgres import Postgres

PAGE = Path(__file__).with_name("messages.txt")

TABLES: list[Table] = [
    *definitions.TABLES,
    *step_options.TABLES,
    *documents.TABLES,
    *runs.TABLES,
    *deadlines.TABLES,
    *failing.TABLES,
    *callbacks.TABLES,
    *calling.TABLES,
    *controlling.TABLES,
    *describing.TABLES,
    *linting.TABLES,
    *engines.TABLES,
    *moving.TABLES,
    *commanding.TABLES,
    *stores.TABLES,
    *postgres_stores.TABLES,
    *testing.TABLES,
]

HEAD = """\
Every message that flowstmt raises or logs, as it is printed. Written by `make messages`, compared by
tests/test_error_messages.py. To be read as somebody woken at three in the morning would: does each say what happened, to
which run, thread and step, what was expected, and what to do next?
"""


@dataclass(frozen=True)
class Found:
    """What a row of a table says."""

    table: Table
    title: str
    what: Provoked


def provoked(postgres: Postgres) -> list[Found]:
    """What every row says. Some need a server of PostgreSQL."""
    postgres_stores.use(postgres)
    return [Found(table, row.title, provoke(row)) for table in TABLES for row in table.rows]


def page(found: list[Found]) -> str:
    """The page."""
    lines = [HEAD]
    before: Table | None = None
    for row in found:
        if row.table is not before:
            lines += [f"\n{row.table.title}\n{'=' * len(row.table.title)}\n"]
            before = row.table
        lines.append(f"{row.title}:")
        for said in row.what.said:
            lines += [f"    {line}".rstrip() for line in said.splitlines()]
        lines.append("")
    return "\n".join(lines)
