"""Records docs/pictures/terminal.svg: the session of the quick start, played for real and drawn as an animation.

``make recording`` saves the program of docs/quickstart.md in a folder of its own, runs the commands of that page there, the
one that gets killed too, and notes each line with the time at which it came. The drawing is one SVG without scripts: the first
command and its output are there from the start, so that a still picture is never empty; each line after that appears at its
time, by a CSS animation that starts anew after a pause. Where motion is not wanted, or not known, all lines are there at once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "quickstart.md"
PICTURE = ROOT / "docs" / "pictures" / "terminal.svg"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TYPING, READING, PAUSE = 0.05, 1.0, 7.0
"""Seconds: for a character of a command, before the next command, and for which the whole session stays to be read."""


class Line(NamedTuple):
    """A line on the terminal: how many seconds after the line above it came, what it is, its text."""

    after: float
    kind: str
    text: str


def play(folder: Path) -> Iterator[Line]:
    """Run the commands of the quick start, and tell what their terminal shows."""
    blocks = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    (folder / "shop.py").write_text(next(source for language, source in blocks if language == "python"), encoding="utf-8")
    python = folder / "python"  # no link: by its own path alone does a Python know which environment it belongs to
    python.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    for language, source in blocks:
        if language == "sh" and "shop.py" in source:
            command = source.strip()
            yield Line(READING + TYPING * len(command), "command", command)
            yield from run(command, folder)


def run(command: str, folder: Path) -> Iterator[Line]:
    """Run one command, and tell its lines."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    before = monotonic()
    with subprocess.Popen(["sh", "-c", f"exec env {command}"], cwd=folder, env=environment, stdout=-1, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = monotonic()
            yield Line(now - before, "output", line.rstrip())
            before = now
    if process.returncode < 0:
        yield Line(monotonic() - before, "death", "Killed")


STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d0d7de; white-space: pre }
.command { fill: #ffffff; font-weight: 600 }
.prompt { fill: #7ee787 }
.death { fill: #ff7b72; font-weight: 600 }
@media (prefers-reduced-motion: no-preference) { g { animation: %.1fs step-end infinite } }
"""


def draw(lines: list[Line]) -> str:
    """The lines as an animated SVG."""
    line_height, character, margin = 20, 8.43, 16
    opening = [number for number, line in enumerate(lines) if line.kind == "command"][1]
    total = sum(line.after for line in lines[opening:]) + PAUSE
    width = margin * 2 + round(character * max(len(line.text) + 2 * (line.kind == "command") for line in lines))
    height = margin * 2 + line_height * len(lines)
    frames, texts, now = [], [], 0.0
    for number, line in enumerate(lines):
        prompt = '<tspan class="prompt">$ </tspan>' if line.kind == "command" else ""
        text = (
            f'<text x="{margin}" y="{margin + 14 + number * line_height}" '
            f'class="{line.kind}" xml:space="preserve">{prompt}{escape(line.text)}</text>'
        )
        if number >= opening:
            now += line.after
            frames.append(f"@keyframes l{number} {{ 0% {{ opacity: 0 }} {100 * now / total:.2f}%, 100% {{ opacity: 1 }} }}")
            text = f'<g style="animation-name: l{number}">{text}</g>'
        texts.append(text)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            "<title>An order is started, waits, is paid, loses its process while it ships, and goes on</title>",
            f"<style>{STYLE % total}{chr(10).join(frames)}</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>',
            *texts,
            "</svg>\n",
        ]
    )


def record() -> list[Line]:
    """Play the session in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return list(play(Path(folder)))


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(record()), encoding="utf-8")
