"""How a thread waits for a child run, and what the end of the child means for it.

Theory: a thread stands at a Call as at a Wait. The end of the child comes in as a callback, and is kept in a frame until the
thread moves on: so the outcome is saved with the callback, and what follows from it is decided in the round after that, as it
is for every event.

What this module must not know: how children are started and cancelled.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import Approval
from flowstmt.core.approving import Approving
from flowstmt.core.children import child_run_id
from flowstmt.core.nodes import Node
from flowstmt.core.state import ErrorInfo, Frame, Thread, WaitEvent
from flowstmt.errors import ChildError, a_kind_of

if TYPE_CHECKING:
    from flowstmt.core.children import Call, ChildEnd

__all__ = ["Calling"]


class Calling(Approving):
    """Calls."""

    __slots__ = ()

    def child(self, thread: Thread, event: WaitEvent) -> Any:
        """The workflow object of the child that is to be started. Raises ``StepError``."""
        node = self.program.by_name[event.wait]
        statement: Call = self.values[node.index]
        self._frames = thread.frames
        found = statement.workflow
        if not _is_workflow(found):
            found = self._value(thread, node, "workflow", found)
        if not _is_workflow(found):
            raise self._failed(
                thread, node, f"its workflow must be a workflow object, not {a_kind_of(found)}: it has no definition()"
            )
        return found

    def child_ended(self, thread: Thread, case: Node, end: ChildEnd, now: datetime) -> None:
        """Enter how a child has ended: its thread may go on."""
        node = case.parent
        assert node is not None  # a case stands in its Call
        run_id = child_run_id(self.state.run_id, thread.birth, thread.pc)
        error = None if end.error is None else asdict(end.error)
        kept = {"child": run_id, "status": end.status, "result": end.result, "error": error}
        self.take(thread, case, now)
        thread.frames = [*thread.frames, Frame(node.name, data=kept)]

    def _decided(self, thread: Thread, node: Node, case: Node, data: dict[str, Any]) -> Node | None:
        if node.kind is Approval:
            return super()._decided(thread, node, case, data)
        statement: Call = self.values[node.index]
        if data["status"] == "Finished":
            if statement.into is not None:
                self._store_moving(thread, node, statement.into, data["result"])
            if node.leaves_result:
                self._keep_result(thread, data["result"], moving=True)
            return case.entry
        error = None if data["error"] is None else ErrorInfo(**data["error"])
        why = "" if error is None else f": {error.type}: {error.message}"
        what = "has failed" if data["status"] == "Failed" else "was cancelled"
        message = f"the child run {data['child']!r} {what}{why}"
        # By the name of the child's own error, so that it is known however many runs it has come through.
        kind = "Cancelled" if data["status"] == "Cancelled" else "ChildError" if error is None else error.type
        raised = ChildError(message, run_id=data["child"], error=error)
        return self._fail(thread, node, raised, ErrorInfo(kind, message, node.name))


def _is_workflow(value: Any) -> bool:
    return not isinstance(value, type) and callable(getattr(type(value), "definition", None))
