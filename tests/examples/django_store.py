"""Django, set up for the database of a test, and the table of ``examples/stored_in_django.py`` in it.

``settings`` is no name of this module: pytest looks for doctests in whatever a module holds, which would ask for settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
from django import conf, db


def database(url: str) -> dict[str, Any]:
    """What ``DATABASES`` holds for a URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        options = {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": "PRAGMA journal_mode = WAL"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(parts.path[1:]), "OPTIONS": options}
    host = parse_qs(parts.query)["host"][0]
    return {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username, "HOST": host}


def connect(url: str) -> None:
    """From here on the default database is that of ``url``. Before the example is imported, which would take its own."""
    if not conf.settings.configured:
        conf.settings.configure(DATABASES={"default": database(url)}, USE_TZ=True)
        django.setup()
        return
    close()
    db.connections.settings["default"] = db.connections.configure_settings({"default": database(url)})["default"]
    del db.connections["default"]


def close() -> None:
    """The connection of this thread."""
    db.connections.close_all()


def create() -> None:
    from examples.stored_in_django import Run

    with db.connections["default"].schema_editor() as editor:
        editor.create_model(Run)
