"""Processes of the examples: started, forked, and killed by SIGKILL, by others or by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parents[2]


def python(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a script, or a module (``-m``), in an interpreter of its own, from the root and with warnings as errors."""
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout)


def child(work: Callable[[], Any]) -> int:
    """Fork a child that does ``work`` and nothing else; its pid. This process must have no threads."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> bool:
    """Wait for a child; whether it came to its end. False if it was killed."""
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"a child failed: {status}"
    return status == 0


class Countdown:
    """Kills its own process at the n-th point; at none if n is 0."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.lock = Lock()

    def point(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call with a point before it, and one after it."""
        self.point()
        result = call(*arguments)
        self.point()
        return result
