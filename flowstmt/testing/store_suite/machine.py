"""What the state machine of hypothesis does to a store and its model: each step to both, then they are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from flowstmt.stores.protocol import (
    Claimed,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Release,
    Rest,
    Save,
    Setback,
    Store,
    Taken,
    Withdrawal,
    Write,
)
from flowstmt.testing.store_suite.at_once import answers_at_once
from flowstmt.testing.store_suite.case import HOUR, PAST
from flowstmt.testing.store_suite.models import FUTURE, Model, answered, compare

__all__ = ["Machine", "play"]

RUNS = st.sampled_from(["a", "b", "c"])
WORKERS = st.sampled_from(["one", "two"])
LEASES = st.sampled_from([HOUR, HOUR, HOUR, HOUR, timedelta(0)])
STALE = st.sampled_from([0, 0, 0, 0, 0, 0, -1])
"""How far a fence is from the stored one."""
RESTS = st.sampled_from(
    [
        None,
        None,
        Rest("Waiting", "payment", None),
        Rest("Waiting", "payment", None),
        Rest("Waiting", "sleep", FUTURE),
        Rest("Waiting", "late", PAST, b'{"type":"E"}'),
        Rest("Waiting", "late", PAST, version=1),
        Rest("Waiting", "late", PAST, version=2),
        Rest("Paused", "payment", None),
        Rest("Finished", "end", None),
        Rest("Failed", "end", None, b'{"type":"E"}'),
    ]
)
STARTS = st.fixed_dictionaries(
    {
        "kind": st.just("start"),
        "run": RUNS,
        "worker": st.none() | WORKERS,
        "lease": st.just(HOUR),
        "single_flight": st.none() | st.just("k"),
        "start_at": st.sampled_from([None, None, FUTURE]),
    }
)
SAVES = st.fixed_dictionaries(
    {
        "kind": st.just("save"),
        "run": RUNS,
        "stale": STALE,
        "rest": RESTS,
        "taken": st.none() | st.sampled_from(MessageStatus),
        "to": st.none() | RUNS,
        "child": st.none() | RUNS,
    }
)
OTHERS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["setback", "release", "give back", "post", "post", "withdraw"]),
        "run": RUNS,
        "stale": STALE,
        "at": st.sampled_from([None, PAST, FUTURE]),
        "number": st.integers(0, 3),
        "key": st.sampled_from([None, None, "k1", "k2"]),
    }
)
BATCHES = st.lists(STARTS | SAVES | SAVES | OTHERS | OTHERS, min_size=1, max_size=4)


class Machine(RuleBasedStateMachine):
    """Two workers with a store each, on one database."""

    stores: tuple[Store, Store]
    numbers: Iterator[int]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.prefix = f"{next(self.numbers)}-"
        self.workflow = f"{self.prefix}Order"

    def store(self, worker: str) -> Store:
        """A worker's store."""
        return self.stores[worker == "two"]

    def name(self, worker: str) -> str:
        """A worker's name: what those of other sequences hold is not theirs."""
        return self.prefix + worker

    def fence(self, run_id: str) -> int:
        """The fence that is stored."""
        return row.fence if (row := self.model.rows.get(run_id)) is not None else 1

    def write(self, drawn: dict[str, Any], model: Model) -> Write:
        """What was drawn, as a write that fits what the model holds now."""
        run_id = self.prefix + drawn["run"]
        fence = (row.fence if (row := model.rows.get(run_id)) is not None else 1) + drawn.get("stale", 0)
        match drawn["kind"]:
            case "start":
                chosen = {name: drawn[name] for name in ("lease", "single_flight", "start_at")}
                chosen["worker"] = drawn["worker"] and self.name(drawn["worker"])
                return NewRun(run_id, self.workflow, 1, b'{"at":"birth"}', "d", **chosen)
            case "save":
                revision = row.revision + 1 if row is not None else 1
                status, unseen = drawn["taken"], row.unseen() if row is not None else []
                taken = [] if status is None else [Taken(name, status, b"1") for name in unseen]
                rest = drawn["rest"]
                if rest is not None and row is not None and row.over:
                    rest = replace(rest, status=row.status)  # nothing brings a run back
                save = Save(run_id, fence, revision, b"%d" % revision, rest, taken)
                if drawn["to"] not in (None, drawn["run"]):
                    to = self.prefix + drawn["to"]
                    save = replace(save, messages=[self.message(to, f"{run_id}-{revision}")])
                if drawn["child"] is not None:
                    child = self.prefix + drawn["child"]
                    save = replace(save, children=[NewRun(child, self.workflow, 1, b"{}", "d", parent=run_id)])
                return save
            case "setback":
                attempts = [None, PAST, FUTURE].index(drawn["at"])  # as two that differ are told apart
                return Setback(run_id, fence, attempts, b'{"type":"E"}', drawn["at"])
            case "release" if row is None or not row.lapsed:  # whether somebody still owns that is nobody's concern
                return Release(run_id)
            case "give back":
                return Release(run_id, fence)
            case "post":
                return self.message(run_id, str(drawn["number"]), drawn["key"])
        return Withdrawal(f"{run_id}/{drawn['number']}")

    def message(self, run_id: str, name: str, key: str | None = None) -> Message:
        """A message whose id says whose it is."""
        return Message(f"{run_id}/{name}", run_id, MessageKind.signal, b"{}", key)

    @initialize(owners=st.lists(st.none() | WORKERS, min_size=3, max_size=3))
    def begin(self, owners: list[str | None]) -> None:
        """Some runs, or most steps would be about none."""
        for run, owner in zip("abc", owners, strict=True):
            chosen = {"worker": owner, "lease": HOUR, "single_flight": None, "start_at": None}
            self.commit("one", [{"kind": "start", "run": run, **chosen}], twice=False, at_once=False)

    @rule(
        run=RUNS,
        worker=WORKERS,
        writes=st.lists(SAVES | SAVES | OTHERS, min_size=1, max_size=3),
        twice=st.booleans(),
        at_once=st.booleans(),
    )
    def move(self, run: str, worker: str, writes: list[dict[str, Any]], twice: bool, at_once: bool) -> None:
        """What workers do most: take a run, unless somebody has it, and save it."""
        self.claim_run(worker, HOUR, run)
        self.commit(worker, [{**drawn, "run": run, "stale": 0} for drawn in writes], twice, at_once)

    @rule(worker=WORKERS, batch=BATCHES, twice=st.booleans(), at_once=st.booleans())
    def commit(self, worker: str, batch: list[dict[str, Any]], twice: bool, at_once: bool) -> None:
        """A commit, at once if the store can; sometimes with an unknown outcome, after which it is handed in again."""
        writes = []
        expected = []
        for drawn in batch:
            writes.append(self.write(drawn, self.model))
            expected.append(self.model.expected(writes[-1]))
        for _ in range(2 if twice else 1):
            outcomes = answers_at_once(self.store(worker), writes) if at_once else None
            if outcomes is None:
                outcomes = self.store(worker).commit(writes)
            assert len(outcomes) == len(writes), "each write has its answer"
            for outcome, answer, write in zip(outcomes, expected, writes, strict=True):
                answered(outcome, answer, write)
            if twice:
                compare(self.store(worker), self.model, self.prefix)
                expected = [self.model.expected(write) for write in writes]
                twice = False
            else:
                return

    @rule(worker=WORKERS, lease=LEASES, limit=st.sampled_from([1, 2, 100]), version=st.sampled_from([1, 2]))
    def claim(self, worker: str, lease: timedelta, limit: int, version: int) -> None:
        """A claim."""
        found = self.store(worker).claim(self.name(worker), {self.workflow: version}, lease, limit).runs
        known = {run_id: row for run_id, row in self.model.rows.items() if row.version <= version}
        due = {run_id for run_id, row in known.items() if row.is_due()}
        perhaps = due | {run_id for run_id, row in known.items() if row.perhaps_due or row.unseen()}
        assert {run.run_id for run in found} <= perhaps, "a run was claimed that is not due"
        assert min(limit, len(due)) <= len(found) <= limit, f"of {len(due)} that are due, {len(found)} were claimed"
        for claimed in found:
            self.taken(claimed, worker, lease)

    @rule(worker=WORKERS, lease=LEASES, run=RUNS)
    def claim_run(self, worker: str, lease: timedelta, run: str) -> None:
        """A claim of one."""
        run_id = self.prefix + run
        if (row := self.model.rows.get(run_id)) is not None:
            found = self.store(worker).claim_run(self.name(worker), run_id, lease).runs
            assert len(found) == (not row.leased), "a run can be claimed unless somebody has a lease on it"
            for claimed in found:
                self.taken(claimed, worker, lease)

    def taken(self, claimed: Claimed, worker: str, lease: timedelta) -> None:
        """A lease was given."""
        row = self.model.rows[claimed.run_id]
        self.model.take(row, self.name(worker), lease)
        assert (claimed.fence, claimed.attempts, bytes(claimed.snapshot)) == (row.fence, row.attempts, row.snapshot)
        live = [(m.id, m.status) for m in row.messages.values() if m.status in (MessageStatus.new, MessageStatus.kept)]
        assert [(message.id, message.status) for message in claimed.messages] == live, "a claim brings what is new or kept"

    @rule(worker=WORKERS, lease=LEASES, stale=STALE)
    def renew(self, worker: str, lease: timedelta, stale: int) -> None:
        """Renewals of all that a worker has, or thinks it has."""
        mine = {run_id: row for run_id, row in self.model.rows.items() if row.owner == self.name(worker)}
        renewal = self.store(worker).renew(
            self.name(worker), {run_id: row.fence + stale for run_id, row in mine.items()}, lease
        )
        assert sorted(renewal.lost) == (sorted(mine) if stale else []), "leases with another fence are lost, others are not"
        unseen = sorted(name for row in mine.values() for name in row.unseen())
        assert sorted(message.id for message in renewal.messages) == unseen, "renewing brings what is new"
        if not stale:
            for row in mine.values():
                row.lapsed = not lease

    @rule(worker=WORKERS, run=RUNS)
    def delete(self, worker: str, run: str) -> None:
        """A deletion."""
        row = self.model.rows.get(self.prefix + run)
        if row is None or row.owner is None:
            assert self.store(worker).delete(self.prefix + run) == (row is not None), "whether there was one"
            self.model.rows.pop(self.prefix + run, None)

    @invariant()
    def both_are_the_same(self) -> None:
        """After each step."""
        compare(self.stores[0], self.model, self.prefix)


def play(stores: tuple[Store, Store], examples: int, steps: int, shrinks: bool) -> None:
    """Draw sequences of steps, each with runs of its own, and do them."""
    machine = type("Machine", (Machine,), {"stores": stores, "numbers": count()})
    drawn = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=drawn)
