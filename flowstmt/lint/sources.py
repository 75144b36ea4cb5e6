"""Functions as they were written: their syntax trees and the comments in them.

One function at a time, and not a file: what stands in a document or a notebook is no module that could be parsed. Columns and
lines are those of the file, so that what the interpreter says of a call can be found in the tree.

What this module must not know: statements.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, TypeAlias

__all__ = ["Function", "Library", "Source", "Written", "body_of", "own_nodes"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Written: TypeAlias = Function | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Source:
    """A function or a class as it was written.

    ``comments`` are those in it by their lines, with whether each has its line to itself; ``calls`` are the calls in it by
    where they end, which no two do at the same place; ``functions`` are those in it, and itself.
    """

    file: str
    node: Written
    first: int
    last: int
    comments: Mapping[int, tuple[str, bool]]
    calls: Mapping[tuple[int, int], ast.Call]
    functions: list[Function]

    @property
    def head(self) -> range:
        """The lines before the body: decorators and signature."""
        if isinstance(self.node, ast.Lambda):
            return range(0)
        return range(self.first, max(self.node.body[0].lineno, self.first + 1))

    def inner(self, code: CodeType) -> Function | None:
        """The function of this code, if it stands inside of this one."""
        if code.co_filename != self.file or not self.first <= code.co_firstlineno <= self.last:
            return None
        found = _one_of(self.functions, code)
        return found if found is not self.node else None


class Library:
    """The sources of functions and classes, each read once."""

    def __init__(self) -> None:
        self._known: dict[CodeType | type[Any], Source | None] = {}

    def source(self, written: CodeType | type[Any]) -> Source | None:
        """The source of a function, or that of a class; None if it is not to be had."""
        if written not in self._known:
            self._known[written] = self._inside(written) or _read(written)
        return self._known[written]

    def _inside(self, written: CodeType | type[Any]) -> Source | None:
        """The source of a function inside of another one that was read. By itself it may not be parsed: a line in a call."""
        for outer in self.read():
            node = outer.inner(written) if isinstance(written, CodeType) else None
            if node is not None:
                return replace(
                    outer, node=node, first=node.lineno, last=node.end_lineno or node.lineno, functions=_functions(node)
                )
        return None

    @property
    def missing(self) -> list[CodeType]:
        """The functions that have no source."""
        return [each for each, source in self._known.items() if source is None and isinstance(each, CodeType)]

    def read(self) -> list[Source]:
        """All that were found."""
        return [source for source in self._known.values() if source is not None]


def _read(written: CodeType | type[Any]) -> Source | None:
    try:
        lines, first = inspect.getsourcelines(written)
        # What is indented needs something around it. To dedent it would move columns, and change texts of many lines.
        shift = 1 if lines[0][:1].isspace() else 0
        text = "if 1:\n" * shift + "".join(lines)
        tree = ast.parse(text)
    except (OSError, TypeError, IndexError, SyntaxError, ValueError, tokenize.TokenError):
        return None  # no file; not that of the running code; or a lambda in the midst of an expression
    ast.increment_lineno(tree, first - 1 - shift)
    functions = _functions(tree)
    node = _one_of(functions, written) if isinstance(written, CodeType) else _class_in(tree, written)
    if node is None:
        return None
    ends = [(call, call.end_lineno, call.end_col_offset) for call in ast.walk(tree) if isinstance(call, ast.Call)]
    calls = {(line, column): call for call, line, column in ends if line is not None and column is not None}
    comments = {first - 1 - shift + line: comment for line, comment in _comments(text)}
    file = written.co_filename if isinstance(written, CodeType) else inspect.getfile(written)
    return Source(file, node, first, first + len(lines) - 1, comments, calls, functions)


def _class_in(tree: ast.Module, cls: type[Any]) -> ast.ClassDef | None:
    """The class, if that is what stands there: one of several of the same name can't be told from the others."""
    node = next((node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)), None)
    codes = [code for each in vars(cls).values() if isinstance(code := getattr(each, "__code__", None), CodeType)]
    own = [code.co_firstlineno for code in codes if code.co_filename == inspect.getfile(cls)]  # a dataclass has others
    fits = node is not None and all(node.lineno <= line <= (node.end_lineno or 0) for line in own)
    return node if fits else None


def _comments(text: str) -> Iterator[tuple[int, tuple[str, bool]]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], (token.string, not token.line[: token.start[1]].strip())


def _functions(tree: ast.AST) -> list[Function]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _one_of(functions: list[Function], code: CodeType) -> Function | None:
    """The function that was compiled to this code."""
    if code.co_name == "<lambda>":
        start, end = _extent(code)
        around = [node for node in functions if isinstance(node, ast.Lambda) and _holds(node.body, start, end)]
        return max(around, key=lambda node: (node.lineno, node.col_offset), default=None)
    for node in functions:
        if not isinstance(node, ast.Lambda) and node.name == code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= code.co_firstlineno <= node.lineno:
                return node
    return None


def _extent(code: CodeType) -> tuple[tuple[int, int], tuple[int, int]]:
    """From where to where the expression of a lambda goes."""
    starts: list[tuple[int, int]] = []
    ends: list[tuple[int, int]] = []
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None:
            continue
        if (line, column) != (end_line, end_column):
            starts.append((line, column))
            ends.append((end_line, end_column))
    # Without any (python -X no_debug_ranges) it is found nowhere.
    return min(starts, default=(0, 0)), max(ends, default=(0, 0))


def _holds(node: ast.expr, start: tuple[int, int], end: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) <= start and end <= (node.end_lineno or 0, node.end_col_offset or 0)


def body_of(written: Written) -> list[ast.stmt] | list[ast.expr]:
    """What a function does, without its parameters and decorators."""
    return [written.body] if isinstance(written, ast.Lambda) else written.body


def own_nodes(written: Written, without: frozenset[ast.AST] = frozenset()) -> Iterator[ast.AST]:
    """All nodes in the body of a function, in the order of the source, but for those ``without`` and what is in them."""
    stack: list[ast.AST] = list(reversed(body_of(written)))
    while stack:
        node = stack.pop()
        if node not in without:
            yield node
            stack.extend(reversed(list(ast.iter_child_nodes(node))))
