"""The quick start shows what one sees: its program is saved, its commands are run, and what they print is what it says."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from html import unescape
from itertools import pairwise
from pathlib import Path
from shlex import quote

from tests.blocks import blocks, sources

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "quickstart.md"


def test_every_command_prints_what_the_quick_start_says(tmp_path):
    (program,) = sources(PAGE, "python")
    (tmp_path / "shop.py").write_text(program, encoding="utf-8")
    python = tmp_path / "python"  # no link: by its own path alone does a Python know which environment it belongs to
    python.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    paths = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    environment = {**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    shown = [
        (block.source, following.source)
        for block, following in pairwise(blocks(PAGE))
        if (block.language, following.language) == ("sh", "text")
    ]
    assert len(shown) == len(sources(PAGE, "text")) > 5
    for command, expected in shown:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == expected, command
        assert (done.returncode == 0) is ("DIE" not in command), done.stderr


def test_an_order_that_can_not_be_read_keeps_nobody_from_the_others_and_to_start_twice_is_to_start_once(tmp_path):
    (program,) = sources(PAGE, "python")
    (tmp_path / "shop.py").write_text(program, encoding="utf-8")

    def shop(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "shop.py", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    shop("start", "order-1", "tea")
    assert shop("start", "order-1", "tea").stdout == "order-1 is Waiting, result: None\n"
    with closing(sqlite3.connect(tmp_path / "orders.db")) as db, db:
        db.execute("INSERT INTO orders VALUES ('order-0', 0, 0, x'7B7D')")
        db.execute("UPDATE orders SET wake_at = 1 WHERE id = 'order-1'")
    woken = shop("wake")
    assert "order-0 can't go on now" in woken.stderr
    assert woken.stdout == "order-1 is Waiting, result: None\n"
    assert shop("show", "order-2").stdout == "LookupError: there is no order 'order-2'\n"


def test_the_recorded_session_is_that_of_the_quick_start():
    session = ""
    for language, source, _ in blocks(PAGE):
        if language == "text":
            session += source
        elif "shop.py" in source and language == "sh":
            session += f"$ {source}"
    picture = (ROOT / "docs" / "pictures" / "terminal.svg").read_text(encoding="utf-8")
    drawn = [unescape(re.sub("<[^>]*>", "", line)) for line in re.findall("<text .*?</text>", picture)]
    assert [line for line in drawn if line != "Killed"] == session.splitlines(), "run `make recording`"
    assert drawn.count("Killed") == 1


def test_a_still_picture_of_the_session_shows_its_first_command_and_what_that_printed():
    command, printed = next(
        (block.source, following.source)
        for block, following in pairwise(blocks(PAGE))
        if (block.language, following.language) == ("sh", "text")
    )
    picture = (ROOT / "docs" / "pictures" / "terminal.svg").read_text(encoding="utf-8")
    still = re.sub("<g .*?</g>", "", picture)
    drawn = [unescape(re.sub("<[^>]*>", "", line)) for line in re.findall("<text .*?</text>", still)]
    assert drawn == [f"$ {command.strip()}", *printed.splitlines()]
