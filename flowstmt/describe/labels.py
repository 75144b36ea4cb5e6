"""Words as labels of Mermaid boxes and arrows.

Everything that Mermaid would read as its own, or a browser as HTML, is written as an entity, so that any name comes out as it
is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import wrap

from flowstmt.describe.wording import printable

__all__ = ["label"]

_SPECIAL = re.compile(r"""["#&<>`%\\$]""")
_BLANK = "#160;"
_ICON = re.compile(r":(?=fa-)")
_LIST = re.compile(r"^(\d*)([-+*.)])(?=\s|$)")
"""What Markdown takes for the beginning of a list; some versions of Mermaid then draw nothing else."""


def label(lines: Iterable[str], width: int) -> str:
    """Lines of words as one label, broken where they are longer than ``width``."""
    # Whatever is no blank survives: a name of blanks alone must not leave an empty label, which is a fault in Mermaid.
    broken = [part for line in lines for part in wrap(printable(line), width) or [_BLANK]]
    return "<br/>".join(part if part == _BLANK else _escaped(part) for part in broken)


def _escaped(text: str) -> str:
    text = _SPECIAL.sub(lambda found: _entity(found[0]), text)
    text = _LIST.sub(lambda found: found[1] + _entity(found[2]), text)
    return _ICON.sub(_entity(":"), text)


def _entity(character: str) -> str:
    # By number: those with names are decoded once too often where labels are no HTML.
    return f"#{ord(character)};"
