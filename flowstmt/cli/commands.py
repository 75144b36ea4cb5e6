"""``flowstmt``, and the same as ``python -m flowstmt``: the commands that there are.

Exit codes are the same everywhere: 0 it is done, 1 it could not be done (or, of ``lint``: there are findings), 2 an argument
can't be used.
"""

from __future__ import annotations

import argparse
import os
import sys

from flowstmt.cli import migrate, worker
from flowstmt.lint import command as lint

__all__ = ["main"]

_INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C has ended."""

_COMMANDS = {
    "worker": (worker.add_arguments, "move the runs of an engine, until SIGTERM or Ctrl-C"),
    "migrate": (migrate.add_arguments, "bring the tables of a database up to date"),
    "lint": (lint.add_arguments, "find what a definition will probably not do as it was meant, without running it"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="flowstmt", description="Durable workflows as plain Python.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (add_arguments, about) in _COMMANDS.items():
        add_arguments(commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}."))
    parsed = parser.parse_args(arguments)
    _look_here_for_modules()
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _look_here_for_modules() -> None:
    """Find modules of the folder in which the command was given, as ``python -m`` does, unless Python was told not to."""
    here = os.getcwd()
    if not sys.flags.safe_path and not {"", here} & set(sys.path):
        sys.path.insert(0, here)
