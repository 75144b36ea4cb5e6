"""All the faults of a tree, each with its place, found in the pass that makes its nodes.

Nothing here knows what statements do. A check that belongs to one kind of statement is a function in ``_CHECKS``; each
gets the node and the statement as written, and reports with ``self.fault``.

What this module must not know: how a definition is built, run or saved.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import Any

from flowstmt.core.approvals import Approval
from flowstmt.core.calls import annotation, is_async, parameters
from flowstmt.core.children import Call
from flowstmt.core.fanout import ALL, Branch, Map, Parallel
from flowstmt.core.limits import timeout_fault
from flowstmt.core.names import Names, full_name, in_scope
from flowstmt.core.nodes import FANOUT, KINDS, LOOPS, STARTERS, STOPS, WAITS, ItemScope, Node
from flowstmt.core.options import bound_to, options_of, with_options
from flowstmt.core.policies import Retry
from flowstmt.core.recovery import Catch, Fail, Finally, Saga, Try
from flowstmt.core.recovery_checks import check_catch, check_fail, check_map, check_parallel, check_retry, check_try
from flowstmt.core.statements import (
    Break,
    Case,
    Continue,
    Default,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    Scope,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)
from flowstmt.core.wait_checks import check_approval, check_call, check_every, check_on, check_timeout, check_wait, check_when
from flowstmt.core.waits import Every, When
from flowstmt.errors import a_kind_of, did_you_mean, quoted

__all__ = ["MAX_DEPTH", "Checker"]

MAX_DEPTH = 100

_PARENTS: dict[type[Statement[Any, Any, Any]], tuple[type[Statement[Any, Any, Any]], ...]] = {
    Case: (Switch, If),
    Default: (Switch, If),
    On: (Wait,),
    Timeout: (Wait,),
    Every: (Wait,),
    When: (Wait,),
    Catch: (Try,),
    Finally: (Try,),
    Branch: (Parallel,),
}
"""The kinds that stand only directly inside certain others."""


class Checker:
    """Makes the nodes of one tree and collects its faults.

    ``base`` is how many arguments every callable gets (0 in instance style, 1 in class style), or None if the style is
    not known; ``fields`` are the names of the workflow's fields, or None if the class is not known. ``workflow`` is the object,
    in class style the class, or None. ``with_options`` are the indexes of the steps whose actions have options.
    """

    def __init__(self, base: int | None, fields: Iterable[str] | None, workflow: Any = None) -> None:
        self.base = base
        self.workflow = workflow
        self.fields = None if fields is None else list(fields)
        self.faults: list[str] = []
        self.nodes: list[Node] = []
        self.statements: list[Any] = []
        self.async_places: list[str] = []
        self.with_options: list[int] = []
        self._names = Names(self.fault)

    def check(self, root: Any) -> None:
        """Make all nodes, in the order of the source, and find all faults."""
        self._make(root, None, None, 0)
        self._names.check_old_names(self.nodes)
        for node, statement in zip(self.nodes, self.statements, strict=True):
            if node.kind is Join:
                self._join_targets(node, statement)

    def fault(self, node: Node, what: str) -> None:
        """Report a fault of this statement."""
        self.faults.append(f"{node.place}: {what}")

    # --- one pass over the tree ---

    def _make(self, statement: Any, parent: Node | None, before: Any, depth: int) -> None:
        kind = next((kind for kind in type(statement).__mro__ if kind in KINDS), None)
        if kind is None:
            _close(statement)
            where = f"{parent.place}: " if parent is not None else ""
            self.faults.append(f"{where}{_no_statement(statement, parent, before)}")
            return
        node = Node(kind, full_name(kind, statement.name, parent), len(self.nodes), parent)
        self.nodes.append(node)
        if kind is Step:
            options = options_of(statement.action)
            if options is not None:
                self.with_options.append(node.index)
                statement = with_options(statement, options, self.workflow)
        self.statements.append(statement)
        if parent is not None:
            parent.children.append(node)
            self._surround(node, parent)
        self._frame(node, statement)
        if depth >= MAX_DEPTH:
            self.fault(node, f"nested deeper than {MAX_DEPTH} statements: does the tree contain itself?")
            return
        self._names.add(node, statement)
        self._parent(node)
        check = _CHECKS.get(kind)
        if check is not None:
            check(self, node, statement)
        previous = None
        for child in statement.body:
            self._make(child, node, previous, depth + 1)
            previous = child
        node.last = len(self.nodes) - 1
        if kind is For:
            self._stops_somewhere(node)

    def _surround(self, node: Node, parent: Node) -> None:
        node.frames, node.go, node.loop = parent.inside, parent.go, parent.loop
        node.item, node.item_frame = parent.item, parent.item_frame
        node.thread_name, node.in_saga = parent.thread_name, parent.in_saga or parent.kind is Saga
        node.scope, node.old_scopes = parent.scope, parent.old_scopes
        if parent.kind is Scope:
            node.scope, node.old_scopes = f"{parent.name}/", tuple([f"{name}/" for name in parent.old_names])
        if parent.kind in LOOPS:
            node.loop = parent
        if parent.kind is ForEach:
            node.item, node.item_frame = parent.own_item, len(parent.frames)
        elif parent.kind in STARTERS:
            node.frames, node.go, node.loop, node.thread_name = (), parent, None, parent.name
            node.item, node.item_frame = parent.own_item, -1
        node.may_fail = self._may_fail(node, parent)

    def _may_fail(self, node: Node, parent: Node) -> bool:
        """Whether something around a statement may take its failure: a Try that catches, or a join that tolerates it."""
        around = self.statements[parent.index]
        if parent.kind is Go:
            return False
        if parent.kind is Try and node.kind not in (Catch, Finally) and any(isinstance(part, Catch) for part in around.body):
            return True
        return parent.may_fail or (parent.kind in FANOUT and (bool(around.tolerate) or around.join is not ALL))

    def _frame(self, node: Node, statement: Any) -> None:
        """What a thread has at the statement, and inside of it."""
        own = (*node.frames, node.name)
        node.inside = () if node.kind in STARTERS else node.frames
        node.counts = node.kind is For and statement.max_iterations is not None
        if node.kind in (ForEach, Try, Saga) or node.counts:
            node.inside = own
        elif node.kind in (Parallel, Map, Approval):
            node.frames = own
        elif node.parent is not None and node.parent.kind in WAITS:
            node.stays = node.kind is Every or (node.kind is On and statement.stay is True)
            if node.stays:
                node.inside = (*node.frames, node.parent.name)
            elif node.kind is When:
                node.parent.asks.append(node)

    def _parent(self, node: Node) -> None:
        wanted = _PARENTS.get(node.kind)
        parent = node.parent.kind if node.parent is not None else None
        if parent in (Approval, Call):
            return  # it made its cases itself; an Approval says what is wrong with its reminder
        if wanted is not None and parent not in wanted:
            self.fault(node, f"stands only directly in {' or '.join(kind.__name__ for kind in wanted)}")
        elif wanted is None and parent in (Switch, If):
            self.fault(node, "a Switch holds only Case and Default")
        elif wanted is None and parent is Wait:
            self.fault(node, "a Wait holds only events: On, Timeout, Every and When")
        elif wanted is None and parent is Parallel:
            self.fault(node, "a Parallel holds only branches: put it into a Branch")

    def _stops_somewhere(self, node: Node) -> None:
        if not any(inner.kind in STOPS or inner.kind is Fail for inner in _inside(node)):
            self.fault(node, "contains nothing that stops (a Step, Wait, WaitFor, Sleep or Join): it would spin")

    def _join_targets(self, node: Node, statement: Join) -> None:
        gos = [go.name for go in self.nodes if go.kind is Go]
        for target in statement.go_names:
            found = in_scope(node.scope, target, gos)
            if found is None:
                self.fault(node, f"no Go is named {target!r}{self._called_now(target) or did_you_mean(target, gos)}")
                continue
            node.go_names[target] = found
            around = node.go
            while around is not None:
                if around.name == found:
                    self.fault(node, f"stands inside Go {found!r} and would wait for its own thread")
                around = around.go

    def _called_now(self, target: Any) -> str:
        """What a Go is called now: a Join knows it by that name only, for it is not saved."""
        renamed = next((go for go in self.nodes if go.kind is Go and target in go.old_names), None)
        return "" if renamed is None else f": it is called {renamed.name!r} now, and a Join takes present names only"

    # --- what the statements were given ---

    def condition(self, node: Node, cond: Any) -> None:
        """What decides: a callable, or in instance style a value."""
        if isinstance(cond, Statement):
            self.fault(node, f"its condition is a statement ({cond!r}): was the condition left out?")
        elif callable(cond):
            self.call(node, "condition", cond)
        elif self.base == 1:
            self.fault(
                node,
                f"its condition is the plain value {quoted(cond)}: a class-style definition is built once, "
                "so it must be a callable that takes the workflow",
            )

    def value(self, node: Node, role: str, value: Any) -> None:
        """A value, or a callable that returns it."""
        if callable(value):
            self.call(node, role, value)

    def items(self, node: Node, items: Any) -> None:
        """The items of a statement whose body gets one of them."""
        node.own_item = ItemScope()
        if isinstance(items, Statement):
            self.fault(node, f"its items are a statement ({items!r}): were the items left out?")
        else:
            self.value(node, "items", items)

    def count(self, node: Node, what: str, value: Any, least: int, otherwise: str = "") -> bool:
        """Whether it is a whole number; ``what`` begins the sentence that says so, ``otherwise`` what it may be as well."""
        found = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not found:
            self.fault(node, f"{what} a whole number from {least}{otherwise}, not {quoted(value)}")
        return found

    def instant(self, node: Node, role: str, value: Any) -> None:
        """A duration or an instant, or a callable that returns it."""
        if callable(value):
            self.call(node, role, value)
        elif not isinstance(value, timedelta | datetime):
            self.fault(node, f"{role} must be a timedelta, an aware datetime or a callable, not {quoted(value)}")
        elif isinstance(value, datetime) and value.utcoffset() is None:
            self.fault(node, f"{role} is a datetime without a time zone: give it tzinfo=UTC, say")

    def action(self, node: Node, role: str, call: Any, optional: int = 0) -> None:
        """What is run, and may be async."""
        if not callable(call):
            found, hint = quoted(call), "; was it called where it should be named?" if call is None else ""
            if _close(call):
                found, hint = "a coroutine", f"; name the function {call.__qualname__}, don't call it"
            self.fault(node, f"{role} must be a callable, not {found}{hint}")
            return
        self.call(node, role, call, optional=optional)
        if isgeneratorfunction(call) or isasyncgenfunction(call):
            self.fault(node, f"{role} {_called(call)} is a generator: calling it runs nothing; use return, not yield")
        self.note_async(node, role, call)

    def note_async(self, node: Node, role: str, call: Any) -> None:
        """Keep the places of what is async: sync drivers refuse it."""
        if is_async(call):
            self.async_places.append(f"{node.place}: {role} is async")

    def call(self, node: Node, role: str, call: Callable[..., Any], given: int = 0, optional: int = 0) -> None:
        """The callable takes the base arguments, ``given`` more, up to ``optional`` more, and maybe the item."""
        if self.base is None:
            return
        counts = list(range(self.base + given, self.base + given + optional + 1))
        if node.item is not None:
            counts.append(counts[-1] + 1)
        found = parameters(call)
        if found.keyword:
            self.fault(node, f"{role} {_called(call)} needs the keyword argument {found.keyword[0]!r}, which nobody gives")
        elif found.required not in counts and not (found.required < counts[0] <= found.most):
            self.fault(node, self._arity(node, role, call, counts))
        elif node.item is not None and found.required == counts[-1]:
            self._consumer(node.item, node, role, call, found.names[counts[-1] - 1])

    def _arity(self, node: Node, role: str, call: Callable[..., Any], counts: list[int]) -> str:
        found = parameters(call)
        takes = f"{found.required}" if found.required == found.most else f"{found.required} or more"
        arguments = "argument" if takes == "1" else "arguments"
        wanted = "the workflow first" if self.base == 1 else "'self' does not count"
        item = ", the item last" if node.item is not None else ""
        expected = " or ".join(str(count) for count in counts)
        return f"{role} {_called(call)} takes {takes} {arguments}, expected {expected} ({wanted}{item})"

    def _consumer(self, item: ItemScope, node: Node, role: str, call: Callable[..., Any], name: str) -> None:
        found = self.annotation(node, role, call, name)
        if found is Any:
            return
        if item.type is Any:
            item.type, item.typed_by = found, f"{role} of {node.label}"
        elif item.type != found:
            self.fault(node, f"{role} takes the item as {quoted(found)}, but {item.typed_by} as {quoted(item.type)}")

    def annotation(self, node: Node, role: str, call: Callable[..., Any], name: str) -> Any:
        """What an argument is annotated with."""
        try:
            return annotation(call, name)
        except Exception as error:  # noqa: BLE001 evaluating the user's annotation may raise anything; it is reported
            self.fault(node, f"the annotation of {name!r} of {role} {_called(call)} can't be resolved: {error}")
            return Any

    def into(self, node: Node, into: Any) -> None:
        """The field or the setter that takes a result."""
        if into is None:
            return
        if isinstance(into, str):
            if self.fields is not None and into not in self.fields:
                self.fault(node, f"into: no field {into!r}{did_you_mean(into, self.fields)}")
        elif callable(into):
            self.call(node, "into", into, given=1)
            if is_async(into):
                self.fault(node, f"into {_called(into)} is async: nothing awaits a setter")
        else:
            self.fault(node, f"into must be the name of a field or a callable, not {quoted(into)}")


def _check_step(checker: Checker, node: Node, statement: Step) -> None:
    checker.action(node, "action", statement.action)
    first = len(checker.faults)
    _check_step_options(checker, node, statement)
    options = options_of(statement.action)
    if options is not None:
        checker.faults[first:] = [f"{fault} (see @step of {options.name})" for fault in checker.faults[first:]]


def _check_step_options(checker: Checker, node: Node, statement: Step) -> None:
    checker.into(node, statement.into)
    for option in ("concurrent", "transactional", "inline"):
        given = getattr(statement, option)
        if not isinstance(given, bool | None):
            checker.fault(node, f"{option} must be True or False, not {quoted(given)}")
        setattr(node, option, given is True)
    if node.transactional:
        _check_transactional(checker, node, statement)
    if statement.retry is not None:
        if isinstance(statement.retry, Retry):
            check_retry(checker, node, statement.retry)
        else:
            checker.fault(node, f"retry must be a Retry, not {quoted(statement.retry)}")
    if isinstance(statement.compensate, str):
        bound = bound_to(statement.action)
        owner = checker.workflow if bound is None else bound
        has = f"{a_kind_of(owner)} has no method {statement.compensate!r}"
        checker.fault(node, f"compensate: {has}{did_you_mean(statement.compensate, dir(owner))}")
    elif statement.compensate is not None:
        checker.action(node, "compensate", statement.compensate, optional=1)
    if statement.timeout is not None and not node.transactional:
        node.timed = True
        fault = timeout_fault(statement.timeout, statement.action, node.concurrent)
        if fault is not None:
            checker.fault(node, fault)


def _check_transactional(checker: Checker, node: Node, statement: Step) -> None:
    """Its transaction is that of its checkpoint: begun, used and committed in one worker thread, with the data to itself."""
    for role in ("action", "compensate"):
        call = getattr(statement, role)
        if callable(call) and is_async(call):
            checker.fault(
                node,
                f"it is transactional, but {role} {_called(call)} is async: make it a plain function, which the engine "
                "calls in a worker thread",
            )
    if node.concurrent:
        checker.fault(
            node,
            "it is transactional and concurrent: its writes commit with its own checkpoint, so nothing can run beside it; "
            "choose one",
        )
    if node.inline:
        checker.fault(
            node,
            "it is transactional and inline: a transaction waits for the database, so it needs a worker thread; leave out "
            "inline=True",
        )
    if statement.timeout is not None:
        checker.fault(
            node,
            "it is transactional and has a timeout, but nothing could end its action: let the database limit its time "
            "(statement_timeout, busy_timeout), and leave out timeout=",
        )


def _check_case(checker: Checker, node: Node, statement: Case) -> None:
    checker.condition(node, statement.cond)


def _check_switch(checker: Checker, node: Node, statement: Switch | If) -> None:
    if not statement.body:
        checker.fault(node, "has no case: give it a Case, or leave it out")
    defaults = [i for i, case in enumerate(statement.body) if isinstance(case, Default)]
    if defaults and defaults[0] != len(statement.body) - 1:
        checker.fault(node, f"the default must be last: {statement.body[defaults[0] + 1]!r} could never be chosen")


def _check_for(checker: Checker, node: Node, statement: For) -> None:
    if not statement.forever:
        checker.condition(node, statement.cond)
    if statement.max_iterations is not None:
        checker.count(node, "max_iterations must be", statement.max_iterations, 0)


def _check_for_each(checker: Checker, node: Node, statement: ForEach) -> None:
    checker.items(node, statement.items)


def _check_jump(checker: Checker, node: Node, _: Statement) -> None:
    if node.loop is not None:
        return
    around = node.go
    while around is not None:
        if around.loop is not None:
            checker.fault(node, f"can't reach {around.loop.label}, which is outside of the thread of {around.label}")
            return
        around = around.go
    checker.fault(node, "stands outside of any loop")


def _check_return(checker: Checker, node: Node, statement: Return) -> None:
    checker.value(node, "value", statement.value)


def _check_go(checker: Checker, node: Node, statement: Go) -> None:
    node.own_item = node.item if statement.arg is None else ItemScope()
    checker.value(node, "id", statement.id)
    checker.value(node, "arg", statement.arg)


def _check_branch(checker: Checker, node: Node, _: Branch) -> None:
    node.own_item = node.item


def _check_join(checker: Checker, node: Node, statement: Join) -> None:
    if not statement.go_names:
        checker.fault(node, "names no Go to wait for: give it the name of one or more")


def _check_wait_for(checker: Checker, node: Node, statement: WaitFor) -> None:
    checker.condition(node, statement.cond)
    if statement.handler is not None:
        checker.action(node, "handler", statement.handler)


def _check_sleep(checker: Checker, node: Node, statement: Sleep) -> None:
    checker.instant(node, "duration", statement.duration)


_CHECKS: dict[type[Statement[Any, Any, Any]], Callable[[Checker, Node, Any], None]] = {
    Step: _check_step,
    Case: _check_case,
    Switch: _check_switch,
    If: _check_switch,
    For: _check_for,
    ForEach: _check_for_each,
    Break: _check_jump,
    Continue: _check_jump,
    Return: _check_return,
    Go: _check_go,
    Join: _check_join,
    Wait: check_wait,
    On: check_on,
    Timeout: check_timeout,
    Every: check_every,
    When: check_when,
    Approval: check_approval,
    Call: check_call,
    WaitFor: _check_wait_for,
    Sleep: _check_sleep,
    Try: check_try,
    Catch: check_catch,
    Fail: check_fail,
    Parallel: check_parallel,
    Branch: _check_branch,
    Map: check_map,
}


def _inside(node: Node) -> Iterator[Node]:
    """The nodes of a body that run in the same thread."""
    for child in node.children:
        yield child
        if child.kind not in STARTERS:
            yield from _inside(child)


def _no_statement(value: Any, parent: Node | None, before: Any) -> str:
    if parent is None:
        hint = (
            "; was 'return' forgotten?"
            if value is None
            else "; wrap several statements in S(...)" * isinstance(value, list | tuple)
        )
        return f"definition() must return a statement, not {quoted(value)}{hint}"
    after = f" after {before!r}" if before is not None else ""
    if isinstance(value, list | tuple):
        return f"{quoted(value)}{after} is no statement: unpack it with '*'"
    if isinstance(value, type) and issubclass(value, Statement):
        return f"{value.__name__}{after} is a class, not a statement: was '()' forgotten?"
    return f"{quoted(value)}{after} is no statement"


def _close(value: Any) -> bool:
    """Whether an async function was called that should have been named; its coroutine must not warn on top of the fault."""
    if inspect.iscoroutine(value):
        value.close()
        return True
    return False


def _called(call: Any) -> str:
    return getattr(call, "__qualname__", None) or repr(call)
