"""``python -m flowstmt lint``: findings on a terminal or for a program, and an exit code for a pipeline."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowstmt.core.program import field_names
from flowstmt.core.statements import Statement
from flowstmt.errors import said
from flowstmt.lint.checks import check_each
from flowstmt.lint.findings import CODES, Finding

__all__ = ["TargetError", "add_arguments", "run", "subjects_of"]

CLEAN, FOUND, UNUSABLE = 0, 1, 2

_TARGETS = """\
targets:
  shop.orders          every workflow class that the module defines
  shop/orders.py       the same, by the file, as seen from this folder
  shop/                the same of all modules below
  shop.orders:Order    one workflow class; an object of one; or a function without parameters that returns one

exit codes: 0 nothing found, 1 findings, 2 a target or an argument can't be used
"""


class TargetError(Exception):
    """A target that names nothing that could be linted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _TARGETS
    parser.add_argument("targets", nargs="*", metavar="target", help="what to lint: module, file, folder, module:Class")
    parser.add_argument("--ignore", action="append", default=[], metavar="CODES", help="leave these out, as in FS101,FS202")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how findings are written (text)")
    parser.add_argument("--codes", action="store_true", help="list all codes, and end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Lint what the arguments name, write the findings to the standard output, and return the exit code."""
    if arguments.codes:
        return _written("".join(f"{code}  {title}\n" for code, title in CODES.items()))
    ignore = [code.strip() for codes in arguments.ignore for code in codes.split(",") if code.strip()]
    unknown = [code for code in ignore if code not in CODES]
    if unknown:
        return _failed([f"--ignore: there is no code {unknown[0]!r}; --codes lists them"])
    if not arguments.targets:
        return _failed(["name a module, or a workflow class as in shop.orders:Order"])
    subjects: dict[int, Any] = {}
    problems = []
    for target in arguments.targets:
        try:
            subjects |= {id(subject): subject for subject in subjects_of(target)}  # each once
        except TargetError as error:
            problems.append(f"{target}: {error}")
    findings, unusable = check_each(list(subjects.values()), ignore)
    problems += map(str, unusable)
    if arguments.format == "json":
        _written(json.dumps([finding.to_json() for finding in findings], indent=2) + "\n")
    else:
        _written("".join(f"{_shown(finding)}\n" for finding in findings))
        if of := len(subjects) - len(unusable):
            count = len(findings)
            _written(f"{count or 'no'} finding{'s' * (count != 1)} in {of} workflow{'s' * (of != 1)}\n")
    if problems:
        return _failed(problems)
    return FOUND if findings else CLEAN


def subjects_of(target: str) -> Iterator[Any]:
    """What a target names. Raises ``TargetError``."""
    name, colon, path = target.partition(":")
    if colon:
        yield _attribute(_module(name), path)
    elif name.endswith("/") or Path(name).is_dir():
        found = [subject for file in _with_definitions(Path(name)) for subject in _workflows(_module(str(file)))]
        if not found:
            raise TargetError("no module below defines a workflow class (a dataclass or pydantic model with a definition())")
        yield from found
    else:
        module = _module(name)
        found = _workflows(module)
        if not found:
            raise TargetError(
                f"the module {module.__name__} defines no workflow class (a dataclass or pydantic model with a definition())"
            )
        yield from found


def _with_definitions(folder: Path) -> Iterator[Path]:
    """The files of a folder that are worth an import: a script, say, may do something at its own."""
    for file in sorted(folder.rglob("*.py")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)  # a .venv, say
        if not hidden and "def definition" in file.read_text(encoding="utf-8", errors="replace"):
            yield file


def _attribute(module: Any, path: str) -> Any:
    """The workflow that a module has under this name."""
    value = module
    for part in path.split("."):
        if not hasattr(value, part):
            raise TargetError(f"{getattr(value, '__name__', 'it')} has no attribute {part!r}")
        value = getattr(value, part)
    if callable(value) and not isinstance(value, type) and not hasattr(value, "definition"):
        try:
            value = value()
        except Exception as error:
            raise TargetError(f"calling it to get a workflow raised {said(error)}") from error
    if not isinstance(value, Statement) and not callable(getattr(value, "definition", None)):
        raise TargetError("is neither a workflow with a definition() nor a function that returns one")
    return value


def _workflows(module: Any) -> list[Any]:
    """The workflow classes that a module defines, and has not from elsewhere."""
    return [value for value in vars(module).values() if _is_workflow(value) and value.__module__ == module.__name__]


def _module(name: str) -> Any:
    if name.endswith(".py"):
        path = Path(os.path.relpath(name)).with_suffix("")
        name = ".".join(path.parent.parts if path.name == "__init__" else path.parts)
    if not name or not all(name.split(".")):
        raise TargetError("name a module as Python imports it, as in shop.orders, or a file below this folder")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise TargetError(f"can't import {name!r}: {said(error)}") from error


def _is_workflow(value: Any) -> bool:
    return isinstance(value, type) and callable(getattr(value, "definition", None)) and field_names(value) is not None


def _shown(finding: Finding) -> str:
    """A finding with its file as seen from here, if it is below."""
    text = str(finding)
    here = f"{Path.cwd()}{os.sep}"
    return text.removeprefix(here)


def _written(text: str) -> int:
    sys.stdout.write(text)
    return CLEAN


def _failed(problems: list[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"flowstmt lint: {problem}\n")
    return UNUSABLE
