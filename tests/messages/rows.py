"""A row of the table: a way to provoke a message, and what was seen on that way.

A row is a function without arguments. Its name says what went wrong; what it raises is the message. What flowstmt logs
meanwhile belongs to it as well.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, TracebackType
from typing import Any

import pytest

from flowstmt.core.checks import Checker
from tests.messages.foreign import in_the_words_of_the_page

Provoke = Callable[[], Any]

Site = tuple[str, int]
"""A file and a line."""


class NothingSaidError(Exception):
    """A row that provokes nothing."""


@dataclass(frozen=True)
class Row:
    """``title`` says what went wrong, ``provoke`` does it."""

    title: str
    provoke: Provoke


@dataclass
class Table:
    """The rows of one part of flowstmt, in the order of the source."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def row(self, provoke: Provoke) -> Provoke:
        """Add a function that provokes a message."""
        self.rows.append(Row(provoke.__name__.replace("_", " "), provoke))
        return provoke

    def add(self, title: str, provoke: Provoke) -> None:
        """Add a row whose title is no name."""
        self.rows.append(Row(title, provoke))


@dataclass
class Provoked:
    """What a row brought to light: ``said`` is what a person reads, ``sites`` are the lines that had a part in it.

    ``chain`` is what a traceback shows beside it: of the errors that led to it, those that it does not suppress.
    """

    said: list[str] = field(default_factory=list)
    sites: set[Site] = field(default_factory=set)
    chain: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def _says(self, text: str) -> None:
        self.said.append(in_the_words_of_the_page(text))

    def _trace(self, trace: TracebackType | None) -> None:
        while trace is not None:
            self._at(trace.tb_frame.f_code, trace.tb_lineno)
            trace = trace.tb_next

    def _at(self, code: CodeType, line: int) -> None:
        self.sites.add((code.co_filename, line))

    def _sites_of(self, error: BaseException) -> None:
        todo, seen = [error], {id(error)}
        while todo:
            found = todo.pop()
            self._trace(found.__traceback__)
            for other in (found.__cause__, found.__context__):
                if other is not None and id(other) not in seen:
                    seen.add(id(other))
                    todo.append(other)

    def raised(self, error: BaseException) -> None:
        """Note an error with all those that led to it."""
        self.error = error
        self._says("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
        self._sites_of(error)
        self._shown_with(error)

    def _shown_with(self, error: BaseException) -> None:
        shown: BaseException | None = error
        while shown is not None and len(self.chain) < 99:
            self.chain += traceback.format_exception_only(shown)
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)

    def logged(self, record: logging.LogRecord) -> None:
        """Note what was logged."""
        self._says(f"{record.levelname} {record.name}: {record.getMessage()}")
        for value in record.args if isinstance(record.args, tuple) else ():
            if isinstance(value, BaseException):
                self._sites_of(value)
        if record.exc_info is not None and record.exc_info[1] is not None:
            self._sites_of(record.exc_info[1])
            self._shown_with(record.exc_info[1])


class _Log(logging.Handler):
    def __init__(self, provoked: Provoked) -> None:
        super().__init__()
        self._provoked = provoked

    def emit(self, record: logging.LogRecord) -> None:
        self._provoked.logged(record)


@contextmanager
def _watched(provoked: Provoked) -> Iterator[None]:
    """Faults are collected, not raised: the line that reports one is in no traceback."""
    fault = Checker.fault

    def watched(checker: Checker, node: Any, what: str) -> None:
        caller = sys._getframe(1)
        provoked._at(caller.f_code, caller.f_lineno)
        fault(checker, node, what)

    logger, handler = logging.getLogger("flowstmt"), _Log(provoked)
    logger.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checker, "fault", watched)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def provoke(row: Row) -> Provoked:
    """What a row says. Raises ``NothingSaidError`` if that is nothing."""
    provoked = Provoked()
    with _watched(provoked):
        try:
            result = row.provoke()
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except BaseException as error:
            provoked.raised(error)
    if not provoked.said:
        raise NothingSaidError(row.title)
    return provoked
