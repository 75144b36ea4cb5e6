"""The documents tell the truth: every Python block in them runs, every file and make target that they name exists."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from flowstmt.core.state import EVENT_TRANSITIONS, RUN_TRANSITIONS, THREAD_TRANSITIONS
from tests.blocks import blocks, prose, sources

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS = [*GUIDES, ROOT / "CONTRIBUTING.md"]
# The page of guarantees is a table of tests, which test_guarantees.py holds against the suite; that of examples one of files.
EXECUTED = [document for document in GUIDES if document.stem not in ("guarantees", "examples")]

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@pytest.mark.parametrize("document", EXECUTED, ids=lambda path: path.name)
def test_every_python_block_runs(document, tmp_path, monkeypatch, request):
    found = [block for block in blocks(document) if block.language == "python"]
    assert found
    if "import psycopg" in document.read_text(encoding="utf-8"):
        # What psycopg.connect() connects to.
        for key, value in conninfo_to_dict(request.getfixturevalue("postgres")(document.stem.lower())).items():
            monkeypatch.setenv({"dbname": "PGDATABASE"}.get(key, f"PG{key.upper()}"), str(value))
    # Blocks of one document go on from each other. A real module: annotations are looked up in it.
    module = ModuleType(f"document_{document.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    for block in found:
        # As many empty lines: a traceback then points into the document.
        tree = ast.parse("\n" * block.lines_above + block.source)
        for statement in tree.body:
            if isinstance(statement, ast.Try) and not statement.orelse:
                statement.orelse = ast.parse("raise AssertionError('the error that is shown was not raised')").body
        exec(compile(tree, str(document), "exec"), module.__dict__)
    for value in vars(module).values():
        if hasattr(value, "execute") and hasattr(value, "close"):
            value.close()


@every_document
def test_every_block_says_its_language(document):
    fences = re.findall(r"^```.*$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {"```python", "```sh", "```json", "```text", "```mermaid"}
    assert set(fences[1::2]) <= {"```"}


@every_document
def test_every_make_target_exists(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = sources(document, "sh") + re.findall(r"`(make [^`\n]+)`", prose(document))
    named = {name for source in code for name in re.findall(r"\bmake ([a-z]+)", source)}
    assert named <= targets
    assert named or document.name not in ("README.md", "CONTRIBUTING.md")


@every_document
def test_every_link_leads_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


def test_the_diagrams_of_the_states_are_those_of_the_tables():
    drawn = runpy.run_path(str(ROOT / "docs" / "draw_states.py"))["page"]()
    committed = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    assert committed == drawn, "docs/states.md is not what the transition tables say: run `make diagrams`"


def test_every_transition_of_the_tables_is_drawn():
    diagrams = sources(ROOT / "docs" / "states.md", "mermaid")
    tables: list[Mapping[Any, Mapping[Any, str]]] = [RUN_TRANSITIONS, THREAD_TRANSITIONS, EVENT_TRANSITIONS]
    for diagram, table in zip(diagrams, tables, strict=True):
        found = set(re.findall(r"^    (\w+) --> (\w+): (.+)$", diagram, re.MULTILINE))
        assert found == {(before, after, why) for before, afters in table.items() for after, why in afters.items()}
        assert "[*] --> " in diagram
        assert " --> [*]" in diagram


def test_the_layout_has_a_line_for_every_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = [path for path in ROOT.glob("flowstmt/**/*.py") if path.stem != "__init__"]
    assert [path.name for path in modules if not re.search(rf"^ +{path.name} ", text, re.MULTILINE)] == []


def test_the_first_screen_shows_a_workflow_and_runs_it():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = "\n".join(lines[:50])
    assert "def definition(self):" in first
    assert 'engine.start(Order("tea"), run_id="order-1")' in first
    assert "WHERE id = ? AND revision = ?" in "\n".join(lines[:80])
