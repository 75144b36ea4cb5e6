"""What the documents show in fences: block by block, each with its language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of a document."""

    language: str
    source: str
    lines_above: int


def blocks(document: Path) -> list[Block]:
    """All blocks of a document, in their order."""
    text = document.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2))) for found in _FENCE.finditer(text)]


def sources(document: Path, language: str) -> list[str]:
    """The blocks of one language."""
    return [block.source for block in blocks(document) if block.language == language]


def prose(document: Path) -> str:
    """What stands between the blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))
