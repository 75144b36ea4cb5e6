"""What type checkers see of ``approvals.py``: a test holds both together. The theory is in ``statements.pyi``.

Of the setter and of a callable for the timeout the style is not told: that would take an overload for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, overload

from flowstmt.core.fanout import JoinRule
from flowstmt.core.statements import (
    Event,
    InstanceStyle,
    Statement,
    _BranchStyleT,
    _FirstT,
    _FirstT_contra,
    _Instant,
    _Into,
    _SecondT,
    _SecondT_contra,
    _StyleT,
    _StyleT_co,
    _Was,
)
from flowstmt.core.waits import Every

__all__ = ["APPROVE", "EXPIRED", "REJECT", "Answer", "Approval", "ApprovalResult", "GivenAnswer"]

_Time: TypeAlias = _Instant | Callable[[], _Instant] | Callable[[_FirstT], _Instant] | Callable[[_FirstT, _SecondT], _Instant]

@dataclass(frozen=True, slots=True)
class Answer:
    who: str
    comment: str = ""

@dataclass(frozen=True, slots=True)
class GivenAnswer:
    who: str
    comment: str
    approved: bool
    at: datetime

@dataclass(frozen=True, slots=True)
class ApprovalResult:
    decision: Literal["open", "approved", "rejected", "expired"] = "open"
    answers: list[GivenAnswer] = ...
    missing: list[str] = ...

APPROVE: Final[Event[Answer, ApprovalResult]]
REJECT: Final[Event[Answer, ApprovalResult]]
EXPIRED: Final = "expired"

class Approval(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    approvers: Any
    need: JoinRule
    timeout: Any
    remind: Every[Any, Any, Any] | None
    into: Any
    if_approved: tuple[Statement[Any, Any, Any], ...]
    if_rejected: tuple[tuple[Statement[Any, Any, Any], ...], ...]
    if_expired: tuple[tuple[Statement[Any, Any, Any], ...], ...]
    @overload
    def __new__(
        cls,
        name: str,
        approvers: list[str] | tuple[str, ...],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        need: JoinRule = ...,
        timeout: _Time[_FirstT, _SecondT] | None = None,
        remind: Every[_FirstT, _SecondT, _StyleT] | None = None,
        into: _Into[ApprovalResult, _FirstT, _SecondT] = None,
        was: _Was = (),
    ) -> Approval[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        approvers: Callable[[_FirstT], Sequence[str]],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        need: JoinRule = ...,
        timeout: _Time[_FirstT, _SecondT] | None = None,
        remind: Every[_FirstT, _SecondT, _StyleT] | None = None,
        into: _Into[ApprovalResult, _FirstT, _SecondT] = None,
        was: _Was = (),
    ) -> Approval[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        approvers: Callable[[_FirstT, _SecondT], Sequence[str]],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        need: JoinRule = ...,
        timeout: _Time[_FirstT, _SecondT] | None = None,
        remind: Every[_FirstT, _SecondT, _StyleT] | None = None,
        into: _Into[ApprovalResult, _FirstT, _SecondT] = None,
        was: _Was = (),
    ) -> Approval[_FirstT, _SecondT, _StyleT]: ...
    @overload
    def __new__(
        cls,
        name: str,
        approvers: Callable[[], Sequence[str]],
        *body: Statement[_FirstT, _SecondT, _StyleT],
        need: JoinRule = ...,
        timeout: _Time[_FirstT, _SecondT] | None = None,
        remind: Every[_FirstT, _SecondT, _StyleT] | None = None,
        into: _Into[ApprovalResult, _FirstT, _SecondT] = None,
        was: _Was = (),
    ) -> Approval[_FirstT, _SecondT, _StyleT | InstanceStyle]: ...
    @overload
    def rejected(
        self: Approval[_FirstT, _SecondT, _StyleT], *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> Approval[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def rejected(
        self, *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> (
        Approval[_FirstT_contra, _SecondT_contra, _StyleT_co | _BranchStyleT]
        | Approval[_FirstT, _SecondT, _StyleT_co | _BranchStyleT]
    ): ...
    @overload
    def expired(
        self: Approval[_FirstT, _SecondT, _StyleT], *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> Approval[_FirstT, _SecondT, _StyleT | _BranchStyleT]: ...
    @overload
    def expired(
        self, *body: Statement[_FirstT, _SecondT, _BranchStyleT]
    ) -> (
        Approval[_FirstT_contra, _SecondT_contra, _StyleT_co | _BranchStyleT]
        | Approval[_FirstT, _SecondT, _StyleT_co | _BranchStyleT]
    ): ...
