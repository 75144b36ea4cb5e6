"""The statements: a definition as data.

Rules:

1. A statement holds what it was given and does nothing. What statements mean is in ``machine.py``.
2. Constructors never raise: ``program.py`` collects all faults of a tree at once, each with its place.
3. Nobody changes a statement after it was made. (They are not frozen: a tree that is built anew after every step
   is the hot path of instance-style definitions, and a frozen dataclass costs three times as much.)

Every statement has ``name`` ("" for those without) and ``body``, its children in the order of the source: that is
all that a walk over a tree, a comparison of two trees, or a drawing needs to know. ``was`` are the names that it had
before: what was saved under one of them is found under ``name``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import GenericAlias
from typing import Any, Generic, TypeAlias, TypeVar

from flowstmt.core.policies import Retry
from flowstmt.errors import DefinitionError, a_kind_of

__all__ = [
    "Break",
    "Case",
    "Continue",
    "Default",
    "Event",
    "For",
    "ForEach",
    "Go",
    "If",
    "Join",
    "On",
    "Return",
    "S",
    "Scope",
    "Sleep",
    "Statement",
    "Step",
    "Switch",
    "Timeout",
    "Wait",
    "WaitFor",
    "find",
    "walk",
]

P = TypeVar("P")
R = TypeVar("R")

Condition: TypeAlias = "bool | Callable[..., Any] | Any"

_NO_COND: Any = object()


class Statement:
    """A node of a definition: ``name`` ("" for those without), ``body`` (its children) and ``was`` (its old names).

    For annotations, and for what ``walk`` and ``find`` give; definitions are made of the classes below.
    """

    __slots__ = ()

    name: str = ""
    body: tuple[Statement, ...] = ()
    was: tuple[str, ...] = ()
    # Whether a Scope around is part of the full name. Callers share the names of events: these stay.
    scoped: bool = True
    # Whether what is inside is the machine's own: the end of the child for which a Call waits.
    opaque: bool = False

    # ``S[Order]`` at run time: what it means is said in the stub.
    __class_getitem__: Any = classmethod(GenericAlias)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})" if self.name else f"{type(self).__name__}()"


class Event(Generic[P, R]):
    """A typed name of an event, shared by the definition and those who call it.

    ``payload`` and ``output`` are the types of what a callback hands in and gets back.

    >>> PAID = Event("paid", int, str)
    >>> PAID
    Event('paid')
    """

    __slots__ = ("name", "output", "payload")

    def __init__(self, name: str, payload: type[P] | Any = None, output: type[R] | Any = None) -> None:
        self.name = name
        self.payload = payload
        self.output = output

    def __repr__(self) -> str:
        return f"Event({self.name!r})"


class S(Statement):
    """Statements in a row; groups them where one is expected."""

    __slots__ = ("body",)

    def __init__(self, *body: Statement) -> None:
        self.body = body


class Scope(Statement):
    """Statements in a row, whose names are prefixed: a statement ``inner`` of the scope ``name`` is called ``name/inner``.

    So one section (a function that returns statements, or the same statements) can be used twice. The full name is what
    is saved and shown; names of events stay as they are.

    >>> tree = S(Scope("first", Step("pack", print)), Scope("second", Step("pack", print)))
    >>> find(tree, "second/pack")
    Step('pack')
    """

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body = body
        self.was = was


class Step(Statement):
    """Run ``action``, then checkpoint; what it returns goes into the field (or setter) ``into``.

    The action runs at least once. It runs exactly once when its effect commits together with the checkpoint.

    ``concurrent`` is for work outside (a request, a model): under ``resume_async(concurrency=n)`` the action runs beside
    those of other threads. It gets a copy of the data, reads that, and hands back its result for ``into``; changing the
    data is an error.

    ``retry`` is the policy for an action that raises; without one that of the workflow's class (``retry: ClassVar[Retry]``)
    holds, or, without that, the failure is a ``StepError`` of the driver unless a ``Try`` takes it. An action that takes
    longer than ``timeout`` has failed with a ``StepTimeoutError``: it must be async, or concurrent.
    ``compensate`` undoes the step if the run, or the ``Saga`` around, fails for good or is cancelled later: it takes what the
    action returned, or nothing.

    ``transactional``: the engine hands the action ``current().connection``, and what it writes there commits together with
    the checkpoint, or not at all; so does what ``compensate`` writes. ``inline``: the action, a plain function, is short and
    does not block, so the engine calls it in its event loop and not in a worker thread. Without an engine both are what an
    ``invoke`` hook makes of ``current().transactional`` and ``current().inline``.

    All but the name and ``was`` may stand with the action instead: ``@step``. What is given here wins.
    """

    __slots__ = ("action", "compensate", "concurrent", "inline", "into", "name", "retry", "timeout", "transactional", "was")

    def __init__(
        self,
        name: str,
        action: Callable[..., Any],
        *,
        into: str | Callable[..., Any] | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[..., Any] | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.action = action
        self.into = into
        self.concurrent = concurrent
        self.retry = retry
        self.timeout = timeout
        self.compensate = compensate
        self.transactional = transactional
        self.inline = inline
        self.was = was


class Case(Statement):
    """A branch of a ``Switch``: its body runs if no case before it was true and ``cond`` is."""

    __slots__ = ("body", "cond", "name", "was")

    def __init__(self, name: str, cond: Condition, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.cond = cond
        self.body = body
        self.was = was


class Default(Statement):
    """The last branch of a ``Switch``: its body runs if no case was true."""

    __slots__ = ("body",)

    def __init__(self, *body: Statement) -> None:
        self.body = body


class Switch(Statement):
    """Run the body of the first case whose condition is true; that of a ``Default``, the last one, if none is."""

    __slots__ = ("body",)

    def __init__(self, *cases: Case | Default) -> None:
        self.body = cases


class If(Statement):
    """Run the body if ``cond`` is true; else whatever ``else_if`` and ``else_`` add.

    >>> tree = If("paid", lambda: True, S()).else_if("free", lambda: False).else_()
    >>> [branch.name for branch in tree.body]
    ['paid', 'free', '']
    """

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, cond: Condition, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body: tuple[Statement, ...] = (Case(name, cond, *body),)
        self.was = was

    def else_if(self, name: str, cond: Condition, *body: Statement, was: tuple[str, ...] = ()) -> If:
        """This ``If`` with one more condition, asked when those before it were false."""
        return self._with(Case(name, cond, *body, was=was))

    def else_(self, *body: Statement) -> If:
        """This ``If`` with a body for when no condition was true."""
        return self._with(Default(*body))

    def _with(self, branch: Statement) -> If:
        # A new one: a module-level If extended in two definitions must not collect the branches of both.
        longer = If.__new__(If)
        longer.name = self.name
        longer.was = self.was
        longer.body = (*self.body, branch)
        return longer


class For(Statement):
    """``For(name, cond, *body)`` runs its body while ``cond`` is true; ``For(name, *body)`` runs it until a ``Break``.

    On every way through the body there has to be something that stops, else it would spin: a ``DefinitionError`` says so
    when a thread comes round. A loop that would begin its body more often than ``max_iterations`` fails for good.
    """

    __slots__ = ("body", "cond", "forever", "max_iterations", "name", "was")

    def __init__(
        self,
        name: str,
        cond: Condition | Statement = _NO_COND,
        *body: Statement,
        max_iterations: int | None = None,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.max_iterations = max_iterations
        self.was = was
        if cond.__class__ is bool or not (cond is _NO_COND or isinstance(cond, Statement)):
            self.forever = False
            self.cond: Condition = cond
            self.body: tuple[Statement, ...] = body
        else:
            self.forever = True
            self.cond = True
            self.body = () if cond is _NO_COND else (cond, *body)


class ForEach(Statement):
    """Run the body for each item of a Sequence.

    Index and item are kept in the thread's frame, so the sequence may change meanwhile; the item is the thread's own
    copy. Callables inside that take one more parameter get the item. Items must be what JSON can hold; a ``StepError``
    says so when a thread gets there.
    """

    __slots__ = ("body", "items", "name", "was")

    def __init__(self, name: str, items: Any, *body: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.items = items
        self.body = body
        self.was = was


class Break(Statement):
    """Leave the innermost loop of this thread, at once."""

    __slots__ = ()


class Continue(Statement):
    """Go on with the next round of the innermost loop of this thread, at once."""

    __slots__ = ()


class Return(Statement):
    """End this thread; from ``main`` the run is finished and ``state.result`` is ``value``, as plain JSON values."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value


class Go(Statement):
    """Start a thread that runs the body, and go on.

    In loops ``id`` tells the threads apart; ``arg`` is the new thread's own object, saved with it. Without ``arg`` a Go
    inside of a ``ForEach`` hands its item on. When ``main`` ends, all threads end: ``Join`` what has to be done.
    """

    __slots__ = ("arg", "body", "id", "name", "was")

    def __init__(self, name: str, *body: Statement, id: Any = None, arg: Any = None, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body = body
        self.id = id
        self.arg = arg
        self.was = was


class Join(Statement):
    """Park until no thread of the named ``Go`` statements lives; go on at once if none does."""

    __slots__ = ("go_names", "name", "was")

    def __init__(self, name: str, *go_names: str, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.go_names = go_names
        self.was = was


class Wait(Statement):
    """Park until one of the events fires, then run that event's body. The others are torn down.

    What has ``stay=True``, and an ``Every``, does not end the Wait: its body runs, and the thread is back. The others stay as
    they are meanwhile. A callback that comes while such a body runs is taken, and acted upon when the body is done.
    """

    __slots__ = ("body", "name", "was")

    def __init__(self, name: str, *events: Statement, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.body = events
        self.was = was


class On(Statement):
    """An event that a callback fires; ``handler`` takes its payload, and its return value goes to the caller.

    ``event`` is a name or an ``Event`` token; ``into`` keeps the payload in a field; ``via`` is an object whose
    ``setup(request)`` and ``teardown(request, handled)`` prepare and clean up outside. ``schema`` is a JSON Schema that the
    payload must fit, instead of what the handler annotates: the handler then gets plain JSON values.

    With ``stay`` the event can fire again and again: its body runs, and the thread is back at the Wait.
    """

    __slots__ = ("body", "event", "handler", "into", "name", "schema", "stay", "via", "was")
    scoped = False

    def __init__(
        self,
        event: str | Event[Any, Any],
        handler: Any = None,
        *body: Statement,
        into: str | Callable[..., Any] | None = None,
        via: Any = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: tuple[str, ...] = (),
    ) -> None:
        self.event = event
        self.name = event.name if isinstance(event, Event) else event
        if isinstance(handler, Statement):
            # On("paid", Step(...)): the handler was left out, which reads well and can mean only one thing.
            body = (handler, *body)
            handler = None
        self.handler = handler
        self.body = body
        self.into = into
        self.via = via
        self.was = was
        self.schema = schema
        self.stay = stay


class Timeout(Statement):
    """An event fired by time: a ``timedelta`` after the thread's last outcome, or an aware ``datetime``.

    ``after`` is evaluated once, when the thread gets to the Wait. It fires when ``resume`` runs at or after that instant.
    """

    __slots__ = ("after", "body", "name", "was")
    scoped = False

    def __init__(
        self,
        name: str,
        after: timedelta | datetime | Callable[..., Any],
        *body: Statement,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.after = after
        self.body = body
        self.was = was


class WaitFor(Statement):
    """Park until ``cond`` holds; ``handler`` then runs as an action.

    ``cond`` is asked after each outcome of the run, and by each ``resume``: what changes outside, time too, wakes nobody.
    """

    __slots__ = ("cond", "handler", "name", "was")

    def __init__(
        self, name: str, cond: Condition, handler: Callable[..., Any] | None = None, *, was: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.cond = cond
        self.handler = handler
        self.was = was


class Sleep(Statement):
    """Park for a ``timedelta`` after the thread's last outcome, or until an aware ``datetime``.

    ``duration`` is evaluated once, when the thread gets there. No process sleeps: ``state.wake_at`` says when to resume.
    """

    __slots__ = ("duration", "name", "was")

    def __init__(self, name: str, duration: timedelta | datetime | Callable[..., Any], *, was: tuple[str, ...] = ()) -> None:
        self.name = name
        self.duration = duration
        self.was = was


def walk(definition: Statement) -> Iterator[Statement]:
    """Every statement of a tree in the order of the source, nested ones too (events and cases are statements).

    >>> [type(s).__name__ for s in walk(S(For("retry", Step("try", print), Break())))]
    ['S', 'For', 'Step', 'Break']
    """
    return (statement for _, statement in _walk(definition))


def _walk(definition: Statement) -> Iterator[tuple[str, Statement]]:
    """Every statement with its full name."""
    if not isinstance(definition, Statement):
        raise DefinitionError(f"expected a statement, not {a_kind_of(definition)}: call definition() on a workflow first")
    stack = [("", definition)]
    while stack:
        scope, statement = stack.pop()
        prefixed = bool(scope) and isinstance(statement.name, str) and statement.scoped
        name = scope + statement.name if prefixed and statement.name else statement.name
        yield name, statement
        if isinstance(statement, Scope):
            scope = f"{name}/"
        if statement.opaque:
            continue
        stack.extend((scope, child) for child in reversed(statement.body) if isinstance(child, Statement))


def find(definition: Statement, name: str) -> Statement | None:
    """The first statement or event of this name, in the order of the source, or None.

    What stands in a ``Scope`` is found by its full name (``scope/inner``), an event by its own.

    >>> find(S(Step("charge", print)), "charge")
    Step('charge')
    """
    return next((statement for full, statement in _walk(definition) if full == name), None)
