"""What type checkers see of ``statements.py``: a test holds both together.

Of its own, because the module would be three times as long, and core imports the standard library only (a type variable
with a default is in ``typing`` since Python 3.13). No checker looks at the module any more where it reads this file, so
``make lint`` hands it to mypy by its name.

A statement is generic over what its callables are given: ``Statement[First, Second, Style]``.

- ``First`` and ``Second`` (contravariant) are the first and the second parameter of the callables in it. What takes none
  fits any: ``object``.
- ``Style`` (covariant) is ``InstanceStyle`` if it holds what only an instance-style definition may hold (a callable without
  parameters, a plain value as a condition), else ``Never``. No constructor makes one of another style; annotations do.

As the return type of a definition it says what is given. ``Statement`` alone is ``Statement[object, object, object]``: no
argument to any callable, and any style. ``Statement[Order]`` is ``Statement[Order, object, Order | ClassStyle]``: the workflow
to each of them, and what holds ``InstanceStyle`` is refused, since that is neither. (With ``Order`` alone pyright gives up
``Self`` where a section stands behind a handler.) Inside ForEach and Go(arg=) the item comes last: in instance style it takes
``Statement[Item, object, object]``, in class style ``Statement[Order, Item, ...]`` of any style but ``InstanceStyle``, so that
sections fit that are annotated ``Statement[Order, Item]``. What is of any style, as ``Statement`` is, goes through there and is
found where the definition is returned.

One thing it can't say: a section annotated ``Statement[Order]`` in a definition annotated ``Statement[Self]``, for ``Order``
is no ``Self``. Its style has to be given, ``Statement[Order, object, Never]``.

``On`` and ``Timeout`` are statements whose callables want an ``OnlyInWait``, which nobody gives; ``Wait`` takes them, and the
other cases that it has, by their own type. ``Case`` and ``Default`` are kept in a ``Switch`` in the same way.

Of overloads that don't fit, mypy tells about the first that looks similar: they stand in an order that makes it say what
most people will have meant. pyright tells about the last one of those that get furthest. mypy also looks at a body once for
every overload that it tries, and so on inside of it: what most calls match has to come early.

The first overloads of ``Step`` have no ``compensate``, so that a step without one costs what it always did, and a misfit is
not compared with them. One that takes the workflow and nothing else comes last for mypy, which before would find ``Never``
for an item and a result that have nothing in common, and first for pyright, which gives a lambda to the first that takes as
many parameters.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import Field
from datetime import date, datetime, time, timedelta
from enum import Enum
from os import PathLike
from re import Match
from typing import Any, ClassVar, Generic, Never, Protocol, Self, TypeAlias, final, overload
from uuid import UUID

from typing_extensions import TypeVar

from flowstmt.core.policies import Retry
from flowstmt.core.state import CallbackRequest
from flowstmt.core.waits import Every, When

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

@final
class InstanceStyle:
    __sizeof__: None  # type: ignore[assignment] # a method that every other class has: see _NotInstanceStyle

@final
class ClassStyle: ...

@final
class OnlyInWait: ...

@final
class OnlyInSwitch: ...

@final
class TheResult: ...

# What a callable is given where nobody says: mypy needs ``Any``, or it takes a lambda of a nested statement for one that gets
# an ``object``; pyright needs ``object``, or it stops looking at the neighbours. ``MYPY`` is true for mypy only, and pyright
# takes the first of two declarations.
MYPY: bool
if not MYPY:
    Anything: TypeAlias = object
else:
    Anything: TypeAlias = Any

class _NotInstanceStyle(Protocol):
    def __sizeof__(self) -> int: ...

_FirstT_contra = TypeVar("_FirstT_contra", contravariant=True, default=object)
_SecondT_contra = TypeVar("_SecondT_contra", contravariant=True, default=object)
_StyleT_co = TypeVar("_StyleT_co", covariant=True, default=_FirstT_contra | ClassStyle)
_FirstT = TypeVar("_FirstT", default=Anything)
_SecondT = TypeVar("_SecondT", default=Anything)
_StyleT = TypeVar("_StyleT", default=Never)
_BranchStyleT = TypeVar("_BranchStyleT", default=Never)
_AnyButInstanceStyleT = TypeVar("_AnyButInstanceStyleT", bound=_NotInstanceStyle, default=Never)
_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")
_ActionResultT = TypeVar("_ActionResultT")
_GivenT = TypeVar("_GivenT")
_OutputT_co = TypeVar("_OutputT_co", covariant=True)
_ScalarT = TypeVar("_ScalarT", bound=str | int | float | date | timedelta | UUID)
_PayloadT = TypeVar("_PayloadT", default=Any)
_OutputT = TypeVar("_OutputT", default=Any)

class _SupportsBool(Protocol):
    def __bool__(self) -> bool: ...

class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

class _Model(Protocol):
    __pydantic_fields__: ClassVar[dict[str, Any]]

# What conditions, values and setters may return. No type says "neither a function nor a coroutine", so it is a list.
Answer: TypeAlias = (
    _SupportsBool | Sized | Iterable[Any] | date | time | Enum | UUID | Match[str] | PathLike[str] | _Dataclass | _Model | None
)
_Instant: TypeAlias = timedelta | datetime
# Two callables: mypy then takes a lambda with defaults (``lambda word=word: ...``) as one without parameters.
_Bare: TypeAlias = Callable[[], Answer] | Callable[[], bool]
_BareAction: TypeAlias = Callable[[], object] | Callable[[], None]

@final
class _Odd: ...

# What only a callable of unknown parameters takes (``Callable[..., Any]``: that of an untyped decorator). It may be of either
# style; pyright would take it for one without parameters, mypy knows that it does not know.
if not MYPY:
    _Unknown: TypeAlias = Callable[[_Odd, _Odd, _Odd, _Odd], object]
else:
    _Unknown: TypeAlias = None
# What undoes a step without its result. mypy tells of this one where none fits, so it says what else would.
if not MYPY:
    _Undo: TypeAlias = _BareAction
else:
    _Undo: TypeAlias = Callable[[], object] | Callable[[TheResult], object]
_Was: TypeAlias = tuple[str, ...]
# What keeps a value: the name of a field, or a setter of either style, with or without the item.
_Into: TypeAlias = (  # noqa: PYI047 used by the stubs beside this one
    str
    | Callable[[_GivenT], Answer]
    | Callable[[_GivenT, _FirstT], Answer]
    | Callable[[_FirstT, _GivenT], Answer]
    | Callable[[_FirstT, _GivenT, _SecondT], Answer]
    | None
)

class _Sets(Protocol):
    def setup(self, request: CallbackRequest, /) -> str | Awaitable[str | None] | None: ...

class _TearsDown(Protocol):
    def teardown(self, request: CallbackRequest, handled: bool, /) -> object: ...

class _Handles(Protocol[_OutputT_co]):
    def handle(self, request: CallbackRequest, payload: Any, /) -> Awaitable[_OutputT_co] | _OutputT_co: ...

_Via: TypeAlias = _Sets | _TearsDown | None

class Statement(Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    @property
    def name(self) -> str: ...
    @property
    def body(self) -> tuple[Statement[Any, Any, Any], ...]: ...
    @property
    def was(self) -> tuple[str, ...]: ...

class Event(Generic[_PayloadT, _OutputT]):
    name: str
    payload: type[_PayloadT] | Any
    output: type[_OutputT] | Any
    @overload
    def __new__(cls, name: str, payload: type[_GivenT], output: type[_ResultT]) -> Event[_GivenT, _ResultT]: ...
    @overload
    def __new__(cls, name: str, payload: type[_GivenT], output: Any = None) -> Event[_GivenT, Any]: ...
    @overload
    def __new__(cls, name: str, payload: None = None, *, output: type[_ResultT]) -> Event[Any, _ResultT]: ...
    @overload
    def __new__(cls, name: str, payload: Any, output: type[_ResultT]) -> Event[Any, _ResultT]: ...
    @overload
    def __new__(cls, name: str, payload: Any = None, output: Any = None) -> Event[Any, Any]: ...

class S(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(cls, *body: Statement[_FirstT, _SecondT, _StyleT]) -> S[_FirstT, _SecondT, _StyleT]: ...

class Scope(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Scope[_FirstT, _SecondT, _StyleT]: ...

class Step(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    action: Callable[..., Any]
    into: str | Callable[..., Any] | None
    concurrent: bool | None
    retry: Retry | None
    timeout: timedelta | None
    compensate: Callable[..., Any] | None
    transactional: bool | None
    inline: bool | None
    if not MYPY:
        @overload
        def __new__(
            cls,
            name: str,
            action: _Unknown,
            *,
            into: str | Callable[..., Answer] | None = None,
            concurrent: bool | None = None,
            retry: Retry | None = None,
            timeout: timedelta | None = None,
            compensate: Callable[..., Any] | None = None,
            transactional: bool | None = None,
            inline: bool | None = None,
            was: _Was = (),
        ) -> Step[_FirstT, _SecondT, Never]: ...
        @overload
        def __new__(
            cls,
            name: str,
            action: Callable[[_FirstT], object] | Callable[[_FirstT, _SecondT], object],
            *,
            into: str | None = None,
            concurrent: bool | None = None,
            retry: Retry | None = None,
            timeout: timedelta | None = None,
            compensate: Callable[[_FirstT], object],
            transactional: bool | None = None,
            inline: bool | None = None,
            was: _Was = (),
        ) -> Step[_FirstT, _SecondT, Never]: ...

    @overload
    def __new__(
        cls,
        name: str,
        action: _BareAction,
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], object],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT, _SecondT], object],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: _BareAction,
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: _Undo,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], object],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: _BareAction,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_ActionResultT], object] | Callable[[_ActionResultT, _FirstT], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_FirstT, _ActionResultT], object] | Callable[[_FirstT, _ActionResultT, Any], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(  # type: ignore[overload-overlap] # only a result of the item's type fits both
        cls,
        name: str,
        action: Callable[[_FirstT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_ActionResultT], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_ActionResultT, _FirstT], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT, _SecondT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_FirstT, _ActionResultT], object] | Callable[[_FirstT, _ActionResultT, _SecondT], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], object] | Callable[[_FirstT, _SecondT], object],
        *,
        into: str | None = None,
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_FirstT], object],
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: Callable[[_ActionResultT], Answer] | Callable[[_ActionResultT, _FirstT], Answer],
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[], object]
        | Callable[[_ActionResultT], object]
        | Callable[[_ActionResultT, _FirstT], object]
        | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: Callable[[_FirstT, _ActionResultT], Answer] | Callable[[_FirstT, _ActionResultT, Any], Answer],
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_FirstT], object]
        | Callable[[_FirstT, _ActionResultT], object]
        | Callable[[_FirstT, _ActionResultT, Any], object]
        | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: Callable[[_ActionResultT], Answer] | Callable[[_ActionResultT, _FirstT], Answer],
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[], object]
        | Callable[[_ActionResultT], object]
        | Callable[[_ActionResultT, _FirstT], object]
        | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        action: Callable[[_FirstT, _SecondT], Awaitable[_ActionResultT] | _ActionResultT],
        *,
        into: Callable[[_FirstT, _ActionResultT], Answer] | Callable[[_FirstT, _ActionResultT, _SecondT], Answer],
        concurrent: bool | None = None,
        retry: Retry | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[_FirstT], object]
        | Callable[[_FirstT, _ActionResultT], object]
        | Callable[[_FirstT, _ActionResultT, Any], object]
        | None = None,
        transactional: bool | None = None,
        inline: bool | None = None,
        was: _Was = (),
    ) -> Step[_FirstT, _SecondT, Never]: ...

class Case(Statement[OnlyInSwitch, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    cond: Any
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Case[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT, _SecondT], Answer],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> Case[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, cond: Answer | _Bare, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Case[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...

class Default(Statement[OnlyInSwitch, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(cls, *body: Statement[_FirstT, _SecondT, _StyleT]) -> Default[_FirstT, _SecondT, _StyleT]: ...

class Switch(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls, *cases: Case[_FirstT, _SecondT, _StyleT] | Default[_FirstT, _SecondT, _StyleT]
    ) -> Switch[_FirstT, _SecondT, _StyleT]: ...

class If(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> If[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT, _SecondT], Answer],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> If[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, cond: Answer | _Bare, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> If[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def else_if(
        self: If[_FirstT, _SecondT, _StyleT],
        name: str,
        cond: Callable[[_FirstT], Answer],
        *body: Statement[_FirstT, _SecondT, _BranchStyleT],
        was: _Was = (),
    ) -> If[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def else_if(
        self: If[_FirstT, _SecondT, _StyleT],
        name: str,
        cond: Callable[[_FirstT, _SecondT], Answer],
        *body: Statement[_FirstT, _SecondT, _BranchStyleT],
        was: _Was = (),
    ) -> If[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def else_if(
        self: If[_FirstT, _SecondT, _StyleT],
        name: str,
        cond: Answer | _Bare,
        *body: Statement[_FirstT, _SecondT, _BranchStyleT],
        was: _Was = (),
    ) -> If[_FirstT, _SecondT, _StyleT | _BranchStyleT | InstanceStyle]: ...
    def else_(
        self: If[_FirstT, _SecondT, _StyleT], *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> If[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...

class For(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    forever: bool
    cond: Any
    max_iterations: int | None
    @overload
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], max_iterations: int | None = None, was: _Was = ()
    ) -> For[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT], Answer],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        max_iterations: int | None = None,
        was: _Was = (),
    ) -> For[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT, _SecondT], Answer],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        max_iterations: int | None = None,
        was: _Was = (),
    ) -> For[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Answer | _Bare,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        max_iterations: int | None = None,
        was: _Was = (),
    ) -> For[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...

class ForEach(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    items: Any
    @overload
    def __new__(
        cls,
        name: str,
        items: Sequence[_ItemT] | Callable[[], Sequence[_ItemT]],
        *body: Statement[_ItemT, object, object],
        was: _Was = (),
    ) -> ForEach[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: tuple[_ItemT, ...] | range,
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        was: _Was = (),
    ) -> ForEach[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: Callable[[_FirstT], Sequence[_ItemT]],
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        was: _Was = (),
    ) -> ForEach[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
    @overload
    def __new__(
        cls, name: str, items: Callable[[_FirstT], Sequence[_ItemT]], *body: Statement[_ItemT, object, object], was: _Was = ()
    ) -> ForEach[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: Callable[[_FirstT, _SecondT], Sequence[_ItemT]],
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        was: _Was = (),
    ) -> ForEach[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...

class Break(Statement[Anything, Anything, Never]):
    def __new__(cls) -> Self: ...

class Continue(Statement[Anything, Anything, Never]):
    def __new__(cls) -> Self: ...

class Return(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    value: Any
    @overload
    def __new__(cls, value: Answer = None) -> Return[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(cls, value: Callable[[_FirstT], Answer]) -> Return[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(cls, value: Callable[[_FirstT, _SecondT], Answer]) -> Return[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(cls, value: _Bare) -> Return[_FirstT, _SecondT, InstanceStyle]: ...

class Go(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    id: Any
    arg: Any
    @overload
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], id: Answer = None, arg: None = None, was: _Was = ()
    ) -> Go[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        id: Callable[[_FirstT], object],
        arg: None = None,
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        id: Callable[[_FirstT, _SecondT], object],
        arg: None = None,
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], id: _Bare, arg: None = None, was: _Was = ()
    ) -> Go[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def __new__(  # type: ignore[overload-overlap] # only a body without any callable fits both
        cls,
        name: str,
        *body: Statement[_ItemT, object, object],
        id: Answer | _Bare = None,
        arg: Callable[[], _ItemT] | _ItemT,
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(  # type: ignore[overload-overlap] # only a body without any callable fits both
        cls,
        name: str,
        *body: Statement[_ItemT, object, object],
        id: Answer | Callable[[_FirstT], object] | _Bare = None,
        arg: Callable[[_FirstT], _ItemT],
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(  # type: ignore[overload-overlap] # only a body without any callable fits both
        cls,
        name: str,
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        id: Answer | Callable[[_FirstT], object] | Callable[[_FirstT, _SecondT], object] = None,
        arg: Callable[[_FirstT], _ItemT] | Callable[[_FirstT, _SecondT], _ItemT],
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
    @overload
    def __new__(  # type: ignore[overload-overlap] # only a body without any callable fits both
        cls,
        name: str,
        *body: Statement[_ItemT, object, object],
        id: Callable[[_FirstT], object],
        arg: Callable[[], _ItemT] | _ItemT,
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        *body: Statement[_FirstT, _ScalarT, _AnyButInstanceStyleT],
        id: Answer | Callable[[_FirstT], object] = None,
        arg: _ScalarT,
        was: _Was = (),
    ) -> Go[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...

class Join(Statement[Anything, Anything, Never]):
    go_names: tuple[str, ...]
    def __new__(cls, name: str, *go_names: str, was: _Was = ()) -> Self: ...

class On(Statement[OnlyInWait, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    event: str | Event[Any, Any]
    handler: Any
    into: str | Callable[..., Any] | None
    via: Any
    schema: dict[str, Any] | bool | None
    stay: bool
    @overload
    def __new__(
        cls,
        event: str,
        handler: Statement[_FirstT, _SecondT, _StyleT] | _Handles[Any] | None = None,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[..., Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Statement[_FirstT, _SecondT, _StyleT] | _Handles[_ResultT] | _Unknown | None = None,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str
        | Callable[[_GivenT], Answer]
        | Callable[[_GivenT, _FirstT], Answer]
        | Callable[[_FirstT, _GivenT], Answer]
        | Callable[[_FirstT, _GivenT, _SecondT], Answer]
        | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Callable[[_GivenT], Awaitable[_ResultT] | _ResultT],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[[_GivenT], Answer] | Callable[[_GivenT, _FirstT], Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        event: str,
        handler: Callable[[Any], object],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[..., Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: str,
        handler: _BareAction,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[..., Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        event: str,
        handler: Callable[[_FirstT, Any], object]
        | Callable[[Any, _FirstT], object]
        | Callable[[_FirstT, Any, _SecondT], object],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[..., Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Callable[[_GivenT, _FirstT], Awaitable[_ResultT] | _ResultT],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[[_GivenT], Answer] | Callable[[_GivenT, _FirstT], Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Callable[[_FirstT, _GivenT], Awaitable[_ResultT] | _ResultT],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[[_FirstT, _GivenT], Answer] | Callable[[_FirstT, _GivenT, _SecondT], Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Callable[[_FirstT], Awaitable[_ResultT] | _ResultT]
        | Callable[[_FirstT, _GivenT, _SecondT], Awaitable[_ResultT] | _ResultT],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[[_FirstT, _GivenT], Answer] | Callable[[_FirstT, _GivenT, _SecondT], Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        event: Event[_GivenT, _ResultT],
        handler: Callable[[], Awaitable[_ResultT] | _ResultT]
        | Callable[[_GivenT], Awaitable[_ResultT] | _ResultT]
        | Callable[[_GivenT, _FirstT], Awaitable[_ResultT] | _ResultT],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: str | Callable[[_GivenT], Answer] | Callable[[_GivenT, _FirstT], Answer] | None = None,
        via: _Via = None,
        schema: dict[str, Any] | bool | None = None,
        stay: bool = False,
        was: _Was = (),
    ) -> On[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...

class Timeout(Statement[OnlyInWait, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    after: Any
    @overload
    def __new__(
        cls, name: str, after: _Instant, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Timeout[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, after: Callable[[_FirstT], _Instant], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Timeout[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        after: Callable[[_FirstT, _SecondT], _Instant],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> Timeout[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, after: Callable[[], _Instant], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Timeout[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...

class Wait(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls,
        name: str,
        *events: On[_FirstT, _SecondT, _StyleT]
        | Timeout[_FirstT, _SecondT, _StyleT]
        | Every[_FirstT, _SecondT, _StyleT]
        | When[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> Wait[_FirstT, _SecondT, _StyleT]: ...

class WaitFor(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    cond: Any
    handler: Callable[..., Any] | None
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], handler: None = None, *, was: _Was = ()
    ) -> WaitFor[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], handler: Callable[[_FirstT], object], *, was: _Was = ()
    ) -> WaitFor[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT], Answer] | Callable[[_FirstT, _SecondT], Answer],
        handler: Callable[[_FirstT], object] | Callable[[_FirstT, _SecondT], object] | None = None,
        *,
        was: _Was = (),
    ) -> WaitFor[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, cond: Answer | _Bare, handler: _BareAction | None = None, *, was: _Was = ()
    ) -> WaitFor[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls, name: str, cond: Answer | _Bare, handler: Callable[[_FirstT], object], *, was: _Was = ()
    ) -> WaitFor[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], handler: _BareAction, *, was: _Was = ()
    ) -> WaitFor[_FirstT, _SecondT, InstanceStyle]: ...

class Sleep(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    duration: Any
    @overload
    def __new__(cls, name: str, duration: _Instant, *, was: _Was = ()) -> Sleep[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, duration: Callable[[_FirstT], _Instant], *, was: _Was = ()
    ) -> Sleep[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, duration: Callable[[_FirstT, _SecondT], _Instant], *, was: _Was = ()
    ) -> Sleep[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, duration: Callable[[], _Instant], *, was: _Was = ()
    ) -> Sleep[_FirstT, _SecondT, InstanceStyle]: ...

def walk(definition: Statement[Any, Any, Any]) -> Iterator[Statement[Any, Any, Any]]: ...
def find(definition: Statement[Any, Any, Any], name: str) -> Statement[Any, Any, Any] | None: ...
