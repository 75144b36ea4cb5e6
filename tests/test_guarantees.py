"""The page of guarantees names tests: they must exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text()


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    written = {name for file in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    assert len(named) > 20
    assert named <= written


def test_every_guarantee_of_the_readme_has_its_tests() -> None:
    readme = (TESTS.parent / "README.md").read_text()
    promised = re.findall(r"^\d\. \*\*(.+?)\.\*\*", readme, flags=re.MULTILINE)
    assert promised == [row[0].strip() for row in re.findall(r"^\| (\w[\w ]*) \|(.*)$", PAGE, flags=re.MULTILINE)[1:]]
