"""SQL lives in ``.sql`` files: each statement under its name, complete, and nothing is put together at run time.

The one thing that a file leaves open is the name that its user chose, a prefix or a schema, which is checked to be an
identifier and put in once::

    -- name: get
    SELECT snapshot FROM {prefix}runs WHERE run_id = ?
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from flowstmt.errors import StoreError, quoted

__all__ = ["Migration", "load_migrations", "load_statements", "prefix_checked"]

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file: ``0001_runs`` and what is in it."""

    number: int
    name: str
    sql: str


def prefix_checked(prefix: str, argument: str = "prefix") -> str:
    """A prefix or schema that can be part of SQL; raises ``StoreError`` for any other."""
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise StoreError(
            f"{argument}={quoted(prefix)} can't be part of a table's name: it needs a letter or _ first, then letters, digits "
            "and _, 40 characters at most"
        )
    return prefix


def load_statements(package: str, names: Mapping[str, str]) -> dict[str, str]:
    """All statements of a store, by name: those in the folder ``sql`` of its package.

    ``names`` says what to put for ``{prefix}`` and the like.
    """
    statements: dict[str, str] = {}
    for file in sorted(files(package).joinpath("sql").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            _, *parts = _NAME.split(_filled(file.read_text("utf-8"), names))
            for name, text in zip(parts[::2], parts[1::2], strict=True):
                assert name not in statements, f"two statements are called {name}"
                statements[name] = _without_comments(text)
    return statements


def load_migrations(package: str, names: Mapping[str, str]) -> Sequence[Migration]:
    """All migrations of a store, in their order."""
    found = []
    for file in sorted(files(package).joinpath("sql", "migrations").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found.append(Migration(int(name[:4]), name, _filled(file.read_text("utf-8"), names)))
    return found


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _without_comments(text: str) -> str:
    """Whole lines of comment are for readers of the file; a driver would parse them at every call."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("--"))
