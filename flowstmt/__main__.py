"""``python -m flowstmt``: what can be done with workflows from a terminal."""

from __future__ import annotations

import sys

from flowstmt.cli.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
