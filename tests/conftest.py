"""Every status that flowstmt assigns while the suite runs is held against the transition tables.

The tables are not looked up on the hot path; this is what makes them true.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flowstmt.core.state import EVENT_TRANSITIONS, RUN_TRANSITIONS, THREAD_TRANSITIONS, State, Thread, WaitEvent

Transition = tuple[str, Any, Any]
"""(class name, status before, status after)."""

TABLES: Mapping[type[Any], Mapping[Any, frozenset[Any]]] = {
    Thread: THREAD_TRANSITIONS,
    WaitEvent: EVENT_TRANSITIONS,
    State: RUN_TRANSITIONS,
}


class Watch:
    """What was assigned: ``made`` holds every transition, ``forbidden`` those that no table has."""

    def __init__(self) -> None:
        self.made: set[Transition] = set()
        self.forbidden: list[str] = []

    @property
    def rows(self) -> set[Transition]:
        """Every transition that the tables allow."""
        return {
            (cls.__name__, before, after)
            for cls, table in TABLES.items()
            for before, afters in table.items()
            for after in afters
        }


def _watched(cls: type[Any], slot: Any, watch: Watch) -> property:
    """Stands in for the slot ``status`` of a class, and looks at each assignment."""
    allowed, name, get, put = TABLES[cls], cls.__name__, slot.__get__, slot.__set__

    def assign(owner: Any, after: Any) -> None:
        try:
            before = get(owner)
        except AttributeError:
            put(owner, after)  # the first assignment: a new object, or a copy
            return
        put(owner, after)
        caller = sys._getframe(1).f_globals.get("__name__", "")
        # Tests may put a state into any shape, and whoever takes a move back is not bound to the way it came.
        if caller.startswith("flowstmt.") and caller != "flowstmt.core.journal":
            watch.made.add((name, before, after))
            if after not in allowed.get(before, ()):
                watch.forbidden.append(f"{name}: {before} -> {after} is in no table")

    return property(get, assign)


_WATCH = Watch()


@pytest.fixture(scope="session")
def watched_classes() -> Iterator[Watch]:
    """The statuses of threads, events and runs, watched from the first test to the last."""
    slots = {cls: vars(cls)["status"] for cls in TABLES}
    for cls in TABLES:
        setattr(cls, "status", _watched(cls, slots[cls], _WATCH))  # noqa: B010 mypy would refuse the plain assignment
    yield _WATCH
    for cls, slot in slots.items():
        setattr(cls, "status", slot)  # noqa: B010


@pytest.fixture(autouse=True)
def transitions(watched_classes: Watch) -> Iterator[Watch]:
    """Fails a test that made flowstmt leave the transition tables; gives what was watched since the test began."""
    _WATCH.made.clear()
    _WATCH.forbidden.clear()
    yield _WATCH
    assert not _WATCH.forbidden
