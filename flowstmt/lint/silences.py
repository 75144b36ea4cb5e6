"""Comments that silence findings where they stand: ``# flowstmt: ignore[FS101] the warehouse always answers``.

Rules:

1. A comment is about what begins or ends on its line; one that has its line to itself, about the next line. On the line of a
   ``def`` it is about all that this function makes, on that of a ``class`` about all in it.
2. It names codes. One that silences nothing is a finding itself: it would hide the next mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flowstmt.lint.findings import CODES, Finding, Span
from flowstmt.lint.sources import Source

__all__ = ["Silence", "silences", "unsilenced"]

_COMMENT = re.compile(r"#\s*flowstmt:\s*ignore\b(?:\[([^\]]*)\])?")


@dataclass(slots=True)
class Silence:
    """A comment, and the codes in it that have silenced something so far."""

    file: str
    line: int
    codes: list[str]
    lines: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def takes(self, finding: Finding) -> bool:
        """Whether the comment is about a finding."""
        return finding.code in self.codes and any(
            span.file == self.file and not span.lines.isdisjoint(self.lines) for span in finding.spans
        )


def silences(sources: Iterable[Source]) -> list[Silence]:
    """The comments in some functions."""
    found: dict[tuple[str, int], Silence] = {}
    for source in sources:
        for line, (comment, alone) in source.comments.items():
            match = _COMMENT.search(comment)
            if match is None:
                continue
            codes = [code.strip() for code in (match[1] or "").split(",") if code.strip()]
            silence = found.setdefault((source.file, line), Silence(source.file, line, codes))
            silence.lines.add(_next_line(source, line) if alone else line)
            if line in source.head:
                silence.lines |= set(range(source.first, source.last + 1))
    return [found[key] for key in sorted(found)]


def _next_line(source: Source, line: int) -> int:
    while line in source.comments and source.comments[line][1]:
        line += 1
    return line


def unsilenced(findings: Iterable[Finding], comments: list[Silence], workflow: str) -> Iterator[Finding]:
    """The findings that no comment is about, and the comments that are about none."""
    for finding in findings:
        taking = [comment for comment in comments if comment.takes(finding)]
        for comment in taking:
            comment.used.add(finding.code)
        if not taking:
            yield finding
    for comment in comments:
        for code in comment.codes or [""]:
            if code not in comment.used:
                yield _unused(comment, code, workflow)


def _unused(comment: Silence, code: str, workflow: str) -> Finding:
    cure = "Take it out"
    if not code:
        message, cure = "it names no code", "Write # flowstmt: ignore[FS101], and why"
    elif code not in CODES:
        message, cure = f"there is no code {code!r}", "See docs/lint.md, or python -m flowstmt lint --codes"
    else:
        message = f"nothing here is a finding {code}"
    span = Span(comment.file, frozenset((comment.line,)))
    return Finding("FS001", workflow, "an ignore comment", message, cure, comment.file, comment.line, (span,))
