"""All checks of a definition, one after the other: the one table to which a new family of findings adds a line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flowstmt.core.statements import Statement
from flowstmt.errors import DefinitionError
from flowstmt.lint.callables import plain_function
from flowstmt.lint.captures import check_captures
from flowstmt.lint.findings import CODES, Finding
from flowstmt.lint.methods import check_methods
from flowstmt.lint.purity import check_purity
from flowstmt.lint.reach import check_reach
from flowstmt.lint.sagas import check_sagas
from flowstmt.lint.silences import silences, unsilenced
from flowstmt.lint.sources import Library
from flowstmt.lint.subjects import Subject, subject_of
from flowstmt.lint.threads import check_threads
from flowstmt.lint.waits import check_waits

__all__ = ["check", "check_each"]

log = logging.getLogger("flowstmt.lint")

_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_waits,
    check_sagas,
    check_threads,
    check_reach,
    check_purity,
    check_captures,
    check_methods,
)


def check(*subjects: Any, ignore: Iterable[str] = ()) -> list[Finding]:
    """What will probably not do what was meant, in the definitions of workflow objects or classes, or in trees of statements.

    No action is run. An instance-style class is built on an object that is made up; hand in an object if its definition
    needs one that holds data. What was silenced by a comment is left out, and so are the codes in ``ignore``. Faults for which
    a definition can't be linked are findings too; a ``DefinitionError`` is raised if there is nothing that could be looked at.

    Where the source of a definition is not to be had, what needs it is not checked; the log ``flowstmt.lint`` says so.

    >>> from datetime import timedelta
    >>> from flowstmt import On, Step, S, Timeout, Wait
    >>> (found,) = check(S(Wait("payment", On("paid")), Step("ship", print)))
    >>> found.code, found.place, found.message
    ('FS101', "Wait 'payment'", 'nothing but somebody outside ends it: if nobody does, the run waits for ever')
    """
    found, unusable = check_each(subjects, ignore)
    for error in unusable:
        raise error
    return found


def check_each(subjects: Sequence[Any], ignore: Iterable[str] = ()) -> tuple[list[Finding], list[DefinitionError]]:
    """The same, with the errors of those that could not be looked at."""
    ignored = frozenset(ignore)
    unknown = sorted(ignored - CODES.keys())
    if unknown:
        raise ValueError(f"there is no code {unknown[0]!r} to ignore: flowstmt.lint.CODES has them all")
    library = Library()
    found: list[Finding] = []
    unusable = []
    for subject in subjects:
        try:
            found += _found(subject, library)
        except DefinitionError as error:
            unusable.append(error)
    for code in library.missing:
        if code.co_name == "definition":
            log.warning("the source of %s is not to be had: what needs it was not checked", code.co_qualname)
    # After all of them: definitions share functions, and a comment in one of these may be about the other definition.
    names = {_name(subject) for subject in subjects}
    left = unsilenced(dict.fromkeys(found), silences(library.read()), names.pop() if len(names) == 1 else "definition")
    return sorted([finding for finding in left if finding.code not in ignored], key=_order), unusable


def _found(subject: Any, library: Library) -> Iterator[Finding]:
    try:
        linted = subject_of(subject, library)
    except DefinitionError as error:
        if not error.faults:
            raise
        code = getattr(plain_function(getattr(subject, "definition", None)), "__code__", None)
        where = (None, None) if code is None else (code.co_filename, code.co_firstlineno)
        for fault in error.faults:
            # A name holds no colon, and a fault that is not about a statement is about what definition() returns.
            place, _, message = fault.partition(" " if fault.startswith("definition() ") else ": ")
            yield Finding("FS002", _name(subject), place, message, "Mend it: no run can begin before", *where)
        return
    for one in _CHECKS:
        yield from one(linted)


def _name(subject: Any) -> str:
    if isinstance(subject, Statement):
        return "definition"
    return (subject if isinstance(subject, type) else type(subject)).__name__


def _order(finding: Finding) -> tuple[str, int, str]:
    return finding.file or "", finding.line or 0, finding.code
