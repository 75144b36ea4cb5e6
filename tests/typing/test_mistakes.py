"""What mypy and pyright say about right and wrong programs, pinned word for word.

``good/`` holds programs that both accept, pyright in strict mode; ``bad/`` one mistake a file. ``mistakes.md`` is what they
say about each, to be read by people: a checker that catches less, more, or says it differently makes a difference there.
``python -m tests.typing.test_mistakes`` writes it anew, and the table in ``docs/types.md``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flowstmt import DefinitionError, State, dump, load, validate

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOOD = sorted(path.stem for path in (HERE / "good").glob("[!_]*.py"))
BAD = sorted(path.stem for path in (HERE / "bad").glob("[!_]*.py"))
PINNED = HERE / "mistakes.md"
GUIDE = ROOT / "docs" / "types.md"

OPENING = """\
# What type checkers say about mistakes

Written by `python -m tests.typing.test_mistakes`; a test holds it up to date. Of what they say about one mistake it is the
part that tells most.

"""

MYPY = re.compile(r"(?P<path>[^:]+):(?P<line>\d+): error: (?P<text>.*?)(?:  \[(?P<rule>[a-z-]+)\])?$")


@dataclass(frozen=True)
class Report:
    """What a checker says about a line of a file."""

    line: int
    rule: str
    text: str


Reports = dict[str, list[Report]]
"""By the path, from ``tests/typing`` on."""


@cache
def checked() -> tuple[Reports, Reports]:
    """What mypy and pyright say. They run once, side by side."""
    files = [str(path.relative_to(ROOT)) for folder in ("good", "bad") for path in sorted((HERE / folder).glob("[!_]*.py"))]
    checkers = [
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--hide-column-numbers", *files],
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *files],
    ]
    started = [
        subprocess.Popen(checker, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for checker in checkers
    ]
    (by_mypy, mypy_went_wrong), (by_pyright, _) = [process.communicate() for process in started]
    assert not mypy_went_wrong
    mypy: Reports = {}
    for line in by_mypy.splitlines():
        found = MYPY.match(line)
        if found is not None:
            mypy.setdefault(_name(found["path"]), []).append(Report(int(found["line"]), found["rule"] or "", found["text"]))
    pyright: Reports = {}
    for report in json.loads(by_pyright)["generalDiagnostics"]:
        told = Report(report["range"]["start"]["line"] + 1, report.get("rule", ""), report["message"])
        pyright.setdefault(_name(report["file"]), []).append(told)
    return mypy, pyright


def _name(path: str) -> str:
    return "/".join(Path(path).with_suffix("").parts[-2:])


def linked(name: str) -> str:
    """What the library says about a bad sample when its definition is linked, or nothing."""
    order = importlib.import_module(f"tests.typing.bad.{name}").Order
    try:
        validate(order())
    except DefinitionError as error:
        return error.faults[0]
    return ""


def the_telling_ones(reports: list[Report]) -> list[Report]:
    """Of all that is said about one mistake: pyright opens with "No overloads", and says the rest once per overload."""
    telling = [report for report in reports if not report.text.startswith("No overloads for")] or reports
    return telling[:1] if telling[0].rule.startswith("report") else telling


def what_is_said(name: str) -> str:
    """A bad sample, and what is said about it."""
    path = HERE / "bad" / f"{name}.py"
    source = path.read_text("utf-8")
    lines = source.splitlines()
    title = ast.get_docstring(ast.parse(source))
    told = [f"## {name}", "", f"{title}", ""]
    at: int | None = None
    for checker, found in zip(("mypy", "pyright"), checked(), strict=True):
        reports = found.get(f"bad/{name}", [])
        if not reports:
            told += [f"{checker}: nothing", ""]
            continue
        for report in the_telling_ones(reports):
            if at != report.line:
                at = report.line
                told += ["```python", lines[at - 1].strip(), "```", ""]
            shown = [line.replace("\xa0", " ") for line in report.text.splitlines()[:4]]
            told += [f"{checker}, {report.rule}:", "", "```text", *shown, "```", ""]
    fault = linked(name)
    told += ["When it is linked:", "", "```text", fault, "```", ""] if fault else ["When it is linked: nothing.", ""]
    return "\n".join(told)


def all_that_is_said() -> str:
    return OPENING + "\n".join(what_is_said(name) for name in BAD)


def table() -> str:
    """Who catches what, for the guide."""
    mypy, pyright = checked()
    rows = ["| mistake | mypy | pyright | when linked |", "|---|---|---|---|"]
    for name in BAD:
        title = ast.get_docstring(ast.parse((HERE / "bad" / f"{name}.py").read_text("utf-8")))
        caught = [f"bad/{name}" in mypy, f"bad/{name}" in pyright, bool(linked(name))]
        rows.append(f"| {title} | {' | '.join('yes' if one else 'no' for one in caught)} |")
    return "\n".join(rows)


def in_guide() -> tuple[str, str, str]:
    before, mark, rest = GUIDE.read_text("utf-8").partition("| mistake |")
    rows, gap, after = (mark + rest).partition("\n\n")
    return before, rows, gap + after


def difference(pinned: str, found: str) -> str:
    lines = difflib.unified_diff(pinned.splitlines(), found.splitlines(), "pinned", "found", lineterm="", n=2)
    return "\n".join(["written anew by `python -m tests.typing.test_mistakes`, if that is as it should be:", *lines])


@pytest.mark.parametrize("name", GOOD)
def test_both_checkers_accept_what_is_right(name: str) -> None:
    mypy, pyright = checked()
    assert mypy.get(f"good/{name}", []) == []
    assert pyright.get(f"good/{name}", []) == []


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_is_checked_in_strict_mode_and_can_be_linked_and_saved(name: str) -> None:
    assert (HERE / "good" / f"{name}.py").read_text("utf-8").startswith("# pyright: strict\n")
    workflows: list[type[Any]] = importlib.import_module(f"tests.typing.good.{name}").WORKFLOWS
    assert workflows
    for cls in workflows:
        validate(cls())
        blob = dump(cls(), State.new("run-1", cls.__name__))
        assert load(cls, blob)[0] == cls()


@pytest.mark.parametrize("name", BAD)
def test_both_checkers_catch_every_mistake_and_nothing_beside_it(name: str) -> None:
    """Each sample has one mistake, within one statement of its definition or one call of a driver."""
    for checker in checked():
        reports = checker.get(f"bad/{name}", [])
        assert reports
        assert len({report.line for report in reports}) == 1


def test_what_they_say_is_what_is_pinned() -> None:
    pinned, found = PINNED.read_text("utf-8"), all_that_is_said()
    assert found == pinned, difference(pinned, found)


def test_the_table_in_the_guide_says_who_catches_what() -> None:
    _, pinned, _ = in_guide()
    found = table()
    assert found == pinned, difference(pinned, found)


if __name__ == "__main__":
    PINNED.write_text(all_that_is_said(), "utf-8")
    before, _, after = in_guide()
    GUIDE.write_text(before + table() + after, "utf-8")
