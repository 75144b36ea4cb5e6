"""The command ``flowstmt`` in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def flowstmt(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as it is started in a folder, until it ends."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "flowstmt", *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


class Worker:
    """``flowstmt worker`` under way, and its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until a line of its log is like this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it never said {pattern!r}: {''.join(self.log)}")

    def ended(self) -> int:
        """Its exit code."""
        assert self.process.stderr is not None
        self.log += self.process.stderr
        return self.process.wait(60)


@contextmanager
def worker(target: str, folder: Path = ROOT, **env: str) -> Iterator[Worker]:
    """A worker process that has been started; killed in the end, if it still is there."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "flowstmt", "worker", target],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()
