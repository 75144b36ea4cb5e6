"""The examples have no findings but those that they silence, each with its reason."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from flowstmt import lint
from tests.lint.snippets import workflows

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
WITH_WORKFLOWS = [path for path in sorted(EXAMPLES.glob("*.py")) if "def definition" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_has_no_findings(path):
    found = workflows(importlib.import_module(f"examples.{path.stem}"))
    assert found
    assert lint.check(*found) == []


def test_what_examples_silence_they_give_a_reason_for():
    comments = [
        line for path in WITH_WORKFLOWS for line in path.read_text(encoding="utf-8").split("\n") if "flowstmt: ignore" in line
    ]
    assert comments
    assert [comment for comment in comments if not re.search(r"ignore\[FS\d+\] \w+", comment)] == []
