"""The statement that asks people, and what they answer.

The rules of ``statements.py`` hold here as well.

An Approval is a Wait whose cases are given: its ``body`` are the events ``approve`` and ``reject``, the Timeout ``expired``
where it has one, and its reminder. What is to be done stands inside of these, so that whoever walks or draws a tree meets
nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from flowstmt.core.fanout import ALL, JoinRule
from flowstmt.core.statements import Event, On, Statement, Timeout
from flowstmt.core.waits import Every

__all__ = ["APPROVE", "EXPIRED", "REJECT", "Answer", "Approval", "ApprovalResult", "GivenAnswer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says to an ``Approval``: the payload of its events.

    Attributes:
        who: One of its approvers.
        comment: What they have to say about it.
    """

    who: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer that was given.

    Attributes:
        who: One of the approvers.
        comment: What they had to say about it.
        approved: Whether they approved; if not, they rejected.
        at: When.
    """

    who: str
    comment: str
    approved: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalResult:
    """How an ``Approval`` stands: what a callback gets for its answer, and what ``into`` keeps of the end.

    Attributes:
        decision: ``open`` until it is decided.
        answers: Those that were given, in their order.
        missing: The approvers who have not answered.
    """

    decision: Literal["open", "approved", "rejected", "expired"] = "open"
    answers: list[GivenAnswer] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


APPROVE: Event[Answer, ApprovalResult] = Event("approve", Answer, ApprovalResult)
"""What approvers call to approve."""

REJECT: Event[Answer, ApprovalResult] = Event("reject", Answer, ApprovalResult)
"""What approvers call to reject."""

EXPIRED = "expired"


class Approval(Statement):
    """Park until people have approved, then run the body: what approval allows stands inside.

    ``approvers`` are texts, evaluated once, when the thread gets there. ``need`` says how many of them have to approve:
    ``ALL``, ``ANY`` or ``AtLeast(n)``; one rejection decides. They call the events ``APPROVE`` and ``REJECT`` with an
    ``Answer``; whoever is not among them, or has answered, is refused. ``into`` keeps the ``ApprovalResult``.

    A rejection, or no decision within ``timeout`` (a ``timedelta`` or an aware ``datetime``), is a failure that is final
    (``Rejected``, ``Expired``), unless ``rejected`` and ``expired`` say what to do instead. ``remind`` is an ``Every``, which
    runs its body as long as there is no decision.

    >>> tree = Approval("release", ["ann", "bob"], timeout=timedelta(days=3)).rejected()
    >>> [event.name for event in tree.body]
    ['approve', 'reject', 'expired']
    """

    __slots__ = (
        "approvers",
        "body",
        "if_approved",
        "if_expired",
        "if_rejected",
        "into",
        "name",
        "need",
        "remind",
        "timeout",
        "was",
    )

    def __init__(
        self,
        name: str,
        approvers: Any,
        *body: Statement,
        need: JoinRule = ALL,
        timeout: timedelta | datetime | Callable[..., Any] | None = None,
        remind: Every | None = None,
        into: str | Callable[..., Any] | None = None,
        was: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.approvers = approvers
        self.need = need
        self.timeout = timeout
        self.remind = remind
        self.into = into
        self.was = was
        self.if_approved = body
        self.if_rejected: tuple[tuple[Statement, ...], ...] = ()
        self.if_expired: tuple[tuple[Statement, ...], ...] = ()
        self.body = self._cases()

    def rejected(self, *body: Statement) -> Approval:
        """This ``Approval`` with a body for when somebody rejects; the thread then goes on after it."""
        longer = self._copy()
        longer.if_rejected = (*self.if_rejected, body)
        longer.body = longer._cases()
        return longer

    def expired(self, *body: Statement) -> Approval:
        """This ``Approval`` with a body for when time is over; the thread then goes on after it."""
        longer = self._copy()
        longer.if_expired = (*self.if_expired, body)
        longer.body = longer._cases()
        return longer

    def _cases(self) -> tuple[Statement, ...]:
        cases: list[Statement] = [
            On(APPROVE, None, *self.if_approved),
            On(REJECT, None, *sum(self.if_rejected, ())),
        ]
        if self.timeout is not None:
            cases.append(Timeout(EXPIRED, self.timeout, *sum(self.if_expired, ())))
        if isinstance(self.remind, Statement):
            cases.append(self.remind)
        return tuple(cases)

    def _copy(self) -> Approval:
        # A new one: an Approval of a module, extended in two definitions, must not collect the parts of both.
        longer = Approval.__new__(Approval)
        for key in Approval.__slots__:
            setattr(longer, key, getattr(self, key))
        return longer
