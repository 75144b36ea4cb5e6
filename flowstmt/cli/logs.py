"""Where a command's log goes: to the standard error, unless the user's module has set up logging itself."""

from __future__ import annotations

import logging

__all__ = ["LEVELS", "log_to_stderr"]

LEVELS = ("debug", "info", "warning", "error")

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(level: str | None) -> None:
    """Begin; call it once the user's module is imported, whose own ``basicConfig`` would do nothing after this."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(format=_FORMAT, level=(level or "info").upper())
    elif level is not None:
        root.setLevel(level.upper())
