"""Runs: how they are started, once; and how they go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from flowstmt.errors import ConflictError
from flowstmt.stores.protocol import MessageStatus, Publication, RunQuery, Started
from flowstmt.testing.store_suite.case import HOUR, KNOWN, PAST, StoreCase

__all__ = ["Deletions", "SingleFlight", "Starts"]


class Starts(StoreCase):
    """``NewRun``."""

    def test_a_run_without_a_worker_is_due_at_once_and_as_it_was_handed_in(self) -> None:
        before = self.store.now()
        self.start("r", snapshot=b'{"a":1}', digest="abc", position="first", version=1, labels={"customer": "c-1"}, parent="p")
        run = self.got("r")
        told = (run.run_id, run.workflow, run.version, run.digest, run.position, run.parent, run.labels, run.snapshot)
        assert told == ("r", "Order", 1, "abc", "first", "p", {"customer": "c-1"}, b'{"a":1}'), "a run is not what was started"
        assert (run.owner, run.lease_until, run.finished_at, run.error) == (None, None, None, None), (
            "a new run is in no way used"
        )
        assert (run.attempts, run.priority, run.queue, run.queue_key, run.single_flight) == (0, 0, None, None, None)
        assert run.status == "Resuming", "a run that is due is Resuming"
        assert before <= run.created_at <= self.store.now(), "created_at is the database's clock"
        assert run.wake_at is not None and run.wake_at <= self.store.now(), "it is due at once"  # noqa: PT018 one sentence
        assert set(self.claim()) == {"r"}, "it is due at once, so a claim gets it"

    def test_a_run_with_a_worker_is_born_with_its_lease(self) -> None:
        self.start("r", worker="one", lease=HOUR)
        run = self.got()
        assert (run.owner, run.fence, run.wake_at) == ("one", 1, None), "it is born owned, with fence 1, and not due"
        assert run.lease_until is not None, "who is owned has a lease"
        assert abs(run.lease_until - self.store.now() - HOUR) < timedelta(minutes=5), "the lease is as long as was asked for"
        assert self.claim("two") == {}, "nobody else can claim it"
        assert self.one(self.save()) is True, "its worker saves with fence 1"

    def test_a_lease_given_at_birth_runs_out_as_any_other(self) -> None:
        self.start("r", worker="one", lease=timedelta(milliseconds=1))
        assert self.claim_when_due().fence == 2, "the fence rises by one with each claim"

    def test_a_run_is_due_at_its_start_at_and_not_before(self) -> None:
        soon = self.store.now() + timedelta(milliseconds=50)
        self.commit(self.new("later", start_at=self.store.now() + HOUR), self.new("soon", start_at=soon))
        assert self.claim_when_due("soon").run_id == "soon"
        assert self.store.now() >= soon, "it was claimed before it was due"
        assert self.claim() == {}, "what is due in an hour is not due now"
        assert self.got("later").wake_at == self.got("later").wake_at

    def test_a_start_of_an_id_that_is_there_changes_nothing_and_tells_what_is_there(self) -> None:
        self.start("r", digest="first")
        again = self.one(self.new("r", digest="second", workflow="Refund", snapshot=b"{}", labels={"a": "b"}))
        assert isinstance(again, Started), "a NewRun is answered with Started"
        assert (again.created, again.in_flight) == (False, False), "there was a run of this id"
        assert again.existing is not None, "the run that was there is told"
        assert (again.existing.run_id, again.existing.digest, again.existing.workflow) == ("r", "first", "Order")
        run = self.got()
        assert (run.digest, run.workflow, run.labels, run.snapshot) == ("first", "Order", {}, b'{"at":"birth"}')

    def test_a_start_handed_in_twice_starts_one_run(self) -> None:
        write = self.new("r", worker="one", lease=HOUR, labels={"customer": "c-1"}, single_flight="k")
        first, second = self.commit(write), self.commit(write)
        assert cast("Started", first[0]).created, "the first one starts it"
        again = cast("Started", second[0])
        assert (again.created, again.in_flight) == (False, False), "the run itself is not another of its single_flight key"
        assert again.existing is not None, "it is there"
        assert (again.existing.owner, again.existing.fence) == ("one", 1), "so that the starter sees that it owns it"
        assert len(self.store.list(RunQuery())) == 1

    def test_two_starts_of_one_id_in_one_commit_start_one_run(self) -> None:
        outcomes = self.commit(self.new("r", digest="a"), self.new("r", digest="b"))
        assert [cast("Started", outcome).created for outcome in outcomes] == [True, False], "the first one of the commit is it"
        assert self.got().digest == "a"

    def test_one_of_many_starts_of_an_id_at_the_same_time_starts_it(self) -> None:
        stores = [self.store, *(self.opened() for _ in range(3))]
        works = [lambda s=store: [s.commit([self.new(f"r{n}")])[0] for n in range(20)] for store in stores]
        for answers in zip(*self.in_threads(*works), strict=True):
            assert [answer.created for answer in answers].count(True) == 1, "a run was started twice, or never"


class SingleFlight(StoreCase):
    """At most one unfinished run per workflow and key."""

    def in_flight(self, run_id: str, **changes: object) -> str | None:
        """Try to start a run; which was in its way."""
        outcome = self.one(self.new(run_id, **changes))
        assert isinstance(outcome, Started), f"a NewRun is answered with Started, not with {outcome!r}"
        if outcome.created:
            return None
        assert outcome.in_flight, "what is in the way is another run of the same key"
        assert outcome.existing is not None, "it is told which"
        assert self.store.get(run_id) is None, "the other one was not started"
        return outcome.existing.run_id

    def test_a_second_run_of_a_key_is_not_started_until_the_first_is_over(self) -> None:
        self.held("first", single_flight="c-7")
        assert self.in_flight("second", single_flight="c-7") == "first"
        for revision, status in enumerate(("Waiting", "Paused"), 1):
            self.one(self.save("first", fence=revision, revision=revision, rest=self.rest(status)))
            assert self.in_flight("second", single_flight="c-7") == "first", f"a run that is {status} is not over"
            assert self.store.claim_run("one", "first", HOUR).runs[0].fence == revision + 1
        self.one(self.save("first", fence=3, revision=3, rest=self.rest("Finished")))
        assert self.in_flight("second", single_flight="c-7") is None, "a run that is over gives up its key"

    def test_every_end_gives_up_the_key(self) -> None:
        for number, status in enumerate(("Finished", "Failed", "Cancelled")):
            self.held(f"r{number}", single_flight="c-7")
            self.one(self.save(f"r{number}", rest=self.rest(status)))
        assert self.in_flight("r3", single_flight="c-7") is None

    def test_other_keys_and_other_workflows_are_not_in_the_way(self) -> None:
        self.start("a", single_flight="c-7")
        assert self.in_flight("b", single_flight="c-8") is None
        assert self.in_flight("c", single_flight="c-7", workflow="Refund") is None
        assert self.in_flight("d") is None
        assert self.in_flight("e") is None, "runs without a key are in nobody's way"

    def test_of_two_in_one_commit_the_first_is_started(self) -> None:
        outcomes = self.commit(self.new("a", single_flight="k"), self.new("b", single_flight="k"), self.new("c"))
        assert [cast("Started", outcome).created for outcome in outcomes] == [True, False, True]
        assert cast("Started", outcomes[1]).in_flight, "the second is told what is in its way"

    def test_the_same_id_comes_before_the_same_key(self) -> None:
        self.start("a", single_flight="k")
        self.start("b")
        outcome = self.one(self.new("b", single_flight="k"))
        assert isinstance(outcome, Started), "a NewRun is answered with Started"
        assert not outcome.in_flight, "there is a run of this id, whatever its key"
        assert outcome.existing is not None and outcome.existing.run_id == "b"  # noqa: PT018 one sentence

    def test_one_of_many_at_the_same_time_is_started(self) -> None:
        stores = [self.store, *(self.opened() for _ in range(3))]
        works = [
            lambda s=store, w=worker: [s.commit([self.new(f"{w}-{n}", single_flight=f"k{n}")])[0] for n in range(20)]
            for worker, store in enumerate(stores)
        ]
        for answers in zip(*self.in_threads(*works), strict=True):
            assert [answer.created for answer in answers].count(True) == 1, "two runs of one key are in flight, or none"
            assert all(answer.created or answer.in_flight for answer in answers), "the others are told why"


class Deletions(StoreCase):
    """``delete`` and ``purge``."""

    def filled(self, run_id: str, status: str = "Finished") -> None:
        """A run of which there is something everywhere."""
        self.held(run_id, labels={"customer": "c-1"}, single_flight=run_id)
        self.commit(self.message(f"m-{run_id}", run_id, key="k"), Publication(run_id, b"1"))
        self.one(self.save(run_id, rest=self.rest(status)))

    def gone(self, run_id: str) -> None:
        """Nothing of the run is left, and its id can be used again."""
        assert self.store.get(run_id) is None, "a deleted run is still there"
        assert self.store.list(RunQuery(label=("customer", "c-1"))) == [], "it is still found by its label"
        assert list(self.store.published(run_id, 0, 10)) == [], "what it published is still there"
        for status in MessageStatus:
            assert list(self.store.messages(run_id, status, 10)) == [], "its messages are still there"
        self.start(run_id, single_flight=run_id, start_at=PAST)
        run = self.got(run_id)
        assert (run.labels, run.finished_at, run.status) == ({}, None, "Resuming"), "a new run has something of a deleted one"

    def test_a_deleted_run_is_gone_with_all_that_belongs_to_it(self) -> None:
        self.filled("r", "Waiting")
        assert self.store.delete("r") is True, "there was one"
        self.gone("r")

    def test_deleting_what_is_not_there_is_answered_so(self) -> None:
        assert self.store.delete("nobody") is False
        self.parked()
        assert (self.store.delete("r"), self.store.delete("r")) == (True, False), "the second time there is nothing to delete"

    def test_a_run_that_somebody_owns_is_not_deleted(self) -> None:
        self.held()
        with self.raises(ConflictError):
            self.store.delete("r")
        assert self.one(self.save()) is True, "its owner goes on with it"

    def test_deleting_a_run_leaves_its_neighbours(self) -> None:
        self.filled("a")
        self.filled("b")
        self.store.delete("a")
        assert [message.id for message in self.store.messages("b", MessageStatus.new, 10)] == ["m-b"]
        assert [run.run_id for run in self.store.list(RunQuery(label=("customer", "c-1")))] == ["b"]
        assert [found.body for found in self.store.published("b", 0, 10)] == [b"1"]

    def test_purge_deletes_what_was_over_before_an_instant_and_nothing_else(self) -> None:
        for status in ("Finished", "Failed", "Cancelled"):
            self.filled(status, status)
        self.filled("Waiting", "Waiting")
        self.filled("Paused", "Paused")
        self.start("Resuming")
        self.held("held")
        assert self.store.purge(PAST, 100) == 0, "nothing was over at that time"
        assert self.store.purge(self.store.now() + HOUR, 100) == 3, "three runs are over"
        assert {run.run_id for run in self.store.list(RunQuery())} == {"Waiting", "Paused", "Resuming", "held"}
        assert self.store.purge(self.store.now() + HOUR, 100) == 0, "and have been deleted"

    def test_purge_goes_by_when_runs_were_over(self) -> None:
        self.filled("early")
        early = self.got("early").finished_at
        assert early is not None, "a run that is over has a finished_at"
        self.until(lambda: True if self.store.now() > early else None, "the database's clock does not go on")
        self.filled("late")
        late = self.got("late").finished_at
        assert late is not None and late > early  # noqa: PT018 one sentence
        assert self.store.purge(late, 100) == 1, "what was over at that very instant was not over before it"
        self.store.delete("late")
        self.gone("early")

    def test_purge_deletes_no_more_than_its_limit(self) -> None:
        for number in range(5):
            self.filled(f"r{number}")
        until = datetime(2200, 1, 1, tzinfo=UTC)
        assert [self.store.purge(until, 2) for _ in range(4)] == [2, 2, 1, 0], "purge takes up to its limit, until none is left"

    def test_what_is_purged_is_gone_with_all_that_belongs_to_it(self) -> None:
        self.filled("r")
        self.store.purge(self.store.now() + HOUR, 10)
        self.gone("r")
        assert set(self.claim(known=KNOWN)) == {"r"}
