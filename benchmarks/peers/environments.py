"""An environment for each contender, made on first use and again when its requirements change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["FOLDER", "InstallError", "interpreter"]

FOLDER = Path(__file__).parents[2] / ".venv-peers"


class InstallError(Exception):
    """A contender's packages can't be had here."""


def interpreter(name: str, requirements: Sequence[str], folder: Path = FOLDER) -> str:
    """The Python that has them; without requirements, this one."""
    if not requirements:
        return sys.executable
    environment = folder / name
    python = environment / "bin" / "python"
    stamp = environment / "installed.txt"
    wanted = "\n".join((sys.version, *requirements))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(requirements)} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "install"]
        done = subprocess.run([*pip, *requirements], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InstallError((done.stderr.strip() or "pip failed").splitlines()[-1])
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)
