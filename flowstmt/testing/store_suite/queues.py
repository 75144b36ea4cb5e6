"""Queues: how many runs are let in, which, and when others get their places."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flowstmt.stores.protocol import QueueLimits, Release, Setback
from flowstmt.testing.store_suite.case import HOUR, StoreCase

__all__ = ["Queues"]


class Queues(StoreCase):
    """``admit``."""

    def queued(self, *run_ids: str, **changes: Any) -> None:
        """Start runs of a queue, one after the other."""
        for run_id in run_ids:
            self.start(run_id, **{"queue": "emails", **changes})

    def admit(self, limit: int = 100, **limits: Any) -> int:
        """Let runs in."""
        return self.store.admit(QueueLimits("emails", **limits), limit)

    def over(self, run_id: str, fence: int, status: str = "Finished") -> None:
        """End a run."""
        assert self.one(self.save(run_id, fence=fence, rest=self.rest(status))) is True

    def test_a_queued_run_is_not_due_until_it_is_let_in(self) -> None:
        self.queued("r", queue_key="c-7", priority=2)
        run = self.got()
        assert (run.queue, run.queue_key, run.priority, run.wake_at) == ("emails", "c-7", 2, None)
        assert self.claim() == {}, "it waits in its queue"
        assert self.admit() == 1
        assert set(self.claim()) == {"r"}
        assert self.admit() == 0, "nobody waits any more"

    def test_a_message_does_not_let_a_run_out_of_its_queue(self) -> None:
        self.queued("r")
        self.one(self.message("m"))
        assert self.claim() == {}, "a message has got a run past its queue"
        self.admit()
        assert [message.id for message in self.claim()["r"].messages] == ["m"]

    def test_other_queues_are_left_alone(self) -> None:
        self.queued("a")
        self.queued("b", queue="other")
        self.start("c")
        assert self.admit(concurrency=1) == 1
        assert set(self.claim()) == {"a", "c"}
        assert self.store.admit(QueueLimits("other", concurrency=1), 10) == 1
        assert set(self.claim()) == {"b"}

    def test_the_highest_priority_goes_first_then_the_oldest(self) -> None:
        self.queued("a1", "a2")
        self.queued("high", priority=5)
        self.queued("low", priority=-1)
        self.queued("a3")
        found = []
        for _ in range(5):
            assert self.admit(1) == 1, "one at a time"
            found += list(self.claim())
        assert found == ["high", "a1", "a2", "a3", "low"]

    def test_no_more_than_the_concurrency_are_under_way(self) -> None:
        self.queued(*(f"r{n}" for n in range(5)))
        assert self.admit(concurrency=2) == 2
        assert self.admit(concurrency=2) == 0, "two have been let in, and are not over"
        claimed = self.claim()
        assert self.admit(concurrency=2) == 0, "they are being moved"
        self.one(self.save("r0", fence=claimed["r0"].fence, rest=self.rest("Waiting")))
        assert self.admit(concurrency=2) == 0, "one that waits keeps its place"
        self.over("r1", claimed["r1"].fence)
        assert self.admit(concurrency=2) == 1, "one that is over has given up its place"
        assert set(self.claim()) == {"r2"}

    def test_every_end_and_every_pause_gives_up_the_place(self) -> None:
        self.queued(*(f"r{n}" for n in range(6)))
        for number, status in enumerate(("Finished", "Failed", "Cancelled", "Paused")):
            assert self.admit(concurrency=1) == 1, "the place of the one before is free"
            self.over(f"r{number}", self.claim()[f"r{number}"].fence, status)
        assert self.admit(concurrency=1) == 1
        self.one(Setback("r4", self.claim()["r4"].fence, 1, b"{}", None))
        assert self.admit(concurrency=1) == 1, "a setback that pauses a run gives up its place"

    def test_a_setback_with_another_try_keeps_the_place(self) -> None:
        self.queued("a", "b")
        self.admit(concurrency=1)
        self.one(Setback("a", self.claim()["a"].fence, 1, b"{}", self.store.now() + HOUR))
        assert self.admit(concurrency=1) == 0

    def test_a_paused_run_that_is_released_is_due_and_has_its_place_again(self) -> None:
        self.queued("a", "b", "c")
        self.admit(concurrency=1)
        self.over("a", self.claim()["a"].fence, "Paused")
        assert self.admit(concurrency=1) == 1
        claimed = self.claim()
        self.one(Release("a"))
        claimed |= self.claim()
        assert set(claimed) == {"a", "b"}, "a run that is released does not wait in the queue again"
        self.over("b", claimed["b"].fence)
        assert self.admit(concurrency=1) == 0, "but it has a place"
        self.one(self.save("a", fence=claimed["a"].fence, revision=2, rest=self.rest("Finished")))
        assert self.admit(concurrency=1) == 1

    def test_no_more_than_the_limit_of_one_key_are_under_way(self) -> None:
        self.queued("a1", "a2", "a3", queue_key="a")
        self.queued("b1", "b2", queue_key="b")
        assert self.admit(per_key_concurrency=1) == 2, "one of each key"
        claimed = self.claim()
        assert set(claimed) == {"a1", "b1"}
        assert self.admit(per_key_concurrency=1) == 0
        self.over("b1", claimed["b1"].fence)
        assert self.admit(per_key_concurrency=1) == 1
        assert set(self.claim()) == {"b2"}

    def test_a_key_that_is_full_stands_in_nobodys_way(self) -> None:
        self.queued(*(f"a{n}" for n in range(20)), queue_key="a", priority=9)
        self.queued("b1", queue_key="b")
        assert self.admit(5, concurrency=3, per_key_concurrency=1) == 2
        assert set(self.claim()) == {"a0", "b1"}

    def test_concurrency_holds_over_all_keys(self) -> None:
        for key in "abcd":
            self.queued(f"{key}1", f"{key}2", queue_key=key)
        assert self.admit(concurrency=3, per_key_concurrency=2) == 3

    def test_no_more_than_the_rate_are_let_in(self) -> None:
        self.queued(*(f"r{n}" for n in range(6)))
        assert self.admit(rate=(2, HOUR)) == 2
        claimed = self.claim()
        self.over("r0", claimed["r0"].fence)
        self.over("r1", claimed["r1"].fence)
        assert self.admit(rate=(2, HOUR)) == 0, "that they are over does not matter: two have been let in this hour"
        assert self.admit(rate=(3, HOUR)) == 1
        self.until(lambda: self.admit(rate=(1, timedelta(milliseconds=20))) or None, "time does not let others in")

    def test_no_more_than_the_limit_of_the_call_are_let_in(self) -> None:
        self.queued(*(f"r{n}" for n in range(5)))
        assert [self.admit(2, concurrency=4), self.admit(2, concurrency=4), self.admit(2, concurrency=4)] == [2, 2, 0]

    def test_limits_hold_when_many_let_runs_in_at_the_same_time(self) -> None:
        self.queued(*(f"r{n:02}" for n in range(40)), queue_key="k")
        stores = [self.store, *(self.opened() for _ in range(3))]
        limits = QueueLimits("emails", concurrency=7, per_key_concurrency=9, rate=(8, HOUR))
        works = [lambda s=store: sum(s.admit(limits, 3) for _ in range(5)) for store in stores]
        assert sum(self.in_threads(*works)) == 7, "together they have let in as many as one may"
        assert len(self.claim()) == 7
