"""Examples in docstrings, as the site shows them.

The docstrings hold doctests as Python knows them: a paragraph that begins with ``>>>``. In Markdown that is a quotation of a
quotation of a quotation, so each such paragraph is put into a fence.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Doctests"]

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


class Doctests(griffe.Extension):
    """An extension of griffe, which reads the docstrings for mkdocstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Put the examples of one docstring into fences."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
