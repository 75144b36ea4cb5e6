"""``python -m flowstmt``: what can be done with workflows from a terminal."""

from __future__ import annotations

import argparse
import sys

from flowstmt.lint import command

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m flowstmt", description="Durable workflows as plain Python.")
    commands = parser.add_subparsers(required=True, metavar="command")
    about = "find what a definition will probably not do as it was meant, without running it"
    command.add_arguments(commands.add_parser("lint", help=about, description=f"{about[0].upper()}{about[1:]}."))
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
