"""What type checkers see of ``waits.py``: a test holds both together. The theory is in ``statements.pyi``."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, overload

from flowstmt.core.statements import (
    Answer,
    InstanceStyle,
    OnlyInWait,
    Statement,
    _Bare,
    _FirstT,
    _FirstT_contra,
    _SecondT,
    _SecondT_contra,
    _StyleT,
    _StyleT_co,
    _Was,
)

__all__ = ["Every", "When"]

class Every(Statement[OnlyInWait, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    period: Any
    @overload
    def __new__(
        cls, name: str, period: timedelta, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Every[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, period: Callable[[_FirstT], timedelta], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Every[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        period: Callable[[_FirstT, _SecondT], timedelta],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> Every[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, period: Callable[[], timedelta], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> Every[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...

class When(Statement[OnlyInWait, _SecondT_contra, _StyleT_co], Generic[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    cond: Any
    @overload
    def __new__(
        cls, name: str, cond: Callable[[_FirstT], Answer], *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> When[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        cond: Callable[[_FirstT, _SecondT], Answer],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        was: _Was = (),
    ) -> When[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls, name: str, cond: Answer | _Bare, *body: Statement[_FirstT, _SecondT, _StyleT], was: _Was = ()
    ) -> When[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
