"""A tree made ready: checked, indexed by name, and linked to what follows.

Rules:

1. Structure is linked once per class; only values change from one build to the next. A build whose shape differs from
   the first is refused.
2. Every node knows the node that follows it (``links.py``).
3. All faults of a tree are reported at once (``checks.py``).

The program is kept on the class itself: a class that nobody uses any more takes its program with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from inspect import get_annotations, getattr_static, iscoroutine
from typing import Any

from flowstmt.core.approvals import Approval
from flowstmt.core.calls import parameters
from flowstmt.core.checks import Checker
from flowstmt.core.children import Call
from flowstmt.core.fanout import Branch, Map
from flowstmt.core.links import compensation_of, link
from flowstmt.core.names import renames_of
from flowstmt.core.nodes import FANOUT, WAITS, Compensation, End, Node, RunEnd
from flowstmt.core.options import options_of, with_options
from flowstmt.core.policies import Retry
from flowstmt.core.recovery import Fail, Saga, Try
from flowstmt.core.state import MAIN
from flowstmt.core.statements import (
    Go,
    Join,
    Sleep,
    Statement,
    Step,
    Timeout,
    WaitFor,
)
from flowstmt.core.waits import Every, When
from flowstmt.errors import DefinitionError, a_kind_of, said

__all__ = ["Program", "field_names", "is_class_style", "program_for", "program_of", "validate"]

_KEPT_AS = "__flowstmt_program__"

_COMPENSATION_RETRY = Retry()

_MOVE_TWICE = frozenset((Go, Join, Sleep, Timeout, Every, When, Approval, Call, WaitFor, Fail, Try, Saga, *FANOUT))


class Program:
    """The linked definition of one class.

    ``by_name`` finds a node by its statement's name; ``start`` is where ``main`` begins; ``values`` are the statements
    of the latest build, by node index (class style: of the only one). ``renames`` are the old names, or None. ``retry`` is
    the policy of steps that have none of their own.
    """

    __slots__ = (
        "asking",
        "async_places",
        "by_name",
        "class_style",
        "events",
        "has_concurrent",
        "has_timeouts",
        "moves_once",
        "nodes",
        "renames",
        "retry",
        "shape",
        "some_may_fail",
        "start",
        "values",
        "with_options",
        "workflow_name",
    )

    def __init__(self, workflow_name: str, class_style: bool, checker: Checker, retry: Retry | None) -> None:
        self.workflow_name = workflow_name
        self.retry = retry
        self.class_style = class_style
        self.nodes = checker.nodes
        # An instance-style program holds no build: it would keep the workflow object of the first one alive.
        self.values: list[Any] = checker.statements if class_style else []
        self.async_places = checker.async_places
        self.with_options = checker.with_options
        self.shape = _shape(checker)
        self.has_concurrent = any(node.concurrent for node in self.nodes)
        self.has_timeouts = any(node.timed for node in self.nodes)
        # Without these a round is one move of ``main``, which changes nothing before it parks.
        self.moves_once = not any(node.kind in _MOVE_TWICE or node.stays for node in self.nodes)
        self.by_name: dict[str, Node] = {}
        self.events: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.name and node.parent is not None and node.parent.kind in WAITS:
                if node.parent.kind is not Call:  # the end of a child is no event that people know
                    self.events.setdefault(node.name, []).append(node)
                node.parent.by_event[node.name] = node
            elif node.name:
                self.by_name.setdefault(node.name, node)
        for node, statement in zip(self.nodes, checker.statements, strict=True):
            if node.kind is Step or node.kind is WaitFor:
                node.may_fail = node.may_fail or retry is not None or getattr(statement, "retry", None) is not None
            if node.kind is Map or node.kind is Branch:
                node.join = node if node.kind is Map else node.parent
            if node.kind is Call:
                node.leaves_result = node.go is not None and node.go.kind is not Go
            if node.kind is Step:
                node.ignores_item = class_style and parameters(statement.action).required != 2
                node.leaves_result = node.go is not None and node.go.kind is not Go
                if statement.compensate is not None:
                    self.by_name[f"{node.name}:compensate"] = compensation_of(node)
                    node.leaves_result = True
        self.asking = frozenset([node.name for node in self.nodes if node.asks])
        self.some_may_fail = any(node.may_fail for node in self.by_name.values())
        self.by_name[MAIN] = Node(RunEnd, MAIN, -1, None)
        # Those of the first build: like the shape, they must not depend on data.
        self.renames = renames_of(self.nodes)
        self.start = link(self.nodes[0], Node(End, "", -1, None))

    def event(self, wait: Node, name: str) -> Node | None:
        """The event of a Wait that has this name, or had it before."""
        found = wait.by_event.get(name)
        if found is None and self.renames is not None:
            found = wait.by_event.get(self.renames.event(wait.name, name) or "")
        return found

    def policy(self, node: Node, statement: Any) -> Retry | None:
        """The retry policy of what stands there: its own, or that of the class. What undoes a step always has one."""
        own: Retry | None = getattr(statement, "retry", None)
        return own or self.retry or (_COMPENSATION_RETRY if node.kind is Compensation else None)

    def bind(self, root: Any, run_id: str = "", workflow: Any = None) -> list[Any]:
        """The statements of another build of the same definition, by node index, with the options of their actions.

        Raises ``DefinitionError`` if the build has another shape.
        """
        shape = iter(self.shape)
        kind, name, _, _, count = next(shape)
        if type(root) is not kind or root.name != name or (count is not None and len(root.body) != count):
            raise self._another_shape(self.nodes[0], root, run_id)
        values: list[Any] = [root]
        append = values.append
        for kind, name, parent, place, count in shape:
            # The parent has been seen to have as many children as it should.
            statement = values[parent].body[place]
            if type(statement) is not kind or statement.name != name or (count is not None and len(statement.body) != count):
                raise self._another_shape(self.nodes[len(values)], statement, run_id)
            append(statement)
        for index in self.with_options:
            options = options_of(values[index].action)
            if options is not None:
                values[index] = with_options(values[index], options, workflow)
        return values

    def _another_shape(self, node: Node, statement: Any, run_id: str) -> DefinitionError:
        body = getattr(statement, "body", None)
        now = a_kind_of(statement)
        if isinstance(statement, Statement) and isinstance(body, tuple):
            now = _with_what_is_inside(repr(statement), [repr(child) for child in body if isinstance(child, Statement)])
        was = _with_what_is_inside(node.place, [child.label for child in node.children])
        return DefinitionError(
            f"{_of(run_id)}the definition of {self.workflow_name} changed its shape with the data: it had {was}, and has "
            f"now {now}. "
            "Structure must not depend on data: use If, Switch, For or ForEach instead of Python's if and for"
        )


def _with_what_is_inside(statement: str, inside: list[str]) -> str:
    """For a message: a statement and the first of its children."""
    return f"{statement} of {', '.join(inside[:20])}{', ...' if len(inside) > 20 else ''}" if inside else statement


def _shape(checker: Checker) -> list[tuple[type[Any], str, int, int, int | None]]:
    """Of each statement its kind, its name, the index of its parent, its place there, and how many children it has.

    None where the kind has no children: nobody counts those of a Step at every build.
    """
    shape = []
    for node, statement in zip(checker.nodes, checker.statements, strict=True):
        parent = node.parent
        place = (0, 0) if parent is None else (parent.index, parent.children.index(node))
        count = None if type(statement).body == () else len(statement.body)
        shape.append((type(statement), statement.name, *place, count))
    return shape


def field_names(cls: type[Any]) -> list[str] | None:
    """The names of the fields of a dataclass or pydantic model; None for any other class."""
    if is_dataclass(cls):
        return [field.name for field in dataclass_fields(cls)]
    model_fields = getattr(cls, "__pydantic_fields__", None)  # by name only: the core loads no pydantic
    return list(model_fields) if isinstance(model_fields, dict) else None


def is_class_style(cls: type[Any]) -> bool:
    """Whether ``definition`` is a class or static method: linked once, its callables take the workflow."""
    return isinstance(getattr_static(cls, "definition", None), classmethod | staticmethod)


def program_for(workflow: Any, run_id: str) -> tuple[Program, list[Any]]:
    """The program of a workflow object and the values of its present build.

    Raises ``DefinitionError``: all faults, an exception while building, or a shape that changed with the data.
    """
    cls = type(workflow)
    program: Program | None = cls.__dict__.get(_KEPT_AS)
    if program is None:
        return _first_build(workflow, cls, run_id)
    if program.class_style:
        return program, program.values
    return program, program.bind(_build(workflow.definition, cls, run_id), run_id, workflow)


def rebuild(program: Program, workflow: Any, run_id: str) -> list[Any]:
    """The values of an instance-style definition after data may have changed."""
    return program.bind(_build(workflow.definition, type(workflow), run_id), run_id, workflow)


def _first_build(workflow: Any, cls: type[Any], run_id: str) -> tuple[Program, list[Any]]:
    if isinstance(workflow, type):
        raise DefinitionError(
            f"run {run_id!r}: expected a workflow object, not the class {workflow.__name__}: make one, or load it"
        )
    if not callable(getattr(cls, "definition", None)):
        raise DefinitionError(
            f"run {run_id!r}: expected a workflow object, not {a_kind_of(workflow)}: it has no method definition()"
        )
    _refuse_unknown_data(cls, run_id)
    tree = _build(workflow.definition, cls, run_id)
    program = _checked(tree, cls, workflow)
    setattr(cls, _KEPT_AS, program)
    return program, program.values if program.class_style else program.bind(tree, run_id, workflow)


def _refuse_lost_fields(cls: type[Any]) -> None:
    """A subclass of a dataclass that is none itself has annotations which look like fields, and would be lost at the dump."""
    if not is_dataclass(cls) or "__dataclass_fields__" in cls.__dict__:
        return
    lost = [name for name, kind in get_annotations(cls).items() if "ClassVar" not in str(kind)]
    if lost:
        raise DefinitionError(
            f"{cls.__name__}.{lost[0]} looks like a field but is none, and would not be saved: decorate the class with "
            "@dataclass"
        )


def _build(definition: Callable[[], Any], cls: type[Any], run_id: str) -> Any:
    try:
        tree = definition()
    except Exception as error:
        raise DefinitionError(
            f"{_of(run_id)}definition() of {cls.__name__} raised {said(error)}. Its plain values are computed at every "
            "build, also those of branches that are not reached: a callable is asked only there"
        ) from error
    if not isinstance(tree, Statement) and iscoroutine(tree):
        tree.close()
        raise DefinitionError(
            f"{_of(run_id)}definition() of {cls.__name__} must not be async: it says what is to run; awaiting is for actions"
        )
    return tree


def _of(run_id: str) -> str:
    return f"run {run_id!r}: " if run_id else ""


def _checked(tree: Any, cls: type[Any] | None, workflow: Any = None) -> Program:
    class_style = cls is not None and is_class_style(cls)
    base = None if cls is None else int(class_style)
    checker = Checker(base, None if cls is None else field_names(cls), cls if class_style else workflow)
    checker.check(tree)
    retry = None
    if cls is not None:
        retry = _default_retry(cls)
        checker.faults += [f"retry of {cls.__name__}: {fault}" for fault in (() if retry is None else retry.faults())]
    name = "the definition" if cls is None else f"the definition of {cls.__name__}"
    if checker.faults:
        count = len(checker.faults)
        raise DefinitionError(f"{name} has {count} {'fault' if count == 1 else 'faults'}:", checker.faults)
    return Program(name if cls is None else cls.__name__, class_style, checker, retry)


def _default_retry(cls: type[Any]) -> Retry | None:
    """The policy of a class: an attribute that is no field."""
    found = getattr_static(cls, "retry", None)
    return found if isinstance(found, Retry) and "retry" not in (field_names(cls) or ()) else None


def validate(definition: Any) -> None:
    """Check a definition without running it; raises ``DefinitionError`` with all faults.

    Takes a workflow class in class style, a workflow object, or a tree of statements (of which it can't check what
    depends on the class: the arity of callables and the fields that ``into`` names).

    >>> from flowstmt import Break, DefinitionError
    >>> try:
    ...     validate(Break())
    ... except DefinitionError as error:
    ...     error.faults
    ('Break: stands outside of any loop',)
    """
    program_of(definition)


def program_of(definition: Any) -> tuple[Program, list[Any]]:
    """The program of a definition that nobody runs now, and the values of this build; kept nowhere.

    Takes what ``validate`` takes, and raises what it raises.
    """
    if isinstance(definition, Statement):
        program = _checked(definition, None)
        return program, program.bind(definition)
    cls = definition if isinstance(definition, type) else type(definition)
    if not callable(getattr(cls, "definition", None)):
        raise DefinitionError(
            f"expected a workflow or a tree of statements, not {a_kind_of(definition)}: it has no method definition()"
        )
    _refuse_unknown_data(cls)
    if cls is definition and not is_class_style(cls):
        raise DefinitionError(
            f"{cls.__name__}: its definition() needs an object: validate an object of it, or make definition() a class method"
        )
    tree = _build(definition.definition, cls, "")
    program = _checked(tree, cls, definition)
    return program, program.values if program.class_style else program.bind(tree, workflow=definition)


def _refuse_unknown_data(cls: type[Any], run_id: str = "") -> None:
    if field_names(cls) is None:
        run = _of(run_id)
        raise DefinitionError(
            f"{run}{cls.__name__} is neither a dataclass nor a pydantic model: its data is not known; decorate it "
            "with @dataclass"
        )
    _refuse_lost_fields(cls)
