"""Options of a step that stand with its action: ``@step(retry=...)`` on a method or function.

Rules:

1. The decorated function stays what it was: nothing is wrapped, whoever calls it calls it. The options are kept on it.
2. What a ``Step`` is given in the tree wins over what its action has.
3. Which steps have such options is structure: found out when the class is linked. A definition without them pays nothing for
   them at its builds.

Theory: a method is named as ``self.charge`` or ``cls.charge``, and may be hidden in a partial or another decorator. So the
options are looked for from the outside in. A function among them (``compensate=refund``) was a plain one when the class was
made: if it stands in the same class as the action, it is bound to whatever the action is bound to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from flowstmt.core.policies import Retry
from flowstmt.core.statements import Step
from flowstmt.errors import DefinitionError, quoted

__all__ = ["StepOptions", "bound_to", "options_of", "step", "with_options"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KEPT_AS = "__flowstmt_step__"


class StepOptions:
    """What ``@step`` was given, and the name of what it was put on."""

    __slots__ = ("compensate", "concurrent", "inline", "into", "name", "retry", "timeout", "transactional")

    def __init__(
        self,
        name: str,
        *,
        into: Any,
        retry: Any,
        timeout: Any,
        compensate: Any,
        concurrent: Any,
        transactional: Any,
        inline: Any,
    ) -> None:
        self.name = name
        self.into = into
        self.retry = retry
        self.timeout = timeout
        self.compensate = compensate
        self.concurrent = concurrent
        self.transactional = transactional
        self.inline = inline


def step(
    *,
    into: str | Callable[..., Any] | None = None,
    retry: Retry | None = None,
    timeout: timedelta | None = None,
    compensate: str | Callable[..., Any] | None = None,
    concurrent: bool | None = None,
    transactional: bool | None = None,
    inline: bool | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Give options to every ``Step`` that names the decorated method or function as its action.

    They mean what they mean on ``Step``, and what is given there wins. ``compensate`` may be the name of a method of the
    workflow as well, or a function that stands above in the same class; it is bound as the action is. The function itself
    stays as it was. Faults are found when the definition is linked, and told with the place of the ``Step``.

    Raises ``DefinitionError`` for what can't keep options (a builtin).

    >>> from dataclasses import dataclass
    >>> from flowstmt import Retry, State, Step, resume, step
    >>> @dataclass
    ... class Order:
    ...     receipt: str = ""
    ...
    ...     @step(into="receipt", retry=Retry(max_attempts=5), compensate="refund")
    ...     def charge(self) -> str:
    ...         return "receipt-1"
    ...
    ...     def refund(self, receipt: str) -> None: ...
    ...
    ...     def definition(self):
    ...         return Step("charge", self.charge)
    >>> order = Order()
    >>> resume(order, State.new("order-1", "Order"))
    <WorkflowStatus.Finished: 'Finished'>
    >>> order.receipt
    'receipt-1'
    """

    def keep(function: FunctionT) -> FunctionT:
        options = StepOptions(
            getattr(function, "__qualname__", quoted(function)),
            into=into,
            retry=retry,
            timeout=timeout,
            compensate=compensate,
            concurrent=concurrent,
            transactional=transactional,
            inline=inline,
        )
        try:
            # What a class hands out is the function inside of a staticmethod or classmethod.
            setattr(getattr(function, "__func__", function), _KEPT_AS, options)
        except AttributeError as error:
            raise DefinitionError(
                f"@step can't keep its options on {quoted(function)}: put them on a function of your own"
            ) from error
        return function

    return keep


def options_of(action: Any) -> StepOptions | None:
    """The options that stand with an action."""
    found = getattr(action, _KEPT_AS, None)
    while not isinstance(found, StepOptions):
        action = action.func if isinstance(action, partial) else getattr(action, "__wrapped__", None)
        if action is None:
            return None
        found = getattr(action, _KEPT_AS, None)
    return found


def with_options(statement: Step, options: StepOptions, workflow: Any) -> Step[Any, Any, Any]:
    """A copy of a Step with the options of its action; ``workflow`` is the object, in class style the class, or None."""
    owner = bound_to(statement.action)
    # By hand: this is done at every build, and takes a quarter of what ``copy`` takes.
    filled: Any = object.__new__(type(statement))
    filled.name, filled.action, filled.was = statement.name, statement.action, statement.was
    filled.into = _bound(options.into, options, owner) if statement.into is None else statement.into
    filled.retry = options.retry if statement.retry is None else statement.retry
    filled.timeout = options.timeout if statement.timeout is None else statement.timeout
    filled.concurrent = options.concurrent if statement.concurrent is None else statement.concurrent
    filled.transactional = options.transactional if statement.transactional is None else statement.transactional
    filled.inline = options.inline if statement.inline is None else statement.inline
    filled.compensate = _compensation(options, owner, workflow) if statement.compensate is None else statement.compensate
    found: Step[Any, Any, Any] = filled
    return found


def _compensation(options: StepOptions, owner: Any, workflow: Any) -> Any:
    """What undoes the step; the name as it is if there is no such method."""
    call = options.compensate
    if not isinstance(call, str):
        return _bound(call, options, owner)
    there = workflow if owner is None else owner
    # Of a mere tree the class is not known: what its steps are undone by can't be found, and is not missed.
    return None if there is None else getattr(there, call, call)


def _bound(call: Any, options: StepOptions, owner: Any) -> Any:
    """A function of the same class as the action, bound to what that is bound to."""
    name = getattr(call, "__qualname__", None)
    bind = getattr(type(call), "__get__", None)
    if bind is None or not isinstance(name, str) or _around(name) != _around(options.name):
        return call
    return bind(call, owner, type(owner)) if owner is not None else getattr(call, "__func__", call)


def _around(name: str) -> str:
    """The class or function in which a function of this full name stands."""
    return name.rpartition(".")[0]


def bound_to(action: Any) -> Any:
    """The object that an action is bound to."""
    while isinstance(action, partial):
        action = action.func
    return action.__self__ if isinstance(action, MethodType) else None
