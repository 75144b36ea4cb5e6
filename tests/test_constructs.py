"""The page that maps constructs of others: every row leads to an example that is executed, and no example is without a row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.blocks import prose

PAGE = Path(__file__).parent.parent / "docs" / "constructs.md"
TABLES, _, EXAMPLES = PAGE.read_text(encoding="utf-8").partition("\n## Examples\n")


def rows(system: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    (table,) = re.findall(rf"^## {system}$(.*?)(?=^## |\Z)", TABLES, re.MULTILINE | re.DOTALL)
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]


def anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def executed() -> set[str]:
    """The sections that hold a block of Python: test_readme.py runs all of them."""
    sections = re.split(r"^### ", EXAMPLES, flags=re.MULTILINE)[1:]
    return {anchor(section.splitlines()[0]) for section in sections if "```python\n" in section}


@pytest.mark.parametrize("system", ["Plain Python", "AWS Step Functions", "Temporal", "DBOS"])
def test_every_construct_leads_to_an_example_that_is_executed(system: str) -> None:
    found = rows(system)
    assert len(found) > 20
    for row in found:
        construct, here, example = row
        targets = re.findall(r"\]\(#([\w-]+)\)", example)
        assert construct, row
        assert here, row
        assert targets, row
        assert set(targets) <= executed(), row


def test_every_example_is_led_to() -> None:
    headings = {anchor(heading) for heading in re.findall(r"^### (.+)$", prose(PAGE), re.MULTILINE)}
    assert headings == executed()
    assert headings == set(re.findall(r"\]\(#([\w-]+)\)", TABLES))
