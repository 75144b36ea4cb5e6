"""What type checkers see of ``children.py``: a test holds both together. The theory is in ``statements.pyi``.

Of the child's result nobody knows the type before it is there: what ``into`` takes is looked at then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Never, Protocol, overload

from flowstmt.core.state import CallbackRequest, ErrorInfo
from flowstmt.core.statements import (
    Event,
    InstanceStyle,
    Statement,
    _FirstT,
    _FirstT_contra,
    _Into,
    _SecondT,
    _SecondT_contra,
    _StyleT_co,
    _Was,
)

__all__ = ["CHILD_ENDED", "Call", "ChildEnd", "child_of", "child_run_id", "parent_of"]

class _Workflow(Protocol):
    @property
    def definition(self) -> Callable[[], Statement[Any, Any, Any]]: ...

@dataclass(frozen=True, slots=True)
class ChildEnd:
    status: Literal["Finished", "Failed", "Cancelled"]
    result: Any = None
    error: ErrorInfo | None = None

CHILD_ENDED: Final[Event[ChildEnd, None]]

class Call(Statement[_FirstT_contra, _SecondT_contra, _StyleT_co]):
    workflow: Any
    into: Any
    @overload
    def __new__(
        cls, name: str, workflow: Callable[[], _Workflow], into: _Into[Any, _FirstT, _SecondT] = None, *, was: _Was = ()
    ) -> Call[_FirstT, _SecondT, InstanceStyle]: ...
    @overload
    def __new__(
        cls, name: str, workflow: Callable[[_FirstT], _Workflow], into: _Into[Any, _FirstT, _SecondT] = None, *, was: _Was = ()
    ) -> Call[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls,
        name: str,
        workflow: Callable[[_FirstT, _SecondT], _Workflow],
        into: _Into[Any, _FirstT, _SecondT] = None,
        *,
        was: _Was = (),
    ) -> Call[_FirstT, _SecondT, Never]: ...
    @overload
    def __new__(
        cls, name: str, workflow: _Workflow, into: _Into[Any, _FirstT, _SecondT] = None, *, was: _Was = ()
    ) -> Call[_FirstT, _SecondT, Never]: ...

def child_run_id(run_id: str, birth: str, pc: int) -> str: ...
def parent_of(run_id: str) -> tuple[str, str, int] | None: ...
def child_of(request: CallbackRequest) -> str: ...
