"""Which actions can have a time limit.

Theory: to go on while an action is still under way, there must be a way to be rid of it. An async one is cancelled. A plain
function can't be ended from outside: it has to run in a thread of its own, which is left alone when its time is over. What
such a thread works with is lost to everybody else, so it must not be the data: only a concurrent step has a copy.

What this module must not know: who measures the time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

from flowstmt.core.calls import is_async
from flowstmt.core.state import Thread
from flowstmt.errors import quoted

__all__ = ["InTime", "timeout_fault"]

InTime: TypeAlias = Callable[[Thread, Callable[..., Any], timedelta], Callable[..., Any]]
"""Makes a call, of the action at which a thread stands, one that fails when its time is over."""


def timeout_fault(timeout: Any, action: Any, concurrent: bool) -> str | None:
    """What is wrong with the timeout of a step, or None."""
    if not isinstance(timeout, timedelta) or timeout <= timedelta(0):
        return f"timeout must be a timedelta above 0, not {quoted(timeout)}"
    if callable(action) and not is_async(action) and not concurrent:
        return (
            "it has a timeout, but nothing could end its action, which is neither async nor concurrent: make it an async def, "
            "or let it run in a thread of its own with concurrent=True"
        )
    return None
