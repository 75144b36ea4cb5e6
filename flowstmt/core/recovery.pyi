"""What type checkers see of ``recovery.py``: a test holds both together. The theory is in ``statements.pyi``.

``Catch`` and ``Finally`` are kept in a ``Try`` as ``Case`` and ``Default`` are in a ``Switch``. A predicate gets the exception
and nothing else, in both styles. The style of a catch's setter is not told: an overload for each style would make mypy look
at the body once more.
"""

from collections.abc import Callable
from typing import Any, Generic, Never, final, overload

from flowstmt.core.policies import ErrorFilter
from flowstmt.core.state import ErrorInfo
from flowstmt.core.statements import (
    InstanceStyle,
    Statement,
    _BranchStyleT,
    _FirstT,
    _FirstT_contra,
    _Into,
    _SecondT,
    _SecondT_contra,
    _StyleT,
    _StyleT_co,
    _Was,
)

__all__ = ["Catch", "Fail", "Finally", "Saga", "Try"]

@final
class OnlyInTry: ...

class Catch(Statement[OnlyInTry, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    errors: ErrorFilter
    into: Any
    def __new__(
        cls,
        errors: ErrorFilter,
        *body: Statement[_FirstT, _SecondT, _StyleT],
        into: _Into[ErrorInfo, _FirstT, _SecondT] = None,
    ) -> Catch[_FirstT, _SecondT, _StyleT]: ...

class Finally(Statement[OnlyInTry, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(cls, *body: Statement[_FirstT, _SecondT, _StyleT]) -> Finally[_FirstT, _SecondT, _StyleT]: ...

class Try(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls,
        name: str,
        *body: Catch[_FirstT, _SecondT, _StyleT] | Finally[_FirstT, _SecondT, _StyleT] | Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> Try[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def catch(
        self: Try[_FirstT, _SecondT, _StyleT],
        errors: ErrorFilter,
        *body: Statement[_FirstT, _SecondT, _BranchStyleT],
        into: _Into[ErrorInfo, _FirstT, _SecondT] = None,
    ) -> Try[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def catch(
        self,
        errors: ErrorFilter,
        *body: Statement[_FirstT, _SecondT, _BranchStyleT],
        into: _Into[ErrorInfo, _FirstT, _SecondT] = None,
    ) -> (
        Try[_FirstT_contra, _SecondT_contra, _StyleT_co | _BranchStyleT] | Try[_FirstT, _SecondT, _StyleT_co | _BranchStyleT]
    ): ...
    @overload
    def finally_(
        self: Try[_FirstT, _SecondT, _StyleT], *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> Try[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def finally_(
        self, *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> (
        Try[_FirstT_contra, _SecondT_contra, _StyleT_co | _BranchStyleT] | Try[_FirstT, _SecondT, _StyleT_co | _BranchStyleT]
    ): ...

class Fail(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    message: Any
    @overload
    def __new__(cls, name: str, message: str, *, was: _Was = ()) -> Fail[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(cls, name: str, message: Callable[[_FirstT], str], *, was: _Was = ()) -> Fail[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, message: Callable[[_FirstT, _SecondT], str], *, was: _Was = ()
    ) -> Fail[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(cls, name: str, message: Callable[[], str], *, was: _Was = ()) -> Fail[_FirstT, _SecondT, InstanceStyle]: ...

class Saga(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    def __new__(
        cls, name: str, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Saga[_FirstT, _SecondT, _StyleT]: ...
