"""Waiting for something new; opening, migrating; and calls of several threads at the same time."""

from __future__ import annotations

import time
from functools import partial
from threading import Event, Thread

from flowstmt.stores.protocol import Message, MessageKind, MessageStatus, Release, RunQuery, Store, Taken, Write
from flowstmt.testing.store_suite.case import DEADLINE, HOUR, PAST, StoreCase

__all__ = ["Crowds", "Openings", "Waits"]


class Waits(StoreCase):
    """``wait`` and ``wake``."""

    def test_wait_returns_when_time_is_over(self) -> None:
        self.store.wait(0)
        self.store.wait(0.001)

    def test_wake_lets_a_wait_return(self) -> None:
        self.returns(self.store, lambda _: self.store.wake(), "a wake")

    def test_a_run_that_becomes_due_lets_a_wait_of_another_store_return(self) -> None:
        self.returns(self.other, lambda n: self.start(f"r{n}"), "a start")

    def test_a_run_that_becomes_due_lets_a_wait_of_the_same_store_return(self) -> None:
        self.returns(self.store, lambda n: self.start(f"r{n}"), "a start")

    def test_a_message_lets_a_wait_of_another_store_return(self) -> None:
        self.held()
        self.returns(self.other, lambda n: self.one(self.message(f"m{n}")), "a message")

    def test_an_answer_lets_a_wait_of_another_store_return(self) -> None:
        self.held()
        self.one(self.message("m"))
        taken = [Taken("m", MessageStatus.done, b"1")]
        self.returns(self.other, lambda n: self.one(self.save(revision=n, taken=taken)), "an answer")

    def test_a_release_lets_a_wait_of_another_store_return(self) -> None:
        self.parked()
        self.returns(self.other, lambda _: self.one(Release("r")), "a release")

    def test_a_run_that_gives_up_its_place_lets_a_wait_of_another_store_return(self) -> None:
        def finish(number: int) -> None:
            run = f"r{number}"
            self.start(run, queue="emails")
            fence = self.store.claim_run("one", run, HOUR).runs[0].fence
            self.one(self.save(run, fence=fence, rest=self.rest("Finished")))

        self.returns(self.other, finish, "the end of a queued run")

    def test_whoever_waits_keeps_nobody_waiting(self) -> None:
        done = Event()

        def wait() -> None:
            while not done.is_set():
                self.store.wait(DEADLINE)

        def work() -> None:
            try:
                begin = time.monotonic()
                for number in range(20):
                    self.start(f"r{number}")
                    self.got(f"r{number}")
                    self.claim()
                assert time.monotonic() - begin < DEADLINE, "other calls have waited for a wait"
            finally:
                done.set()
                self.store.wake()

        assert self.store.get("r") is None
        waiting = Thread(target=wait, daemon=True)
        waiting.start()
        work()

        def ended() -> bool | None:
            self.store.wake()
            return None if waiting.is_alive() else True

        self.until(ended, "a wake does not end a wait")


class Openings(StoreCase):
    """``open``, ``migrate`` and ``close``."""

    def test_migrating_twice_does_nothing_the_second_time(self) -> None:
        store = self.made()
        store.migrate()
        assert list(store.migrate()) == [], "what is up to date was migrated again"
        self.start()
        assert list(self.store.migrate()) == []
        assert self.got().run_id == "r", "a migration has lost a run"

    def test_two_that_migrate_at_the_same_time_do_it_once(self) -> None:
        stores = [self.made() for _ in range(4)]
        done = self.in_threads(*(store.migrate for store in stores))
        names = [name for found in done for name in found]
        assert len(names) == len(set(names)), "a migration was done twice"
        self.start()

    def test_two_that_open_an_empty_database_at_the_same_time_can_both_use_it(self) -> None:
        distinct = list({id(store): store for store in [self.made() for _ in range(4)]}.values())
        self.in_threads(*(store.open for store in distinct))
        for number, store in enumerate(distinct):
            self.start(f"r{number}", store)
        assert len(self.claim(store=distinct[-1])) == len(distinct)

    def test_databases_have_nothing_to_do_with_each_other(self) -> None:
        self.start()
        elsewhere = self.make_store(f"{self.database}b")
        elsewhere.open()
        try:
            assert elsewhere.get("r") is None
            assert list(elsewhere.claim("one", {"Order": 1}, HOUR, 10).runs) == []
        finally:
            elsewhere.close()

    def test_an_empty_commit_does_nothing(self) -> None:
        assert self.commit() == []


class Crowds(StoreCase):
    """Many at the same time."""

    def test_no_two_claims_get_the_same_run(self) -> None:
        runs = {f"r{n:03}" for n in range(200)}
        self.commit(*(self.new(run, start_at=PAST) for run in sorted(runs)))
        stores = [self.store, *(self.opened() for _ in range(5))]

        def take(store: Store, worker: str) -> list[str]:
            taken: list[str] = []

            def once() -> bool | None:
                while found := store.claim(worker, {"Order": 1}, HOUR, 7).runs:
                    taken.extend(claimed.run_id for claimed in found)
                # A claim may leave out what another one is about to take.
                return True if all(run.owner is not None for run in store.list(RunQuery(limit=1000))) else None

            self.until(once, "not all runs are claimed")
            return taken

        found = self.in_threads(*(partial(take, store, f"w{n}") for n, store in enumerate(stores)))
        taken = [run for of_one in found for run in of_one]
        assert len(taken) == len(set(taken)), "two claims have got the same run"
        assert set(taken) == runs, "a run was claimed by nobody"
        for worker, of_one in enumerate(found):
            assert all(self.got(run).owner == f"w{worker}" for run in of_one), "a claim got a run that is another's"

    def test_one_of_many_gets_a_run_by_its_id(self) -> None:
        self.commit(*(self.new(f"r{n}") for n in range(30)))
        stores = [self.store, *(self.opened() for _ in range(3))]
        works = [
            lambda s=store, w=worker: [len(s.claim_run(f"w{w}", f"r{n}", HOUR).runs) for n in range(30)]
            for worker, store in enumerate(stores)
        ]
        for answers in zip(*self.in_threads(*works), strict=True):
            assert sum(answers) == 1, "a run was given to two, or to nobody"

    def test_workers_that_take_runs_from_each_other_lose_no_step(self) -> None:
        """Leases are so short that they are lost all the time: of each revision one worker may save, and no other."""
        steps, runs = 12, [f"r{n}" for n in range(6)]
        self.commit(*(self.new(run, snapshot=b"0") for run in runs))
        stores = [self.store, *(self.opened() for _ in range(3))]
        saved: list[tuple[str, int]] = []

        def finished(store: Store) -> bool | None:
            return True if all((store.get(run) or self.got(run)).finished_at for run in runs) else None

        def move(store: Store, worker: str) -> None:
            def once() -> bool | None:
                for claimed in store.claim(worker, {"Order": 1}, PAST - PAST, 3).runs:  # a lease that is over at once
                    step = int(claimed.snapshot) + 1
                    rest = self.rest("Finished") if step == steps else self.rest("Resuming", wake_at=PAST)
                    save = self.save(claimed.run_id, fence=claimed.fence, revision=step, snapshot=b"%d" % step, rest=rest)
                    if store.commit([save]) == [True]:
                        saved.append((claimed.run_id, step))
                return finished(store)

            self.until(once, "runs do not come to their end")

        self.in_threads(*(partial(move, store, f"w{n}") for n, store in enumerate(stores)))
        assert sorted(saved) == sorted((run, step) for run in runs for step in range(1, steps + 1)), (
            "a step was saved twice, or lost"
        )

    def test_readers_see_whole_commits_and_keep_nobody_waiting(self) -> None:
        for run in ("a", "b"):
            self.held(run, snapshot=b"0")
        done = Event()

        def write() -> None:
            try:
                for n in range(1, 60):
                    writes: list[Write] = [self.save(run, revision=n, snapshot=b"%d" % n) for run in ("a", "b")]
                    writes.append(Message(f"m{n}", "a", MessageKind.signal, b"%d" % n))
                    self.store.commit(writes)
            finally:
                done.set()

        def read() -> int:
            seen = 0
            while not done.is_set():
                first, second = self.store.get("a"), self.store.get("b")
                assert first is not None and second is not None  # noqa: PT018 both are there
                assert second.revision >= first.revision, "half of a commit was seen"
                assert first.snapshot == b"%d" % first.revision, "a snapshot of one save with the revision of another"
                assert len(self.store.messages("a", MessageStatus.new, 100)) >= second.revision, "half of a commit was seen"
                seen += 1
            return seen

        self.in_threads(write, read)
        assert self.got("b").revision == 59
