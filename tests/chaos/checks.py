"""How a round ended, held against what has to be: of each run, and of the database as a whole."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from flowstmt.stores.protocol import MessageStatus, RunQuery, Store, StoredRun
from tests.chaos.cases import Case, End, FamilyCase, JoinedCase, ParcelCase, QueuedCase
from tests.chaos.world import Effect, World

__all__ = ["OVER", "Ends", "crowds", "faults_of"]

Ends: TypeAlias = dict[str, End]

OVER = ("Finished", "Failed", "Cancelled")


def faults_of(cases: Sequence[Case], store: Store, world: World) -> tuple[Ends, list[str]]:
    """How each run ended, and what is wrong with it."""
    effects, orders = world.effects(), world.orders()
    ends, faults = {}, []
    for case in cases:
        row = store.get(case.run_id)
        if isinstance(case, JoinedCase):
            # Whether the commit of a sender that got no answer took place is told by its order.
            case.started = case.run_id in orders
        end = ends[case.run_id] = _end(row, effects.get(case.run_id, []))
        faults += [f"{case.run_id} {fault}" for fault in (*case.faults(end), *_same_keys(end.effects))]
        if isinstance(case, FamilyCase):
            children = store.list(RunQuery(parent=case.run_id))
            found = [_end(store.get(child.run_id), effects.get(child.run_id, [])) for child in children]
            faults += [f"{case.run_id} {fault}" for fault in case.children_faults(found)]
        if row is not None:
            faults += [f"{case.run_id} {fault}" for fault in (*_left_over(row, store), *_history(case, row, store))]
    known = {case.run_id for case in cases}
    for row in _all_runs(store):
        if row.parent is None and row.run_id not in known:
            faults.append(f"{row.run_id} was started by nobody")
        elif row.parent is not None and (child := store.get(row.run_id)) is not None:
            faults += [
                f"{row.run_id} {fault}" for fault in (*_left_over(child, store), *_same_keys(effects.get(row.run_id, [])))
            ]
    faults += [f"page {page} was not taken down" for page in world.open_pages()]
    queued = {case.run_id for case in cases if isinstance(case, QueuedCase)}
    return ends, faults + list(crowds([effects[run_id] for run_id in queued if run_id in effects], limit=2))


def _all_runs(store: Store) -> Iterator[StoredRun]:
    after = None
    while rows := store.list(RunQuery(after=after, limit=200)):
        yield from rows
        after = (rows[-1].created_at, rows[-1].run_id)


def _end(row: StoredRun | None, effects: Sequence[Effect]) -> End:
    if row is None:
        return End(effects=effects)
    state = _state(row)
    error = json.loads(row.error) if row.error is not None else state.get("error")
    return End(row.status, state.get("result"), error, effects)


def _state(row: StoredRun) -> Mapping[str, Any]:
    assert row.snapshot is not None
    state: Mapping[str, Any] = json.loads(row.snapshot)["state"]
    return state


def _left_over(row: StoredRun, store: Store) -> Iterator[str]:
    """What nobody should have left behind: leases, times, messages, events."""
    if row.owner is not None:
        yield f"is still owned by {row.owner}"
    state = _state(row)
    if row.status in OVER:
        if row.wake_at is not None:
            yield f"is over, and due at {row.wake_at}"
        if row.finished_at is None:
            yield "is over, and nobody knows since when"
        if threads := state.get("threads"):
            yield f"is over, and has threads left: {[(thread['id'], thread.get('events')) for thread in threads]}"
    if row.status not in OVER:
        yield f"stands with attempts {row.attempts}, due at {row.wake_at}, {_where(state)}"
    if state.get("status", "Resuming") != row.status:
        yield f"is {row.status} by its row, and {state.get('status')} by its snapshot"
    if state.get("revision", 0) != row.revision:
        yield f"has revision {row.revision} by its row, and {state.get('revision')} by its snapshot"
    for message in store.messages(row.run_id, MessageStatus.new, 10):
        yield f"has a message that nobody has looked at: {message.kind} {message.body!r}"
    for message in store.messages(row.run_id, MessageStatus.dead, 10):
        yield f"has a dead letter: {message.kind} {message.body!r}"


def _where(state: Mapping[str, Any]) -> str:
    threads = [f"{thread['id']} {thread.get('status')} at {thread.get('position')!r}" for thread in state.get("threads", [])]
    return f"threads {threads}"


def _same_keys(effects: Sequence[Effect]) -> Iterator[str]:
    """Whoever is called twice for one thing is called with one key, and for two things with two."""
    keys, things = defaultdict(set), defaultdict(set)
    for effect in effects:
        keys[effect.what].add(effect.key)
        things[effect.key].add(effect.what)
    for what, found in keys.items():
        if len(found) > 1:
            yield f"did {what!r} with the keys {sorted(found)}"
    for key, whats in things.items():
        if len(whats) > 1:
            yield f"has one key, {key}, for {sorted(whats)}"


def _history(case: Case, row: StoredRun, store: Store) -> Iterator[str]:
    """Each step that was saved has one row that says so: they commit together."""
    if not isinstance(case, ParcelCase) or row.status != "Finished":
        return
    done = [line for line in store.history(row.run_id, 0, 1000) if line.error is None]
    wanted = len(case.once) + len(case.again) + 1  # the one that does nothing outside
    if len(done) != wanted:
        yield f"has {len(done)} rows of history for {wanted} steps: {[line.position for line in done]}"


def crowds(queued: Sequence[Sequence[Effect]], limit: int) -> Iterator[str]:
    """Runs of a queue that were under way at once, if they were too many: from the first thing each did to its last."""
    moments = []
    for effects in queued:
        last = next((effect for effect in effects if effect.what == "ship"), None)
        if last is not None:
            moments += [(effects[0].at, 1, last.run_id), (last.at, -1, last.run_id)]
    inside: set[str] = set()
    for at, step, run_id in sorted(moments):
        (inside.add if step > 0 else inside.discard)(run_id)
        if len(inside) > limit:
            yield f"queue had {sorted(inside)} at once at {at:.3f}, and its limit is {limit}"
