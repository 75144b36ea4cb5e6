"""What people answer an Approval, and what is decided by that.

Theory: a thread that stands at an Approval has a frame for it, whose ``data`` hold the ``approvers``, as they were when it got
there, and the ``answers``. Each answer is entered there, wherever the thread is at that moment (it may be in the body of a
reminder); the one that decides fires the event that it came by, as at any Wait. Who may answer, and whether there is a
decision, follows from the frame alone: it survives a reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import APPROVE, EXPIRED, Answer, ApprovalResult, GivenAnswer
from flowstmt.core.fanout import AtLeast
from flowstmt.core.nodes import Node
from flowstmt.core.open_waits import frame_of
from flowstmt.core.state import WAITING_EVENT, ErrorInfo, Frame, Thread
from flowstmt.core.waiting import Waiting
from flowstmt.errors import FinalError, RefusedError, a_kind_of, listed, quoted

if TYPE_CHECKING:
    from flowstmt.core.approvals import Approval

__all__ = ["Approving", "unanswered"]

_DECISIONS = {APPROVE.name: "approved", EXPIRED: "expired"}


class Approving(Waiting):
    """Approvals."""

    __slots__ = ()

    def _at_approval(self, thread: Thread, node: Node) -> None:
        approvers = self._approvers(thread, node)
        events = [self._waiting(thread, child, thread.pc + 1) for child in node.children]
        self._frames = [*self._frames, Frame(node.name, data={"approvers": approvers, "answers": [], "then": []})]
        self._park(thread, node, WAITING_EVENT)
        thread.events = [*thread.events, *events]

    def _approvers(self, thread: Thread, node: Node) -> list[str]:
        statement: Approval = self.values[node.index]
        found = self._value(thread, node, "approvers", statement.approvers)
        if not isinstance(found, Sequence) or isinstance(found, str | bytes | bytearray):
            raise self._failed(thread, node, f"its approvers must be a list of texts, not {a_kind_of(found)}")
        for each in found:
            if not isinstance(each, str) or not each:
                raise self._failed(thread, node, f"an approver must be a text that is not empty, not {quoted(each)}")
        names = list(dict.fromkeys(found))
        if not names:
            raise self._failed(thread, node, "it has no approvers: nobody could decide it")
        need = statement.need
        if isinstance(need, AtLeast) and need.count > len(names):
            raise self._failed(
                thread, node, f"{need.count} approvers have to approve, but it has only {len(names)}: nobody could decide it"
            )
        return names

    # --- answers ---

    def check_answer(self, thread: Thread, case: Node, answer: Answer) -> None:
        """Whether somebody may answer. Raises ``RefusedError``."""
        node = case.parent
        assert node is not None  # a case stands in its Approval
        data = thread.frames[frame_of(thread, node)].data
        missing = unanswered(data)
        if answer.who in missing:
            return
        why = "has answered already" if answer.who in data["approvers"] else "is none of its approvers"
        left = listed([repr(who) for who in missing])
        raise RefusedError(
            f"{self._where(thread)}: {node.label}: {quoted(answer.who)} {why}. Nothing has changed; still to answer: {left}"
        )

    def answer(self, thread: Thread, case: Node, answer: Answer, now: datetime) -> ApprovalResult:
        """Enter an answer; if that decides, the event fires. Returns how things stand."""
        node = case.parent
        assert node is not None  # a case stands in its Approval
        at = frame_of(thread, node)
        frame = thread.frames[at]
        given = {"who": answer.who, "comment": answer.comment, "approved": case.name == APPROVE.name, "at": now.isoformat()}
        data = {**frame.data, "answers": [*frame.data["answers"], given]}
        thread.frames = [*thread.frames[:at], replace(frame, data=data), *thread.frames[at + 1 :]]
        self._agenda = None
        if case.name == APPROVE.name and sum([each["approved"] for each in data["answers"]]) < self._needed(node, data):
            return _result("open", data)
        self.take(thread, case, now)
        return _result(_decision(case), data)

    def _needed(self, node: Node, data: dict[str, Any]) -> int:
        """How many have to approve. Never more than can: the definition may have changed since the thread got there."""
        need = self.values[node.index].need
        count = len(data["approvers"])
        return min(need.count, count) if isinstance(need, AtLeast) else count

    # --- what follows ---

    def _decided(self, thread: Thread, node: Node, case: Node, data: dict[str, Any]) -> Node | None:
        """Past an Approval: its result goes where it is wanted, and the thread to what was decided."""
        statement: Approval = self.values[node.index]
        result = _result(_decision(case), data)
        if statement.into is not None:
            self._store_moving(thread, node, statement.into, result)
        if case.name == APPROVE.name:
            return case.entry
        if case.name == EXPIRED:
            if statement.if_expired:
                return case.entry
            message = f"{node.label} has expired: {len(result.missing)} of {len(data['approvers'])} have not answered"
            return self._fail(thread, node, FinalError(message), ErrorInfo("Expired", message, node.name))
        if statement.if_rejected:
            return case.entry
        message = f"{node.label} was rejected by {quoted(result.answers[-1].who)}"
        return self._fail(thread, node, FinalError(message), ErrorInfo("Rejected", message, node.name))


def _decision(case: Node) -> Any:
    return _DECISIONS.get(case.name, "rejected")


def unanswered(data: dict[str, Any]) -> list[str]:
    """The approvers who have not answered, of what an Approval keeps in its frame."""
    answered = {given["who"] for given in data["answers"]}
    return [who for who in data["approvers"] if who not in answered]


def _result(decision: Any, data: dict[str, Any]) -> ApprovalResult:
    answers = [GivenAnswer(**{**given, "at": datetime.fromisoformat(given["at"])}) for given in data["answers"]]
    return ApprovalResult(decision, answers, unanswered(data))
