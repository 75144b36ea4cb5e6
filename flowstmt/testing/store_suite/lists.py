"""Lists: each filter, pages that lose and repeat nothing, and labels."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flowstmt.stores.protocol import RunQuery, StoredRun
from flowstmt.testing.store_suite.case import HOUR, PAST, StoreCase

__all__ = ["Lists"]


class Lists(StoreCase):
    """``list``."""

    def listed(self, **filters: Any) -> list[str]:
        """Ids of what a query finds."""
        return [run.run_id for run in self.store.list(RunQuery(**filters))]

    def found(self, **filters: Any) -> set[str]:
        """The same, in no order."""
        return set(self.listed(**filters))

    def paged(self, size: int, **filters: Any) -> list[str]:
        """Ids of all pages."""
        ids: list[str] = []
        after = None
        while True:
            page = self.store.list(RunQuery(limit=size, after=after, **filters))
            assert len(page) <= size, "a page is longer than its limit"
            if not page:
                return ids
            ids += [run.run_id for run in page]
            after = (page[-1].created_at, page[-1].run_id)
            assert len(ids) < 10_000, "pages never come to an end"

    def test_a_list_tells_all_of_a_run_but_its_snapshot(self) -> None:
        self.held(labels={"customer": "c-1", "city": "Bern"}, single_flight="k", parent="p", queue_key="q", priority=3)
        self.one(self.save(rest=self.rest("Waiting", "payment", PAST, error=b'{"type":"E"}')))
        (listed,) = self.store.list(RunQuery())
        run: StoredRun = self.got()
        assert listed.snapshot is None, "lists are for many runs, and without their snapshots"
        listed.snapshot = run.snapshot
        assert listed == run, "a list tells otherwise than get"
        assert run.labels == {"customer": "c-1", "city": "Bern"}

    def test_a_run_that_is_not_there_is_none(self) -> None:
        assert self.store.get("nobody") is None
        assert list(self.store.list(RunQuery())) == []

    def test_runs_are_found_by_workflow_status_and_position(self) -> None:
        self.parked("waiting", workflow="Refund")
        self.held("over")
        self.one(self.save("over", rest=self.rest("Finished", "end")))
        self.start("new", position="birth")
        assert self.found(workflow="Refund") == {"waiting"}
        assert self.found(workflow="Order") == {"over", "new"}
        assert self.found(status="Finished") == {"over"}
        assert self.found(status="Resuming") == {"new"}
        assert self.found(position="payment") == {"waiting"}
        assert self.found(position="birth", workflow="Order") == {"new"}
        assert self.found(workflow="Refund", status="Finished") == set(), "all that is asked for must hold"
        assert self.found(workflow="Ref") == set(), "part of a name is not the name"

    def test_runs_are_found_by_their_labels(self) -> None:
        self.start("a", labels={"customer": "c-1", "city": "Bern"})
        self.start("b", labels={"customer": "c-2", "city": "Bern"})
        self.start("c", labels={"city": "c-1"})
        self.start("d")
        assert self.found(label=("customer", "c-1")) == {"a"}
        assert self.found(label=("city", "Bern")) == {"a", "b"}
        assert self.found(label=("city", "bern")) == set(), "labels are what they are"
        assert self.found(label=("city", "Bern"), workflow="Refund") == set()

    def test_runs_are_found_by_their_parent_and_their_queue(self) -> None:
        self.start("a", parent="p")
        self.start("b", queue="emails")
        self.start("c", parent="p", queue="emails")
        assert self.found(parent="p") == {"a", "c"}
        assert self.found(queue="emails") == {"b", "c"}
        assert self.found(parent="p", queue="emails") == {"c"}

    def test_runs_are_found_by_when_they_were_created(self) -> None:
        created = []
        for name in ("a", "b", "c"):
            before = self.store.now()
            self.until(lambda before=before: True if self.store.now() > before else None, "the clock does not go on")  # type: ignore[misc]
            self.start(name)
            created.append(self.got(name).created_at)
        assert created == sorted(set(created)), "later runs are created later"
        assert self.found(created_from=created[1]) == {"b", "c"}, "the instant itself is included"
        assert self.found(created_before=created[1]) == {"a"}, "the instant itself is not"
        assert self.found(created_from=created[0], created_before=created[2]) == {"a", "b"}
        assert self.listed() == ["c", "b", "a"], "newest first"

    def test_runs_are_found_by_when_they_are_due(self) -> None:
        due = self.store.now() + HOUR
        self.start("soon", start_at=due)
        self.start("later", start_at=due + timedelta(microseconds=1))
        self.held("owned")
        self.parked("parked")
        assert self.found(wake_before=due) == set(), "the instant itself is not before it"
        assert self.found(wake_before=due + timedelta(microseconds=1)) == {"soon"}, "to the microsecond"
        assert self.found(wake_before=due + HOUR) == {"soon", "later"}, "neither who is owned nor who is not due has a wake_at"

    def test_pages_hold_every_run_once_in_the_order_of_the_whole(self) -> None:
        for batch in range(4):  # those of one commit may have been created at one instant
            self.commit(*(self.new(f"r{batch}-{number:02}", labels={"a": "b"}) for number in range(15)))
        whole = self.store.list(RunQuery(limit=1000))
        order = [(run.created_at, run.run_id) for run in whole]
        assert order == sorted(order, reverse=True), "runs are listed by created_at, then run_id, both descending"
        ids = [run.run_id for run in whole]
        assert len(ids) == 60
        for filters in ({}, {"workflow": "Order"}, {"label": ("a", "b")}, {"status": "Resuming"}):
            for size in (1, 7, 60):
                assert self.paged(size, **filters) == ids, f"pages of {size} with {filters} lose, repeat or mix up runs"

    def test_pages_hold_every_run_whatever_it_is_called(self) -> None:
        names = [
            "a",
            "A",
            "B",
            "b",
            "\u00e9",
            "e",
            "e\u0301",
            "z",
            "Z",
            "_",
            "-",
            "a-b",
            "a b",
            "aB",
            "\u4e2d",
            "\U0001f375",
            "0",
            "10",
            "9",
        ]
        self.commit(*(self.new(name) for name in names))
        for size in (1, 2, 5):
            found = self.paged(size)
            assert sorted(found) == sorted(names), "the order of ids is not the one by which pages are cut"

    def test_runs_that_are_started_while_pages_are_read_move_none_of_them(self) -> None:
        self.commit(*(self.new(f"old{number:02}") for number in range(20)))
        ids: list[str] = []
        after = None
        for turn in range(10):
            page = self.store.list(RunQuery(limit=3, after=after))
            ids += [run.run_id for run in page]
            if not page:
                break
            after = (page[-1].created_at, page[-1].run_id)
            self.start(f"new{turn}")
        assert sorted(ids) == [f"old{number:02}" for number in range(20)], "each of the runs of the beginning is seen once"

    def test_no_list_is_longer_than_its_limit(self) -> None:
        self.commit(*(self.new(f"r{number:03}") for number in range(120)))
        assert len(self.store.list(RunQuery())) == 100, "a page holds 100 runs unless it is told otherwise"
        assert len(self.store.list(RunQuery(limit=3))) == 3
