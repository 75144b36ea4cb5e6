"""What is described: a definition, linked, with the values of one build.

What is described need not be what runs, so nothing is kept on the class: a picture of a class's default data must not decide
what its shape is, nor be refused because a run has decided otherwise.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.program import Program, is_class_style, program_of
from flowstmt.core.statements import Statement
from flowstmt.errors import DefinitionError, said

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A linked definition, the values of one build, and the class that it is of (None: a tree without one)."""

    program: Program
    values: list[Any]
    cls: type[Any] | None

    @property
    def name(self) -> str:
        """What the definition is called."""
        return "definition" if self.cls is None else self.cls.__name__

    @property
    def style(self) -> str:
        """How the definition is written."""
        if self.cls is None:
            return "tree"
        return "class" if self.program.class_style else "instance"

    @property
    def root(self) -> Node:
        """The outermost statement."""
        return self.program.nodes[0]


def subject_of(subject: Any) -> Subject:
    """The definition of a workflow object, a workflow class or a tree. Raises ``DefinitionError``."""
    if isinstance(subject, Statement):
        return Subject(*program_of(subject), None)
    if not isinstance(subject, type):
        return Subject(*program_of(subject), type(subject))
    if not callable(getattr(subject, "definition", None)) or is_class_style(subject):
        return Subject(*program_of(subject), subject)
    try:
        return Subject(*program_of(_by_default(subject)), subject)
    except DefinitionError as error:
        if error.__cause__ is None:
            raise
        # Its definition may be right, and only not be made for data that nobody has filled in.
        raise DefinitionError(
            f"{error}. It was built on an object made of defaults: describe an object that holds data"
        ) from error.__cause__


def _by_default(cls: type[Any]) -> Any:
    """An object of an instance-style class, made of the defaults of its fields."""
    missing = [
        parameter.name
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing:
        raise DefinitionError(
            f"{cls.__name__}: its definition() needs an object, and {', '.join(map(repr, missing))} "
            f"{'has' if len(missing) == 1 else 'have'} no default: describe an object of it, {cls.__name__}(...), or make "
            "definition() a class method"
        )
    try:
        return cls()
    except Exception as error:  # noqa: BLE001 the user's class may raise anything; it is reported
        raise DefinitionError(
            f"{cls.__name__}: its definition() needs an object, and making one of defaults raised {said(error)}: describe "
            "an object of it"
        ) from None
