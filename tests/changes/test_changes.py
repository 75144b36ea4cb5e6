"""Snapshots that old code wrote are finished by new code: the proof of ``docs/changes.md``."""

from __future__ import annotations

from typing import Any

import pytest

from flowstmt import PositionError, UnknownEventError, WorkflowStatus, dump, load, walk
from tests.changes.record import CHANGES, FOLDER, go_on, main, module, old_snapshots, stored

every_change = pytest.mark.parametrize("change", CHANGES)
every_snapshot = pytest.mark.parametrize(
    ("change", "name"), [pytest.param(change, name, id=f"{change}/{name}") for change in CHANGES for name in stored(change)]
)


@every_change
def test_the_old_code_still_writes_these_very_bytes(change: str):
    assert old_snapshots(change) == stored(change)


@every_change
def test_each_stored_snapshot_has_an_end(change: str):
    assert list(module(change, "new").ENDS) == list(stored(change))


@every_snapshot
def test_the_new_code_finishes_what_the_old_code_began(change: str, name: str):
    old, new = module(change, "old"), module(change, "new")
    work, state = load(new.Order, stored(change)[name])
    go_on(work, state, old.CALLS, lambda kind: dump(work, state))
    assert (work.log, state.status) == (list(new.ENDS[name]), WorkflowStatus.Finished)
    assert [event.status for thread in state.threads for event in thread.events] == []


@every_snapshot
def test_it_does_so_too_when_it_is_loaded_anew_at_each_checkpoint(change: str, name: str):
    old, new = module(change, "old"), module(change, "new")
    blobs = [stored(change)[name]]
    work, state = load(new.Order, blobs[0])
    go_on(work, state, old.CALLS, lambda kind: blobs.append(dump(work, state)))
    for blob in blobs[1:]:
        again, state = load(new.Order, blob)
        go_on(again, state, old.CALLS, lambda kind: None)
        assert again.log == list(new.ENDS[name])


@pytest.mark.parametrize("change", [change for change in CHANGES if change not in ("insert", "move", "field_type")])
def test_without_the_old_names_a_run_is_refused(change: str):
    old, new = module(change, "old"), module(change, "new")

    class Order(new.Order):  # type: ignore[name-defined] # a class of a module that is found by name
        def definition(self) -> Any:
            tree = super().definition()
            named: list[Any] = [statement for statement in walk(tree) if statement.was]
            for statement in named:
                statement.was = ()
            return tree

    refused = []
    for name, blob in stored(change).items():
        work, state = load(Order, blob)
        try:
            go_on(work, state, old.CALLS, lambda kind: None)
        except (PositionError, UnknownEventError):
            refused.append(name)
    assert refused


def test_what_is_stored_is_never_written_anew():
    before = {path: path.stat().st_mtime_ns for path in FOLDER.glob("*/*.json")}
    main()
    assert {path: path.stat().st_mtime_ns for path in FOLDER.glob("*/*.json")} == before
