"""Where flowstmt can say something: read from its source, so that a new message without a row is found.

Two readings, as neither sees all. Places that raise or report a fault, by line: each must have had a part in a row. Texts, by
what is fixed in them: each must be read on the page (a text may be put together far from where it is raised).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flowstmt

PACKAGE = Path(flowstmt.__file__).parent

NO_MESSAGES = {
    "_StopIterationError": "never leaves drive.py",
    "_UnprintableError": "never leaves testing/source.py",
    "UnsendableError": "the same is then done in another way, which says what is wrong with it",
    "AttributeError": "what Python says of any module",
    "Killed": "a death of the harness's own making: nobody reads it",
    "PydanticSerializationUnexpectedValue": "pydantic raises another error with its text",
}
"""What is raised, but by its class alone."""

NO_LIBRARY = ("testing/store_suite/",)
"""What it says is said by a test that fails, to whoever writes a store: of its asserts no two stores fail alike."""

NO_MODULES = {
    "core/state.py": "its tables say why a status changes: they are drawn in docs/states.md",
    "testing/source.py": "writes the source of tests",
    "control.py": "its table says what is legal when: drawn in docs/states.md; its notes are in docs/control.md",
    **dict.fromkeys(
        [
            f"describe/{name}.py"
            for name in (
                "approvals",
                "charts",
                "joins",
                "jumps",
                "kinds",
                "labels",
                "marks",
                "outline",
                "payloads",
                "tree_json",
                "wording",
            )
        ],
        "draws, and writes JSON",
    ),
    **dict.fromkeys(
        [f"lint/{name}.py" for name in ("captures", "findings", "methods", "purity", "reach", "sagas", "threads", "waits")],
        "findings: docs/lint.md has one of each, tests/lint holds them",
    ),
    "lint/silences.py": "findings as well",
    **dict.fromkeys(
        ["cli/commands.py", "cli/logs.py", "cli/migrate.py", "cli/worker.py"],
        "help, what is done, and a log: held by tests/cli; what is wrong with an engine or database is raised",
    ),
    "lint/command.py": "the help of a command; what is wrong with a target is raised",
}
"""Modules whose texts, but for what they raise, are read elsewhere."""

NO_TEXTS = {
    "module {} has no attribute {}": "what Python says of any module",
    "flowstmt engine": "the name of a thread",
    "{}flowstmt {}: {}: {}\n": "what a command puts around a message",
    "flowstmt action": "the name of a thread",
    "flowstmt worker": "the name of a task",
    "flowstmt worker, engine": "the name of a thread",
    "flowstmt worker, listening": "the name of a thread",
    "flowstmt run {}": "the name of a task",
    "engine {}, reading": "the name of a lane: the page has the one that writes",
    "forked from the run {}": "a note in a state",
    "the process is dead": "said by the harness, to nobody",
    "clock {}": "a line of a trace",
    "control {}": "a line of a trace",
    "control ": "begins such a line",
    "its start": "a part of such a line",
    "task {} of {}": "a label of an instant at which a process can die",
    "breaks {}": "for keywords that jsonschema may learn",
    "its end": "stands in for such a label",
    "its thread was here when its time was over": "heads a traceback, as the cause of what is on the page",
    "Mend it: no run can begin before": "a part of a finding",
    "if 1:\n": "a line of Python",
    "PostgresStore({}, schema={})": "a repr",
    "a migration ends within a statement: {}": "said to whoever writes SQL, by every test of the store",
    "two statements are called {}": "said to whoever writes SQL, by every test of the store",
    "set up": "names what two plays are compared by",
    "torn down": "names what two plays are compared by",
}
"""What looks like a message and is none."""

SQL = re.compile(r"(PRAGMA|SAVEPOINT|ROLLBACK TO|RELEASE) ")
"""Begins what a database is told, not a person."""


@dataclass(frozen=True)
class Place:
    """The lines of a statement that raises, or of a call that reports a fault."""

    path: Path
    first: int
    last: int
    source: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.first}: {self.source}"

    def is_among(self, sites: set[tuple[str, int]]) -> bool:
        """Whether one of its lines is."""
        return any((str(self.path), line) in sites for line in range(self.first, self.last + 1))


@dataclass(frozen=True)
class Text:
    """A text with gaps."""

    path: Path
    line: int
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line}: {'{}'.join(self.parts)!r}"

    def is_in(self, said: str) -> bool:
        """Whether it can be read there, whatever stands in its gaps."""
        at = 0
        for part in self.parts:
            found = said.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return True


def _modules() -> Iterator[tuple[Path, str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix().startswith(NO_LIBRARY):
            continue
        source = path.read_text(encoding="utf-8")
        yield path, source, ast.parse(source)


def places() -> Iterator[Place]:
    """Every ``raise`` of a new error, and every fault of a definition."""
    for path, source, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                called = node.exc.func
                if isinstance(called, ast.Name) and called.id in NO_MESSAGES:
                    continue
            elif not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("fault", "_fault")
            ):
                continue
            lines = (ast.get_source_segment(source, node) or "").splitlines()
            yield Place(path, node.lineno, node.end_lineno or node.lineno, " ".join(line.strip() for line in lines))


def texts() -> Iterator[Text]:
    """Every text of several words, or of words and gaps, that is not a docstring."""
    for path, _, tree in _modules():
        if path.relative_to(PACKAGE).as_posix() in NO_MODULES:
            continue
        passed_over = set(_no_texts(tree))
        for node in ast.walk(tree):
            if node in passed_over:
                continue
            parts: tuple[str, ...] = ()
            if isinstance(node, ast.JoinedStr):
                parts = tuple(_parts(node))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " | " not in node.value:
                parts = tuple(re.split(r"\{\}|%[rs]|%\.\df", node.value))
            is_pattern = any("\\" in part for part in parts) or SQL.match(parts[0] if parts else "") is not None
            if any(re.search(r"[a-z] | [a-z]", part) for part in parts) and "{}".join(parts) not in NO_TEXTS and not is_pattern:
                yield Text(path, node.lineno, parts)  # type: ignore[attr-defined] # all expressions have lines


def _parts(text: ast.JoinedStr) -> Iterator[str]:
    """What stands between the gaps, also where there is nothing."""
    part = ""
    for value in text.values:
        if isinstance(value, ast.Constant):
            part += str(value.value)
        else:
            yield part
            part = ""
    yield part


def _no_texts(tree: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, annotations, and the parts of other texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield from node.values
        elif isinstance(node, ast.AnnAssign):
            yield from ast.walk(node.annotation)
            if isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias" and node.value is not None:
                yield from ast.walk(node.value)
