"""What ``import flowstmt`` takes, against the dependencies that every use of it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory

from benchmarks.measure import Figure, interleaved

__all__ = ["figures"]

DEPENDENCIES = "from pydantic import TypeAdapter; import asyncio, orjson"
"""asyncio too: its drivers await. The name has to be looked up, as pydantic loads nothing before."""

FLOWSTMT = "import asyncio, flowstmt"
ROOT = Path(__file__).parent.parent


def _python(script: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=environment)


def _children_time() -> float:
    """The seconds of CPU that processes started here have taken."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures() -> list[Figure]:
    with TemporaryDirectory() as compiled:
        # Compiled once, by the turn that warms up, as it is where it is installed.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        scripts = ("pass", DEPENDENCIES, FLOWSTMT)
        calls = [partial(_python, script, environment) for script in scripts]
        nothing, dependencies, ours = interleaved(*calls, rounds=25, turn=0, clock=_children_time)
    taken, base = (ours - nothing) / 1e3, (dependencies - nothing) / 1e3
    return [
        Figure("import pydantic's TypeAdapter, asyncio, orjson", f"{base:.0f} ms"),
        Figure("import flowstmt, and asyncio", f"{taken:.0f} ms = {taken / base:.2f} x these", "1.2 x"),
    ]
