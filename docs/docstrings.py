"""Docstrings and signatures, as the site shows them.

The docstrings hold doctests as Python knows them: a paragraph that begins with ``>>>``. In Markdown that is a quotation of a
quotation of a quotation, so each such paragraph is put into a fence.

What exists for type checkers alone is full of private type parameters, which tell a reader nothing: the overloads are left out,
and so are the parameters.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Doctests", "Signatures"]

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
PRIVATE = re.compile(r"\b_[A-Za-z]")


class Doctests(griffe.Extension):
    """An extension of griffe, which reads the docstrings for mkdocstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Put the examples of one docstring into fences."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)


class Signatures(griffe.Extension):
    """An extension of griffe that takes what is private out of signatures."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Take private overloads, type parameters and defaults out of one function."""
        annotations = [parameter.annotation for overload in func.overloads or () for parameter in overload.parameters]
        if any(PRIVATE.search(str(annotation)) for annotation in annotations):
            func.overloads = None
        func.returns = _public(func.returns)
        for parameter in func.parameters:
            parameter.annotation = _public(parameter.annotation)
            if PRIVATE.search(str(parameter.default)):
                parameter.default = "..."


def _public(annotation: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """``Statement`` of ``Statement[_FirstT]``; any other annotation as it is."""
    if isinstance(annotation, griffe.ExprSubscript) and PRIVATE.search(str(annotation.slice)):
        return annotation.left
    return annotation
