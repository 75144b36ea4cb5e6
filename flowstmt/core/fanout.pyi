"""What type checkers see of ``fanout.py``: a test holds both together. The theory is in ``statements.pyi``.

A ``Branch`` is kept in a ``Parallel`` as a ``Case`` is in a ``Switch``. A ``Map`` is typed as a ``ForEach`` is, with ``key``
taking the item as the body does. What a branch results in is known to nobody: a setter takes a list of anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, final, overload

from flowstmt.core.statements import (
    InstanceStyle,
    Statement,
    _AnyButInstanceStyleT,
    _FirstT,
    _FirstT_contra,
    _Into,
    _ItemT,
    _SecondT,
    _SecondT_contra,
    _StyleT,
    _StyleT_co,
    _Was,
)

__all__ = ["ALL", "ANY", "AtLeast", "Branch", "JoinRule", "Map", "Parallel", "Percent", "Tolerance"]

@final
class OnlyInParallel: ...

@dataclass(frozen=True, slots=True)
class AtLeast:
    count: int

@dataclass(frozen=True, slots=True)
class Percent:
    share: float

class _All: ...

ALL: Final[_All]
ANY: Final[AtLeast]

JoinRule: TypeAlias = _All | AtLeast
Tolerance: TypeAlias = int | Percent | None

class Branch(Statement[OnlyInParallel, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Branch[_FirstT, _SecondT, _StyleT]: ...

class Parallel(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    into: Any
    join: JoinRule
    tolerate: Tolerance
    fail_fast: bool
    def __new__(
        cls,
        name: str,
        *branches: Branch[_FirstT, _SecondT, _StyleT],
        into: _Into[list[Any], _FirstT, _SecondT] = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Parallel[_FirstT, _SecondT, _StyleT]: ...

class Map(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    items: Any
    key: Callable[..., Any] | None
    into: Any
    max_concurrency: int | None
    join: JoinRule
    tolerate: Tolerance
    fail_fast: bool
    @overload
    def __new__(
        cls,
        name: str,
        items: Sequence[_ItemT] | Callable[[], Sequence[_ItemT]],
        *body: Statement[_ItemT, object, object],
        key: Callable[[_ItemT], object] | None = None,
        into: _Into[list[Any], _FirstT, object] = None,
        max_concurrency: int | None = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Map[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: tuple[_ItemT, ...] | range,
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        key: Callable[[_FirstT, _ItemT], object] | None = None,
        into: _Into[list[Any], _FirstT, _SecondT] = None,
        max_concurrency: int | None = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Map[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: Callable[[_FirstT], Sequence[_ItemT]],
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        key: Callable[[_FirstT, _ItemT], object] | None = None,
        into: _Into[list[Any], _FirstT, _SecondT] = None,
        max_concurrency: int | None = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Map[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: Callable[[_FirstT], Sequence[_ItemT]],
        *body: Statement[_ItemT, object, object],
        key: Callable[[_ItemT], object] | None = None,
        into: _Into[list[Any], _FirstT, object] = None,
        max_concurrency: int | None = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Map[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls,
        name: str,
        items: Callable[[_FirstT, _SecondT], Sequence[_ItemT]],
        *body: Statement[_FirstT, _ItemT, _AnyButInstanceStyleT],
        key: Callable[[_FirstT, _ItemT], object] | None = None,
        into: _Into[list[Any], _FirstT, _SecondT] = None,
        max_concurrency: int | None = None,
        join: JoinRule = ...,
        tolerate: Tolerance = None,
        fail_fast: bool = True,
        was: _Was = (),
    ) -> Map[_FirstT, _SecondT, _AnyButInstanceStyleT]: ...
