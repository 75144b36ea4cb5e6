"""Checkpoints: what a ``Save`` changes, and all that comes with it. Documents and instants come back as they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from flowstmt.stores.protocol import (
    HistoryRow,
    MessageStatus,
    Publication,
    Release,
    RunQuery,
    Setback,
    Started,
    Taken,
)
from flowstmt.testing.store_suite.case import HOUR, PAST, StoreCase

__all__ = ["Documents", "Records", "Saves"]

NASTY = 'tea "for" \\ two\n\t\u00e9\u4e2d\U0001f375\u2028 %s ? :x {0} \'; DROP TABLE runs; --'
"""What has undone the quoting of many."""


class Saves(StoreCase):
    """``Save``."""

    def test_a_save_changes_the_snapshot_and_keeps_the_lease(self) -> None:
        self.held(position="birth")
        before = self.got()
        assert self.one(self.save(revision=5, snapshot=b'{"a":1}')) is True
        run = self.got()
        assert (run.snapshot, run.revision) == (b'{"a":1}', 5)
        assert (run.owner, run.fence, run.lease_until) == (before.owner, before.fence, before.lease_until), "the lease stays"
        assert (run.position, run.status, run.wake_at) == ("birth", before.status, None), "only a rest changes these"
        assert before.updated_at <= run.updated_at <= self.store.now(), "it was updated now"
        assert run.created_at == before.created_at

    def test_a_rest_gives_up_the_lease_in_the_same_write(self) -> None:
        self.held()
        wake_at = self.store.now() + HOUR
        rest = self.rest("Waiting", "payment", wake_at, error=b'{"type":"E"}')
        assert self.one(self.save(revision=2, rest=rest)) is True
        run = self.got()
        assert (run.status, run.position, run.wake_at, run.error) == ("Waiting", "payment", wake_at, b'{"type":"E"}')
        assert (run.owner, run.lease_until, run.finished_at, run.revision) == (None, None, None, 2)
        assert self.claim() == {}, "it is due in an hour"

    def test_a_rest_says_from_which_version_on_a_worker_may_claim_the_run(self) -> None:
        self.held("newer")
        self.held("same")
        self.held("older", version=2)
        self.held("quiet", version=2)
        versions = {"newer": 2, "same": 1, "older": 1, "quiet": None}
        self.commit(*(self.save(run, rest=self.rest(wake_at=PAST, version=version)) for run, version in versions.items()))
        assert {run: self.got(run).version for run in versions} == {"newer": 2, "same": 1, "older": 1, "quiet": 2}
        assert set(self.claim()) == {"same", "older"}, "code of version 1 gets what it can load"
        claimed = self.claim("two", known={"Order": 2})
        assert set(claimed) == {"newer", "quiet"}, "code of version 2 gets the others"
        self.one(self.save("newer", fence=claimed["newer"].fence, revision=2))
        assert self.got("newer").version == 2, "only a rest changes it"

    def test_a_rest_that_is_due_is_claimed_and_one_without_wake_at_never(self) -> None:
        self.held("due")
        self.held("parked")
        self.commit(self.save("due", rest=self.rest(wake_at=PAST)), self.save("parked", rest=self.rest()))
        assert set(self.claim()) == {"due"}
        assert self.got("parked").wake_at is None

    def test_a_run_that_is_over_has_a_finished_at_and_rests(self) -> None:
        for status in ("Finished", "Failed", "Cancelled"):
            self.held(status)
            before = self.store.now()
            self.one(self.save(status, rest=self.rest(status, "end")))
            run = self.got(status)
            assert (run.status, run.position, run.owner) == (status, "end", None)
            assert run.finished_at is not None, f"a run that is {status} is over"
            assert before <= run.finished_at <= self.store.now(), "finished_at is the database's clock"
        assert self.claim() == {}, "what is over is not due"

    def test_a_later_save_clears_the_error_of_a_rest(self) -> None:
        self.held()
        self.one(self.save(rest=self.rest("Waiting", wake_at=PAST, error=b'{"type":"E"}')))
        fence = self.claim()["r"].fence
        self.one(self.save(fence=fence, revision=2))
        assert self.got().error is None

    def test_saves_handed_in_twice_change_nothing_the_second_time(self) -> None:
        self.held()
        self.start("to")
        row = HistoryRow(1, "main", "pay", 1, PAST, timedelta(seconds=1))
        writes = [
            self.save(revision=1, messages=[self.message("m", "to")], history=[row]),
            self.save(revision=2, children=[self.new("child")], history=[row]),
            self.save(revision=3, rest=self.rest()),
        ]
        assert self.commit(*writes) == [True, True, True]
        before, child = self.got(), self.got("child")
        assert self.commit(*writes) == [True, True, True], "who asks again after an unknown outcome learns that it was saved"
        after = self.got()
        before.updated_at = after.updated_at
        assert after == before, "the second time has changed the run"
        assert self.got("child") == child, "or its child"
        assert self.new_messages("to") == ["m"], "or posted its message again"
        assert len(self.store.history("r", 0, 10)) == 1, "or told an attempt twice"

    def test_a_rest_handed_in_twice_does_not_undo_what_came_between(self) -> None:
        self.held("released")
        self.held("posted")
        writes = [self.save("released", rest=self.rest()), self.save("posted", rest=self.rest())]
        self.commit(*writes)
        self.commit(Release("released"), self.message("m", "posted"))
        self.commit(*writes)
        assert set(self.claim()) == {"released", "posted"}, "a late repetition has put a run to sleep"
        self.commit(*writes)
        assert self.got("released").owner == "one", "nor does it take the lease of who claimed the run since"

    def test_a_rest_handed_in_twice_brings_nothing_for_which_it_came_too_early(self) -> None:
        self.held()
        self.held("child")
        self.one(self.message("seen"))
        more: dict[str, Any] = {"messages": [self.message("m", "late")], "taken": [Taken("seen", MessageStatus.kept)]}
        save = self.save(rest=self.rest(), children=[self.new("child", parent="r")], **more)
        assert self.one(save) is True
        self.one(self.save("child", rest=self.rest()))
        assert self.store.delete("child")
        self.start("late")
        assert self.one(save) is True
        assert self.store.get("child") is None, "a child that was deleted since is there again"
        assert self.new_messages("late") == [], "a run that was not there yet has a message now"

    def test_a_worker_that_gave_up_its_lease_saves_no_later_revision(self) -> None:
        self.parked()
        assert self.one(self.save(revision=2)) is False, "nobody owns the run"
        assert self.got().revision == 1

    def test_children_are_started_with_the_save_unless_they_exist(self) -> None:
        self.held()
        self.start("there", digest="theirs")
        self.one(self.save(children=[self.new("there", digest="ours"), self.new("born", parent="r", labels={"a": "b"})]))
        assert self.got("there").digest == "theirs"
        assert (self.got("born").parent, self.got("born").labels) == ("r", {"a": "b"})
        assert set(self.claim()) == {"there", "born"}, "children are due as other runs are"

    def test_thousands_of_children_in_one_save(self) -> None:
        self.held()
        children = [self.new(f"c{n:04}", parent="r") for n in range(2000)]
        assert self.one(self.save(children=children)) is True
        assert len(self.store.list(RunQuery(parent="r", limit=5000))) == 2000

    def test_a_save_posts_messages_to_other_runs(self) -> None:
        self.held()
        self.parked("to")
        self.parked("over", "Finished")
        messages = [self.message("a", "to"), self.message("b", "nobody"), self.message("c", "over"), self.message("d", "to")]
        assert self.one(self.save(messages=messages)) is True, "that some can't be posted does not matter"
        assert self.new_messages("to") == ["a", "d"]
        assert self.new_messages("over") == []
        assert set(self.claim()) == {"to"}, "a message makes its run due"

    def test_a_message_to_a_child_of_the_same_save_finds_it(self) -> None:
        self.held()
        self.one(self.save(children=[self.new("child")], messages=[self.message("m", "child")]))
        assert self.new_messages("child") == ["m"], "children are started before messages are posted"


class Records(StoreCase):
    """History and publications."""

    def row(self, revision: int, **changes: Any) -> HistoryRow:
        """An attempt at a step."""
        chosen: dict[str, Any] = {"thread_id": "main", "position": "pay", "attempt": 1, "started_at": PAST, **changes}
        return HistoryRow(revision=revision, duration=timedelta(microseconds=1_234_567), **chosen)

    def test_history_comes_back_as_it_was_in_order(self) -> None:
        self.held()
        rows = [
            self.row(1, started_at=datetime(2026, 5, 4, 3, 2, 1, 987654, UTC)),
            self.row(2, attempt=1, error="ValueError: no tea"),
            self.row(2, attempt=2),
            self.row(2, thread_id="ship:7", position=NASTY),
        ]
        self.one(self.save(revision=1, history=rows[:1]))
        self.one(self.save(revision=2, history=rows[1:]))
        assert list(self.store.history("r", 0, 10)) == rows, "attempts come back as they were, oldest first"
        assert list(self.store.history("r", 1, 2)) == rows[1:3], "those beyond the first one, two of them"
        assert list(self.store.history("r", 4, 10)) == []
        assert list(self.store.history("nobody", 0, 10)) == []

    def test_an_attempt_that_is_told_twice_is_kept_once(self) -> None:
        self.held()
        self.one(self.save(revision=1, history=[self.row(1), self.row(1)]))
        self.one(self.save(revision=2, history=[self.row(1), self.row(2)]))
        assert [row.revision for row in self.store.history("r", 0, 10)] == [1, 2]

    def test_a_setback_has_history_too(self) -> None:
        self.held()
        self.one(Setback("r", 1, 1, b"{}", None, history=[self.row(1, error="ValueError: no tea")]))
        assert [row.error for row in self.store.history("r", 0, 10)] == ["ValueError: no tea"]

    def test_a_save_without_a_lease_leaves_no_history(self) -> None:
        self.held()
        self.one(self.save(fence=7, history=[self.row(1)]))
        assert list(self.store.history("r", 0, 10)) == []

    def test_publications_come_back_in_order_each_with_a_higher_number(self) -> None:
        self.commit(self.new("r"), self.new("other"))
        bodies = [b'{"n":%d}' % n for n in range(5)]
        before = self.store.now()
        for body in bodies:
            assert self.commit(Publication("r", body), Publication("other", b'"else"')) == [True, True]
        found = list(self.store.published("r", 0, 100))
        assert [json.loads(publication.body) for publication in found] == [json.loads(body) for body in bodies]
        numbers = [publication.number for publication in found]
        assert numbers == sorted(set(numbers)), "numbers rise"
        assert numbers[0] > 0, "who asks for those after 0 gets all"
        assert all(before <= publication.at <= self.store.now() for publication in found), "at is the database's clock"
        assert [publication.number for publication in self.store.published("r", numbers[1], 2)] == numbers[2:4]
        assert list(self.store.published("r", numbers[-1], 10)) == []

    def test_a_publication_of_a_run_that_is_not_there_is_refused(self) -> None:
        assert self.one(Publication("nobody", b"1")) is False
        assert list(self.store.published("nobody", 0, 10)) == []


class Documents(StoreCase):
    """What is handed in comes back."""

    def test_snapshots_come_back_byte_for_byte(self) -> None:
        documents = [
            b'{"b":1,  "a":2,"a":3}',
            json.dumps({"text": NASTY}).encode(),
            json.dumps({"text": NASTY}, ensure_ascii=False).encode(),
            b'"\\u0000 and \\ud800 escaped"',
            b"1.0000000000000000000000001",
            b"123456789012345678901234567890",
            b" null\n",
            b'{"long":"' + b"tea " * 262_144 + b'"}',
        ]
        self.commit(*(self.new(f"r{n}", snapshot=document) for n, document in enumerate(documents)))
        for number, document in enumerate(documents):
            assert self.got(f"r{number}").snapshot == document, f"the snapshot {document[:40]!r} has changed on its way"
        claimed = self.claim()
        for number, document in enumerate(documents):
            assert bytes(claimed[f"r{number}"].snapshot) == document, f"a claim gives {document[:40]!r} otherwise"
        for number, document in enumerate(reversed(documents)):
            run = f"r{number}"
            self.one(self.save(run, fence=claimed[run].fence, snapshot=document))
            assert self.got(run).snapshot == document, f"the snapshot {document[:40]!r} has changed on its way"

    def test_documents_come_back_as_the_same_value(self) -> None:
        value = {
            "text": NASTY,
            "nul": "\x00",
            "n": 1.5,
            "big": 2**60,
            "none": None,
            "list": [True, {}],
            "": "",
            "long": "x" * 10**6,
        }
        document = json.dumps(value).encode()
        self.held()
        self.one(self.message("m", body=document))
        self.one(Publication("r", document))
        self.one(self.save(taken=[Taken("m", MessageStatus.kept)]))
        (message,) = self.store.messages("r", MessageStatus.kept, 10)
        assert json.loads(message.body) == value, "a message's body has changed"
        self.one(self.save(revision=2, taken=[Taken("m", MessageStatus.done, document)], rest=self.rest(error=document)))
        answer = self.store.answers(["m"])["m"].answer
        assert answer is not None and json.loads(answer) == value, "an answer has changed"  # noqa: PT018 one sentence
        error = self.got().error
        assert error is not None and json.loads(error) == value, "an error has changed"  # noqa: PT018 one sentence
        assert json.loads(self.store.published("r", 0, 10)[0].body) == value, "a publication has changed"

    def test_names_may_hold_anything_that_is_text(self) -> None:
        names = [NASTY, "a/b:c", " ", "R", "r", "\u00e9", "e\u0301", "x" * 300]
        for name in names:
            self.start(name, digest=name, position=name, labels={name: name}, parent=name, single_flight=name, start_at=PAST)
        for name in names:
            run = self.got(name)
            told = (run.run_id, run.digest, run.position, dict(run.labels), run.parent, run.single_flight)
            assert told == (name, name, name, {name: name}, name, name), "a name has changed on its way"
            assert [found.run_id for found in self.store.list(RunQuery(label=(name, name)))] == [name], "names are told apart"
        assert set(self.claim(worker=NASTY)) == set(names)
        assert self.got("r").owner == NASTY

    def test_a_write_that_the_database_can_not_keep_does_not_take_others_down(self) -> None:
        self.held()
        odd = "\ud800 is half a character"
        answers = self.commit(self.new("before"), self.new(odd), self.save(), self.new("after"))
        assert isinstance(answers[0], Started), "the first write has nothing to do with the second"
        assert answers[0].created, "a write before the one that can't be kept was not made"
        assert isinstance(answers[3], Started), "nor has the last"
        assert answers[3].created, "a write after the one that can't be kept was not made"
        assert answers[2] is True, "nor the Save of another run"
        if isinstance(answers[1], Exception):
            assert len(self.store.list(RunQuery())) == 3, "an exception means that it was not made"
        else:
            assert self.got(odd).run_id == odd, "who doesn't refuse a name keeps it"
        assert (self.got("r").revision, set(self.claim()) >= {"before", "after"}) == (1, True)

    def test_instants_come_back_in_utc_to_the_microsecond(self) -> None:
        east = timezone(timedelta(hours=5, minutes=30))
        instants = [
            datetime(2026, 11, 21, 14, 30, 15, 123457, UTC),
            datetime(2026, 3, 29, 2, 30, 0, 1, east),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(2038, 1, 19, 3, 14, 8, 999999, UTC),
            datetime(1901, 1, 1, 0, 0, 0, 1, UTC),
        ]
        for number, instant in enumerate(instants):
            run = f"r{number}"
            self.start(run, start_at=instant)
            self.same(self.got(run).wake_at, instant)
            fence = self.store.claim_run("one", run, HOUR).runs[0].fence
            self.one(self.save(run, fence=fence, rest=self.rest(wake_at=instant)))
            self.same(self.got(run).wake_at, instant)
        first = self.got("r0")
        for told in (first.created_at, first.updated_at, self.store.now()):
            assert told.utcoffset() == timedelta(0), "instants are aware and in UTC"

    def same(self, found: datetime | None, instant: datetime) -> None:
        """The same instant, in UTC."""
        assert found == instant, f"{instant} came back as {found}"
        assert found.utcoffset() == timedelta(0), "instants are aware and in UTC"

    def test_the_clock_goes_on(self) -> None:
        first = self.store.now()
        self.until(lambda: True if self.store.now() > first else None, "the database's clock does not go on")
        assert abs(self.other.now() - self.store.now()) < timedelta(minutes=1), "two stores on one database share its clock"

    def test_what_was_committed_is_there_when_the_database_is_opened_again(self) -> None:
        self.held(labels={"a": "b"})
        self.one(self.message("m"))
        self.one(self.save(snapshot=b'{"kept":1}', taken=[Taken("m", MessageStatus.kept)]))
        before = self.got()
        self.teardown_method()
        again = self.opened()
        assert again.get("r") == before
        assert [message.id for message in again.messages("r", MessageStatus.kept, 10)] == ["m"]
