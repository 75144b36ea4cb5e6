"""What flowstmt does while the suite runs is held against what is written down about it.

Every status that is assigned, against the transition tables, which are not looked up on the hot path; every snapshot that is
dumped, against the published schema. This is what makes them true.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

import flowstmt.snapshot
from flowstmt.core.state import EVENT_TRANSITIONS, RUN_TRANSITIONS, THREAD_TRANSITIONS, State, Thread, WaitEvent
from tests.postgres import own_postgres, postgres

__all__ = ["own_postgres", "postgres"]

Transition = tuple[str, Any, Any]
"""(class name, status before, status after)."""

TABLES: Mapping[type[Any], Mapping[Any, Mapping[Any, str]]] = {
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


SNAPSHOT_SCHEMA = Path(flowstmt.snapshot.__file__).with_name("snapshot.schema.json")

# The package itself needs no such speed, and not this dependency: a suite that dumps tens of thousands of snapshots does.
_SNAPSHOTS = jsonschema_rs.validator_for(orjson.loads(SNAPSHOT_SCHEMA.read_bytes()))


@pytest.fixture(scope="session")
def watched_dump() -> Iterator[list[str]]:
    """Snapshots that do not fit the schema, and why."""
    unfit: list[str] = []
    enclosed = flowstmt.snapshot._enclosed
    seen: set[int] = set()

    def watched(*parts: Any) -> bytes:
        blob = enclosed(*parts)
        # The same run is killed in many places, and dumped the same way each time.
        if (mark := hash(blob)) in seen:
            return blob
        if not _SNAPSHOTS.is_valid(document := orjson.loads(blob)):
            error = next(_SNAPSHOTS.iter_errors(document))
            unfit.append(f"{error.instance_path}: {error.message} in {blob[:2000]!r}")
        else:
            seen.add(mark)
        return blob

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flowstmt.snapshot, "_enclosed", watched)
        yield unfit


@pytest.fixture(autouse=True)
def snapshots(watched_dump: list[str]) -> Iterator[list[str]]:
    """Fails a test in which a snapshot was dumped that does not fit the schema; gives those that did not."""
    watched_dump.clear()
    yield watched_dump
    assert not watched_dump


@pytest.fixture
def odd_states(snapshots: list[str]) -> Iterator[None]:
    """For tests that dump states which they have edited by hand, and no run could have left."""
    yield
    snapshots.clear()
