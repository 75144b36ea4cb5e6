"""The statements of failure: what happens when an action fails, and what has to happen whatever does.

The rules of ``statements.py`` hold here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstmt.core.policies import ErrorFilter
from flowstmt.core.statements import Statement

__all__ = ["Catch", "Fail", "Finally", "Saga", "Try"]


class Catch(Statement):
    """What a ``Try`` does about some errors; made by ``Try.catch``."""

    __slots__ = ("body", "errors", "into")

    def __init__(self, errors: ErrorFilter, *body: Statement, into: str | Callable[..., Any] | None = None) -> None:
        self.errors = errors
        self.body = body
        self.into = into


class Finally(Statement):
    """What a ``Try`` does on every way out; made by ``Try.finally_``."""

    __slots__ = ("body",)

    def __init__(self, *body: Statement) -> None:
        self.body = body


class Try(Statement):
    """Run the body; ``catch`` and ``finally_`` add what Python's ``except`` and ``finally`` would.

    A failure is an action that raised and is not tried again. The first catch that matches takes it, that of the innermost
    ``Try`` first. ``finally_`` runs on every way out: the end, Break, Continue, Return, a failure, the end of the run.

    >>> from flowstmt import S
    >>> tree = Try("pay", S()).catch(ValueError, S()).finally_(S())
    >>> [type(part).__name__ for part in tree.body]
    ['S', 'Catch', 'Finally']
    """

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body: tuple[Statement, ...] = body
        self.was = was

    def catch(self, errors: ErrorFilter, *body: Statement, into: str | Callable[..., Any] | None = None) -> Try:
        """This ``Try`` with a body for some errors.

        ``errors`` is a class of exceptions, its name, the name of a ``Fail``, a predicate that takes the exception, or a tuple
        of these. ``into`` keeps the error, an ``ErrorInfo``, in a field.
        """
        return self._with(Catch(errors, *body, into=into))

    def finally_(self, *body: Statement) -> Try:
        """This ``Try`` with a body that runs on every way out. Nothing interrupts it, the end of the run neither."""
        return self._with(Finally(*body))

    def _with(self, part: Statement) -> Try:
        # A new one: a Try of a module, extended in two definitions, must not collect the parts of both.
        longer = Try.__new__(Try)
        longer.name = self.name
        longer.was = self.was
        longer.body = (*self.body, part)
        return longer


class Fail(Statement):
    """Fail here, for good: a ``Try`` around may catch it by this name, or as a ``FinalError``; else the run fails.

    ``message`` says why, to people; a text or a callable that returns one.
    """

    __slots__ = ("message", "name", "was")

    def __init__(self, name: str, message: str | Callable[..., Any], *, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.message = message
        self.was = was


class Saga(Statement):
    """Run the body; if it fails for good, or is cancelled, undo its steps before the failure goes outward.

    Undone are the completed steps that have a ``compensate``, the newest first, each as a step of its own: checkpointed, and
    tried again when it fails.
    """

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body = body
        self.was = was
