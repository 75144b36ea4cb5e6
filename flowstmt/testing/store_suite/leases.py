"""Leases: who moves a run, for how long, and what becomes of those who lost it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flowstmt.errors import NotFoundError
from flowstmt.stores.protocol import Message, MessageStatus, Release, Rest, Save, Setback, Started, Taken, Write
from flowstmt.testing.store_suite.case import BRIEF, HOUR, PAST, StoreCase

__all__ = ["Claiming", "Renewals", "SettingBack"]


class Claiming(StoreCase):
    """``claim`` and ``claim_run``."""

    def test_a_claim_gives_a_lease_with_a_higher_fence_and_the_snapshot(self) -> None:
        self.start(snapshot=b'{"a":  1}')
        claims = self.store.claim("one", {"Order": 1}, HOUR, 10)
        (claimed,) = claims.runs
        told = (claimed.run_id, claimed.workflow, claimed.fence, claimed.attempts, claimed.snapshot, list(claimed.messages))
        run = self.got()
        assert told == ("r", "Order", run.fence, 0, b'{"a":  1}', []), "a claim gives what is needed to move the run"
        assert (run.owner, run.status, run.wake_at) == ("one", "Resuming", None), "the run is owned, and Resuming"
        assert run.lease_until is not None, "it has a lease"
        assert abs(run.lease_until - claims.now - HOUR) < timedelta(minutes=5), (
            "as long as was asked for, by the database's clock"
        )
        assert run.fence >= 1, "a lease has a fence"

    def test_a_claimed_run_is_resuming_whatever_it_was_unless_it_is_over(self) -> None:
        for status in ("Waiting", "Finished"):
            self.held(status)
            self.one(self.save(status, rest=self.rest(status, wake_at=PAST)))
        finished_at = self.got("Finished").finished_at
        assert set(self.claim()) == {"Waiting", "Finished"}, "both are due: what is over may have something to tear down"
        assert self.got("Waiting").status == "Resuming"
        run = self.got("Finished")
        assert (run.status, run.finished_at) == ("Finished", finished_at), "a run that is over stays so"

    def test_what_is_leased_is_not_claimed_again(self) -> None:
        self.start()
        assert set(self.claim("one")) == {"r"}
        assert self.claim("one") == {}, "not even by its owner"
        assert self.claim("two", store=self.other) == {}, "let alone by another worker"

    def test_only_known_workflows_and_versions_are_claimed(self) -> None:
        self.commit(self.new("old", version=1), self.new("new", version=3), self.new("strange", workflow="Refund"))
        assert self.claim(known={}) == {}, "who knows nothing gets nothing"
        assert set(self.claim(known={"Order": 2})) == {"old"}, "a worker gets what it knows, up to its version"
        assert set(self.claim(known={"Order": 3, "Other": 1})) == {"new"}
        assert set(self.claim(known={"Refund": 1, "Order": 1})) == {"strange"}

    def test_runs_that_a_worker_does_not_know_keep_nothing_from_it(self) -> None:
        self.commit(*(self.new(f"strange{n}", workflow="Strange", start_at=PAST) for n in range(30)), self.new("r"))
        assert set(self.claim(limit=1)) == {"r"}, "thirty longer due runs of another workflow stand before it"

    def test_the_longest_due_come_first(self) -> None:
        hours = [3, 1, 4, 5, 2]
        self.commit(*(self.new(f"r{hour}", start_at=PAST - hour * HOUR) for hour in hours))
        found = [next(iter(self.claim(limit=1))) for _ in hours]
        assert found == ["r5", "r4", "r3", "r2", "r1"], "the longest due are claimed first"

    def test_no_claim_gives_more_than_its_limit(self) -> None:
        self.commit(*(self.new(f"r{n}") for n in range(5)))
        assert [len(self.claim(limit=limit)) for limit in (2, 1, 10, 10)] == [2, 1, 2, 0]

    def test_a_claim_tells_the_time_and_no_later_one_than_the_next_run_is_due(self) -> None:
        before = self.store.now()
        due = before + HOUR
        self.start("later", start_at=due)
        claims = self.store.claim("one", {"Order": 1}, HOUR, 10)
        assert before <= claims.now <= self.store.now(), "a claim tells the database's clock"
        assert claims.next_due is None or claims.next_due <= due, "a worker would sleep beyond the next run that is due"

    def test_a_run_whose_lease_ran_out_is_taken_over(self) -> None:
        self.start()
        first = self.claim("one", lease=BRIEF)["r"]
        second = self.claim_when_due(worker="two", store=self.other)
        assert second.fence == first.fence + 1, "the fence rises by one"
        assert self.got().owner == "two"

    def test_who_lost_the_lease_can_save_nothing_and_changes_nothing(self) -> None:
        self.start("to")
        self.start()
        old = self.claim("one", lease=BRIEF)["r"].fence
        taken_over = self.claim_when_due(worker="two", store=self.other)
        before = self.got()
        self.one(self.message("m"))
        lost: list[Write] = [
            Save("r", old, 7, b"{}", taken=[Taken("m", MessageStatus.done, b"1")], messages=[self.message("x", "to")]),
            Save("r", old, 7, b"{}", rest=Rest("Finished", "", None), children=[self.new("child")]),
            Setback("r", old, 3, b'{"type":"E"}', None),
            Setback("r", old, 3, b'{"type":"E"}', PAST),
        ]
        assert self.commit(*lost) == [False, False, False, False], "a lost lease is answered False"
        assert self.got() == before, "a worker that lost its lease has changed the run"
        assert self.new_messages() == ["m"], "nor does it take messages"
        assert self.new_messages("to") == [], "nor post any"
        assert self.store.get("child") is None, "nor start children"
        self.one(Release("r", old))
        assert self.got() == before, "nor can it give up the lease of another"
        assert self.one(self.save(fence=taken_over.fence), self.other) is True, "the one who has it goes on"

    def test_a_lease_that_ran_out_counts_until_somebody_takes_it(self) -> None:
        self.held(lease=BRIEF)
        self.until(
            lambda: (run := self.got()).lease_until is None or run.lease_until < self.store.now() or None, "no end of a lease"
        )
        assert self.one(self.save()) is True, "nobody has taken the run over, so its fence is still the one"
        self.store.renew("one", {"r": 1}, HOUR)
        assert self.claim("two") == {}, "and it can be renewed"

    def test_a_fence_that_was_never_given_saves_nothing(self) -> None:
        self.held()
        assert self.commit(self.save(fence=0), self.save(fence=2), self.save("nobody")) == [False, False, False]
        assert self.got().snapshot == b'{"at":"birth"}'

    def test_claim_run_leases_a_run_that_is_not_due_of_any_workflow(self) -> None:
        self.start(workflow="Strange", version=9, start_at=self.store.now() + HOUR, snapshot=b"[1]")
        (claimed,) = self.store.claim_run("one", "r", HOUR).runs
        assert (claimed.run_id, claimed.workflow, claimed.snapshot) == ("r", "Strange", b"[1]")
        run = self.got()
        assert (run.owner, run.fence, run.wake_at) == ("one", claimed.fence, None)

    def test_claim_run_leases_runs_that_are_paused_or_over_and_keeps_their_status(self) -> None:
        for status in ("Paused", "Finished", "Failed", "Cancelled"):
            self.parked(status, status)
            (claimed,) = self.store.claim_run("one", status, HOUR).runs
            run = self.got(status)
            assert (run.status, run.owner, claimed.fence) == (status, "one", 2), f"a claimed run that was {status}"

    def test_claim_run_gives_nothing_while_somebody_has_a_lease(self) -> None:
        self.held()
        claims = self.other.claim_run("two", "r", HOUR)
        assert (list(claims.runs), self.got().owner) == ([], "one"), "the lease is somebody else's"
        claims = self.store.claim_run("one", "r", HOUR)
        assert (list(claims.runs), self.got().fence) == ([], 1), "a second lease of one worker would fence off its first"

    def test_claim_run_takes_over_a_lease_that_ran_out(self) -> None:
        self.held(lease=BRIEF)
        runs = self.until(lambda: self.store.claim_run("two", "r", HOUR).runs or None, "a lease does not run out")
        assert runs[0].fence == 2

    def test_claim_run_says_that_there_is_no_such_run(self) -> None:
        with self.raises(NotFoundError):
            self.store.claim_run("one", "nobody", HOUR)

    def test_claim_run_hands_over_the_messages_too(self) -> None:
        self.parked()
        self.one(self.message("m", body=b'{"a":1}'))
        (claimed,) = self.store.claim_run("one", "r", HOUR).runs
        assert [message.id for message in claimed.messages] == ["m"]


class Renewals(StoreCase):
    """``renew``."""

    def test_a_renewed_lease_lasts_longer(self) -> None:
        self.held(lease=timedelta(minutes=1))
        before = self.got().lease_until
        renewal = self.store.renew("one", {"r": 1}, HOUR)
        after = self.got().lease_until
        assert list(renewal.lost) == [], "a lease that is held is not lost"
        assert before is not None and after is not None and after > before, "a renewed lease ends later"  # noqa: PT018
        assert abs(after - renewal.now - HOUR) < timedelta(minutes=5), "the length is counted from the database's clock"

    def test_lost_leases_are_told_and_not_renewed(self) -> None:
        self.start()
        self.held("mine")
        old = self.claim("one", lease=BRIEF)["r"].fence
        self.claim_when_due(worker="two")
        before = self.got()
        renewal = self.store.renew("one", {"r": old, "gone": 1, "mine": 1}, HOUR)
        assert sorted(renewal.lost) == ["gone", "r"], "taken over by another, and deleted"
        assert self.got() == before, "the lease of another was touched"

    def test_a_lease_that_was_given_up_does_not_come_back(self) -> None:
        self.parked()
        self.store.renew("one", {"r": 1}, HOUR)
        run = self.got()
        assert (run.owner, run.lease_until, run.wake_at) == (None, None, None), "a run at rest is owned again"

    def test_renewing_nothing_is_fine(self) -> None:
        renewal = self.store.renew("one", {}, HOUR)
        assert (list(renewal.lost), list(renewal.messages)) == ([], [])

    def test_many_leases_are_renewed_at_once(self) -> None:
        runs = [f"r{n}" for n in range(300)]
        self.commit(*(self.new(run, worker="one", lease=timedelta(minutes=1)) for run in runs))
        assert list(self.store.renew("one", dict.fromkeys(runs, 1), HOUR).lost) == []
        assert len(self.store.renew("one", dict.fromkeys(runs, 2), HOUR).lost) == len(runs), "all of these fences are wrong"

    def test_renewing_brings_new_messages_of_what_the_worker_holds(self) -> None:
        self.held("a")
        self.held("b")
        self.held("theirs", worker="two")
        self.parked("free")
        for run in ("a", "b", "theirs", "free"):
            self.one(self.message(f"to-{run}", run, body=b'{"n":"%s"}' % run.encode()))
        messages: list[Message] = list(self.store.renew("one", {"a": 1, "b": 1}, HOUR).messages)
        assert [message.id for message in messages] == ["to-a", "to-b"], "all that is new of the worker's runs, in order"
        assert messages[0].run_id == "a", "with its run"
        again = self.store.renew("one", {"a": 1, "b": 1}, HOUR).messages
        assert len(again) == 2, "a message is new until a Save says what became of it"
        self.one(self.save("a", taken=[Taken("to-a", MessageStatus.kept)]))
        assert [message.id for message in self.store.renew("one", {"a": 1, "b": 1}, HOUR).messages] == ["to-b"]


class SettingBack(StoreCase):
    """``Setback`` and ``Release``: runs that could not be moved."""

    error = b'{"type":"ValueError"}'

    def test_a_setback_keeps_the_snapshot_and_gives_up_the_lease(self) -> None:
        self.held(snapshot=b'{"a":1}')
        retry_at = self.store.now() + HOUR
        assert self.one(Setback("r", 1, 3, self.error, retry_at)) is True
        run = self.got()
        assert (run.snapshot, run.attempts, run.owner, run.error) == (b'{"a":1}', 3, None, self.error)
        assert (run.wake_at, run.status, run.lease_until) == (retry_at, "Resuming", None), "it is due again at retry_at"
        assert self.claim() == {}, "and not before"

    def test_a_run_that_was_set_back_is_due_again_and_knows_its_attempts(self) -> None:
        self.held()
        self.one(Setback("r", 1, 3, self.error, PAST))
        assert self.claim()["r"].attempts == 3
        assert self.one(self.save(fence=2)) is True
        run = self.got()
        assert (run.attempts, run.error) == (0, None), "a Save sets attempts to 0 and clears the error"

    def test_a_setback_without_another_try_pauses_the_run_until_it_is_released(self) -> None:
        self.held()
        self.one(Setback("r", 1, 10, self.error, None))
        run = self.got()
        assert (run.status, run.wake_at, run.error, run.attempts) == ("Paused", None, self.error, 10)
        assert self.claim() == {}, "what is Paused is not due"
        self.one(self.message("m"))
        assert self.claim() == {}, "a message does not make it due"
        assert self.one(Release("r")) is True, "there was one to release"
        run = self.got()
        assert (run.attempts, run.error, run.status) == (0, None, "Resuming"), "a release starts the count anew"
        assert set(self.claim()) == {"r"}

    def test_a_setback_handed_in_twice_does_not_undo_what_came_between(self) -> None:
        self.held()
        write = Setback("r", 1, 10, self.error, None)
        assert self.commit(write, write) == [True, True], "the second one has already been done"
        self.one(Release("r"))
        self.one(write)
        run = self.got()
        assert (run.status, run.attempts, run.error) == ("Resuming", 0, None), "a late repetition has undone a Release"
        assert set(self.claim()) == {"r"}

    def test_a_release_makes_a_resting_run_due_at_once(self) -> None:
        self.parked()
        assert self.claim() == {}
        assert self.one(Release("r")) is True
        assert set(self.claim()) == {"r"}

    def test_a_release_of_a_run_that_somebody_owns_or_nobody_knows_is_refused(self) -> None:
        self.held()
        assert self.commit(Release("r"), Release("nobody")) == [False, False], "there was no such run that nobody owns"
        assert self.got().owner == "one"

    def test_an_owner_gives_its_run_back_with_attempts_and_error_as_they_are(self) -> None:
        self.held()
        self.one(Setback("r", 1, 4, self.error, PAST))
        fence = self.claim()["r"].fence
        assert self.one(Release("r", fence)) is True
        run = self.got()
        assert (run.owner, run.attempts, run.error) == (None, 4, self.error)
        assert self.claim("two")["r"].fence == fence + 1, "it is due at once"
        self.one(Release("r", fence))
        assert self.got().owner == "two", "handed in again, it takes nothing from who owns the run now"

    def test_an_owner_of_a_paused_or_finished_run_gives_it_back_as_it_was(self) -> None:
        for status in ("Paused", "Finished"):
            self.parked(status, status)
            fence = self.store.claim_run("one", status, HOUR).runs[0].fence
            self.one(self.save(status, fence=fence, revision=2, rest=self.rest(status)))
            run = self.got(status)
            assert (run.status, run.owner, run.wake_at) == (status, None, None)
        assert self.claim() == {}

    def test_writes_of_one_commit_stand_alone(self) -> None:
        self.held("a")
        self.held("b")
        writes: list[Any] = [
            self.save("a", fence=9),
            self.save("b"),
            Release("nobody"),
            self.new("c"),
            Setback("nobody", 1, 1, b"{}", None),
            self.save("a"),
        ]
        answers = self.commit(*writes)
        assert [answer if isinstance(answer, bool) else None for answer in answers] == [False, True, False, None, False, True]
        assert isinstance(answers[3], Started), "a NewRun is answered with Started"
        assert (self.got("a").revision, self.got("b").revision, self.got("c").revision) == (1, 1, 0)
