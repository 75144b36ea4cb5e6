"""The Waits that take callbacks for a thread: the one at which it stands, and those around it to which it will come back.

Theory: a thread in the body of a case that stays has a frame for the Wait. Its ``data`` hold the case whose body runs
(``event``), the names of the callbacks that were taken meanwhile, in their order (``then``), and, once one of these is to end
the Wait, its name (``decided``): from then on the Wait takes nothing more.

A Wait that the thread is about to leave for good takes nothing either: nobody would act upon it.

What this module must not know: how a thread gets in there, and out again (``waiting.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flowstmt.core.approvals import Approval
from flowstmt.core.children import Call
from flowstmt.core.nodes import WAITS, Node
from flowstmt.core.state import RESUMING, WAITING_EVENT, Frame, Thread

__all__ = ["frame_of", "holds", "open_waits", "taken_here"]


def open_waits(by_name: Mapping[str, Node], thread: Thread) -> Iterator[Node]:
    """The Waits that take callbacks for a thread, the innermost first."""
    at_wait = thread.status is WAITING_EVENT
    if at_wait:
        yield by_name[thread.position]
    frames = thread.frames
    for at in range(len(frames) - 1, -1, -1):
        frame = frames[at]
        node = by_name.get(frame.statement)
        if node is None or node.kind not in WAITS or (at_wait and frame.statement == thread.position):
            continue
        if node.kind is Call:
            continue  # its child is over
        if "decided" not in (frame.data or ()) and not _is_left(by_name, frames[at:], node):
            yield node


def _is_left(by_name: Mapping[str, Node], frames: list[Frame], wait: Node) -> bool:
    """Whether what is pending in one of these frames leads out of a Wait."""
    return any(frame.exit is not None and not _ends_inside(by_name, frame, wait) for frame in frames)


def _ends_inside(by_name: Mapping[str, Node], frame: Frame, wait: Node) -> bool:
    """Whether a loop or a catch inside of a Wait will take a pending exit."""
    exit_: dict[str, Any] = frame.exit
    taker: Node | None = None
    if exit_["exit"] in ("break", "continue"):
        taker = by_name[frame.statement].loop
    elif exit_.get("catch") is not None:
        taker = by_name.get(exit_["catch"]["try"])
    return taker is not None and wait.index < taker.index <= wait.last


def frame_of(thread: Thread, wait: Node) -> int:
    """Which frame of a thread is that of a Wait."""
    return next(at for at, frame in enumerate(thread.frames) if frame.statement == wait.name)


def taken_here(thread: Thread) -> int:
    """How many callbacks a thread has taken that it has not acted upon: it tells apart those that come at one stop."""
    held = [frame.data for frame in thread.frames if frame.data is not None and "then" in frame.data]
    return sum([1 + len(data["then"]) for data in held]) + (bool(held) and thread.status is RESUMING)


def holds(wait: Node, data: Any) -> bool:
    """Whether the data of a frame are what a Wait, an Approval or a Call keeps there."""
    if wait.kind is Call:
        return isinstance(data, dict) and "child" in data and data.get("status") in ("Finished", "Failed", "Cancelled")
    if not isinstance(data, dict) or not _are_texts(data.get("then")):
        return False
    if wait.kind is not Approval:
        return True
    answers = data.get("answers")
    return _are_texts(data.get("approvers")) and isinstance(answers, list) and all(map(_is_answer, answers))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_answer(value: Any) -> bool:
    try:
        datetime.fromisoformat(value["at"])
    except (TypeError, KeyError, ValueError):
        return False
    texts = (value.get("who"), value.get("comment"))
    return len(value) == 4 and all(isinstance(each, str) for each in texts) and isinstance(value.get("approved"), bool)
