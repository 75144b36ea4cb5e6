"""What is linted: a linked definition, the values of one build, and where each of its statements was written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.program import is_class_style, program_of
from flowstmt.core.statements import Break, Case, Continue, If, Statement
from flowstmt.errors import DefinitionError
from flowstmt.lint.callables import Held, held, plain_function
from flowstmt.lint.findings import Finding, Span
from flowstmt.lint.sites import Site, Sites, watched
from flowstmt.lint.sources import Library, Source
from flowstmt.lint.stand_ins import made_up

__all__ = ["Place", "Subject", "subject_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement was written; ``call`` is the expression that makes it, if the source is known."""

    file: str
    line: int
    lines: frozenset[int]
    source: Source | None
    call: ast.Call | None


@dataclass(slots=True)
class Subject:
    """A definition to be linted. ``workflow`` is an object, or the class in class style, or None for a tree."""

    name: str
    workflow: Any
    class_style: bool
    nodes: list[Node]
    values: list[Any]
    sites: Sites
    library: Library
    _places: dict[int, Place | None] = field(default_factory=dict)
    _held: dict[int, list[Held]] = field(default_factory=dict)

    @property
    def cls(self) -> type[Any] | None:
        """The workflow's class; None for a tree without one."""
        return self.workflow if isinstance(self.workflow, type) else None if self.workflow is None else type(self.workflow)

    def statement(self, node: Node) -> Any:
        """The statement of this build."""
        return self.values[node.index]

    def _written(self, node: Node) -> Any:
        """The statement that was written down: of one whose action has options there is a copy that has them."""
        if node.parent is None:
            return self.statement(node)
        return self.statement(node.parent).body[node.parent.children.index(node)]

    def held(self, node: Node) -> list[Held]:
        """The functions that a statement holds."""
        if node.index not in self._held:
            self._held[node.index] = list(held(self.statement(node), self.workflow, self.class_style))
        return self._held[node.index]

    def sources(self) -> Iterator[tuple[Source, dict[str, Any], frozenset[str]]]:
        """The functions that made the statements, with their globals, and what they call the workflow."""
        seen = set()
        own = plain_function(getattr(self.workflow, "definition", None))
        first = self.library.source(own.__code__) if own is not None else None
        if own is not None and first is not None:
            seen.add(own.__code__)  # also if it only hands on what was made elsewhere
            yield (
                first,
                own.__globals__,
                self._by_class(own.__globals__).union(own.__code__.co_varnames[: own.__code__.co_argcount]),
            )
        for node in self.nodes:
            site = self.sites.of(self._written(node))
            source = self._source(site) if site is not None else None
            if site is not None and source is not None and site.codes[-1] not in seen:
                seen.add(site.codes[-1])
                yield source, site.scope, site.workflow_names | self._by_class(site.scope)

    def _by_class(self, scope: dict[str, Any]) -> frozenset[str]:
        """The name of the class itself, by which a static method has to call it."""
        return frozenset(name for name in (self.name,) if self.cls is not None and scope.get(name) is self.cls)

    def place(self, node: Node) -> Place | None:
        """Where a statement was written."""
        if node.index not in self._places:
            self._places[node.index] = self._find(node)
        return self._places[node.index]

    def _find(self, node: Node) -> Place | None:
        site = self.sites.of(self._written(node))
        if site is None:
            return self._beside(node)
        source = self._source(site)
        call = source.calls.get(site.end) if source is not None and site.end is not None else None
        return _place(site.codes[0].co_filename, site.line, source, call)

    def _source(self, site: Site) -> Source | None:
        """The function around the call, from the outside in."""
        sources = [self.library.source(code) for code in reversed(site.codes)]
        return next((source for source in sources if source is not None and source.first <= site.line <= source.last), None)

    def _beside(self, node: Node) -> Place | None:
        """The place of a statement whose constructor nobody could watch: that of the nearest one that has one."""
        parent = self.place(node.parent) if node.parent is not None else None
        if parent is None or parent.call is None or node.kind not in (Break, Continue):
            return parent
        siblings = [child for child in node.parent.children if child.kind is node.kind] if node.parent is not None else []
        written = [arg for arg in parent.call.args if isinstance(arg, ast.Call) and called(arg) == node.kind.__name__]
        if len(written) != len(siblings):
            return parent
        call = written[siblings.index(node)]
        return _place(parent.file, call.lineno, parent.source, call)

    def around(self, source: Source, expression: ast.AST) -> Node | None:
        """The innermost statement in whose call an expression stands."""
        start, end = _extent(expression)
        best: tuple[tuple[tuple[int, int], int], Node] | None = None
        for node in self.nodes:
            place = self.place(node)
            if place is None or place.call is None or place.file != source.file:
                continue
            first, last = _extent(place.call)
            # Of an If and its first case, which are one call, the one that holds the condition.
            if first <= start and end <= last and (best is None or (first, node.index) >= best[0]):
                best = ((first, node.index), node)
        return best[1] if best is not None else None

    def finding(
        self,
        code: str,
        node: Node | None,
        message: str,
        cure: str,
        *,
        source: Source | None = None,
        expression: ast.AST | None = None,
        also: tuple[Node, ...] = (),
    ) -> Finding:
        """A finding at a statement, or at an expression. Comments at the statements ``also`` are about it too."""
        places = [place for each in (node, *also) if each is not None and (place := self.place(each)) is not None]
        spans = [Span(place.file, place.lines) for place in places]
        file, line = (places[0].file, places[0].line) if places and node is not None else (None, None)
        if source is not None and expression is not None:
            start, end = _extent(expression)
            file, line = source.file, start[0]
            spans.append(Span(file, frozenset((start[0], end[0]))))
        shown = node
        if node is not None and node.kind is Case and node.parent is not None and node.parent.kind is If:
            shown = node if node.name != node.parent.name else node.parent  # its first case is the If itself, for people
        where = shown.place if shown is not None else "definition()"
        return Finding(code, self.name, where, message, cure, file, line, tuple(spans))


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def _extent(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _place(file: str, line: int, source: Source | None, call: ast.Call | None) -> Place:
    lines = {line}
    if call is not None:
        # The line on which it begins, that of its name, and that of its last parenthesis.
        lines |= {call.lineno, call.end_lineno or line, *(argument.lineno for argument in call.args[:1])}
    return Place(file, line, frozenset(lines), source, call)


def subject_of(subject: Any, library: Library) -> Subject:
    """The definition of a workflow object, a workflow class or a tree. Raises ``DefinitionError``.

    The class of an instance-style definition will do: it is built on an object that is made up.
    """
    if isinstance(subject, Statement):
        workflow = None
    elif isinstance(subject, type) and callable(getattr(subject, "definition", None)) and not is_class_style(subject):
        workflow = made_up(subject)
    else:
        workflow = subject
        if not isinstance(subject, type) and is_class_style(type(subject)):
            workflow = type(subject)
    with watched(workflow) as sites:
        try:
            program, values = program_of(subject if workflow is None else workflow)
        except DefinitionError as error:
            if error.faults or workflow is None or workflow is subject:
                raise
            # Its definition may be right, and only not be made for data that nobody has filled in.
            raise DefinitionError(
                f"{error}. It was built on an object that was made up: lint an object that holds data, or a function that "
                "returns one"
            ) from error.__cause__
    if workflow is not None:
        library.source(workflow if isinstance(workflow, type) else type(workflow))  # for the comments in it
    name = "definition" if workflow is None else (workflow if isinstance(workflow, type) else type(workflow)).__name__
    found = Subject(name, workflow, program.class_style, program.nodes, values, sites, library)
    list(found.sources())  # first: the functions inside of them are found there
    return found
